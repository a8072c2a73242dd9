"""The watchdog: says which handler stands where, when one holds its event loop for too long.

    the watchdog's thread, every half threshold      the loop
    -------------------------------------------      --------
    is it idle? then that is all
    call_soon_threadsafe(beat)  ──────────────────>  beat: all is well
    no beat for a threshold: look at its stack ──>   SlowHandler: the actor, its message, the line; or "something on the loop"
    again after 10 and 100 times as long, and once more when it goes on: how long it was in all

One daemon thread for all systems of a process, begun with the first and ended with the last; none in a simulation, where
code takes no time. Nothing is done per message: the loop is asked whether it still turns, and its stack is read only when it does
not. A thread actor may block, so only its own, longer limit counts; it holds nobody up but itself. Once a second it looks at the
mailboxes of those that take no messages, for the high-water alarm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import weakref
from time import monotonic
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from understudy.actors.frames import all_frames
from understudy.actors.info import Place, named, placed
from understudy.actors.limiter import Limiter
from understudy.actors.message import message
from understudy.actors.ref import ActorRef

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler
    from understudy.actors.thread import ThreadCell

logger = logging.getLogger("understudy.actors")

SLOW_AFTER = 0.1
"""Seconds for which a handler may hold the loop unmentioned."""

SLOW_THREAD_AFTER = 30.0
"""Seconds for which a thread actor's handler may block unmentioned."""

ALARM_EVERY = 1.0
"""Seconds between two looks at the mailboxes of actors that take no messages; more, if a look takes more than a hundredth of it."""

LONGEST = 3600.0
"""Seconds of a threshold beyond which the watchdog looks all the same."""

BACK_OFF = 10
"""The same stall is mentioned again when it is so many times as long."""

BURST, EVERY = 5, 10.0
"""Of the same handler at the same line: so many warnings at once, and then one in so many seconds."""


@message("understudy.slow_handler")
class SlowHandler:
    """A loop, or a thread actor, is stuck. Told by the watchdog's own thread, since the loop cannot.

    `ref` None: no actor's code; `message` the class of what it handles. `where` is the line of the handler, `at` the innermost one,
    as "file:line in function". `seconds` so far; `over`: it has gone on, and that was all.
    """

    ref: ActorRef[Any] | None
    message: str
    where: str
    at: str
    seconds: float
    over: bool

    def __str__(self) -> str:
        who = f"{self.ref!r} handling {self.message}" if self.ref is not None else "something on the loop"
        inner = f", now in {self.at}" if self.at != self.where else ""
        if self.over:
            return f"{who} goes on after {self.seconds:.2f} s; it stood at {self.where}{inner}"
        return f"{who} stands at {self.where} for {self.seconds:.2f} s{inner}"


class Watch:
    """What the watchdog knows of one system."""

    def __init__(self, scheduler: Scheduler, threshold: float, thread_threshold: float | None) -> None:
        self.scheduler: weakref.ref[Scheduler] = weakref.ref(scheduler)
        self.threshold = threshold
        self._thread_threshold = thread_threshold
        self._loop = scheduler.loop
        self._limiter: Limiter[tuple[object, ...]] = Limiter(BURST, EVERY)
        self._asked: float | None = None  # when a beat was asked for that has not come
        self._resting: CodeType | None = None  # the code below an idle loop
        self._stall: _Stall | None = None
        self._threads: dict[ThreadCell[Any], _Stall] = {}
        self._alarm_due = 0.0

    def look(self, frames: dict[int, FrameType], now: float) -> bool:
        """Look once. False: there is nothing to be watched any more."""
        scheduler = self.scheduler()
        if scheduler is None or scheduler.closed or self._loop.is_closed():
            return False
        if self._thread_threshold is not None:
            self._look_at_threads(scheduler, frames, now, self._thread_threshold)
        if now >= self._alarm_due:
            scheduler.alarm.look_around(stands=self._stall is not None)
            self._alarm_due = now + max(ALARM_EVERY, (monotonic() - now) * 100)
        asked = self._asked
        if asked is None:
            if not self._idle(scheduler, frames):
                self._asked = now
                try:
                    self._loop.call_soon_threadsafe(self._beat)
                except RuntimeError:  # closed just now
                    return False
        elif now - asked >= self.threshold:
            self._stuck(scheduler, frames, now, asked)
        return True

    def _beat(self) -> None:
        """On the loop: it turns."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code in _LOOP:
            frame = frame.f_back
        self._resting = frame.f_code if frame is not None else None
        stall, self._stall = self._stall, None
        asked, self._asked = self._asked, None
        if stall is not None and asked is not None:
            scheduler = self.scheduler()
            if scheduler is not None:
                stall.end(scheduler, monotonic())

    def _idle(self, scheduler: Scheduler, frames: dict[int, FrameType]) -> bool:
        """Whether the loop waits for work: its stack ends in its own selector, or where its thread has entered it."""
        if not self._loop.is_running():
            return True
        frame = frames.get(scheduler.thread)
        return frame is None or frame.f_code in _LOOP or (frame.f_code is self._resting and scheduler.asleep)

    def _stuck(self, scheduler: Scheduler, frames: dict[int, FrameType], now: float, since: float) -> None:
        frame = frames.get(scheduler.thread)
        if frame is None or not self._loop.is_running():  # stopped in between: nobody's fault
            self._asked = self._stall = None
            return
        place = placed(frame)
        stall = self._stall
        if stall is not None and not stall.same(place):  # a part of the same stall, but another's doing
            stall.end(scheduler, now)
            stall, since = None, now
        if stall is None:
            cell, message, own = place or (None, "", frame)
            stall = self._stall = _Stall(cell, message, since, self.threshold)
            stall.stands(own, frame, self._limiter, now)
        stall.tell(scheduler, now)

    def _look_at_threads(
        self, scheduler: Scheduler, frames: dict[int, FrameType], now: float, threshold: float
    ) -> None:
        for cell in tuple(self._threads):
            stall = self._threads[cell]
            if cell.taken is None or cell.handled != stall.number or cell not in scheduler.threads:
                del self._threads[cell]
                stall.end(scheduler, now)
        for cell, thread in scheduler.threads.copy().items():
            entry, frame, known = cell.taken, frames.get(thread), self._threads.get(cell)
            if entry is None or frame is None:
                continue
            if known is None:
                known = self._threads[cell] = _Stall(cell, named(entry), now, threshold)
                known.number = cell.handled
            elif now - known.since >= threshold:
                if not known.told:
                    known.stands(_outermost_own(frame), frame, self._limiter, now)
                known.tell(scheduler, now)


class _Stall:
    """Somebody stands still. Holds texts and no frames."""

    def __init__(self, cell: Cell[Any] | None, message: str, since: float, threshold: float) -> None:
        self.cell = cell
        self.message = message
        self.since = since
        self.number = 0
        self.told = False
        self._silent = False
        self._where = self._at = ""
        self._next = threshold

    def same(self, place: Place | None) -> bool:
        """Whether that is still the same actor with the same kind of message."""
        return (self.cell, self.message) == ((None, "") if place is None else (place.cell, place.message))

    def stands(self, own: FrameType, inner: FrameType, limiter: Limiter[tuple[object, ...]], now: float) -> None:
        """Note where, before it is told for the first time."""
        self._where, self._at = _place(own), _place(inner)
        kind = self.cell.kind if self.cell is not None else None
        self._silent = limiter.admit((kind, self.message, self._where), now) is None

    def tell(self, scheduler: Scheduler, now: float) -> None:
        """Say so, if it is time to."""
        seconds = now - self.since
        if seconds >= self._next:
            self._next *= BACK_OFF
            self.told = True
            self._show(scheduler, seconds, over=False)

    def end(self, scheduler: Scheduler, now: float) -> None:
        """It goes on."""
        if self.told:
            self._show(scheduler, now - self.since, over=True)

    def _show(self, scheduler: Scheduler, seconds: float, *, over: bool) -> None:
        if not self._silent:
            event = SlowHandler(self.cell, self.message, self._where, self._at, seconds, over)
            scheduler.system.hooks.emit(event)
            logger.warning("%s", event, extra={"slow_handler": event})


class Watchdog:
    """The thread, and whom it watches."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew: nobody is watched."""
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._watches: list[Watch] = []
        self._thread: threading.Thread | None = None

    def watch(self, scheduler: Scheduler, threshold: float, thread_threshold: float | None) -> None:
        """Watch a system's loop and thread actors until `forget`, or until the loop is closed."""
        with self._lock:
            self._watches.append(Watch(scheduler, threshold, thread_threshold))
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="understudy-watchdog", daemon=True)
                self._thread.start()
            self._news.notify()

    def forget(self, scheduler: Scheduler) -> None:
        """Watch it no more. The thread has ended when this returns, if it was the last one."""
        with self._lock:
            self._watches = [watch for watch in self._watches if watch.scheduler() not in (scheduler, None)]
            thread = self._thread if not self._watches else None
            self._news.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _main(self) -> None:
        while True:
            with self._lock:
                if not self._watches:
                    self._thread = None
                    return
                self._news.wait(min(LONGEST, *(watch.threshold for watch in self._watches)) / 2)
                watches = list(self._watches)
            frames = all_frames()
            now = monotonic()
            over = [watch for watch in watches if not _looked(watch, frames, now)]
            del frames  # they hold everybody's variables
            if over:
                with self._lock:
                    self._watches = [watch for watch in self._watches if watch not in over]
            del watches, over


def _looked(watch: Watch, frames: dict[int, FrameType], now: float) -> bool:
    try:
        return watch.look(frames, now)
    except Exception:  # it goes on with the others, and with this one next time
        logger.exception("the watchdog stumbled")
        return True


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def _outermost_own(frame: FrameType) -> FrameType:
    """Of a thread actor's stack, the outermost frame of the actor's own code."""
    place = placed(frame)
    return place.frame if place is not None else frame


def _loop_codes() -> frozenset[CodeType]:
    """The code of asyncio's loop itself, in which it waits and out of which it calls."""
    import selectors

    loop = asyncio.BaseEventLoop
    own: list[Any] = [Watch._beat, asyncio.Handle._run, loop.run_forever, loop.run_until_complete]
    own.append(vars(loop).get("_run_once"))
    own += [getattr(selector, "select", None) for selector in vars(selectors).values()]
    return frozenset(function.__code__ for function in own if hasattr(function, "__code__"))


_LOOP = _loop_codes()

watchdog = Watchdog()
"""The one of this process."""

os.register_at_fork(after_in_child=watchdog.reset)  # its thread stays behind

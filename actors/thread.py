"""An actor with a thread of its own, for blocking code. Supervised, linked, watched and called like any other.

    loop                                     thread
    ----                                     ------
    mailbox.append, wake  ───────────────>   on_start, then one message after the other
    settle, failed        <── signals ────   what the handler returned or raised
    farewell              ───────────────>   the hook, once the handler at hand has returned
    clear out             <── signal ─────

All bookkeeping stays on the loop; the thread only runs the user's code. Python cannot kill a thread: one that never
returns is abandoned when its actor is killed or its time to stop is up. It is a daemon, and what it still sends through
`self` is refused.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pykka

from understudy.actors.actor import Actor
from understudy.actors.cell import Cell
from understudy.actors.deadlines import current_cell
from understudy.actors.envelope import Envelope
from understudy.actors.reasons import ExitReason
from understudy.actors.ref import A
from understudy.actors.refusals import ends_request_only
from understudy.actors.signals import Stop, StopRequest

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler

    class PykkaThreadingActor:
        """Pykka's thread actor as type checkers see it; see `PykkaActor`."""

else:
    PykkaThreadingActor = pykka.ThreadingActor


class ThreadMailbox(deque[Any]):
    """A deque that a thread can wait for. There are at least as many wake-ups as entries."""

    def __init__(self) -> None:
        super().__init__()
        self.wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()

    def append(self, item: Any, /) -> None:
        super().append(item)
        self.wakeups.put(None)


class ThreadCell(Cell[A]):
    """The reference to a thread actor. It is never idle while it lives: its thread, not the scheduler, takes the messages."""

    __slots__ = ("taken", "wakeups")

    threaded: ClassVar[bool] = True

    def __init__(self, scheduler: Scheduler, kind: type[A], number: int, parent: Cell[Any] | None) -> None:
        super().__init__(scheduler, kind, number, parent)
        mailbox = ThreadMailbox()
        self.mailbox = mailbox
        self.append = mailbox.append
        self.wakeups = mailbox.wakeups
        self.taken: Any = None

    def at_hand(self) -> Envelope | None:
        return self.taken if self.taken.__class__ is Envelope else None

    def open(self) -> None:
        self.wakeups.put(None)

    def laid_to_rest(self) -> None:
        self.wakeups.put(None)


class ThreadActor(Actor, PykkaThreadingActor):
    """The base class of actors whose plain handlers may block. `__init__` runs in the spawner's thread, all else in its own."""

    _last_errand: tuple[Callable[[], Any], asyncio.Future[None]] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.asynchronous:
            raise TypeError(
                f"{cls.__name__} is a ThreadActor: its on_receive is plain, not async; use Actor for async handlers"
            )

    @classmethod
    def make_cell(cls, scheduler: Scheduler, number: int, parent: Cell[Any] | None) -> Cell[Self]:
        return ThreadCell(scheduler, cls, number, parent)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.__init__(*args, **kwargs)  # type: ignore[misc]  # the first and only call: __new__ was called alone
        return self._start_thread()

    def last_hook(self, last_words: BaseException | ExitReason) -> Callable[[], Any] | None:
        return super().last_hook(last_words) or _nothing  # in any case the end waits for the handler at hand

    def farewell(self, hook: Callable[[], Any]) -> Any:
        return self._in_thread(hook)

    async def _start_thread(self) -> None:
        started: asyncio.Future[None] = self._cell.scheduler.loop.create_future()
        threading.Thread(target=self._main, args=(started,), name=repr(self._cell), daemon=True).start()
        await started

    async def _in_thread(self, hook: Callable[[], Any]) -> None:
        done: asyncio.Future[None] = self._cell.scheduler.loop.create_future()
        self._last_errand = (hook, done)
        self._thread_cell().wakeups.put(None)
        await done

    def _thread_cell(self) -> ThreadCell[Self]:
        cell = self._cell
        assert isinstance(cell, ThreadCell), "a thread actor's cell was made by its make_cell"
        return cell

    # --- the thread ---

    def _main(self, started: asyncio.Future[None]) -> None:
        cell = self._thread_cell()
        scheduler, mailbox = cell.scheduler, cell.mailbox
        assert mailbox is not None, "it was made with the cell"
        current_cell.set(cell)
        if not self._run_for(started, self.on_start):
            return
        finished = False
        while True:
            cell.wakeups.get()
            if self._last_errand is not None:
                hook, done = self._last_errand
                self._run_for(done, hook)
                return
            if cell.actor is not self:
                return
            if finished or cell.reason is not None:
                continue
            try:
                item = cell.taken = mailbox.popleft()
            except IndexError:
                continue
            if cell.reason is not None:  # its end may have looked for an entry at hand just before
                scheduler.signal(scheduler.mortician.bury_one, (cell, item))
            elif scheduler.admits(cell, item):
                try:
                    result = self._handle(item)
                except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
                    finished = not ends_request_only(error)
                    scheduler.signal(scheduler.failed, (cell, item, error))
                else:
                    finished = result.__class__ is Stop
                    scheduler.signal(scheduler.settle, (cell, item, result))
            if not finished:
                cell.taken = None

    def _handle(self, item: Any) -> Any:
        if item.__class__ is not Envelope:
            return self.on_receive(item)
        if item.message.__class__ is StopRequest:
            return Stop(reply=True)
        return self._handle_receive(item.message)

    def _run_for(self, waiting: asyncio.Future[None], function: Callable[[], Any]) -> bool:
        """Run `function` and tell the loop how it went. False if it raised."""
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:  # noqa: BLE001 - told to whoever waits on the loop
            error = raised
        self._cell.on_loop(_resolve, waiting, error)
        return error is None


def _nothing() -> None:
    """The last hook of a class that has none."""


def _resolve(waiting: asyncio.Future[None], error: BaseException | None) -> None:
    if waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)

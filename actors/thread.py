"""An actor with a thread of its own, for blocking code. Supervised, linked, watched and called like any other.

    loop                                     thread
    ----                                     ------
    mailbox.append, wake  ───────────────>   on_start, then one message after the other
    settle, failed        <── signals ────   what the handler returned or raised
    _run_last_hook        ───────────────>   the hook, once the handler at hand has returned
    clear out             <── signal ─────

All bookkeeping stays on the loop; the thread only runs the user's code. Python cannot kill a thread: one that never
returns is abandoned when its actor is killed or its time to stop is up. It is a daemon, and what it still sends through
`self` is refused. An `on_start` runs to its end for the same reason: whoever ended the actor meanwhile waits for that, and the
last hook follows.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pykka

from understudy.actors.actor import Actor
from understudy.actors.cell import Cell
from understudy.actors.deadlines import current_cell, current_request, seat
from understudy.actors.envelope import Envelope
from understudy.actors.errands import called, suspended
from understudy.actors.failure_rule import survives
from understudy.actors.info import named
from understudy.actors.mailbox import BoundedMailbox
from understudy.actors.mortician import CANCEL_GRACE, CLOSED
from understudy.actors.pykka_ref import PykkaCell
from understudy.actors.reasons import ExitReason
from understudy.actors.reentrant import Reentrant
from understudy.actors.ref import A, ActorRef, meant
from understudy.actors.signals import UNUSUAL, Order, Stop, StopRequest
from understudy.actors.stash import STASHED

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler

    class PykkaThreadingActor:
        """Pykka's thread actor as type checkers see it; see `PykkaActor`."""

else:
    PykkaThreadingActor = pykka.ThreadingActor


logger = logging.getLogger("understudy.actors")

_behaving = threading.Lock()
_unlinking = threading.RLock()
"""Held while a link ends a thread actor, and while one undoes a link: by then it has ended it, or never will."""


class ThreadMailbox(deque[Any]):
    """A deque that a thread can wait for. There are at least as many wake-ups as entries."""

    def __init__(self, wakeups: queue.SimpleQueue[None]) -> None:
        super().__init__()
        self.wakeups = wakeups

    def append(self, item: Any, /) -> None:
        super().append(item)
        self.wakeups.put(None)


class ThreadCell(Cell[A]):
    """The reference to a thread actor. It is never idle while it lives: its thread, not the scheduler, takes the messages."""

    __slots__ = ("began", "opened", "taken", "undone", "wakeups")

    threaded: ClassVar[bool] = True

    def __init__(self, scheduler: Scheduler, kind: type[A], number: int, parent: Cell[Any] | None) -> None:
        super().__init__(scheduler, kind, number, parent)
        self.wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        bounds = kind.mailbox
        mailbox = ThreadMailbox(self.wakeups) if bounds is None else BoundedMailbox(self, bounds, self.wakeups)
        self.mailbox = mailbox
        self.append = mailbox.append
        self.opened = False  # only from then on does its thread take messages: its spawner learns of the start first
        self.taken: Any = None
        self.began = 0.0  # when its thread took it
        self.undone: set[ActorRef[Any]] = (
            set()
        )  # the other ends of links that its thread has undone, and its loop has still

    @property
    def thread_name(self) -> str:
        """What a debugger calls its thread."""
        return repr(self)

    @property
    def daemon(self) -> bool:
        """Whether the program may end while this actor lives."""
        return True

    def at_hand(self) -> Envelope | None:
        return self.taken if self.taken.__class__ is Envelope else None

    def at_work(self) -> tuple[str, float] | None:
        entry = self.taken
        return None if entry is None else (named(entry), self.began)

    def rouse(self, entries: int = 1) -> None:
        for _ in range(entries):
            self.wakeups.put(None)
        super().rouse()  # it is idle once it is dead

    def behave(self) -> Callable[[Any], Any]:
        with _behaving:  # its thread changes what it does, and its loop what is wrapped around
            return super().behave()

    def catch_up(self) -> None:
        for _ in range(len(self.mailbox or ())):  # its thread has slept through as many
            self.wakeups.put(None)

    def open(self) -> None:
        self.opened = True
        self.catch_up()

    def laid_to_rest(self) -> None:
        self.wakeups.put(None)

    def undo(self, other: ActorRef[Any]) -> None:
        """In the actor's thread: the link to `other` is not to end it any more, whatever is under way."""
        with _unlinking:
            self.undone.add(other)

    def _unlinked(self, sender: ActorRef[Any]) -> None:
        super()._unlinked(sender)
        self.undone.discard(sender)

    def _other_end_died(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        with _unlinking:
            if sender not in self.undone:
                super()._other_end_died(sender, reason)


class PykkaThreadCell(PykkaCell[A], ThreadCell[A]):
    """The reference to a thread actor that Pykka's `start` began."""

    __slots__ = ()

    @property
    def thread_name(self) -> str:
        return f"{self.kind.__name__}-{self.id}"

    @property
    def daemon(self) -> bool:
        """Pykka's `use_daemon_thread`."""
        return bool(getattr(self.kind, "use_daemon_thread", False))


class ThreadActor(Actor, PykkaThreadingActor):
    """The base class of actors whose plain handlers may block. `__init__` runs in the spawner's thread, all else in its own."""

    _started: asyncio.Future[None] | None = None
    _last_errand: deque[tuple[Callable[[], Any], asyncio.Future[None]]] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.asynchronous:
            raise TypeError(
                f"{cls.__name__} is a ThreadActor: its on_receive is plain, not async; use Actor for async handlers"
            )

    def unlink(self, ref: ActorRef[Any]) -> None:
        """Undo a link, also that to a child or to one's parent. From then on it ends this actor no more."""
        self._still_mine()
        self._thread_cell().undo(meant(ref))
        super().unlink(ref)

    # --- for the kernel ---

    @classmethod
    def _make_cell(cls, scheduler: Scheduler, number: int, parent: Cell[Any] | None) -> Cell[Self]:
        return ThreadCell(scheduler, cls, number, parent)

    @classmethod
    def make_pykka_cell(cls, scheduler: Scheduler, number: int) -> PykkaCell[Self]:
        return PykkaThreadCell(scheduler, cls, number, None)

    def set_out(self) -> None:
        self._started = self._begin_thread()

    def _run_on_start(self) -> Any:
        return self._start_thread()

    def _last_hook(self, last_words: BaseException | ExitReason) -> Callable[[], Any] | None:
        return super()._last_hook(last_words) or _nothing  # in any case the end waits for the handler at hand

    def _run_last_hook(self, hook: Callable[[], Any]) -> Any:
        return self._in_thread(hook)

    async def _start_thread(self) -> None:
        started = self.__dict__.pop("_started", None) or self._begin_thread()
        try:
            await asyncio.shield(started)
        except asyncio.CancelledError:
            if self._cell.stage != CLOSED:  # killed: no hook would follow
                raise
            await asyncio.wait((started,), timeout=CANCEL_GRACE)
            if not started.done():
                logger.error("%r still runs its on_start: abandoned, and no last hook will run", self._cell)
                raise
            started.result()

    def _begin_thread(self) -> asyncio.Future[None]:
        cell = self._thread_cell()
        started: asyncio.Future[None] = cell.scheduler.loop.create_future()
        threading.Thread(target=self._main, args=(started,), name=cell.thread_name, daemon=cell.daemon).start()
        return started

    async def _in_thread(self, hook: Callable[[], Any]) -> None:
        cell = self._thread_cell()
        done: asyncio.Future[None] = cell.scheduler.loop.create_future()
        errand = self._last_errand = deque([(hook, done)])
        cell.wakeups.put(None)
        try:
            await done
        except asyncio.CancelledError:
            try:
                errand.pop()  # its end is about to be told: whatever came after that would be too late
            except IndexError:  # it has begun
                pass
            else:
                if cell.stage == CLOSED and hook is not _nothing:
                    logger.error("the last hook of %r does not run: a handler took all the time to stop", cell)
            raise

    def _thread_cell(self) -> ThreadCell[Self]:
        cell = self._cell
        assert isinstance(cell, ThreadCell), "a thread actor's cell was made by its _make_cell"
        return cell

    # --- the thread ---

    def _main(self, started: asyncio.Future[None]) -> None:
        cell = self._thread_cell()
        scheduler = cell.scheduler
        current_cell.set(cell)
        seat().cell = cell
        scheduler.threads[cell] = threading.get_ident()
        try:
            self._work(cell, started)
        finally:
            del scheduler.threads[cell]

    def _work(self, cell: ThreadCell[Self], started: asyncio.Future[None]) -> None:
        scheduler, mailbox = cell.scheduler, cell.mailbox
        assert mailbox is not None, "it was made with the cell"
        if not self._run_for(started, self.on_start):
            return
        finished = False
        while True:
            cell.wakeups.get()
            if self._last_errand is not None:
                try:
                    hook, done = self._last_errand.pop()
                except IndexError:  # its time is up
                    return
                current_request.set(None)
                self._run_for(done, hook)
                return
            if cell.actor is not self:
                return
            if (
                finished
                or not cell.opened
                or cell.reason is not None
                or (cell.bonds is not None and _passes_over(cell))
            ):
                continue
            try:
                item = cell.taken = mailbox.popleft()
            except IndexError:
                continue
            cell.began = scheduler.loop.time()
            if mailbox:
                scheduler.ages.mark(cell, cell.began)
                if len(mailbox) > cell.kind.high_water:
                    scheduler.alarm.look(cell)
            current_request.set(item if item.__class__ is Envelope else None)
            if cell.reason is not None:  # its end may have looked for an entry at hand just before
                scheduler.signal(scheduler.mortician.bury_one, (cell, item))
            elif scheduler.admits(cell, item):
                try:
                    cell.handled += 1
                    result = self._handle(cell, item)
                except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
                    finished = not survives(cell, item, error)
                    scheduler.signal(scheduler.failed, (cell, item, error))
                else:
                    finished = result.__class__ is Stop
                    if result is _STOP:  # whoever asked for it is answered after the last hook
                        scheduler.signal(scheduler.mortician.close, (cell, result.reason, result.reason))
                    elif result is STASHED:  # at once: its next message may want it back
                        result.settle(cell, item, item.reply if item.__class__ is Envelope else None)
                    else:
                        scheduler.signal(scheduler.settle, (cell, item, result))
            else:
                scheduler.ages.skipped(cell)
            if item.__class__ is Envelope:  # its answer is under way, and the next message may ask whoever waits for it
                scheduler.waits.let_go(item)
            if not finished:
                cell.taken = None

    def _handle(self, cell: Cell[Any], item: Any) -> Any:
        receive = cell.receive or cell.behave()
        if item.__class__ is not Envelope:
            return self._plain(receive(item))
        message = item.message
        if message.__class__ is StopRequest:
            return _STOP
        return self._plain(message.carry_out(cell, item) if isinstance(message, Order) else receive(message))

    def _plain(self, result: Any) -> Any:
        if result.__class__ in UNUSUAL and isinstance(result, CoroutineType | Reentrant):
            result.close()
            raise TypeError(
                f"{type(self).__name__} is a ThreadActor: its handlers are plain, and may block; this one is async"
            )
        return result

    def _run_for(self, waiting: asyncio.Future[None], function: Callable[[], Any]) -> bool:
        """Run `function` and tell the loop how it went. False if it raised."""
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:  # noqa: BLE001 - told to whoever waits on the loop
            error = raised
        self._cell.on_loop(_resolve, waiting, error)
        return error is None


def _passes_over(cell: ThreadCell[Any]) -> bool:
    """Whether it is suspended, and what comes first in the mailbox is no errand of whoever has suspended it."""
    if not suspended(cell):
        return False
    mailbox = cell.mailbox
    try:
        return mailbox is None or not called(mailbox[0])
    except IndexError:  # it was buried meanwhile, or nothing is there yet
        return True


_STOP = Stop()
"""How a request to stop is handled."""


def _nothing() -> None:
    """The last hook of a class that has none."""


def _resolve(waiting: asyncio.Future[None], error: BaseException | None) -> None:
    if waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)

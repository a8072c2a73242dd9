"""The scheduler: one per event loop and system. Actors that have messages wait in a ready queue and take turns.

    tell ──> mailbox ──> ready ──> turn: up to 64 messages ──> idle, or to the end of the queue
                 other threads' signals ──> intake ──> run before the next message
                                              an async handler ──> begins at once; if it waits, a task goes on with it
                                                                   (standby.py): the actor is busy until it ends
    call ──> hand-off, if the callee is idle; its turn now, if little waits before the request: on the caller's stack

No thread per actor, no task per message, no `call_soon` per message: one callback of the loop runs many turns, until
nothing is ready or about 5 ms are over; then the loop gets its turn (I/O, timers), and the callback is scheduled again.

Each actor has a context of its own for context variables, made lazily: plain turns run in a shared scratch context,
and the first actor that changes it keeps it; the scheduler then takes a fresh one. Signals never run inside an actor's
own context, which could then not be entered again for its last hook.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from asyncio import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from sys import getrefcount
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from understudy.actors.ages import Ages
from understudy.actors.behaviour import asynchronous
from understudy.actors.deadlines import current_cell, current_request, seat
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import ActorDied, DeadlineExceeded
from understudy.actors.expiries import Expiries
from understudy.actors.failure_rule import end_request, survives
from understudy.actors.high_water import Alarm
from understudy.actors.mortician import Mortician
from understudy.actors.pending import Pending
from understudy.actors.reasons import Normal
from understudy.actors.reentrant import Reentrant
from understudy.actors.rings import Waits
from understudy.actors.signals import UNUSUAL, Order, Outcome, StopRequest
from understudy.actors.standby import LINGER, Standby

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.system import ActorSystem
    from understudy.actors.thread import ThreadCell

logger = logging.getLogger("understudy.actors")

TURN = 64
"""Messages that one actor handles before the next one gets its turn, at most: a flooded actor starves nobody."""

SLICE = 0.005
"""Seconds after which the loop gets control back, however much is ready."""

STRIDE = TURN
"""Messages between two looks at the clock, while handlers are fast; 1 once they are slow. No turn outlasts a stride."""

CLOCK = 0.002
"""Seconds by which the caller's timer may be early: uvloop's clock counts milliseconds."""

CREDIT = 8
"""Hand-offs between two looks at the clock."""

NEAR = 16
"""Entries before a request, itself included, that its caller has handled at once instead of waiting for a tick."""

DEPTH = 20
"""Asynchronous handlers that may begin inside one another, each on the stack of its caller."""


class Scheduler:
    """Runs the actors of one system on one loop. Not for users; `cell.py` draws how a message wakes it."""

    def __init__(self, system: ActorSystem, loop: asyncio.AbstractEventLoop) -> None:
        self.system = system
        self.loop = loop
        self.thread = threading.get_ident()
        self.ready: deque[Cell[Any]] = deque()
        self.intake: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.asleep = True
        self.closed = False
        self.expired = 0
        self.now = loop.time()  # as it was when this tick, or this stride of it, began
        self.ages = Ages()
        self.alarm = Alarm(self)
        self.threads: dict[ThreadCell[Any], int] = {}  # the thread actors and their threads
        self.mortician = Mortician(self)
        self.waits = Waits()
        self.credit = 0
        self._depth = 0
        self._ticking = False
        self._lingering: asyncio.TimerHandle | None = None
        self._standbys: list[Standby] = []  # several, where handlers begin inside one another
        self._seat = seat()
        self._inside = False
        self._due = False
        self._stride = STRIDE
        self.slice_end = 0.0
        self._last_rites = threading.RLock()
        self._base = copy_context()
        self._base.run(current_cell.set, None)  # this system may be made by an actor of another
        self._base.run(current_request.set, None)
        self._scratch = self._base.copy()
        self._side = self._base.copy()
        self.expiries = Expiries(loop, self._base)

    # --- waking ---

    def wake(self) -> None:
        """Have a tick run soon. From any thread."""
        self.asleep = False
        if self.closed:
            self.close()
            return
        try:
            if threading.get_ident() == self.thread:
                self._be_due()
            else:
                self.loop.call_soon_threadsafe(self._be_due, context=self._base)
        except RuntimeError:  # the loop was closed without shutting the system down
            self.close()

    def close(self) -> None:
        """Nobody is left: whatever still comes is answered and buried at once, by whoever sends it, in any thread."""
        self.closed = True
        with self._last_rites:
            while not self._inside:  # else this is a signal's doing, and the loop below it goes on
                self.asleep = True
                if not (self.intake or self.ready):
                    return
                self.drain()
                self.mortician.bury_what_came_late()

    def lost(self) -> bool:
        """Whether nobody will ever be served here again: the system was shut down, or its loop closed under it."""
        if not self.closed and self.loop.is_closed():
            self._inside = False
            self.close()
        return self.closed

    def signal(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Run `function(*arguments)` on the loop's thread, in the order of the calls: at once, or before the next message."""
        self.intake.append((function, arguments))
        if threading.get_ident() == self.thread:
            if not self._inside:
                self.drain()
        elif self.asleep:
            self.wake()

    def drain(self) -> None:
        """Run the waiting signals. Those that they send in turn are run here too, one after the other, never nested."""
        here = self._seat
        speaker, here.cell = here.cell, None
        self.credit = 0  # whoever handed over may die of it: let it breathe
        outside, self._inside = not self._inside, True
        try:
            while self.intake:
                function, arguments = self.intake.popleft()
                try:
                    function(*arguments)
                except Exception:
                    logger.exception("a signal failed: %s", function)
        finally:
            self._inside = not outside
            here.cell = speaker

    def here(self) -> bool:
        """Whether the caller runs on this loop."""
        return threading.get_ident() == self.thread and self.loop.is_running()

    def runs(self) -> Cell[Any] | None:
        """The actor whose plain handler or hook runs now. From any thread."""
        return self._seat.cell

    def refuse_blocking(self, what: str, remedy: str) -> None:
        """Raise if this is the loop's own thread, where a blocking wait could never end."""
        if threading.get_ident() == self.thread and not self.lost():
            raise RuntimeError(f"{what} would block the event loop that must answer it; on the loop use: {remedy}")

    # --- turns ---

    def _be_due(self) -> None:
        if not self._due:  # two threads may both have found the scheduler asleep
            self._due = True
            self.loop.call_soon(self._tick, context=self._base)

    def _tick(self) -> None:
        self._due = False
        self.now = self.loop.time()
        self.slice_end = self.now + SLICE
        self._ticking = True
        try:
            while self._scratch.run(self._run, self.ready, None):
                self._scratch = self._base.copy()
        finally:
            self._inside = self._ticking = False
            self._seat.cell = None
            if self.ready or self.intake:
                self._be_due()
            else:
                self.asleep = True
                if (self.ready or self.intake) and self.asleep:  # another thread came in between
                    self.wake()
        if self.ready:
            self.ages.tick_ended(self.ready, self.now)
        if self.alarm.raised:
            self.alarm.tick_ended()

    def _run(self, ready: deque[Cell[Any]], own: Context | None) -> bool:
        """Give turns to the cells of `ready`. True: stopped since an actor has kept the scratch context.

        `own` is the context of the one cell in `ready` when that cell has one: then nothing is to be watched.
        """
        intake = self.intake
        here = self._seat
        clock = self.loop.time
        scratch, base = self._scratch, self._base
        stride, read_at = self._stride, self.now
        budget, number = iter(range(1, stride + 1)), 0
        self._inside = True
        while True:
            if intake and own is None:
                self.drain()
            if not ready:
                return False
            cell = ready.popleft()
            if not cell.free and not self.frees(cell):
                continue  # whoever made it busy looks at the mailbox again
            if cell.context is not None and own is None:
                cell.context.run(self._run, deque((cell,)), cell.context)
                if clock() >= self.slice_end:
                    return False
                continue
            mailbox: Any = cell.mailbox
            if mailbox:  # else two senders have woken it, and this is the second turn
                here.cell = cell
                receive = cell.receive
                before = number
                item: Any = None
                try:
                    for number in budget:  # noqa: B007 - it counts on through all turns of a stride
                        item = mailbox.popleft()
                        if item.__class__ is Envelope:
                            self._dispatch(cell, item)
                        else:
                            result = receive(item)
                            if result is None:  # the usual case, which changes nothing but by a signal
                                if mailbox and not intake:
                                    continue
                                break
                            if result.__class__ in UNUSUAL:
                                if result.__class__ is CoroutineType:
                                    self._begin_next(cell, item, result)
                                else:
                                    self.settle(cell, item, result)
                        if not mailbox or intake or not cell.free:
                            break
                except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
                    self.failed(cell, item, error)
                cell.handled += number - before
            if cell.free:
                if mailbox:
                    self.ready.append(cell)
                    if len(mailbox) > cell.kind.high_water:
                        self.alarm.look(cell)
                else:
                    cell.idle = True
                    if mailbox and cell.idle:
                        cell.idle = False
                        self.ready.append(cell)
            if own is None and scratch != base:
                current_cell.set(cell)  # in this very context
                cell.context = scratch
                return True
            if number == stride:
                now = self.now = clock()
                # Slow handlers are looked at one by one, fast ones by the stride: no turn overstays by more than one message.
                stride = min(STRIDE, stride * 2) if now - read_at < SLICE / 8 else 1
                self._stride, read_at = stride, now
                budget, number = iter(range(1, stride + 1)), 0
                if now >= self.slice_end:
                    return False

    def admits(self, cell: Cell[Any], item: Any) -> bool:
        """Whether an entry is still to be handled: not taken back, its caller still there, its time not up."""
        if item.__class__ is not Envelope:
            return True
        if item.ticket is not None and not item.ticket.active:
            return False
        reply: Reply | None = item.reply
        gone = reply is not None and reply.abandoned()
        if item.deadline is not None and self.loop.time() >= item.deadline - (CLOCK if gone else 0.0):
            self.signal(self._expire, (cell, item))
            return False
        return not gone

    def _expire(self, cell: Cell[Any], item: Envelope) -> None:
        self.expired += 1
        if item.reply is not None:
            item.reply.fail(DeadlineExceeded(f"the time was up before {cell!r} came to the request"))

    def frees(self, cell: Cell[Any]) -> bool:
        """Whether an actor may take a message after all: it comes to its first one, or what kept it from that is over."""
        if cell.actor is None:
            self.mortician.bury_late(cell)
            return False
        if cell.task is not None or cell.reason is not None:
            return False
        if cell.receive is None:
            cell.behave()
        cell.free = True
        return True

    def _dispatch(self, cell: Cell[Any], item: Envelope) -> None:
        """Handle what came in an envelope."""
        if not self.admits(cell, item):
            cell.handled -= 1  # it will be counted, and was not handled
            self.ages.skipped(cell)
            return
        cell.envelope = item
        message = item.message
        if message.__class__ is StopRequest:
            self.mortician.close(cell, Normal(), Normal())
            return
        result = message.carry_out(cell, item) if isinstance(message, Order) else cell.receive(message)
        if result.__class__ is CoroutineType:
            self._begin_next(cell, item, result)
        else:
            self.settle(cell, item, result)

    def _begin_next(self, cell: Cell[Any], item: Any, handler: Coroutine[Any, Any, Any]) -> None:
        """Begin an asynchronous handler once this turn is over."""
        cell.free = False
        self.intake.append((self.begin, (cell, item, handler)))

    def settle(self, cell: Cell[Any], item: Any, result: Any) -> None:
        """What a handler returned is the reply to a call; of a tell, only an `Outcome` means anything."""
        cell.envelope = None
        reply: Reply | None = item.reply if item.__class__ is Envelope else None
        if isinstance(result, Outcome):
            result.settle(cell, item, reply)
        elif reply is not None:
            reply.set(result)

    def failed(self, cell: Cell[Any], item: Any, error: BaseException) -> None:
        """A handler raised: a refusal ends the request, anything else the actor."""
        envelope: Envelope | None = item if item.__class__ is Envelope else None
        if survives(cell, item, error):
            cell.envelope = None
            end_request(cell, item, error)
        else:
            cell.envelope = envelope
            self.mortician.crashed(cell, envelope.message if envelope is not None else item, error)

    # --- asynchronous handlers ---

    def begin(self, cell: Cell[Any], item: Any, handler: Coroutine[Any, Any, Any]) -> None:
        """Begin an asynchronous handler, here and now, outside any actor's context. See `standby.py`."""
        if cell.reason is not None:  # it ended in between
            handler.close()
            if asynchronous(cell):  # else its plain part has run
                self.mortician.bury_one(cell, item)
            return
        standby = self._standbys.pop() if self._standbys else Standby(self)
        if standby.go.done():  # somebody has cancelled it
            standby = Standby(self)
        loop, task = self.loop, standby.task
        standby.cell, standby.entry, standby.since, standby.used = cell, item, self.now, True
        cell.free = False
        cell.task = task
        holders = getrefcount(task)
        here = self._seat
        speaker, here.cell = here.cell, cell
        inside, self._inside = self._inside, False  # its signals run at once, as those of any task
        context = cell.context or self.context_of(cell)
        outer = asyncio.current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)
        self._depth += 1
        try:
            waits = context.run(standby.serve, self, cell, handler, item)
        finally:
            self._depth -= 1
            _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)
            here.cell, self._inside = speaker, inside
        if waits:
            if cell.mailbox:
                self.ages.mark(cell, self.now)
                if len(cell.mailbox) > cell.kind.high_water:
                    self.alarm.look(cell)
            standby.take_over()
            if not standby.started:
                task.add_done_callback(partial(self._never_began, standby), context=self._base)
            return
        if getrefcount(task) != holders - (cell.task is not task) or task.cancelling():
            standby.go.cancel()  # somebody has kept it, and may cancel it: it serves nobody else
        else:
            self._take_back(standby)
        item, error = standby.entry, standby.error
        standby.cell = standby.entry = standby.error = None
        if error is not None and cell.reason is None:
            self.failed(cell, item, error)
        self._done(cell, task)

    async def burst(self, standby: Standby) -> None:
        """What a standby's task runs: once a handler waits, the rest of it."""
        standby.started = True
        try:
            await standby.go
        except asyncio.CancelledError:
            if standby.handler is None:
                raise
            standby.pass_on()
        cell, item = standby.cell, standby.entry
        assert cell is not None, "it works for an actor"
        context = self.context_of(cell)
        try:
            self.settle(cell, item, await standby.drive(context))
        except GeneratorExit:  # the loop was closed under it
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            # A cancellation that the system sent is how an exit signal ends a handler; any other is a failure.
            if cell.reason is None:
                self.failed(cell, item, error)
        finally:
            context.run(current_request.set, None)
            standby.cell = standby.entry = standby.handler = None
            self._done(cell, standby.task)

    def _never_began(self, standby: Standby, _: object) -> None:
        """The task was cancelled before its first step, by the handler's own doing: so is the handler."""
        cell, handler = standby.cell, standby.handler
        if not standby.started and cell is not None and handler is not None:
            handler.close()
            if cell.reason is None:
                self.failed(cell, standby.entry, asyncio.CancelledError())
            self._done(cell, standby.task)

    def _done(self, cell: Cell[Any], task: asyncio.Task[None]) -> None:
        """An asynchronous handler has ended."""
        if cell.task is task:
            cell.task = None
        if cell.reason is None:
            cell.envelope = None
            cell.free = cell.idle = True
            if cell.mailbox:
                self.rest(cell)
        else:  # in a step of the loop's of its own, outside this task
            self.loop.call_soon(self.signal, self.mortician.bow_out, (cell,), context=self._base)

    def _take_back(self, standby: Standby) -> None:
        """It was not needed for longer than a step: let it stand by for the next handler."""
        self._standbys.append(standby)
        if self._lingering is None:
            self._lingering = self.loop.call_later(LINGER, self._look_after, context=self._base)

    def _look_after(self) -> None:
        """Let those go that nobody has needed for a while."""
        self._lingering = None
        for standby in tuple(self._standbys):
            if standby.used:
                standby.used = False
            else:
                self._standbys.remove(standby)
                standby.go.cancel()
        if self._standbys:
            self._lingering = self.loop.call_later(LINGER, self._look_after, context=self._base)

    async def stand_down(self) -> None:
        """The system is down: no task stands by any more, and no call is open."""
        self.expiries.close()
        if self._lingering is not None:
            self._lingering.cancel()
        while self._standbys:
            standby = self._standbys.pop()
            standby.go.cancel()
            await asyncio.wait((standby.task,))

    def rest(self, cell: Cell[Any]) -> None:
        """Mark an actor idle, or ready again if something came."""
        cell.idle = True
        if cell.mailbox and cell.idle:
            cell.idle = False
            self.ready.append(cell)
            if self.asleep:
                self.wake()

    # --- on the spot: hand-off, hooks ---

    def hand_off(self, cell: Cell[Any], message: Any, timeout: float) -> Any:
        """Have an idle actor handle a request on its caller's stack. `Pending` when the answer is to be awaited."""
        cell.idle = False
        cell.handled += 1
        here = self._seat
        speaker, here.cell = here.cell, cell
        outside, self._inside = not self._inside, True
        context = cell.context
        error: BaseException | None = None
        result: Any = None
        try:
            result = (context or self._side).run(cell.receive, message)
        except BaseException as raised:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            error = raised
        here.cell = speaker
        if context is None and self._side != self._base:
            self._keep(cell, self._side)
            self._side = self._base.copy()
        if outside:
            self._inside = False
            if self.intake:
                self.drain()
        if error is None and (result is None or result.__class__ not in UNUSUAL):
            if cell.free:
                cell.idle = True
                if cell.mailbox:
                    self.rest(cell)
            return result
        pending = Pending(cell, timeout)
        entry = pending.envelope(message)
        if error is not None:
            self.failed(cell, entry, error)
            error = None  # its traceback knows this frame
        elif cell.reason is not None:  # it was ended by what its handler did
            pending.fail(ActorDied(cell.reason, repr(cell)))
            if isinstance(result, CoroutineType | Reentrant):
                result.close()
        elif result.__class__ is CoroutineType:
            cell.envelope = entry
            if entry.sender is not None:
                pending.hold_up(entry)
            if self._depth < DEPTH:
                self.begin(cell, entry, result)
                if pending.answered and pending.error is None and cell.reason is None:
                    if pending.edge is not None:
                        pending.let_go()
                    return pending.value
            else:
                self._begin_next(cell, entry, result)
                if self.asleep:
                    self.wake()
        else:
            self.settle(cell, entry, result)
        if cell.free:
            self.rest(cell)
        return pending

    def turn_now(self, cell: Cell[Any]) -> None:
        """Give a ready actor its turn on the stack of a caller who would only wait for it, unless much comes before."""
        if self._ticking or self._inside or not cell.free or len(cell.mailbox or ()) > NEAR:
            return
        here = self._seat
        speaker = here.cell
        self.now = self.loop.time()
        self._ticking = True
        try:
            if self._scratch.run(self._run, deque((cell,)), None):
                self._scratch = self._base.copy()
        finally:
            self._inside = self._ticking = False
            here.cell = speaker
            if self.intake:
                self.drain()
            if self.ready and self.asleep:
                self.wake()

    async def breathe(self) -> None:
        """Called after hand-offs: let the loop have its turn once their slice of time is used up.

        A caller that has died of one ends here, as it would have waiting for the answer.
        """
        self.credit = CREDIT
        caller = current_cell.get()
        if self.loop.time() >= self.slice_end or (caller is not None and caller.reason is not None):
            await asyncio.sleep(0)
            self.slice_end = self.loop.time() + SLICE

    def context_of(self, cell: Cell[Any]) -> Context:
        """The actor's own context, made if it had none."""
        if cell.context is None:
            self._keep(cell, self._base.copy())
        assert cell.context is not None, "it was made just now"
        return cell.context

    def neutral_context(self) -> Context:
        """A context as it was when the system was made, outside any actor."""
        return self._base.copy()

    def _keep(self, cell: Cell[Any], context: Context) -> None:
        context.run(current_cell.set, cell)
        cell.context = context

    def isolated(self, cell: Cell[Any], function: Callable[..., Any], *arguments: Any) -> Any:
        """Run code of an actor outside a turn, as itself: in its own context, its signals after it."""
        here = self._seat
        outer, here.cell = here.cell, cell
        outside, self._inside = not self._inside, True
        context = cell.context
        try:
            return (context if context is not None else self._side).run(function, *arguments)
        finally:
            here.cell = outer
            self._inside = not outside
            if context is None and self._side != self._base:
                self._keep(cell, self._side)
                self._side = self._base.copy()
            if outside and self.intake:
                self.drain()

"""The scheduler: one per event loop and system. Actors that have messages wait in a ready queue and take turns.

    tell ──> mailbox ──> ready ──> turn: up to 64 messages ──> idle, or to the end of the queue
                 other threads' signals ──> intake ──> run before the next message
                                              an async handler ──> begins at once; if it waits, a task goes on with it
                                                                   (standby.py): the actor is busy until it ends
    call ──> hand-off, if the callee is idle; its turn now, if little waits before the request (on_the_spot.py)

No thread per actor, no task per message, no `call_soon` per message: one callback of the loop runs many turns, until
nothing is ready or about 3 ms are over; then the loop gets its turn (I/O, timers), and the callback is scheduled again.

Each actor has a context of its own for context variables, made lazily: plain turns run in a shared scratch context,
and the first actor that changes it keeps it; the scheduler then takes a fresh one. Signals never run inside an actor's
own context, which could then not be entered again for its last hook.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from itertools import chain
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from understudy.actors.ages import Ages
from understudy.actors.deadlines import current_cell, current_request, seat
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import DeadlineExceeded
from understudy.actors.expiries import Expiries
from understudy.actors.failure_rule import end_request, survives
from understudy.actors.high_water import Alarm
from understudy.actors.mortician import Mortician
from understudy.actors.on_the_spot import SLICE, OnTheSpot
from understudy.actors.reasons import Normal
from understudy.actors.rings import Waits
from understudy.actors.signals import UNUSUAL, Order, Outcome, StopRequest
from understudy.actors.standby import Standbys

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.system import ActorSystem
    from understudy.actors.thread import ThreadCell

logger = logging.getLogger("understudy.actors")

TURN = 64
"""Messages that one actor handles before the next one gets its turn, at most: a flooded actor starves nobody."""

STRIDE = TURN
"""Messages between two looks at the clock, while handlers are fast; 1 once they are slow. No turn outlasts a stride."""

FIRST_STRIDE = 8
"""The first one of a tick at most: nobody knows yet how slow the handlers are that wait now."""

SLOW = SLICE / 8
"""Seconds for a stride, from which on its handlers are slow."""

CLOCK = 0.002
"""Seconds by which the caller's timer may be early: uvloop's clock counts milliseconds."""


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
        self.standbys = Standbys(self)
        self.spot = OnTheSpot(self)
        self._ticking = False
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
        self.spot.credit = 0  # whoever handed over may die of it: let it breathe
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
            while self._scratch.run(self._run):
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

    def _run(self) -> bool:
        """Give turns to actors that are ready. True: stopped since one of them has kept the scratch context.

        What is written out here is the turn of one bare message to an actor without a context of its own. `_turn` is all else.
        """
        ready, intake = self.ready, self.intake
        here = self._seat
        scratch, base = self._scratch, self._base
        stride, read_at = min(self._stride, FIRST_STRIDE), self.now
        self._inside = True
        while True:
            numbers = iter(range(1, stride + 1))
            for number in numbers:  # of the messages of this stride, through all its turns
                if intake:
                    self.drain()
                if not ready:
                    return False
                cell = ready.popleft()
                if not cell.free and not self.frees(cell):
                    continue  # whoever made it busy looks at the mailbox again
                here.cell = cell
                if cell.context is not None:
                    cell.context.run(self._turn, cell, chain((number,), numbers), number - 1)
                    continue
                mailbox: Any = cell.mailbox
                item = mailbox
                receive = cell.receive
                try:
                    item = mailbox.popleft()
                    cell.handled += 1
                    if item.__class__ is Envelope:
                        self._dispatch(cell, item)
                    else:
                        result = receive(item)
                        if result is not None and result.__class__ in UNUSUAL:
                            self._conclude(cell, item, result)
                except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
                    if item is not mailbox or not isinstance(error, IndexError):
                        self.failed(cell, item, error)  # else two senders have woken it, and this is the second turn
                if cell.free:
                    cell.idle = True
                    if mailbox and cell.idle:
                        cell.idle = False
                        self._turn(cell, numbers, number)
                if scratch != base:
                    current_cell.set(cell)  # in this very context
                    cell.context = scratch
                    return True
            now = self.now = self.loop.time()
            # Slow handlers are looked at one by one, fast ones by the stride: no turn overstays by more than one message.
            if now - read_at >= SLOW:
                stride = self._stride = 1
            elif stride < STRIDE:
                stride = self._stride = stride * 2
            read_at = now
            if now >= self.slice_end:
                return False

    def _turn(self, cell: Cell[Any], numbers: Iterator[int], before: int) -> None:
        """Have an actor handle what waits, until it is to make room for a signal, or for others: `numbers` has an end.

        `before`: the number before the first one. In the context where its handlers run.
        """
        intake = self.intake
        mailbox: Any = cell.mailbox
        receive = cell.receive
        item, number = None, before
        try:
            for number in numbers if mailbox and not intake else ():  # noqa: B007 - how far it came is what counts
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
                        self._conclude(cell, item, result)
                if not mailbox or intake or not cell.free:
                    break
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            cell.handled += number - before  # its report says how many
            before = number
            self.failed(cell, item, error)
        cell.handled += number - before
        if cell.free:
            cell.idle = True
            if mailbox and cell.idle:
                cell.idle = False
                self.ready.append(cell)
                if len(mailbox) > cell.kind.high_water:
                    self.alarm.look(cell)

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
        if result.__class__ in UNUSUAL:
            self._conclude(cell, item, result)
        else:
            cell.envelope = None
            if item.reply is not None:
                item.reply.set(result)

    def _conclude(self, cell: Cell[Any], item: Any, result: Any) -> None:
        """Do what it means that a handler returned this."""
        if result.__class__ is CoroutineType:
            self.begin_next(cell, item, result)
        else:
            self.settle(cell, item, result)

    def begin_next(self, cell: Cell[Any], item: Any, handler: Coroutine[Any, Any, Any]) -> None:
        """Begin an asynchronous handler once this turn is over."""
        cell.free = False
        self.intake.append((self.standbys.begin, (cell, item, handler)))

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

    def rest(self, cell: Cell[Any]) -> None:
        """Mark an actor idle, or ready again if something came."""
        cell.idle = True
        if cell.mailbox and cell.idle:
            cell.idle = False
            self.ready.append(cell)
            if self.asleep:
                self.wake()

    # --- contexts ---

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

    def keep_side(self, cell: Cell[Any]) -> None:
        """Code of the actor's has changed the context that it shared: let it be its own."""
        self._keep(cell, self._side)
        self._side = self._base.copy()

    async def stand_down(self) -> None:
        """The system is down: no task stands by any more, and no call is open."""
        self.expiries.close()
        await self.standbys.stand_down()

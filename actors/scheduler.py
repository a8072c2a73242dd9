"""The scheduler: one per event loop and system. Actors that have messages wait in a ready queue and take turns.

    tell ──> mailbox ──> ready ──> turn: up to 64 messages ──> idle, or to the end of the queue
                 other threads' signals ──> intake ──> run before the next message
                                              an async handler ──> a task: the actor is busy until it ends

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
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from understudy.actors.deadlines import current_cell, current_request, seat
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import ActorDied, DeadlineExceeded, Refused
from understudy.actors.mortician import Mortician
from understudy.actors.reasons import Normal
from understudy.actors.refusals import afresh, ends_request_only
from understudy.actors.replies import LoopReply
from understudy.actors.signals import Later, Stop, StopRequest, Unhandled

if TYPE_CHECKING:
    from understudy.actors.actor import Actor
    from understudy.actors.cell import Cell
    from understudy.actors.system import ActorSystem

logger = logging.getLogger("understudy.actors")

TURN = 64
"""Messages that one actor handles before the next one gets its turn: a flooded actor starves nobody."""

SLICE = 0.005
"""Seconds after which the loop gets control back, however much is ready."""

STRIDE = 64
"""Messages between two looks at the clock, while handlers are fast; 1 once they are slow."""

CREDIT = 8
"""Hand-offs between two looks at the clock."""


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
        self.mortician = Mortician(self)
        self.credit = 0
        self._seat = seat()
        self._inside = False
        self._due = False
        self._stride = STRIDE
        self._slice_end = 0.0
        self._last_rites = threading.RLock()
        self._base = copy_context()
        self._base.run(current_cell.set, None)  # this system may be made by an actor of another
        self._base.run(current_request.set, None)
        self._scratch = self._base.copy()
        self._side = self._base.copy()

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

    def here(self) -> bool:
        """Whether the caller runs on this loop."""
        return threading.get_ident() == self.thread and self.loop.is_running()

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
        self._slice_end = self.loop.time() + SLICE
        try:
            while self._scratch.run(self._run, self.ready, None):
                self._scratch = self._base.copy()
        finally:
            self._inside = False
            if self.ready or self.intake:
                self._be_due()
            else:
                self.asleep = True
                if (self.ready or self.intake) and self.asleep:  # another thread came in between
                    self.wake()

    def _run(self, ready: deque[Cell[Any]], own: Context | None) -> bool:
        """Give turns to the cells of `ready`. True: stopped since an actor has kept the scratch context.

        `own` is the context of the one cell in `ready` when that cell has one: then nothing is to be watched.
        """
        intake = self.intake
        here = self._seat
        clock = self.loop.time
        left = stride = self._stride
        read_at = clock()
        scratch, base = self._scratch, self._base
        while True:
            if intake and own is None:
                self.drain()
            if not ready:
                return False
            cell = ready.popleft()
            actor = cell.actor
            if actor is None:
                self.mortician.bury_late(cell)
                continue
            if cell.task is not None or cell.reason is not None:
                continue  # busy: its burst, or its funeral, looks at the mailbox again
            if cell.context is not None and own is None:
                cell.context.run(self._run, deque((cell,)), cell.context)
                if clock() >= self._slice_end:
                    return False
                continue
            mailbox = cell.mailbox
            assert mailbox is not None, "a cell becomes ready by its first message"
            here.cell = cell
            self._inside = True
            receive = actor.on_receive
            count = min(left, TURN)
            left -= count
            item: Any = None
            try:
                while mailbox:
                    item = mailbox.popleft()
                    if item.__class__ is Envelope:
                        handler = self._dispatch(cell, actor, item)
                        if handler is not None:
                            self._start_burst(cell, actor, item, handler)
                    else:
                        result = receive(item)
                        if result is not None:
                            if result.__class__ is CoroutineType:
                                self._start_burst(cell, actor, item, result)
                            else:
                                self.settle(cell, item, result)
                    count -= 1
                    if not count or intake or cell.task is not None:
                        break
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
                self.failed(cell, item, error)
            self._inside = False
            here.cell = None
            left += count
            if cell.task is None and cell.reason is None:
                if mailbox:
                    self.ready.append(cell)
                else:
                    cell.idle = True
                    if mailbox and cell.idle:
                        cell.idle = False
                        self.ready.append(cell)
            if own is None and scratch != base:
                current_cell.set(cell)  # in this very context
                cell.context = scratch
                return True
            if left <= 0:
                now = clock()
                # Slow handlers are looked at one by one, fast ones by the stride: no turn overstays by more than one message.
                stride = min(STRIDE, stride * 2) if now - read_at < SLICE / 8 else 1
                left, read_at, self._stride = stride, now, stride
                if now >= self._slice_end:
                    return False

    def admits(self, cell: Cell[Any], item: Any) -> bool:
        """Whether an entry is still to be handled: not taken back, its caller still there, its time not up."""
        if item.__class__ is not Envelope:
            return True
        reply: Reply | None = item.reply
        if (item.ticket is not None and not item.ticket.active) or (reply is not None and reply.abandoned()):
            return False
        if item.deadline is not None and self.loop.time() >= item.deadline:
            self.signal(self._expire, (cell, item))
            return False
        return True

    def _expire(self, cell: Cell[Any], item: Envelope) -> None:
        self.expired += 1
        if item.reply is not None:
            item.reply.fail(DeadlineExceeded(f"the time was up before {cell!r} came to the request"))

    def _dispatch(self, cell: Cell[Any], actor: Actor, item: Any) -> Coroutine[Any, Any, Any] | None:
        """Handle one entry. An asynchronous handler is returned as the coroutine that a task is to run."""
        if item.__class__ is not Envelope:
            result = actor.on_receive(item)
        elif not self.admits(cell, item):
            return None
        else:
            cell.envelope = item
            if item.message.__class__ is StopRequest:
                self.mortician.close(cell, Normal(), Normal())
                return None
            result = actor._handle_receive(item.message)
        if result.__class__ is CoroutineType:
            return cast("Coroutine[Any, Any, Any]", result)
        self.settle(cell, item, result)
        return None

    def settle(self, cell: Cell[Any], item: Any, result: Any) -> None:
        """What a handler returned is the reply to a call; of a tell, only `Stop` and `Unhandled` mean anything."""
        cell.envelope = None
        reply: Reply | None = item.reply if item.__class__ is Envelope else None
        if result.__class__ is Stop:
            if reply is not None:
                reply.set(result.reply)
            self.mortician.close(cell, result.reason, result.reason)
        elif result.__class__ is Unhandled:
            if reply is not None:
                reply.fail(Refused(f"{cell!r} does not know {type(result.message).__name__}"))
            else:
                self.mortician.dead_letter(cell, result.message, "unhandled")
        elif result.__class__ is Later:
            if reply is not None:
                result.owe(reply, cell.tied().owed)
        elif reply is not None:
            reply.set(result)

    def failed(self, cell: Cell[Any], item: Any, error: BaseException) -> None:
        """A handler raised: a refusal ends the request, anything else the actor."""
        envelope: Envelope | None = item if item.__class__ is Envelope else None
        reply = envelope.reply if envelope is not None else None
        if isinstance(error, Refused | DeadlineExceeded) and ends_request_only(error):
            cell.envelope = None
            if reply is not None:
                reply.fail(afresh(error))
            else:
                self.mortician.dead_letter(cell, envelope.message if envelope is not None else item, "refused")
        else:
            cell.envelope = envelope
            self.mortician.crashed(cell, envelope.message if envelope is not None else item, error)

    # --- asynchronous handlers ---

    def _start_burst(self, cell: Cell[Any], actor: Actor, item: Any, handler: Coroutine[Any, Any, Any]) -> None:
        if cell.context is None and self._scratch != self._base:  # the plain part of this very turn has set something
            current_cell.set(cell)
            cell.context = self._scratch
        cell.task = self.loop.create_task(self._burst(cell, actor, item, handler), context=self.context_of(cell))

    async def _burst(self, cell: Cell[Any], actor: Actor, item: Any, handler: Coroutine[Any, Any, Any] | None) -> None:
        """The task of a busy actor: its asynchronous handler, then what came meanwhile, one turn of it at most."""
        mailbox = cell.mailbox
        clock = self.loop.time
        end = clock() + SLICE
        count = TURN
        try:
            if cell.reason is not None and handler is not None:  # it ended before this task began
                handler.close()
                if actor.asynchronous:  # else its plain part has run
                    self.mortician.bury_one(cell, item)
                return
            current_request.set(item if item.__class__ is Envelope else None)
            while True:
                if handler is not None:
                    self.settle(cell, item, await handler)
                count -= 1
                if self.intake:
                    self.drain()
                if not count or not mailbox or cell.reason is not None or clock() >= end:
                    return
                item = mailbox.popleft()
                current_request.set(item if item.__class__ is Envelope else None)
                handler = self._dispatch(cell, actor, item)
        except GeneratorExit:  # the loop was closed under it
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            # A cancellation that the system sent is how an exit signal ends a handler; any other is a failure.
            if cell.reason is None:
                self.failed(cell, item, error)
        finally:
            current_request.set(None)
            cell.task = None
            if cell.reason is None:
                cell.envelope = None
                self.rest(cell)
            else:  # once this task has left the actor's context, which its last hook enters again
                self.loop.call_soon(self.signal, self.mortician.bow_out, (cell,), context=self._base)

    def rest(self, cell: Cell[Any]) -> None:
        """Mark an actor idle, or ready again if something came."""
        cell.idle = True
        if cell.mailbox and cell.idle:
            cell.idle = False
            self.ready.append(cell)
            if self.asleep:
                self.wake()

    # --- on the spot: hand-off, hooks ---

    def hand_off(self, cell: Cell[Any], message: Any) -> Any:
        """Run an idle actor's plain handler for a caller on the same loop. `Pending` when the answer is to be awaited."""
        actor = cell.actor
        assert actor is not None, "an idle cell that has not ended has its actor"
        cell.idle = False
        error: BaseException | None = None
        result: Any = None
        try:
            result = self.isolated(cell, actor.on_receive, message)
        except BaseException as raised:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            error = raised
        pending: Pending | None = None
        if error is not None or result.__class__ in _NO_PLAIN_REPLY:
            pending = Pending(self.loop.create_future(), message)
            if error is not None:
                self.failed(cell, pending.envelope, error)
            elif cell.reason is not None:  # it was ended by what its handler did
                pending.reply.fail(ActorDied(cell.reason, repr(cell)))
                if result.__class__ is CoroutineType:
                    result.close()
            elif result.__class__ is CoroutineType:
                cell.envelope = pending.envelope
                self._start_burst(cell, actor, pending.envelope, result)
            else:
                self.settle(cell, pending.envelope, result)
        if cell.task is None and cell.reason is None:
            self.rest(cell)
        return pending if pending is not None else result

    async def breathe(self) -> None:
        """Called after hand-offs: let the loop have its turn once their slice of time is used up.

        A caller that has died of one ends here, as it would have waiting for the answer.
        """
        self.credit = CREDIT
        caller = current_cell.get()
        if self.loop.time() >= self._slice_end or (caller is not None and caller.reason is not None):
            await asyncio.sleep(0)
            self._slice_end = self.loop.time() + SLICE

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
                self.credit = 0  # whoever handed over may have died of it: let it breathe


class Pending:
    """The answer to a hand-off that is still to come: the handler awaits something, or its death is under way."""

    __slots__ = ("envelope", "future", "reply")

    def __init__(self, future: asyncio.Future[Any], message: Any) -> None:
        self.future = future
        self.reply = LoopReply(future)
        self.envelope = Envelope(message, self.reply)


_NO_PLAIN_REPLY = frozenset({CoroutineType, Later, Stop, Unhandled})

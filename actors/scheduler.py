"""The scheduler: one per event loop and system. Actors that have messages wait in a ready queue and take turns.

    tell ──> mailbox ──> ready ──> turn: up to 64 messages ──> idle, or to the end of the queue
                 other threads' signals ──> intake ──> run before the next message
                                              an async handler ──> a task: the actor is busy until it ends

No thread per actor, no task per message, no `call_soon` per message: one callback of the loop runs many turns, until
nothing is ready or about 5 ms are over; then the loop gets its turn (I/O, timers), and the callback is scheduled again.

Each actor has a context of its own for context variables, made lazily: plain turns run in a shared scratch context,
and the first actor that changes it keeps it; the scheduler then takes a fresh one.
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

from understudy.actors.deadlines import current_cell, current_request
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import DeadlineExceeded, Refused
from understudy.actors.mortician import Mortician
from understudy.actors.reasons import Normal
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
        self.current: Cell[Any] | None = None
        self.expired = 0
        self.mortician = Mortician(self)
        self._inside = False
        self._stride = STRIDE
        self._slice_end = 0.0
        self.credit = 0
        self._base = copy_context()
        self._scratch = self._base.copy()
        self._side = self._base.copy()

    # --- waking ---

    def wake(self) -> None:
        """Have a tick run soon. From any thread."""
        self.asleep = False
        if self.closed:
            self.close()
        elif threading.get_ident() == self.thread:
            self.loop.call_soon(self._tick, context=self._base)
        else:
            try:
                self.loop.call_soon_threadsafe(self._tick, context=self._base)
            except RuntimeError:  # the loop was closed without shutting the system down
                self.close()

    def close(self) -> None:
        """Nobody is left: whatever still comes is answered and buried at once, by whoever sends it."""
        self.closed = True
        self.drain()
        self.mortician.bury_what_came_late()

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

    def refuse_blocking(self, what: str, remedy: str) -> None:
        """Raise if this is the loop's own thread, where a blocking wait could never end."""
        if threading.get_ident() == self.thread and not self.closed:
            raise RuntimeError(f"{what} would block the event loop that must answer it; on the loop use: {remedy}")

    # --- turns ---

    def _tick(self) -> None:
        self._slice_end = self.loop.time() + SLICE
        while self._scratch.run(self._run, self.ready, None):
            self._scratch = self._base.copy()
        if self.ready or self.intake:
            self.loop.call_soon(self._tick, context=self._base)
            return
        self.asleep = True
        if (self.ready or self.intake) and self.asleep:  # another thread came in between
            self.wake()

    def _run(self, ready: deque[Cell[Any]], own: Context | None) -> bool:
        """Give turns to the cells of `ready`. True: stopped since an actor has kept the scratch context.

        `own` is the context of the one cell in `ready` when that cell has one: then nothing is to be watched.
        """
        intake = self.intake
        clock = self.loop.time
        left = stride = self._stride
        read_at = clock()
        scratch, base = self._scratch, self._base
        while True:
            # Not inside an actor's own context: a signal may end that actor, and its hook could not enter it again.
            if intake and own is None:
                self.drain()
            if not ready:
                return False
            cell = ready.popleft()
            actor = cell.actor
            if actor is None:
                self.mortician.bury(cell)
                continue
            if cell.task is not None or cell.reason is not None:
                continue  # busy: its burst, or its funeral, looks at the mailbox again
            if cell.context is not None and own is None:
                cell.context.run(self._run, deque((cell,)), cell.context)
                continue
            mailbox = cell.mailbox
            assert mailbox is not None, "a cell becomes ready by its first message"
            self.current = cell
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
            self.current = None
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
            self.expired += 1
            if reply is not None:
                reply.fail(DeadlineExceeded(f"the time was up before {cell!r} came to the request"))
            return False
        return True

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
                reply.fail(type(error)(str(error)))
            else:
                self.mortician.dead_letter(cell, envelope.message if envelope is not None else item, "refused")
        else:
            cell.envelope = envelope
            self.mortician.crashed(cell, envelope.message if envelope is not None else item, error)

    # --- asynchronous handlers ---

    def _start_burst(self, cell: Cell[Any], actor: Actor, item: Any, handler: Coroutine[Any, Any, Any]) -> None:
        cell.task = self.loop.create_task(self._burst(cell, actor, item, handler), context=self.context_of(cell))

    async def _burst(self, cell: Cell[Any], actor: Actor, item: Any, handler: Coroutine[Any, Any, Any] | None) -> None:
        """The task of a busy actor: its asynchronous handler, then what came meanwhile, one turn of it at most."""
        current_cell.set(cell)
        mailbox = cell.mailbox
        count = TURN
        try:
            while True:
                if handler is not None:
                    current_request.set(item if item.__class__ is Envelope else None)
                    self.settle(cell, item, await handler)
                count -= 1
                if self.intake:
                    self.drain()
                if not count or not mailbox or cell.reason is not None:
                    return
                item = mailbox.popleft()
                handler = self._dispatch(cell, actor, item)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            # A cancellation that the system sent is how an exit signal ends a handler; any other is a failure.
            if cell.reason is None:
                self.failed(cell, item, error)
        finally:
            self.task_over(cell)

    def task_over(self, cell: Cell[Any]) -> None:
        """The task of an actor's handler ended."""
        cell.task = None
        if cell.reason is not None:
            # In the next tick: this still runs in the actor's own context, which its hook is about to enter.
            self.intake.append((self.mortician.bow_out, (cell,)))
            if self.asleep:
                self.wake()
            return
        cell.envelope = None
        self.rest(cell)

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
            elif result.__class__ is CoroutineType:
                self._start_burst(cell, actor, pending.envelope, result)
            else:
                self.settle(cell, pending.envelope, result)
        if cell.task is None and cell.reason is None:
            self.rest(cell)
        return pending if pending is not None else result

    async def breathe(self) -> None:
        """Called after hand-offs: let the loop have its turn once their slice of time is used up."""
        self.credit = CREDIT
        if self.loop.time() >= self._slice_end:
            await asyncio.sleep(0)
            self._slice_end = self.loop.time() + SLICE

    def context_of(self, cell: Cell[Any]) -> Context:
        """The actor's own context, made if it had none."""
        if cell.context is None:
            cell.context = self._base.copy()
            cell.context.run(current_cell.set, cell)
        return cell.context

    def isolated(self, cell: Cell[Any], function: Callable[..., Any], *arguments: Any) -> Any:
        """Run code of an actor outside a turn, as itself: in its own context, its signals after it."""
        outer, self.current = self.current, cell
        outside, self._inside = not self._inside, True
        context = cell.context
        try:
            return (context if context is not None else self._side).run(function, *arguments)
        finally:
            self.current = outer
            self._inside = not outside
            if context is None and self._side != self._base:
                cell.context = self._side
                self._side = self._base.copy()
            if outside and self.intake:
                self.drain()


def ends_request_only(error: BaseException) -> bool:
    """Whether what a handler raised ends its request and not its actor.

    A refusal of its own does; one that another actor sent it and that it let escape is a failure. So does the passing
    of the request's own deadline: a client's impatience must never kill a server.
    """
    if isinstance(error, Refused):
        return not error.relayed
    return isinstance(error, DeadlineExceeded) and error.inherited


class Pending:
    """The answer to a hand-off that is still to come: the handler awaits something, or its death is under way."""

    __slots__ = ("envelope", "future")

    def __init__(self, future: asyncio.Future[Any], message: Any) -> None:
        self.future = future
        self.envelope = Envelope(message, LoopReply(future))


_NO_PLAIN_REPLY = frozenset({CoroutineType, Later, Stop, Unhandled})

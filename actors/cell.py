"""A cell: the reference to a local actor, and the little the kernel keeps for it.

The mailbox is a deque, made on first use, of bare messages and envelopes. Waking takes no lock, in any thread:

    sender                              scheduler, when it found the mailbox empty
    ------                              ------------------------------------------
    mailbox.append(message)             idle = True
    if idle: idle = False; ready <- me  if mailbox and idle: idle = False; ready <- me

Whichever order these run in, either the sender sees the idle flag or the scheduler sees the message. Two senders may
both put the cell into the ready queue: the second turn finds nothing to do. A dead cell is made idle again before each
look at what is left in its mailbox, so every late message wakes the scheduler, which makes it a dead letter.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pykka

from understudy.actors.address import Address, urn
from understudy.actors.answer import Answer
from understudy.actors.bonds import Bonds
from understudy.actors.deadlines import (
    allowance,
    current_cell,
    request_here,
    speaker,
    time_left,
    usable,
)
from understudy.actors.envelope import Envelope
from understudy.actors.errors import DeadlineExceeded, Deadlock
from understudy.actors.inbox import Inbox, Stopped
from understudy.actors.mailbox import BoundedMailbox, offer
from understudy.actors.mortician import ALIVE, DEAD
from understudy.actors.pending import Pending
from understudy.actors.proxy import made_proxy
from understudy.actors.reasons import ExitReason, NoProc
from understudy.actors.ref import DEFAULT_TIMEOUT, A, described
from understudy.actors.replies import ForeignLoopReply, ThreadReply
from understudy.actors.rings import handler_here, held_up, thread_held_up
from understudy.actors.scheduler import Scheduler
from understudy.actors.signals import Order, StopRequest
from understudy.actors.stash import putting_first
from understudy.actors.ties import Ties
from understudy.actors.waiting import answer, end

if TYPE_CHECKING:
    from understudy.actors.actor import Actor
    from understudy.actors.info import Info
    from understudy.actors.system import ActorSystem

T = TypeVar("T")

_first_use = threading.RLock()
"""Nothing is made while it is held: wherever something is, a finalizer may run, and tell."""


class Cell(Ties[A]):
    """The reference to an actor of this process. `tell` is the hot path of the whole framework: keep it short."""

    __slots__ = (
        "__weakref__",
        "actor",
        "append",
        "bonds",
        "context",
        "envelope",
        "free",
        "handled",
        "id",
        "idle",
        "kind",
        "last_words",
        "mailbox",
        "parent",
        "reason",
        "receive",
        "scheduler",
        "stage",
        "task",
    )

    threaded: ClassVar[bool] = False
    """Whether its handlers run on a thread of their own."""

    registered: ClassVar[bool] = False
    """Whether Pykka's registry knows it."""

    def __init__(self, scheduler: Scheduler, kind: type[A], number: int, parent: Cell[Any] | None) -> None:
        self.scheduler = scheduler
        self.kind = kind
        self.id = number
        self.parent = parent
        self.actor: Actor | None = None
        self.mailbox: deque[Any] | BoundedMailbox | None = None
        self.append: Callable[[Any], None] | None = None
        self.receive: Any = None  # what handles one message, on first need made by `behave`
        self.free = False
        self.idle = False
        self.handled = 0
        self.stage = ALIVE
        self.reason: ExitReason | None = None
        self.last_words: BaseException | ExitReason | None = None
        self.task: asyncio.Task[Any] | None = None
        self.context: Context | None = None
        self.envelope: Envelope | None = None
        self.bonds: Bonds | None = None

    # --- talking ---

    def tell(self, message: Any) -> None:
        append = self.append
        if append is None:
            append = self._first_append()
        append(message)
        if self.idle:
            self.idle = False
            scheduler = self.scheduler
            scheduler.ready.append(self)
            if scheduler.asleep:
                scheduler.wake()

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        scheduler = self.scheduler
        if timeout.__class__ is not float:
            timeout = usable(timeout)
        if (
            timeout > 0.0
            and self.idle
            and self.reason is None
            and not scheduler.intake
            and get_ident() == scheduler.thread
            and scheduler.loop.is_running()
            and (self.free or scheduler.frees(self))
        ):
            request = request_here()
            if request is None or request.deadline is None or request.deadline > scheduler.loop.time():
                # The callee waits for work on this very loop, and so does the caller: hand the message over directly.
                spot = scheduler.spot
                result = spot.hand_off(self, message, timeout)
                if result.__class__ is Pending:
                    return await result.wait(True)
                spot.credit -= 1
                if spot.credit < 0 and spot.must_breathe():
                    await spot.breathe()
                return result
        return await self.call_in_turn(message, timeout)

    async def call_in_turn(self, message: Any, timeout: float) -> Any:
        """A call that goes through the mailbox, though the actor may be idle."""
        scheduler = self.scheduler
        near = not self.threaded and scheduler.here()
        if self.reason is not None or (scheduler.closed if near else scheduler.lost()):
            await asyncio.sleep(0)  # whoever tries until somebody answers must not keep that from happening
            raise self._nobody()
        if not near:
            return await self._call_across(message, timeout)
        pending = Pending(self, timeout)
        entry = pending.envelope(message)
        if entry.sender is not None:
            pending.hold_up(entry)
        try:
            self.tell(entry)
        except BaseException:
            pending.let_go()
            raise
        spot = scheduler.spot
        spot.turn_now(self)
        if pending.answered and pending.error is None and self.reason is None:
            pending.let_go()
            spot.credit -= 1
            if spot.credit < 0 and spot.must_breathe():
                await spot.breathe()
            return pending.value
        return await pending.wait(pending.answered)

    async def _call_across(self, message: Any, timeout: float) -> Any:
        """The call of an actor that is answered in another thread than the caller's."""
        loop, scheduler = asyncio.get_running_loop(), self.scheduler
        due = allowance(timeout, loop.time())
        future = loop.create_future()
        # Another loop has another clock: what is left is all that can be said across.
        expiry = due.deadline if loop is scheduler.loop else scheduler.loop.time() + (due.deadline - loop.time())
        entry = Envelope(message, ForeignLoopReply(future, loop), sender=current_cell.get(), deadline=expiry)
        with held_up(handler_here(self), self, entry):
            self.tell(entry)
            return await answer(future, self, due, timeout)

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        await offer(self, message, timeout)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        scheduler = self.scheduler
        what, remedy = f"ask({type(message).__name__})", "await ref.call(message), or await the answer itself"
        if isinstance(message, Order):
            what, remedy = repr(message), "await the answer"
        future: Answer[Any] = Answer(scheduler, what, remedy, self)
        reply = ThreadReply(future)
        future.request = entry = Envelope(message, reply, sender=speaker())
        if not block:
            self._send(entry, reply)
            return future
        future.refuse_on_loop()
        left, inherited = time_left(timeout)
        entry.deadline = None if left is None else scheduler.loop.time() + left
        with thread_held_up(self, entry):  # what can never be answered is not even sent
            self._send(entry, reply)
            try:
                return future.get(timeout=timeout)
            except DeadlineExceeded as late:  # the callee was the first to see it, before anybody waited perhaps
                late.inherited = inherited
                if timeout is None or inherited or entry.deadline is None or scheduler.loop.time() < entry.deadline:
                    raise
                raise pykka.Timeout(f"{timeout} seconds") from None
            finally:
                reply.answered = True  # whoever gave up waiting is served no more

    def _send(self, entry: Envelope, reply: ThreadReply) -> None:
        if self.reason is not None or self.scheduler.lost():
            reply.fail(self._nobody())
        else:
            self.tell(entry)

    def proxy(self, kind: Any = None) -> Any:
        return made_proxy(self, kind)

    def _actor_weakref(self) -> Actor | None:
        return self.actor

    def _order(self, order: Order) -> None:
        self.tell(Envelope(order, sender=speaker()))

    def _refuse_blocking(self, what: str, remedy: str) -> None:
        self.scheduler.refuse_blocking(what, remedy)

    # --- ending ---

    def stop(self) -> Answer[bool]:
        future: Answer[bool] = Answer(self.scheduler, "stop().get()", "await ref.stop()", self)
        if self.reason is not None or self.scheduler.lost():
            future.set(False)
        else:
            self.tell(Envelope(StopRequest(), ThreadReply(future)))
        return future

    def is_alive(self) -> bool:
        return self.reason is None

    async def ended(self, timeout: float | None = None) -> ExitReason:
        if self.stage == DEAD and self.reason is not None:
            return self.reason
        if self.task is not None and asyncio.current_task() is self.task:
            raise Deadlock(f"{self!r} waits in its handler for its own end, which comes after that", (repr(self),) * 2)
        reason = await end(self, self.system.next_token(), timeout)
        return self.reason if isinstance(reason, NoProc) and self.reason is not None else reason  # it ended just now

    # --- who it is ---

    @property
    def system(self) -> ActorSystem:
        """The system it lives in."""
        return self.scheduler.system

    @property
    def address(self) -> Address:
        return Address(self.system.name, self.system.incarnation, self.id)

    @property
    def name(self) -> str | None:
        return self.bonds.name if self.bonds is not None else None

    async def info(self, timeout: float = DEFAULT_TIMEOUT) -> Info:
        return self.system.info(self)

    @property
    def actor_class(self) -> type[A]:
        """The actor's class."""
        return self.kind

    @property
    def actor_urn(self) -> str:
        """Pykka's name for the address: a random UUID of the system, and the actor's number in its last digits."""
        return urn(self.system.token, self.id)

    @property
    def actor_inbox(self) -> Inbox:
        """Pykka's inbox: how much waits, and a way in for Pykka's own references."""
        return Inbox(self)

    @property
    def actor_stopped(self) -> Stopped:
        """Pykka's flag: whether it has ended, and a way to wait for that."""
        return Stopped(self)

    def __repr__(self) -> str:
        return described(self.kind.__name__, self.name, self.address)

    # --- for the kernel ---

    def open(self) -> None:
        """The actor has started: what came meanwhile is handled, and what comes from now on."""
        self.scheduler.rest(self)

    def behave(self) -> Callable[[Any], Any]:
        """Make `receive` anew, on first need and after anything of it has changed: the behaviour, and what is wrapped around."""
        actor, bonds = self.actor, self.bonds
        assert actor is not None, "only a living actor receives"
        behaviour = bonds.behaviour if bonds is not None else None
        receive = self.surrounded(behaviour if behaviour is not None else actor._receiver())
        if self.receive is not None:
            self.on_loop(_turn_over)
        self.receive = receive
        return receive

    def surrounded(self, receive: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What handles a message, with all that is wrapped around the actor's handlers."""
        bonds = self.bonds
        if bonds is not None and bonds.patience is not None:
            receive = bonds.patience.wrap(receive)
        for wrap in bonds.wrappers if bonds is not None else ():
            receive = wrap(receive)
        hooks = self.scheduler.system.hooks
        return hooks.timed(self, receive) if hooks.timing else receive

    def put_first(self, entry: Envelope) -> None:
        """Put an entry of the kernel's own before all that waits. On the loop."""
        with putting_first:
            self.box().appendleft(entry)
        self.rouse()

    def box(self) -> deque[Any] | BoundedMailbox:
        """The mailbox, made if there was none."""
        if self.mailbox is None:
            self._first_append()
        assert self.mailbox is not None, "it was made just now"
        return self.mailbox

    def rouse(self, entries: int = 1) -> None:
        """So many entries were put in, other than by `tell`."""
        if self.idle:
            self.idle = False
            self.scheduler.ready.append(self)
            if self.scheduler.asleep:
                self.scheduler.wake()

    def catch_up(self) -> None:
        """It is no longer suspended."""

    def at_work(self) -> tuple[str, float] | None:
        """The message at hand and since when, if a thread of its own handles it."""
        return None

    def closed(self) -> None:
        """It is over for the world."""

    def laid_to_rest(self) -> None:
        """The actor is dead and its references to it are gone."""

    def at_hand(self) -> Envelope | None:
        """The entry being handled, if it came in an envelope."""
        return self.envelope

    def on_loop(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run a signal on the owner's loop, after those sent before it and before any later message is handled."""
        self.scheduler.signal(function, arguments)

    def tied(self) -> Bonds:
        """The bonds, made if there were none."""
        if self.bonds is None:
            bonds = Bonds()
            with _first_use:  # a thread actor and its loop may both be the first
                if self.bonds is None:
                    self.bonds = bonds
        return self.bonds

    def _first_append(self) -> Callable[[Any], None]:
        bounds = self.kind.mailbox
        mailbox: deque[Any] | BoundedMailbox = deque() if bounds is None else BoundedMailbox(self, bounds)
        append = mailbox.append
        with _first_use:
            if self.append is None:
                self.mailbox = mailbox
                self.append = append
            return self.append


def _turn_over() -> None:
    """A signal that ends the turn at hand, in which the actor is what it was when that began."""

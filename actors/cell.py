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
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from understudy.actors.address import Address
from understudy.actors.bonds import VOID, Bonds, Monitor
from understudy.actors.deadlines import allowance, current_cell, current_request, due_by, speaker, unusable
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import ActorDied, Deadlock
from understudy.actors.mortician import ALIVE, DEAD, LEAVING
from understudy.actors.reasons import ExitReason, NoProc, Shutdown
from understudy.actors.ref import DEFAULT_TIMEOUT, A, ActorRef, Watcher, described
from understudy.actors.replies import Answer, ForeignLoopReply, LoopReply, ThreadReply
from understudy.actors.scheduler import Pending, Scheduler
from understudy.actors.signals import Down, StopRequest
from understudy.actors.waiting import answer, end

if TYPE_CHECKING:
    import pykka

    from understudy.actors.actor import Actor
    from understudy.actors.system import ActorSystem
    from understudy.actors.timers import Timer

T = TypeVar("T")

_first_use = threading.Lock()


class Cell(ActorRef[A]):
    """The reference to an actor of this process. `tell` is the hot path of the whole framework: keep it short."""

    __slots__ = (
        "actor",
        "append",
        "bonds",
        "context",
        "envelope",
        "id",
        "idle",
        "kind",
        "last_words",
        "mailbox",
        "parent",
        "reason",
        "scheduler",
        "stage",
        "task",
    )

    threaded: ClassVar[bool] = False
    """Whether its handlers run on a thread of their own."""

    def __init__(self, scheduler: Scheduler, kind: type[A], number: int, parent: Cell[Any] | None) -> None:
        self.scheduler = scheduler
        self.kind = kind
        self.id = number
        self.parent = parent
        self.actor: Actor | None = None
        self.mailbox: deque[Any] | None = None
        self.append: Callable[[Any], None] | None = None
        self.idle = False
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
        loop = scheduler.loop
        pending: Pending | None = None
        try:
            direct = (
                timeout > 0
                and self.idle
                and self.reason is None
                and threading.get_ident() == scheduler.thread
                and not scheduler.intake
                and loop.is_running()
            )
        except TypeError:
            raise unusable(timeout) from None
        if direct:
            actor = self.actor
            request = current_request.get()
            in_time = request is None or request.deadline is None or request.deadline > loop.time()
            if actor is not None and not actor.asynchronous and in_time:
                # The callee waits for work on this very loop, and so does the caller: hand the message over directly.
                result = scheduler.hand_off(self, message)
                if result.__class__ is not Pending:
                    scheduler.credit -= 1
                    if scheduler.credit < 0:
                        await scheduler.breathe()
                    return result
                pending = result
        future: asyncio.Future[Any]
        if pending is not None:
            future = pending.future
            due = due_by(timeout, loop.time())
            pending.envelope.deadline = due.deadline
        elif self.reason is not None or scheduler.lost():
            raise ActorDied(NoProc(), repr(self))
        else:
            caller = current_cell.get()
            if caller is self and asyncio.current_task() is self.task:
                raise Deadlock(f"{self!r} called itself: it could never answer. Call a method of your own instead.")
            loop = asyncio.get_running_loop()
            here = loop is scheduler.loop
            due = allowance(timeout, loop.time())
            future = loop.create_future()
            reply: Reply = LoopReply(future) if here and not self.threaded else ForeignLoopReply(future, loop)
            # Another loop has another clock: what is left is all that can be said across.
            expiry = due.deadline if here else scheduler.loop.time() + (due.deadline - loop.time())
            self.tell(Envelope(message, reply, sender=caller, deadline=expiry))
        return await answer(future, self, due, timeout, handed_off=pending is not None)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        if block and self.threaded and current_cell.get() is self:
            raise Deadlock(f"{self!r} asked itself: it could never answer. Call a method of your own instead.")
        future = Answer(self.scheduler, f"ask({type(message).__name__})", "await ref.call(message)")
        reply = ThreadReply(future)
        if block:
            future.refuse_on_loop()
        if self.reason is not None or self.scheduler.lost():
            reply.fail(ActorDied(NoProc(), repr(self)))
        else:
            self.tell(Envelope(message, reply))
        if not block:
            return future
        try:
            return future.get(timeout=timeout)
        finally:
            reply.answered = True  # whoever gave up waiting is served no more

    # --- ending ---

    def stop(self) -> pykka.Future[bool]:
        future = Answer(self.scheduler, "stop().get()", "await ref.ended()")
        if self.reason is not None or self.scheduler.lost():
            future.set(False)
        else:
            self.tell(Envelope(StopRequest(), ThreadReply(future)))
        return future

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        self._exit(speaker(), reason)

    def kill(self) -> None:
        self.on_loop(self.scheduler.mortician.kill, self)

    def is_alive(self) -> bool:
        return self.reason is None

    async def ended(self, timeout: float | None = None) -> ExitReason:
        if self.stage == DEAD and self.reason is not None:
            return self.reason
        return await end(self, self.system.next_token(), timeout)

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

    @property
    def actor_class(self) -> type[A]:
        """The actor's class."""
        return self.kind

    @property
    def actor_urn(self) -> str:
        """Pykka's name for the address."""
        return f"urn:understudy:{self.address.node}:{self.address.incarnation}:{self.id}"

    def __repr__(self) -> str:
        return described(self.kind.__name__, self.name, self.address)

    # --- signals ---

    def _monitor(self, token: int, watcher: Watcher) -> None:
        self.on_loop(self._watched, token, watcher)

    def _demonitor(self, token: int, watcher: Watcher) -> None:
        self.on_loop(self._unwatched, token, watcher)

    def _link(self, sender: ActorRef[Any]) -> None:
        self.on_loop(self._linked, sender)

    def _unlink(self, sender: ActorRef[Any]) -> None:
        self.on_loop(self._unlinked, sender)

    def _exit(self, sender: ActorRef[Any] | None, reason: ExitReason) -> None:
        self.on_loop(self.scheduler.mortician.exit_signal, self, sender, reason)

    def _linked_exit(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        self.on_loop(self._other_end_died, sender, reason)

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """A monitor of this actor fired (the cell is its own actor's `Watcher`)."""
        self.on_loop(self._went_down, token, ref, reason)

    # --- for the kernel ---

    def open(self) -> None:
        """The actor has started: what came meanwhile is handled, and what comes from now on."""
        self.scheduler.rest(self)

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
            with _first_use:  # a thread actor and its loop may both be the first
                if self.bonds is None:
                    self.bonds = Bonds()
        return self.bonds

    def keep_timer(self, timer: Timer) -> bool:
        """Remember a timer so that it ends with the actor; False if the actor ended already."""
        if self.stage >= LEAVING:
            return False
        self.tied().timers.add(timer)
        return True

    def drop_timer(self, timer: Timer) -> None:
        """Forget a timer that fired or was cancelled."""
        if self.bonds is not None:
            self.bonds.timers.discard(timer)

    def flush_down(self, token: int) -> None:
        """Make void the `Down` of this monitor if it waits in the mailbox already."""
        for entry in tuple(self.mailbox or ()):  # a copy: other threads may append meanwhile
            if entry.__class__ is Envelope and entry.message.__class__ is Down and entry.message.token == token:
                entry.ticket = VOID

    def _first_append(self) -> Callable[[Any], None]:
        with _first_use:
            if self.append is None:
                mailbox: deque[Any] = deque()
                self.mailbox = mailbox
                self.append = mailbox.append
            return self.append

    def _went_down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        bonds = self.bonds
        monitor: Monitor | None = bonds.monitors.get(token) if bonds is not None else None
        if bonds is not None and monitor is not None:
            # First tell, then forget: a demonitor in another thread finds the monitor, or else its Down in the mailbox.
            self.tell(Envelope(Down(token, ref, reason), ticket=monitor))
            bonds.monitors.pop(token, None)

    def _watched(self, token: int, watcher: Watcher) -> None:
        if self.stage == DEAD:
            watcher.down(token, self, NoProc())
        else:
            self.tied().watchers[token, watcher] = None

    def _unwatched(self, token: int, watcher: Watcher) -> None:
        if self.bonds is not None:
            self.bonds.watchers.pop((token, watcher), None)

    def _linked(self, sender: ActorRef[Any]) -> None:
        if self.stage == DEAD:
            sender._linked_exit(self, NoProc())
        else:
            self.tied().links.add(sender)

    def _unlinked(self, sender: ActorRef[Any]) -> None:
        if self.bonds is not None:
            self.bonds.links.discard(sender)
            if isinstance(sender, Cell) and sender in self.bonds.children:
                self.bonds.children[sender] = False

    def _other_end_died(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        if self.bonds is not None and sender in self.bonds.links:
            self.bonds.links.discard(sender)
            self.scheduler.mortician.exit_signal(self, sender, reason)

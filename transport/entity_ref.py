"""The reference to an entity: "the room of that name", wherever it is, and whether or not it runs at the moment.

What is sent starts it if need be. What ends it or looks at it (`stop`, `exit`, `kill`, `info`) does not.
"""

from __future__ import annotations

import asyncio
import math
from operator import methodcaller
from threading import get_ident  # noqa: TID251 - only to ask which thread this is
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    ActorDied,
    ActorRef,
    Address,
    DeadLetter,
    DeadlineExceeded,
    Envelope,
    ExitReason,
    Info,
    NoProc,
    Normal,
    Overloaded,
    Shutdown,
    UnderstudyError,
    Watcher,
)
from understudy.actors.answer import Answer
from understudy.actors.dead_letters import OVERLOADED
from understudy.actors.deadlines import allowance, current_cell, speaker, time_left
from understudy.actors.pending import Pending
from understudy.actors.reasons import checked_reason
from understudy.actors.ref import DEFAULT_TIMEOUT, A, described
from understudy.actors.replies import ForeignLoopReply, ThreadReply
from understudy.actors.waiting import answer, end
from understudy.transport.entity_deeds import Doing, Finding, Retiring, Tie, Watched
from understudy.transport.entity_mail import Asked, Deed
from understudy.transport.remote import RemoteRef
from understudy.transport.routes import Route
from understudy.transport.steward import STEWARD, Show

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler
    from understudy.transport.entities import Entities


class EntityRef(ActorRef[A]):
    """Made by `node.entity(kind, key)`. Two references to the same entity are equal."""

    __slots__ = ("_entities", "_route", "_thread", "key", "kind", "name")

    def __init__(self, entities: Entities, kind: str, key: str, name: str) -> None:
        self._entities = entities
        self._thread = entities.system.scheduler.thread
        self.kind = kind
        self.key = key
        self.name: str = name  # pyright: ignore[reportIncompatibleMethodOverride]
        self._route = NOWHERE

    @property
    def scheduler(self) -> Scheduler:
        """That of the node which this reference is of."""
        return self._entities.system.scheduler

    # --- talking ---

    def tell(self, message: Any) -> None:
        if get_ident() != self._thread:
            self.scheduler.signal(self._tell_from_afar, (message,))
            return
        route = self._route
        cell = route.cell
        if cell is not None and cell.reason is None:
            cell.tell(message)
            return
        away = route.away
        if away is not None and away.link.lost is None:
            route.used = True
            away.tell(message)
            return
        self._send(message)

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        if get_ident() != self._thread:
            return await self._call_across(message, timeout)
        cell = self._route.cell
        if cell is not None and cell.reason is None:
            return await cell.call(message, timeout)
        pending = Pending(self, timeout)
        asked = Asked(self._entities.routes, pending.envelope(message))
        self._send(asked)
        try:
            return await pending.wait(False)
        finally:
            asked.forget()

    async def _call_across(self, message: Any, timeout: float) -> Any:
        """The call of another thread's loop."""
        loop = asyncio.get_running_loop()
        due = allowance(timeout, loop.time())
        future: asyncio.Future[Any] = loop.create_future()
        expiry = self.scheduler.loop.time() + (due.deadline - loop.time())
        entry = Envelope(message, ForeignLoopReply(future, loop), sender=current_cell.get(), deadline=expiry)
        asked = Asked(self._entities.routes, entry)
        self.scheduler.signal(self._ask_from_afar, (asked,))
        try:
            return await answer(future, self, due, timeout)
        finally:
            self.scheduler.signal(asked.forget, ())

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        loop = asyncio.get_running_loop()
        if get_ident() != self._thread:
            there = asyncio.run_coroutine_threadsafe(self.offer(message, timeout), self.scheduler.loop)
            await asyncio.wrap_future(there)
            return
        due = allowance(timeout, loop.time())
        while True:
            try:
                async with asyncio.timeout_at(due.deadline if due.deadline < math.inf else None):
                    at = await self._found()
            except TimeoutError:
                if due.inherited:
                    raise DeadlineExceeded("no time is left of the request being handled", inherited=True) from None
                raise Overloaded(f"{self!r} was not there within {timeout} s: nothing was sent") from None
            try:
                await at.offer(message, due.deadline - loop.time() if due.deadline < math.inf else math.inf)
            except ActorDied as death:
                if not isinstance(death.reason, NoProc) and isinstance(at, RemoteRef):
                    raise  # with its node: it may have arrived
            else:
                return

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        scheduler = self.scheduler
        what = f"ask({type(message).__name__})"
        future: Answer[Any] = Answer(scheduler, what, "await ref.call(message), or await the answer itself", self)
        reply = ThreadReply(future)
        future.request = entry = Envelope(message, reply, sender=speaker())
        asked = Asked(self._entities.routes, entry)
        if not block:
            scheduler.signal(self._ask_from_afar, (asked,))
            return future
        future.refuse_on_loop()
        left, inherited = time_left(timeout)
        entry.deadline = None if left is None else scheduler.loop.time() + left
        scheduler.signal(self._ask_from_afar, (asked,))
        try:
            return future.get(timeout=timeout)
        except DeadlineExceeded as late:  # its node was the first to see it
            late.inherited = inherited
            raise
        finally:
            reply.answered = True  # whoever gave up waiting is served no more
            scheduler.signal(asked.forget, ())

    # --- ending: what does not run is not started for it ---

    def stop(self) -> Answer[bool]:
        """End it in order, once it has handled what was sent to it before; the next message starts it anew, and none is lost."""
        future: Answer[bool] = Answer(self.scheduler, "stop().get()", "await ref.stop()", self)
        self._on_loop(lambda: self._if_it_runs(Retiring(self._entities, self.name, ThreadReply(future))))
        return future

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        self._exit(speaker(), checked_reason(reason))

    def kill(self) -> None:
        self._on_loop(lambda: self._if_it_runs(Doing(methodcaller("kill"))))

    def is_alive(self) -> bool:
        cell, away = self._route.cell, self._route.away
        if cell is not None:
            return cell.reason is None
        return (away is not None and away.link.lost is None) or self._entities.runs(self)

    async def ended(self, timeout: float | None = None) -> ExitReason:
        if not self.is_alive():
            return NoProc()
        return await end(self, self._entities.system.next_token(), timeout)

    # --- who it is ---

    @property
    def address(self) -> Address:
        cell, away = self._route.cell, self._route.away
        if cell is not None:
            return cell.address
        if away is not None:
            return away.address
        raise ActorDied(NoProc(), repr(self))

    async def info(self, timeout: float = DEFAULT_TIMEOUT) -> Info:
        info: Info = await self._inspect("info", timeout)
        return info

    def __repr__(self) -> str:
        return described("entity", self.name, self._entities.system.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntityRef) and (other.name, other._entities) == (self.name, self._entities)

    def __hash__(self) -> int:
        return hash(self.name)

    # --- for operators ---

    async def _inspect(self, what: str, timeout: float) -> Any:
        """On the node where it runs this is asked of the actor, elsewhere of that node."""
        seat = self._entities.host.seat(self.name)
        system = self._entities.system
        if seat is not None:
            if what == "info":
                return await seat.cell.info(timeout)
            return await getattr(system, what)(seat.cell, timeout)
        away, owner = self._route.away, self._entities.names.owner(self.name)
        if away is not None and away.link.lost is None:
            link = away.link
        elif owner is None or owner.node == system.name:
            raise ActorDied(NoProc(), repr(self))
        else:
            link = self._entities.links.towards(owner.node)
        if link.lost is not None:
            raise link.death(RemoteRef(link, STEWARD))
        return await RemoteRef[Any](link, STEWARD).call(Show(self, what, timeout), timeout)

    # --- signals ---

    def _monitor(self, token: int, watcher: Watcher) -> None:
        watch = Watched(self, token, watcher)
        self._on_loop(lambda: self._entities.watch(watch))

    def _demonitor(self, token: int, watcher: Watcher) -> None:
        self._on_loop(lambda: self._entities.unwatch(token, watcher))

    def _link(self, sender: ActorRef[Any]) -> None:
        self._monitor(self._entities.system.next_token(), Tie(self, sender))

    def _unlink(self, sender: ActorRef[Any]) -> None:
        self._on_loop(lambda: self._entities.untie(self, sender))

    def _exit(self, sender: ActorRef[Any] | None, reason: ExitReason) -> None:
        self._on_loop(lambda: self._if_it_runs(Doing(methodcaller("_exit", sender, reason))))

    def _linked_exit(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        self._unlink(sender)
        if not isinstance(reason, Normal):
            self._exit(sender, reason)

    # --- on the loop ---

    def _send(self, what: Any) -> None:
        self._route = self._entities.routes.route(self)
        self._entities.routes.send(self._route, what)

    def _if_it_runs(self, deed: Deed) -> None:
        if self.is_alive():
            self._send(deed)
        else:
            deed.failed(ActorDied(NoProc(), repr(self)))

    async def _found(self) -> ActorRef[Any]:
        """Where it is, once it is its turn."""
        cell, away = self._route.cell, self._route.away
        if cell is not None and cell.reason is None:
            return cell
        if away is not None and away.link.lost is None:
            self._route.used = True
            return away
        future: asyncio.Future[ActorRef[Any]] = self.scheduler.loop.create_future()
        self._send(Finding(future))
        return await future

    def _tell_from_afar(self, message: Any) -> None:
        """From another thread: whoever sent it is not there to be refused."""
        try:
            self.tell(message)
        except UnderstudyError as error:
            reason = OVERLOADED if isinstance(error, Overloaded) else str(error)
            self._entities.system.dead_letters.add(DeadLetter(self, message, reason))

    def _ask_from_afar(self, asked: Asked) -> None:
        try:
            self._send(asked)
        except UnderstudyError as error:
            asked.fail(error)

    def _on_loop(self, action: Any) -> None:
        """At once on the loop's thread: an actor's signals and messages to another keep the order they were sent in."""
        if self._thread == get_ident():
            action()
        else:
            self.scheduler.signal(action, ())


NOWHERE = Route.__new__(Route)
"""The route of a reference that nothing was sent through yet."""
NOWHERE.cell = NOWHERE.away = None

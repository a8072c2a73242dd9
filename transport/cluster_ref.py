"""A reference to whoever has a name that is unique in the cluster: here or on another node, and through every move.

It is resolved at each use, out of the table as last read. What is told while nobody has the name waits (waiting_room.py);
what was sent to an owner that dies with its node may have arrived, as with every reference to another node.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from threading import get_ident  # noqa: TID251 - only to ask which thread this is
from typing import TYPE_CHECKING, Any
from weakref import finalize

from understudy.actors import (
    ActorRef,
    Envelope,
    Info,
    Trace,
    UnderstudyError,
)
from understudy.actors.answer import Answer
from understudy.actors.by_name import ByName
from understudy.actors.deadlines import allowance, cell_here, request_here, speaker, time_left
from understudy.actors.errors import DeadlineExceeded
from understudy.actors.pending import Pending
from understudy.actors.ref import DEFAULT_TIMEOUT, A, described
from understudy.actors.replies import ThreadReply
from understudy.actors.signals import Order
from understudy.transport.remote import check_crossing

if TYPE_CHECKING:
    from understudy.actors import Actor, Reply
    from understudy.actors.scheduler import Scheduler
    from understudy.transport.registry import Registry
    from understudy.transport.waiting_room import Waiting


class ClusterRef(ByName[A]):
    """Messages to it must be such that they may cross the wire: where they will go is not known."""

    __slots__ = ("_registry",)

    def __init__(self, registry: Registry, name: str) -> None:
        super().__init__(name)
        self._registry = registry

    @property
    def scheduler(self) -> Scheduler:
        """This node's, where the answers to its calls arrive."""
        return self._registry.system.scheduler

    def _someone(self) -> ActorRef[A] | None:
        return self._registry.someone(self._name)

    # --- talking ---

    def tell(self, message: Any) -> None:
        registry = self._registry
        if registry.thread != get_ident():
            self._checked(message)
            self.scheduler.signal(registry.tell, (self._name, message))
            return
        to = registry.someone(self._name)
        if to is not None:
            to.tell(message)
        else:
            self._checked(message)
            registry.wait(self._name, Envelope(message))

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        registry = self._registry
        if registry.thread != get_ident():
            return await self._call_across(message, timeout)
        to = registry.someone(self._name)
        if to is not None:
            return await to.call(message, timeout)
        self._checked(message)
        pending = Pending(self, timeout)
        request = request_here()
        trace = request.trace if request is not None else b""
        waiting = registry.wait(self._name, Envelope(message, pending, cell_here(), 0, pending.deadline, trace))
        try:
            return await pending.wait(False)
        finally:
            waiting.forget()

    async def _call_across(self, message: Any, timeout: float) -> Any:
        """The call of another thread's loop."""
        due = allowance(timeout, asyncio.get_running_loop().time())
        try:
            return await self._on_its_loop(self.call(message, due.deadline - asyncio.get_running_loop().time()))
        except DeadlineExceeded as late:
            late.inherited = due.inherited
            raise

    async def _on_its_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.scheduler.loop))

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        loop = asyncio.get_running_loop()
        due = allowance(timeout, loop.time())
        if self._registry.thread != get_ident():
            await self._on_its_loop(self.offer(message, due.deadline - loop.time()))
            return
        try:
            async with asyncio.timeout_at(due.deadline if due.deadline < math.inf else None):
                to = self._registry.someone(self._name)
                while to is None:
                    await self._registry.turn(self._name)
                    to = self._registry.someone(self._name)
        except TimeoutError:
            if due.inherited:
                raise DeadlineExceeded("no time is left of the request being handled", inherited=True) from None
            raise self._nobody() from None
        await to.offer(message, due.deadline - loop.time())

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        scheduler = self.scheduler
        future: Answer[Any] = Answer(scheduler, f"ask({type(message).__name__})", "await ref.call(message)", self)
        if block:
            future.refuse_on_loop()
        self._checked(message)
        left, inherited = time_left(timeout) if block else (timeout, False)
        request = _Request(self, message, ThreadReply(future))
        scheduler.signal(request.send, (left, speaker()))
        # Once nobody has the answer to come, nobody waits: the request is forgotten wherever it is.
        finalize(future, scheduler.signal, request.forget, ()).atexit = False
        if not block:
            return future
        try:
            return future.get(timeout=timeout)
        except DeadlineExceeded as late:  # the callee's side was the first to see it
            late.inherited = inherited
            raise
        finally:
            scheduler.signal(request.forget, ())

    def _checked(self, message: Any) -> None:
        """Raise NotRegistered, here and now, for what may not cross the wire."""
        check_crossing(self._registry.links, self._name, message)

    # --- who it is ---

    async def info(self, timeout: float = DEFAULT_TIMEOUT) -> Info:
        return await self._now().info(timeout)

    def __repr__(self) -> str:
        owner = self._registry.names.owner(self._name)
        return described(
            "actor", self._name, f"{owner.node}, in the cluster" if owner is not None else "nobody's, in the cluster"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterRef) and other._registry is self._registry and other._name == self._name

    def __hash__(self) -> int:
        return hash((ClusterRef, self._name))

    # --- for operators ---

    async def _inspect(self, what: str, timeout: float) -> Any:
        return await self._now()._inspect(what, timeout)

    def _trace(self, limit: int) -> Trace:
        return self._now()._trace(limit)

    # --- for proxies: of an actor of this node ---

    def proxy(self, kind: Any = None) -> Any:
        return self._now().proxy(kind)

    def _actor_weakref(self) -> Actor | None:
        return self._now()._actor_weakref()

    def _order(self, order: Order) -> None:
        self._now()._order(order)


class _Request:
    """An open request of another thread: sent on the loop's own, and forgotten there when nobody waits any more."""

    __slots__ = ("_message", "_ref", "_reply", "_waiting")

    def __init__(self, ref: ClusterRef[Any], message: Any, reply: Reply) -> None:
        self._ref = ref
        self._message = message
        self._reply = reply
        self._waiting: Waiting | None = None

    def send(self, remaining: float | None, sender: ActorRef[Any] | None) -> None:
        """An error goes to whoever waits there."""
        registry = self._ref._registry
        deadline = None if remaining is None else registry.system.loop.time() + remaining
        try:
            self._waiting = registry.post(
                self._ref._name, Envelope(self._message, self._reply, sender=sender, deadline=deadline)
            )
        except UnderstudyError as error:
            self._reply.fail(error)

    def forget(self) -> None:
        if self._waiting is not None:
            self._waiting.forget()

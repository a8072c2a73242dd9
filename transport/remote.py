"""References to actors of other nodes. The same face as a local one's: tell, call, link, monitor, exit, kill.

RemoteRef          an address: one life of one actor; it never comes back
RemoteNamedRef     "engine@engine-1": whoever has that name on that node at the time, through restarts of both
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from threading import get_ident  # noqa: TID251 - only to ask which thread this is
from typing import TYPE_CHECKING, Any
from weakref import finalize

from understudy.actors import (
    ActorRef,
    Address,
    DeadlineExceeded,
    ExitReason,
    Info,
    Shutdown,
    Trace,
    UnderstudyError,
    Watcher,
)
from understudy.actors.answer import Answer
from understudy.actors.deadlines import allowance, cell_here, request_here, speaker, time_left
from understudy.actors.envelope import Reply
from understudy.actors.pending import Pending
from understudy.actors.reasons import checked_reason
from understudy.actors.ref import DEFAULT_TIMEOUT, A, described
from understudy.actors.replies import ForeignLoopReply, LoopReply, ThreadReply
from understudy.actors.waiting import answer, end
from understudy.transport.encoder import Encoder
from understudy.transport.following import RemoteTrace
from understudy.transport.operations import EXIT, KILL, STOP, TELL
from understudy.transport.steward import STEWARD, Show

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler
    from understudy.transport.link import Link
    from understudy.transport.links import Links


class RemoteRef(ActorRef[A]):
    """`target` is the actor's id there, or its name."""

    __slots__ = ("_link_to", "target")

    def __init__(self, link: Link, target: int | str) -> None:
        self._link_to = link
        self.target = target

    @property
    def link(self) -> Link:
        """The link to the actor's node."""
        return self._link_to

    @property
    def scheduler(self) -> Scheduler:
        """This node's, where the answers to its calls arrive."""
        return self._link_to.system.scheduler

    # --- talking ---

    def tell(self, message: Any) -> None:
        link = self._link_to
        if link.thread != get_ident():
            _from_afar(link, self, message)
        elif link.full:
            link.obstructed(self, message)
        else:
            encoder = link.encoder
            cls = message.__class__
            try:
                item = (encoder.tellers.get(cls) or encoder.teller(cls))(self.target, message)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                item = encoder.otherwise(error, TELL, self.target, message)
            size = len(item)
            if size > link.room:
                encoder.checked(item, message)
                link.make_room(size)
            link.room -= size
            link.items.append(item)

    async def call(self, message: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        link = self.link
        if link.thread != get_ident():
            return await self._call_across(link, message, timeout)
        pending = Pending(self, timeout)
        request = request_here()
        trace = request.trace if request is not None else b""
        number = link.calls.ask(self, message, pending, pending.deadline - link.loop.time(), cell_here(), trace)
        try:
            return await pending.wait(False)
        finally:
            link.calls.forget(number)

    async def _call_across(self, link: Link, message: Any, timeout: float) -> Any:
        """The call of another thread's loop."""
        loop = asyncio.get_running_loop()
        due = allowance(timeout, loop.time())
        _checked(link, self, message)
        future: asyncio.Future[Any] = loop.create_future()
        envelope = request_here()
        request = _Request(link, self, message, ForeignLoopReply(future, loop))
        trace = envelope.trace if envelope is not None else b""
        link.system.scheduler.signal(request.send_from_afar, (due.deadline - loop.time(), cell_here(), trace))
        try:
            return await answer(future, self, due, timeout)
        finally:
            link.system.scheduler.signal(request.forget, ())

    async def offer(self, message: Any, timeout: float = math.inf) -> None:
        link = self.link
        loop = asyncio.get_running_loop()
        due = allowance(timeout, loop.time())
        here = loop is link.loop
        if here:
            if link.offers.enter(self, message):
                return
            reply = LoopReply(loop.create_future())
            link.offers.wait(self, message, reply)
        else:
            _checked(link, self, message)
            reply = ForeignLoopReply(loop.create_future(), loop)
            link.system.scheduler.signal(link.offers.from_afar, (RemoteRef[A](link, self.target), message, reply))
        future = reply.future
        try:
            async with asyncio.timeout_at(due.deadline if due.deadline < math.inf else None):
                await future
        except TimeoutError:
            if future.done() and not future.cancelled():  # it was sent at this very moment
                future.result()
                return
            if due.inherited:
                raise DeadlineExceeded("no time is left of the request being handled", inherited=True) from None
            raise link.no_room(self) from None
        finally:
            if future.cancelled() and here:
                link.offers.withdraw(self, reply)
            elif future.cancelled():
                link.system.scheduler.signal(link.offers.withdraw, (self, reply))

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        link = self.link
        future: Answer[Any] = Answer(
            link.system.scheduler, f"ask({type(message).__name__})", "await ref.call(message)", self
        )
        if block:
            future.refuse_on_loop()
        _checked(link, self, message)
        left, inherited = time_left(timeout) if block else (timeout, False)
        request, signal = _Request(link, self, message, ThreadReply(future)), link.system.scheduler.signal
        signal(request.send_from_afar, (left,))
        # Once nobody has the answer to come, nobody waits: both nodes forget the request.
        finalize(future, signal, request.forget, ()).atexit = False
        if not block:
            return future
        try:
            return future.get(timeout=timeout)
        except DeadlineExceeded as late:  # its node was the first to see it
            late.inherited = inherited
            raise
        finally:
            signal(request.forget, ())

    # --- ending ---

    def stop(self) -> Answer[bool]:
        future: Answer[bool] = Answer(self.link.system.scheduler, "stop().get()", "await ref.stop()", self)
        self._on_loop(lambda: self._stop(ThreadReply(future)))
        return future

    def _stop(self, reply: Reply) -> None:
        link = self.link
        if link.lost is not None:
            reply.set(False)
        else:
            link.calls.order(STOP, self, reply)

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        self._exit(speaker(), checked_reason(reason))

    def kill(self) -> None:
        self._on_loop(lambda: self.link.signal(KILL, self.target))

    def is_alive(self) -> bool:
        return self.link.lost is None

    async def ended(self, timeout: float | None = None) -> ExitReason:
        return await end(self, self.link.system.next_token(), timeout)

    # --- who it is ---

    @property
    def address(self) -> Address:
        return Address(*self.link.peer, self.target if type(self.target) is int else 0)

    @property
    def name(self) -> str | None:
        return None

    async def info(self, timeout: float = DEFAULT_TIMEOUT) -> Info:
        info: Info = await self._inspect("info", timeout)
        return info

    def __repr__(self) -> str:
        if type(self.target) is str:
            return described("actor", self.target, self.link.peer.node)
        return described("actor", None, self.address)

    def __eq__(self, other: object) -> bool:
        return type(other) is RemoteRef and other.target == self.target and other._link_to.peer == self._link_to.peer

    def __hash__(self) -> int:
        return hash((self.target, self._link_to.peer))

    # --- for operators ---

    async def _inspect(self, what: str, timeout: float) -> Any:
        link = self.link
        if link.lost is not None:
            raise link.death(self)
        return await RemoteRef[Any](link, STEWARD).call(Show(self, what, timeout), timeout)

    def _trace(self, limit: int) -> Trace:
        return RemoteTrace(self, limit)

    # --- signals ---

    def _monitor(self, token: int, watcher: Watcher) -> None:
        self._on_loop(lambda: self.link.bonds.monitor(self, token, watcher))

    def _demonitor(self, token: int, watcher: Watcher) -> None:
        self._on_loop(lambda: self.link.bonds.demonitor(token))

    def _link(self, sender: ActorRef[Any]) -> None:
        self._on_loop(lambda: self.link.bonds.link(self, sender))

    def _unlink(self, sender: ActorRef[Any]) -> None:
        self._on_loop(lambda: self.link.bonds.unlink(self, sender))

    def _exit(self, sender: ActorRef[Any] | None, reason: ExitReason) -> None:
        self._on_loop(lambda: self.link.signal(EXIT, self.target, sender, reason))

    def _linked_exit(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        self._on_loop(lambda: self.link.bonds.linked_exit(self, sender, reason))

    def _on_loop(self, action: Callable[[], object]) -> None:
        """At once on the loop's thread: an actor's signals and messages to another keep the order they were sent in."""
        link = self.link
        if link.thread == get_ident():
            action()
        else:
            link.system.scheduler.signal(action, ())


class RemoteNamedRef(RemoteRef[A]):
    """Resolved on its own node at each use. While that node is down, a tell is a dead letter and a call fails."""

    __slots__ = ("_links", "node")

    def __init__(self, links: Links, node: str, name: str) -> None:
        self._links = links
        self.node = node
        self.target = name

    @property
    def link(self) -> Link:
        return self._links.towards(self.node)

    @property
    def scheduler(self) -> Scheduler:
        return self._links.system.scheduler

    def tell(self, message: Any) -> None:
        RemoteRef[A](self.link, self.target).tell(message)

    @property
    def name(self) -> str:
        return str(self.target)

    def __repr__(self) -> str:
        return described("actor", self.name, self.node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteNamedRef) and (other.target, other.node) == (self.target, self.node)

    def __hash__(self) -> int:
        return hash((self.target, self.node))


class _Request:
    """One open request: sent on the loop's thread, and forgotten there when nobody waits any more."""

    __slots__ = ("_link", "_message", "_number", "_ref", "_reply")

    def __init__(self, link: Link, ref: RemoteRef[Any], message: Any, reply: Reply) -> None:
        self._link = link
        self._ref = ref
        self._message = message
        self._reply = reply
        self._number = 0

    def send(self, remaining: float | None, sender: ActorRef[Any] | None = None, trace: bytes = b"") -> None:
        self._number = self._link.calls.ask(self._ref, self._message, self._reply, remaining, sender, trace)

    def send_from_afar(self, remaining: float | None, *context: Any) -> None:
        """From another thread: an error goes to whoever waits there."""
        try:
            self.send(remaining, *context)
        except UnderstudyError as error:
            self._reply.fail(error)

    def forget(self) -> None:
        self._link.calls.forget(self._number)


def _from_afar(link: Link, ref: RemoteRef[Any], message: Any) -> None:
    """A tell from another thread: refused there if it cannot be sent, then handed to the loop."""
    _checked(link, ref, message)
    if link.full and link.lost is None:
        link.obstructed(ref, message)
    link.system.scheduler.signal(link.send, (ref, message))


def _checked(link: Link, ref: RemoteRef[Any], message: Any) -> None:
    """Raise here and now what the loop's thread could only report."""
    check_crossing(link.links, ref.target, message)


def check_crossing(links: Links, target: int | str, message: Any) -> None:
    """Raise NotRegistered or TooLarge for a message that may not cross the wire."""
    Encoder(links.export, _unannounced).item(TELL, target, message)


def _unannounced(definition: bytes) -> None:
    """A trial announces nothing."""

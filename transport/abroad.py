"""What a node's own actors can have done on other nodes: `system.nodes`, filled in. The other side is the steward there.

place ── choose a node (placement.py) ──▶ spawn_on; one that is gone, drains or is full after all ──▶ the next one
spawn_on ── Spawn ──▶ steward of that node        is up?  ── links: a life of it is known that is not over
   ▲ reference ◀──┘     ▲
   └─ Kept, or Forsaken ┘                          exactly one of the two follows each Spawn, whatever happens here
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, cast

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    Assembly,
    Cell,
    Draining,
    Failure,
    NameTaken,
    NodeDown,
    NoRoom,
    NotRegistered,
    Shutdown,
    StartFailed,
)
from understudy.actors.deadlines import waiting_time
from understudy.actors.mortician import ALIVE
from understudy.actors.names import checked_name
from understudy.actors.nodes import Stage
from understudy.actors.replies import LoopReply
from understudy.transport.classes import named
from understudy.transport.drain import Drains, Step
from understudy.transport.frames import Peer
from understudy.transport.operations import TELL
from understudy.transport.placement import Hold, Placement, Wanted
from understudy.transport.remote import RemoteRef
from understudy.transport.steward import STEWARD, Forsaken, Kept, NotStarted, Placed, Spawn
from understudy.transport.traceback import caused

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.links import Links
    from understudy.transport.registry import Registry

A = TypeVar("A", bound=Actor)


class Abroad:
    """`steward`, `placement` and `drains` are those of this node. On the loop only."""

    def __init__(self, links: Links, steward: ActorRef[Any], placement: Placement, drains: Drains) -> None:
        self._links = links
        self._system = links.system
        self._steward = steward
        self._placement = placement
        self._drains = drains
        self._numbers = count(1)
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}
        links.presented = self._came_up

    @property
    def groups(self) -> Assembly:
        """See `Nodes`."""
        return self._links.groups

    def ref(self, node: str, name: str) -> ActorRef[Any]:
        """See `Nodes`."""
        return self._links.named(node, name)

    def entity(self, kind: str, key: str) -> ActorRef[Any]:
        """See `Nodes`."""
        return self._links.entity(kind, key)

    def cluster_ref(self, name: str) -> ActorRef[Any]:
        """See `Nodes`."""
        return self._registry.ref(name)

    async def register(self, name: str, ref: ActorRef[Any]) -> int:
        """See `Nodes`."""
        return await self._registry.register(name, ref)

    async def unregister(self, name: str) -> None:
        """See `Nodes`."""
        await self._registry.unregister(name)

    @property
    def _registry(self) -> Registry:
        if self._links.registry is None:
            raise RuntimeError(f"the node {self._system.name!r} is in no cluster yet")
        return self._links.registry

    def is_up(self, node: str) -> bool:
        """See `Nodes`."""
        if node == self._system.name:
            return True
        return self._links.towards(node).lost is None and not self._placement.is_stopping(node)

    async def up(self, node: str) -> None:
        """See `Nodes`."""
        while not self.is_up(node):
            waiting = self._awaited.setdefault(node, [])
            future: asyncio.Future[None] = self._system.loop.create_future()
            waiting.append(future)
            try:
                await future
            finally:
                waiting.remove(future)

    def _came_up(self, peer: Peer) -> None:
        for future in self._awaited.get(peer.node, ()):
            if not future.done():
                future.set_result(None)

    def has_room(self, role: str | None, tags: tuple[str, ...]) -> bool:
        """See `Nodes`."""
        return self._placement.has_room(role, tags)

    async def room(self, role: str | None, tags: tuple[str, ...]) -> None:
        """See `Nodes`."""
        await self._placement.room(role, tags)

    def is_draining(self, node: str) -> bool:
        """See `Nodes`."""
        return self._placement.is_draining(node)

    def is_stopping(self, node: str) -> bool:
        """See `Nodes`."""
        return self._placement.is_stopping(node)

    async def drains(self, node: str) -> None:
        """See `Nodes`."""
        await self._placement.drains(node)

    @property
    def draining(self) -> bool:
        """See `Nodes`."""
        return self._placement.draining

    def at_drain(self, stage: Stage, name: str, step: Step) -> Callable[[], None]:
        """See `Nodes`."""
        return self._drains.add(stage, name, step)

    def refuses(self) -> str:
        """See `Nodes`."""
        return self._placement.refuses()

    def hold(self, kind: str) -> Hold:
        """See `Nodes`."""
        return self._placement.hold(kind)

    async def place(
        self,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        role: str | None,
        tags: tuple[str, ...],
        name: str | None,
        timeout: float,
        owner: Cell[Any] | None = None,
        restarts: int = 0,
    ) -> ActorRef[A]:
        """See `Nodes`."""
        clock, left = self._system.loop.time, timeout
        due = clock() + timeout
        refused: dict[str, str] = {}
        while True:
            node = self._chosen(role, tags, refused)
            try:
                return await self.spawn_on(
                    node, cls, args, kwargs,
                    name=name, timeout=left, owner=owner, restarts=restarts, placed=True,
                )  # fmt: skip
            except (ActorDied, Draining) as error:  # its steward is gone, or its node: nothing of it is left there
                refused[node] = str(error)
                left = due - clock()
                if left <= 0:
                    late = Failure("TimeoutError", f"no node took it within {timeout} s: {'; '.join(refused.values())}")
                    raise StartFailed(f"{cls.__name__} on a node of {Wanted(role, tags)}", late) from None

    def _chosen(self, role: str | None, tags: tuple[str, ...], refused: dict[str, str]) -> str:
        placement = self._placement
        if not refused:
            return placement.choose(role, tags)
        try:
            return placement.choose(role, tags, placement.loads().keys() - refused.keys())
        except NoRoom:
            raise placement.no_room(Wanted(role, tags), refused) from None

    async def spawn_on(
        self,
        node: str,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        name: str | None,
        timeout: float,
        owner: Cell[Any] | None = None,
        restarts: int = 0,
        placed: bool = False,
    ) -> ActorRef[A]:
        """See `Nodes`. `placed`: the node was chosen for its free capacity, and refuses with Draining if it has none."""
        seconds = _checked(node, cls, name, timeout)
        system = self._system
        if not system.scheduler.here():
            raise RuntimeError(f"spawn_on belongs on the loop of the node {system.name!r}")
        if node == system.name:
            return await self._spawn_here(cls, args, kwargs, name, seconds, owner)
        link = self._links.towards(node)
        if link.lost is not None:
            raise NodeDown(link.lost, f"the node {node!r}")
        order = Spawn(
            next(self._numbers), self._steward, owner, named(cls), args, kwargs, name, timeout, restarts, placed
        )
        future: asyncio.Future[Any] = system.loop.create_future()
        request = link.calls.ask(RemoteRef[Any](link, STEWARD), order, LoopReply(future), seconds, urgent=True)
        kept = False
        try:
            async with asyncio.timeout(seconds):
                answer = await future
            if isinstance(answer, Placed | NotStarted) and answer.load is not None:
                self._placement.heard(answer.load)
            answer = answer.ref if isinstance(answer, Placed) else answer
            kept = not isinstance(answer, RemoteRef) or self._keep(link, order, answer, owner)
        except TimeoutError:
            late = Failure("TimeoutError", f"no answer came within {timeout} s; should it start after all, it is ended")
            raise StartFailed(f"{cls.__name__} on {node}", late) from None
        except ActorDied:
            if self._placement.is_stopping(node):  # and has ended its steward already
                raise Draining(f"the node {node!r} stops, and takes nothing new") from None
            raise
        finally:
            link.calls.forget(request)
            if not kept:
                _say(link, Forsaken(order.number, self._steward))
        if isinstance(answer, RemoteRef):
            return cast("ActorRef[A]", answer)
        raise _error(answer, node)

    async def _spawn_here(
        self,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        timeout: float | None,
        owner: Cell[Any] | None,
    ) -> ActorRef[A]:
        hold = self._placement.hold("actor")
        try:
            if owner is None:
                made = await self._system.spawn(cls, *args, name=name, start_timeout=timeout, **kwargs)
            else:
                made = await self._system.spawn_child(owner, cls, args, kwargs, name, timeout)
        except BaseException:
            hold.drop()
            raise
        hold.until_end_of(made)  # its spawner is here, and knows
        return made

    def _keep(self, link: Link, order: Spawn, ref: RemoteRef[Any], owner: Cell[Any] | None) -> bool:
        """Take what has come. From here to the return of `spawn_on` nothing is awaited: whoever is cancelled has not got it."""
        if link.lost is not None:
            raise NodeDown(link.lost, f"the node {link.peer.node!r}")
        if owner is not None:
            if owner.stage != ALIVE:
                raise StartFailed(repr(ref), Shutdown(f"its parent {owner!r} ended meanwhile"))
            owner.tied().links.add(ref)
            link.bonds.tie(owner, ref)
        _say(link, Kept(order.number, self._steward))
        return True


def _say(link: Link, message: Kept | Forsaken) -> None:
    """Tell its steward, however full the outbox is: this must pass."""
    if link.lost is None:
        link.push(link.encoder.item(TELL, STEWARD, message))


def _checked(node: str, cls: type[Actor], name: str | None, timeout: float) -> float | None:
    if not isinstance(node, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"spawn_on takes the name of a node first, not {node!r}")
    if not (isinstance(cls, type) and issubclass(cls, Actor)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"spawn_on takes a subclass of Actor, not {cls!r}")
    if name is not None:
        checked_name(name)
    return waiting_time(timeout)


def _error(answer: Any, node: str) -> Exception:
    match answer:
        case NotStarted("taken", text, _):
            return NameTaken(f"on {node}: {text}")
        case NotStarted("unknown", text, _):
            return NotRegistered(f"{node}: {text}")
        case NotStarted("refused", text, _):
            return Draining(text)
        case NotStarted(_, who, reason):
            return caused(StartFailed(who, reason), node, reason)
        case _:
            return StartFailed(f"an actor on {node}", Failure("TypeError", f"its steward answered {answer!r}"))

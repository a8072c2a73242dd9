"""Names of the cluster, as a node offers them: registered actors, singletons, entities, and references to whoever has a name."""

from __future__ import annotations

from typing import Any, TypeVar

from understudy.actors import Actor, ActorRef
from understudy.transport.entities import IDLE, Entities
from understudy.transport.registry import Registry
from understudy.transport.singleton import Singletons

T = TypeVar("T")


class Naming:
    """That part of a node."""

    _registry: Registry | None = None
    _singletons: Singletons | None = None
    _entities: Entities | None = None

    @property
    def registry(self) -> Registry:
        """The actors of this node that have a name of the cluster, and the way to whoever has one."""
        return started(self._registry)

    async def register(self, name: str, ref: ActorRef[Any]) -> int:
        """Give an actor of this node a name that nobody else in the cluster has, until it ends; returns the fence.

        Raises NameTaken if somebody living has it, ActorDied if the actor has ended, TableError, Draining; ValueError for what is
        no name; TypeError for what is no actor of this node.
        """
        return await self.registry.register(name, ref)

    async def unregister(self, name: str) -> None:
        """Take that name from the actor of this node that has it; it lives on. Nothing happens if there is none.

        Raises TableError if the table cannot be told now; it is told as soon as it can be.
        """
        await self.registry.unregister(name)

    def cluster_ref(self, name: str) -> ActorRef[Any]:
        """Whoever has that name in the cluster when it is used, here or elsewhere, through every move.

        What is told while nobody has it waits, for 10 seconds at most; a call until its deadline. Raises ValueError for what is no
        name, and for an entity's: `entity` is the way to that.
        """
        return self.registry.ref(name)

    async def singleton(
        self, name: str, cls: type[Actor], *args: Any, role: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Be a candidate for having `cls(*args, **kwargs)`, of which one runs in the cluster, under that name; returns the
        reference to it, wherever it is. `role`: only if this node has it, so that all nodes may say the same.

        It does not wait until one runs: what is sent before does. One begins elsewhere within 10 s of the death of its node, at
        once when that drains or leaves; one that ends, however it does, begins again. ValueError for what is no name, and for a
        name that this node is a candidate for already.
        """
        return started(self._singletons).add(name, cls, args, kwargs, role)

    @property
    def entities(self) -> Entities:
        """The actors by kind and key: what runs here, and the ways to those elsewhere. See `entity` and `host`."""
        return started(self._entities)

    def host(
        self,
        kind: str,
        cls: type[Actor],
        *args: Any,
        role: str | None = None,
        idle: float = IDLE,
        **kwargs: Any,
    ) -> None:
        """From now on entities of that kind may run here, each made as `cls(key, *args, **kwargs)`. `role`: only if this node has
        it, so that all nodes may say the same. `idle`: seconds without a message after which one is ended; math.inf: never.

        Raises ValueError for what cannot be a kind, and one that is hosted here already.
        """
        started(self._entities).add(kind, cls, args, kwargs, role, idle)

    async def unhost(self, kind: str, timeout: float = 60.0) -> None:
        """End the entities of that kind that run here, in order; who needs them next has them on another node.

        Raises ValueError if the kind is not hosted here, TimeoutError if some have not ended within `timeout` seconds.
        """
        await started(self._entities).remove(kind, timeout)

    def entity(self, kind: str, key: str) -> ActorRef[Any]:
        """The entity of that kind and key, as node.entity("room", "lobby"): what is sent to it starts it where it may run, if it
        runs nowhere. Raises ValueError for what cannot be a kind or a key."""
        return started(self._entities).ref(kind, key)


def started(part: T | None) -> T:
    """That part of a node. RuntimeError before the node has started."""
    if part is None:
        raise RuntimeError("the node is not started: use `async with Node(...) as node`")
    return part

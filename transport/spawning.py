"""Starting actors, as a node offers it: here, on a node that is named, or on one that is chosen (`placement.py`)."""

from __future__ import annotations

import asyncio
import math
from typing import Any, TypeVar, overload

from understudy.actors import SPAWN_TIMEOUT, Actor, ActorRef, ActorSystem, NoConnection, NodeDown
from understudy.actors.deadlines import waiting_time
from understudy.actors.nodes import start_on

A = TypeVar("A", bound=Actor)


class Spawning:
    """That part of a node."""

    @property
    def system(self) -> ActorSystem:
        """The actors of this node."""
        raise NotImplementedError

    async def spawn(self, cls: type[A], *args: Any, name: str | None = None, **kwargs: Any) -> ActorRef[A]:
        """Start a top-level actor here; see `ActorSystem.spawn`."""
        return await self.system.spawn(cls, *args, name=name, **kwargs)

    @overload
    async def spawn_on(
        self,
        where: str,
        cls: type[A],
        /,
        *args: Any,
        name: str | None = None,
        timeout: float = SPAWN_TIMEOUT,
        **kwargs: Any,
    ) -> ActorRef[A]: ...

    @overload
    async def spawn_on(
        self,
        where: type[A],
        /,
        *args: Any,
        role: str | None = None,
        tags: tuple[str, ...] = (),
        name: str | None = None,
        timeout: float = SPAWN_TIMEOUT,
        **kwargs: Any,
    ) -> ActorRef[A]: ...

    async def spawn_on(
        self,
        where: str | type[Any],
        /,
        *args: Any,
        role: str | None = None,
        tags: tuple[str, ...] = (),
        name: str | None = None,
        timeout: float = SPAWN_TIMEOUT,
        **kwargs: Any,
    ) -> ActorRef[Any]:
        """Start a top-level actor elsewhere, where its class is imported: `spawn_on("engine-1", Engine, ...)` on that node,
        `spawn_on(Engine, ..., role="engine", tags=("gpu",))` on the one with the most free capacity of those that have the role
        and all tags. It outlives this node; `self.spawn_on` of an actor starts a child. `timeout`: seconds for all of it.

        Raises StartFailed (its reason and trace are those of over there), NameTaken, NotRegistered and TooLarge for what may not
        cross, NotRegistered for a class that is not there; NodeDown (at once, if no such node is up) and Draining (it takes
        nothing new) of a node that was named, NoRoom if none can be chosen. Nothing is left behind then, there neither.
        """
        return await start_on(self.system.nodes, where, args, kwargs, role=role, tags=tags, name=name, timeout=timeout)

    async def up(self, node: str, timeout: float = math.inf) -> None:
        """Wait until that node is there. NodeDown after `timeout` seconds."""
        try:
            async with asyncio.timeout(waiting_time(timeout)):
                await self.system.nodes.up(node)
        except TimeoutError:
            raise NodeDown(NoConnection(f"it was not there within {timeout} s"), f"the node {node!r}") from None

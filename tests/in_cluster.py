"""Tests on real nodes in virtual time, and what they share: the cluster they run in, and how they wait and look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from understudy.actors import ActorRef
from understudy.simulation import Cluster, Simulation
from understudy.supervisors import WhichChildren
from understudy.transport import Node

DECLARED = 8.0
"""Seconds in which a death is declared."""

Test: TypeAlias = Callable[[Cluster], Awaitable[None]]


def in_cluster(*names: str, **more: Any) -> Callable[[Test], Callable[[], None]]:
    """Run the test in a simulated cluster of these nodes, which have met; the role of each stands before its hyphen."""

    async def begin(cluster: Cluster) -> None:
        for name in names:
            await cluster.start(name, roles=(name.partition("-")[0],), **more)

    return in_cluster_of(begin)


def in_cluster_of(begin: Test) -> Callable[[Test], Callable[[], None]]:
    """Run the test in a simulated cluster of the nodes that `begin` starts, which have met."""

    def decorate(test: Test) -> Callable[[], None]:
        def run() -> None:
            simulation = Simulation(7)

            async def main() -> None:
                async with Cluster(simulation) as cluster:
                    await begin(cluster)
                    await cluster.met()
                    await test(cluster)

            simulation.run(main)

        run.__name__ = test.__name__
        run.__doc__ = test.__doc__
        return run

    return decorate


class Events:
    """What a node's supervisors tell of."""

    def __init__(self, node: Node, *kinds: type) -> None:
        self.seen: list[Any] = []
        for kind in kinds:
            node.system.hooks.subscribe(kind, self.seen.append)


async def rows(boss: ActorRef[Any]) -> dict[str, Any]:
    """The children of a supervisor, by their ids."""
    return {row.id: row for row in await boss.call(WhichChildren())}


async def until(predicate: Callable[[], object], within: float = 30.0) -> None:
    """Wait until it is so; TimeoutError after so many seconds."""
    async with asyncio.timeout(within):
        while not predicate():  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.01)

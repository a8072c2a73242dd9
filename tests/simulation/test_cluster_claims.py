"""Who has a name on five nodes, whatever happens to all of them: the claims alone, without an actor behind them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress

import pytest

from tests.properties import OF_CLUSTERS
from tests.simulation.realm import Realm
from understudy.actors import Draining
from understudy.simulation import Simulation
from understudy.transport import Name, Node, TableError

NAMES = ("north", "south", "west")

HELD_FOR = (0.2, 6.0)
"""Seconds for which a node holds a name before it gives it up, at least and at most; half of them keep it."""


class March(Realm):
    """Every node would like to have every name, and holds each for a while."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.held: dict[Node, dict[str, Name]] = defaultdict(dict)
        self.calm = False

    async def inhabit(self, node: Node) -> None:
        node.names.on_lost(lambda name, fence: self.lost(node, name, fence))
        for name in NAMES:
            self.does(self.march(node, name))

    def lost(self, node: Node, name: str, fence: int) -> None:
        """It may not have been told yet that it had the name: then it never is."""
        held = self.held[node].pop(name, None)
        assert held is None or held.fence == fence, f"{node.name} is told that it lost {name} under {fence}, not {held}"

    async def march(self, node: Node, name: str) -> None:
        """Claim the name, hold it, give it up; again and again."""
        simulation = self.simulation
        while True:
            with suppress(TableError, Draining):
                row = await node.names.claim(name)
                if row is not None:
                    assert (row.name, row.node, row.incarnation) == (name, node.name, node.incarnation)
                    assert row in node.names.mine(), "it was lost before it was had"
                    self.held[node][name] = row
                    await asyncio.sleep(simulation.delay(*HELD_FOR, "held"))
                    keep = self.calm or simulation.chance(0.5, "kept")
                    if not keep and self.held[node].pop(name, None) is not None:
                        await node.names.release(name)
                        continue
            with suppress(TimeoutError):
                async with asyncio.timeout(simulation.delay(0.5, 2.0, "patience")):
                    await node.names.moved(name)

    async def check(self) -> None:
        """Each name is held by one of the living, and all of them say by whom, as the table does."""
        rows = {row.name: row for row in (await self.record.read()).names}
        living = self.survivors()
        for name in NAMES:
            [holder] = [node for node in living if name in self.held[node]]
            row = rows[name]
            assert self.held[holder][name] == row, f"{holder.name} holds {self.held[holder][name]}, the table has {row}"
            assert row in holder.names.mine()
            for node in living:
                assert node.names.owner(name) == row, f"{node.name} says {node.names.owner(name)}, the table has {row}"


@pytest.mark.seeds(OF_CLUSTERS)
async def test_each_name_is_held_by_one_living_node_within_ten_seconds_of_quiet(simulation: Simulation) -> None:
    async with March(simulation) as realm:
        await realm.trouble()
        realm.calm = True
        await realm.quiet()
        realm.record.check()
        await realm.check()

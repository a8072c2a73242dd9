"""Names, singletons and their fences on five nodes, whatever happens to all of them.

Afterwards: one writer was accepted for each fence; within ten seconds of quiet every name has an owner that lives, and every
node names the same one and reaches it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.properties import OF_CLUSTERS
from tests.simulation.realm import NODES, Realm
from tests.simulation.scribes import Scribe, Who
from understudy.actors import ActorDied, Draining, NameTaken, StartFailed
from understudy.simulation import Simulation
from understudy.transport import Node, TableError

DESKS = ("desk-1", "desk-2")
"""Names that an actor on each node would like to have."""

LIGHTS = ("sun", "moon")
"""Singletons that each node is a candidate for."""

REACHED_WITHIN = 1.0
"""Seconds that an owner takes to answer when all is well."""


class Capital(Realm):
    """A realm where every node wants every name."""

    agrees_on = "all_see_a_living_owner"

    async def inhabit(self, node: Node) -> None:
        for title in LIGHTS:
            await node.singleton(title, Scribe, title, node, self)
        for title in DESKS:
            self.does(self.contend(node, title))

    async def contend(self, node: Node, title: str) -> None:
        """Have the name whenever nobody else has it."""
        with suppress(StartFailed):  # the node ends
            scribe = await node.spawn(Scribe, title, node, self)
            while True:
                heir = await node.spawn(Scribe, title, node, self)  # is there when the other one ends
                while scribe.is_alive():
                    moved = node.names.moved(title)
                    try:
                        await node.register(title, scribe)
                    except (TableError, Draining):
                        await asyncio.sleep(1.0)
                    except (NameTaken, ActorDied):
                        await asyncio.wait((moved,), timeout=2.0)
                    else:
                        scribe.tell("begin")
                        await scribe.ended()
                scribe = heir

    async def unrest(self) -> None:
        """Owners end by themselves now and then, wherever they are."""
        for _ in range(self.simulation.random.randrange(4)):
            await asyncio.sleep(self.simulation.delay(0, 4, "unrest"))
            node = self.cluster.node(self.simulation.choose(self.cluster.running() or NODES, "messenger"))
            node.cluster_ref(self.simulation.choose(LIGHTS + DESKS, "whose end")).tell("crash")

    def agreed(self) -> bool:
        """See Realm."""
        living = self.survivors()
        lives = {(node.name, node.incarnation) for node in living}
        rows = [self.record.history[title][-1] for title in LIGHTS + DESKS if self.record.history[title]]
        return len(rows) == len(LIGHTS + DESKS) and all(
            (row.node, row.incarnation) in lives and all(node.names.owner(row.name) == row for node in living)
            for row in rows
        )

    async def check_owners(self) -> None:
        """Everybody says the same of every name, as the table does, and reaches whoever lives there."""
        rows = {row.name: row for row in (await self.record.read()).names}
        lives = {(node.name, node.incarnation): node for node in self.survivors()}
        for title in LIGHTS + DESKS:
            row = rows[title]
            assert (row.node, row.incarnation) in lives, f"{title} has a ghost for an owner, or none: {row}"
            whoever = set[tuple[str, int]]()
            for node in lives.values():
                assert node.names.owner(title) == row, (
                    f"{node.name} says of {title}: {node.names.owner(title)}, not {row}"
                )
                who, fence = await node.cluster_ref(title).call(Who(), REACHED_WITHIN)
                whoever.add((who, fence))
            [(who, fence)] = whoever
            assert [fence, *who.split()[:2]] == [row.fence, row.node, str(row.incarnation)], (
                f"{who} is {title}, not {row}"
            )


@pytest.mark.seeds(OF_CLUSTERS)
async def test_a_name_has_one_accepted_writer_for_each_fence_and_an_owner_within_ten_seconds_of_quiet(
    simulation: Simulation,
) -> None:
    async with Capital(simulation) as realm:
        await asyncio.gather(realm.trouble(), realm.unrest())
        await realm.quiet()
        realm.record.check()
        await realm.check_owners()
        assert realm.record.writes

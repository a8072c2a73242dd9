"""Nodes with keys, in virtual time: new keys and revocations under a bad network, whenever they come."""

from __future__ import annotations

import asyncio

import pytest

from tests.properties import OF_NODES
from understudy.actors import Actor, message
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node

NAMES = ("a", "b", "c")

SETTLED = 30.0
"""Seconds in which everybody knows everybody's new key, once the network is well."""


@message("test.line")
class Line:
    """A numbered line of a node."""

    node: str
    number: int


class Listener(Actor):
    """Keeps what it is told, by whom."""

    def __init__(self, heard: dict[str, list[int]]) -> None:
        super().__init__()
        self.heard = heard

    def on_receive(self, message: object) -> None:
        match message:
            case Line(node, number):
                self.heard.setdefault(node, []).append(number)
            case _:
                self.unhandled(message)


async def open_all(cluster: Cluster) -> dict[str, dict[str, list[int]]]:
    heard: dict[str, dict[str, list[int]]] = {name: {} for name in NAMES}
    for name in NAMES:

        async def listen(node: Node) -> None:
            await node.spawn(Listener, heard[node.name], name="listener")

        await cluster.start(name, listen)
    await cluster.met()
    return heard


def settled(cluster: Cluster) -> bool:
    for name in NAMES:
        mine = cluster.keys(name)
        read = mine.read()
        assert read is not None
        others = [cluster.keys(other).read() for other in NAMES if other != name]
        if (
            read[1].next
            or len(read[1].own[name]) > 1
            or any(other is None or other[1].trusted[name] != (mine.public(name),) for other in others)
        ):
            return False
    return True


@pytest.mark.seeds(OF_NODES)
async def test_keys_change_at_any_time_and_every_message_arrives_once_and_in_order(simulation: Simulation) -> None:
    async with Cluster(simulation, probe_misses=30, keys=True) as cluster:
        heard = await open_all(cluster)
        said = 0
        for step in range(40):
            for name in NAMES:
                for other in NAMES:
                    if other != name:
                        cluster.node(name).ref(f"listener@{other}").tell(Line(name, said))
            said += 1
            await asyncio.sleep(0.25)
            if step % 8 == 3:
                name = simulation.choose(NAMES, "a new key")
                cluster.note(f"{name} has a new key")
                cluster.keys(name).rotate(name)
            if simulation.chance(0.1, "a cut"):
                cluster.network.cut(NAMES[step % 3])
            if simulation.chance(0.1, "a bad line"):
                cluster.network.lose(0.2)
            if simulation.chance(0.1, "a partition"):
                cluster.network.partition(NAMES[step % 3], NAMES[(step + 1) % 3])
            if simulation.chance(0.2, "all is well"):
                cluster.network.heal()
        cluster.mend()
        async with asyncio.timeout(SETTLED):
            while not settled(cluster):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.1)
        await cluster.met()
        for name in NAMES:
            for other in NAMES:
                if other != name:
                    await cluster.node(name).drained(cluster.node(name).ref(f"listener@{other}"))
        await asyncio.sleep(1.0)
        everything = list(range(said))
        assert heard == {name: {other: everything for other in NAMES if other != name} for name in NAMES}


@pytest.mark.seeds(OF_NODES)
async def test_who_is_revoked_is_heard_no_more_and_the_others_go_on(simulation: Simulation) -> None:
    async with Cluster(simulation, keys=True) as cluster:
        heard = await open_all(cluster)
        outcast = cluster.node("c")
        talking = asyncio.create_task(_talk(outcast))
        await asyncio.sleep(2.0 * simulation.random.random())
        cluster.keys("a").revoke("c")
        await asyncio.sleep(1.5)
        until = len(heard["a"].get("c", ()))
        await asyncio.sleep(10.0)
        assert len(heard["a"].get("c", ())) == until
        for name in ("a", "b"):
            assert [row.status for row in cluster.node(name).members() if row.node == "c"] == ["dead"]
        assert "its key was revoked on a" in await outcast.ended()
        talking.cancel()
        cluster.node("a").ref("listener@b").tell(Line("a", 0))
        await asyncio.sleep(1.0)
        assert heard["b"]["a"] == [0]


async def _talk(node: Node) -> None:
    number = 0
    while True:
        for other in ("a", "b"):
            node.ref(f"listener@{other}").tell(Line(node.name, number))
        number += 1
        await asyncio.sleep(0.05)

"""Nodes that speak different versions of the protocol: the newest that both speak, or a clear refusal and no more than that."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.properties import OF_NODES
from tests.sides import Add, Total
from tests.sides import Counter as Adder
from understudy.actors import ActorRef, DeadLetter, NodeDown
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node, PeerUnreachable, links


async def start(cluster: Cluster, name: str, oldest: int, newest: int) -> Node:
    """A node that speaks these versions."""
    ours = links.SPOKEN
    links.SPOKEN = range(oldest, newest + 1)
    try:
        return await cluster.start(name, lambda node: node.spawn(Adder, name="adder"))
    finally:
        links.SPOKEN = ours


def adder(here: Node, there: Node) -> ActorRef[Any]:
    return here.ref(f"adder@{there.name}")


def spoken(here: Node, there: Node) -> int:
    return here.links.towards(there.name).out.version


@pytest.mark.seeds(OF_NODES)
async def test_the_newest_version_that_both_speak_is_spoken(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        old = await start(cluster, "old", 1, 1)
        both = await start(cluster, "both", 1, 2)
        new = await start(cluster, "new", 1, 7)
        await cluster.met()
        for here, there, version in ((old, both, 1), (both, new, 2), (old, new, 1)):
            for one, other in ((here, there), (there, here)):
                adder(one, other).tell(Add(2))
                assert await adder(one, other).call(Total()) >= 2
                assert spoken(one, other) == version


@pytest.mark.seeds(OF_NODES)
async def test_nodes_without_a_common_version_refuse_each_other_once_say_so_and_let_each_other_live(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        frames: Counter[str] = Counter()
        note = cluster.network.note

        def counted(line: str) -> None:
            frames[line.split(" arrives")[0]] += 1
            note(line)

        cluster.network.note = counted
        old = await start(cluster, "old", 1, 1)
        both = await start(cluster, "both", 1, 2)
        new = await start(cluster, "new", 2, 2)
        await cluster.met()
        silent: list[object] = []
        for here, there in ((old, new), (new, old)):
            here.system.hooks.subscribe(PeerUnreachable, silent.append)
            letters: list[DeadLetter] = []
            here.system.hooks.subscribe(DeadLetter, letters.append)
            with pytest.raises(NodeDown, match=r"expected protocol version \d, got version \d: update the older"):
                await adder(here, there).call(Total())
            adder(here, there).tell(Add(1))
            await asyncio.sleep(0.1)
            assert len(letters) == 1
            assert "protocol version" in letters[0].reason
            assert await adder(here, both).call(Total()) == 0
            assert await adder(both, here).call(Total()) == 0
        await asyncio.sleep(60)
        assert not silent
        assert all(len([m for m in node.members() if m.status == "active"]) == 3 for node in (old, both, new))
        for way in ("old>new", "new>old"):
            assert 1 <= frames[f"{way} b'H'"] <= 5, frames
        assert old.links.unreadable == new.links.unreadable == 1

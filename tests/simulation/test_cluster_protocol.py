"""The protocol of the members, on whole nodes: who dies, who says so, and what becomes of what the dead had."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from understudy.actors import Actor, ActorRef, ExitReason, Killed, Request, message
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node, TableUnavailable

WITHIN = 10.0
"""Seconds in which whatever was the dead's has another owner."""


@message("protocol.count")
class Count(Request[int]):
    """One more; how many there were."""


class Counter(Actor):
    def __init__(self, last_words: list[str] | None = None) -> None:
        super().__init__()
        self.count = 0
        self.last_words = last_words

    def on_stop(self, reason: ExitReason) -> None:
        if self.last_words is not None:
            self.last_words.append(str(reason))

    def on_receive(self, message: object) -> object:
        match message:
            case Count():
                self.count += 1
                return self.count
            case _:
                return self.unhandled(message)


async def named(cluster: Cluster, node: str, name: str, last_words: list[str] | None = None) -> ActorRef[Any]:
    async def begin(node: Node) -> ActorRef[Any]:
        ref = await node.spawn(Counter, last_words)
        await node.register(name, ref)
        return ref

    return await cluster.run(node, begin(cluster.node(node)))


def active(node: Node) -> set[str]:
    return {row.node for row in node.members() if row.status == "active"}


@pytest.mark.seeds(10)
@pytest.mark.parametrize(("nodes", "dying"), [("abc", 2), ("abcde", 3)])
async def test_most_die_together_and_the_rest_declare_them_dead_and_have_their_names(
    simulation: Simulation, nodes: str, dying: int
) -> None:
    async with Cluster(simulation) as cluster:
        for name in nodes:
            await cluster.start(name)
        await cluster.met()
        for name in nodes:
            await named(cluster, name, f"desk of {name}")
        dead = [simulation.choose(list(nodes), "who dies")]
        while len(dead) < dying:
            dead.append(simulation.choose([name for name in nodes if name not in dead], "who dies, too"))
        how = simulation.choose(["crash", "pause"], "how")
        for name in dead:
            cluster.crash(name) if how == "crash" else cluster.pause(name)
        await asyncio.sleep(WITHIN)
        living = [cluster.node(name) for name in nodes if name not in dead]
        for node in living:
            assert active(node) == set(nodes) - set(dead)
        heir = living[0]
        for name in dead:
            assert await cluster.run(heir.name, heir.names.claim(f"desk of {name}")) is not None
        for name in dead:
            if how == "pause":
                cluster.resume(name)
                assert "declared this node dead" in await cluster.node(name).ended()


@pytest.mark.seeds(10)
async def test_a_node_that_reaches_nobody_but_the_table_dies_alone_says_so_and_ends_what_it_had(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        for name in "abc":
            await cluster.start(name)
        await cluster.met()
        a = cluster.node("a")
        last_words: list[str] = []
        counter = await named(cluster, "a", "counter", last_words)
        fence = a.names.fence("counter")
        assert fence > 0
        cluster.network.isolate("a")
        async with asyncio.timeout(WITHIN):
            why = await a.ended()
        assert "the others declared this node dead: did not answer b and c" in why
        assert await counter.ended() == Killed()
        assert last_words == [], "whoever has lost its name does nothing more, not even clean up"
        b = cluster.node("b")
        assert active(b) == {"b", "c"}
        row = await cluster.run("b", b.names.claim("counter"))
        assert row is not None
        assert row.fence > fence


async def test_while_the_table_is_away_nothing_dies_no_name_is_lost_and_joins_resume_with_it(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        for name in "abc":
            await cluster.start(name)
        await cluster.met()
        counter = await named(cluster, "a", "counter")
        of_a = cluster.node("b").cluster_ref("counter")
        answered = await cluster.run("b", of_a.call(Count()))

        async def load() -> None:
            nonlocal answered
            for _ in range(300):
                answered = await of_a.call(Count())
                await asyncio.sleep(0.1)

        loading = asyncio.ensure_future(cluster.run("b", load()))
        cluster.table.fail(1.0)
        await asyncio.sleep(10)
        with pytest.raises(TableUnavailable):
            await cluster.start("d")
        cluster.crash("c")
        await asyncio.sleep(15)
        assert active(cluster.node("a")) == {"a", "b", "c"}
        await loading
        assert answered == 301
        cluster.table.mend()
        await cluster.restart("d")
        await asyncio.sleep(WITHIN)
        for name in "abd":
            assert active(cluster.node(name)) == {"a", "b", "d"}
            owner = cluster.node(name).names.owner("counter")
            assert owner is not None
            assert owner.node == "a"
        assert counter.is_alive()


async def test_a_node_that_is_started_again_finds_the_names_of_its_former_life_free(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        await cluster.start("b")
        await cluster.met()
        await named(cluster, "a", "counter")
        fence = a.names.fence("counter")
        a = await cluster.restart("a")
        async with asyncio.timeout(0.5):
            await named(cluster, "a", "counter")
        assert a.names.fence("counter") > fence


@pytest.mark.seeds(10)
async def test_who_stood_still_accuses_nobody_of_what_it_missed(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        for name in "abc":
            await cluster.start(name)
        await cluster.met()
        await asyncio.sleep(simulation.delay(0, 2, "until it stands still"))
        cluster.pause("a")
        await asyncio.sleep(simulation.delay(0.5, 2.5, "how long"))
        cluster.resume("a")
        for _ in range(100):
            await asyncio.sleep(0.05)
            rows = (await cluster.table.rows.read()).members
            assert not [row for row in rows if any(vote.node == "a" for vote in row.suspicions)]
        assert active(cluster.node("a")) == set("abc")

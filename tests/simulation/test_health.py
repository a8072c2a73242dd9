"""What a node sees of the others' health: silence is told at once, death only by the table, and nothing hangs meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.properties import OF_NODES
from understudy.actors import Actor, DeadlineExceeded, Down, NoConnection, NodeDown, Request, message
from understudy.simulation import Cluster, Simulation
from understudy.transport import LinkMetrics, Node, PeerReachable, PeerUnreachable

SEEN_WITHIN = 5.0
"""Seconds until a silence is told: three probes, each begun a second after the one before."""

BACK_WITHIN = 7.0
"""Seconds from the table's return to the death: the next round votes, or the poll reads."""


@message("health.count")
class Count(Request[int]):
    n: int


class Adder(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: Count) -> int:
        self.total += message.n
        return self.total


class Watcher(Actor):
    """Keeps what it is told, with the time."""

    def __init__(self, there: Any, downs: list[tuple[float, Down]]) -> None:
        super().__init__()
        self.there = there
        self.downs = downs

    def on_start(self) -> None:
        self.monitor(self.there)

    def on_receive(self, message: object) -> object:
        if isinstance(message, Down):
            self.downs.append((asyncio.get_running_loop().time(), message))
        return None


async def staffed(node: Node) -> None:
    await node.spawn(Adder, name="adder")


def now() -> float:
    return asyncio.get_running_loop().time()


def silences(node: Node) -> list[PeerUnreachable | PeerReachable]:
    told: list[PeerUnreachable | PeerReachable] = []
    node.system.hooks.subscribe(PeerUnreachable, told.append)
    node.system.hooks.subscribe(PeerReachable, told.append)
    return told


async def passed(condition: Any, within: float) -> float:
    """Wait for it; how long that took."""
    begun = now()
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.05)
    return now() - begun


async def meeting(cluster: Cluster) -> tuple[Node, list[tuple[float, Down]], list[PeerUnreachable | PeerReachable]]:
    """A stage with somebody on it, and an attic that watches it."""
    await cluster.start("stage", staffed)
    attic = await cluster.start("attic")
    await cluster.met()
    downs: list[tuple[float, Down]] = []
    await cluster.run("attic", attic.spawn(Watcher, attic.ref("adder@stage"), downs))
    assert await attic.ref("adder@stage").call(Count(1)) == 1
    return attic, downs, silences(attic)


@pytest.mark.seeds(OF_NODES)
async def test_while_the_table_is_away_calls_end_silence_is_told_and_the_down_comes_with_the_table(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        attic, downs, told = await meeting(cluster)
        cluster.table.fail(1.0)
        await asyncio.sleep(simulation.delay(0, 8))
        cluster.crash("stage")
        begun = now()
        with pytest.raises(DeadlineExceeded):
            await attic.ref("adder@stage").call(Count(1), timeout=2.0)
        assert now() - begun < 2.1
        await passed(lambda: told, SEEN_WITHIN)
        await asyncio.sleep(simulation.delay(0, 60))
        assert not downs
        [silence] = told
        assert isinstance(silence, PeerUnreachable)
        assert (silence.node, silence.why) == ("stage", "it does not answer")
        assert attic.trouble
        waiting = asyncio.create_task(attic.ref("adder@stage").call(Count(1), timeout=60.0))
        cluster.table.mend()
        await passed(lambda: downs, BACK_WITHIN)
        with pytest.raises(NodeDown):
            await waiting
        assert [type(down.reason) for _, down in downs] == [NoConnection]
        assert told == [silence]


@pytest.mark.seeds(OF_NODES)
async def test_a_newer_life_that_says_hello_fires_the_down_at_once_though_the_table_is_away(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        attic, downs, told = await meeting(cluster)
        cluster.table.fail(1.0, "attic")
        await asyncio.sleep(simulation.delay(0, 3))
        cluster.crash("stage")
        await passed(lambda: told, SEEN_WITHIN)
        await asyncio.sleep(simulation.delay(0, 20))
        assert not downs
        await cluster.restart("stage")
        await passed(lambda: downs, 2.5)
        assert await attic.ref("adder@stage").call(Count(5)) == 5
        assert len(downs) == 1
        assert [type(event) for event in told] == [PeerUnreachable]


@pytest.mark.seeds(OF_NODES)
async def test_a_node_whose_loop_is_held_for_less_than_ten_seconds_lives_and_answers_what_waited(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        attic, downs, told = await meeting(cluster)
        await asyncio.sleep(simulation.delay(0, 2))
        cluster.block("stage")
        seconds = simulation.delay(5.0, 8.5)
        waiting = asyncio.create_task(attic.ref("adder@stage").call(Count(1), timeout=30.0))
        await asyncio.sleep(seconds)
        [silence] = told
        assert isinstance(silence, PeerUnreachable)
        assert "something holds its loop" in silence.why
        cluster.resume("stage")
        assert await waiting == 2
        await passed(lambda: len(told) == 2, 3.0)
        answer = told[1]
        assert isinstance(answer, PeerReachable)
        assert 0 < answer.seconds < seconds
        await asyncio.sleep(20)
        assert not downs
        assert len(told) == 2


@pytest.mark.seeds(OF_NODES)
async def test_a_node_whose_loop_is_held_is_dead_within_a_second_of_its_limit_and_a_stopped_one_much_sooner(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        _, downs, _ = await meeting(cluster)
        await asyncio.sleep(simulation.delay(0, 2))
        held = simulation.choose([True, False])
        (cluster.block if held else cluster.pause)("stage")
        taken = await passed(lambda: downs, 20.0)
        assert 9.0 < taken < 11.1 if held else taken < 6.0
        cluster.resume("stage")


@pytest.mark.seeds(OF_NODES)
async def test_links_are_measured_for_whoever_asks_and_told_to_whoever_subscribed(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        attic, _, _ = await meeting(cluster)
        cluster.network.slow(0.05)
        adder = attic.ref("adder@stage")
        for _ in range(10):
            await adder.call(Count(1))
        await asyncio.sleep(1)
        [link] = attic.metrics()
        assert (link.node, link.connected, link.queued_bytes, link.unacknowledged) == ("stage", True, 0, 0)
        assert link.round_trip is not None
        assert 0.02 < link.round_trip < 0.2
        assert link.frames_in >= 10 <= link.frames_out
        cluster.network.partition("stage", "attic")
        adder.tell(Count(1))
        await asyncio.sleep(0.1)
        [cut] = attic.metrics()
        assert cut.queued_frames == 1
        assert cut.queued_bytes > 20
        heard: list[LinkMetrics] = []
        stop = attic.system.hooks.subscribe(LinkMetrics, heard.append)
        await asyncio.sleep(2)
        cluster.network.heal()
        await asyncio.sleep(14)
        assert 3 <= len(heard) <= 4
        assert heard[-1].resends > 0 or heard[-1].queued_frames == 0
        stop()
        await asyncio.sleep(0.1)
        heard.clear()
        await asyncio.sleep(20)
        assert not heard

"""Who is in the cluster, whatever happens to its nodes, their network and their table.

Every life of every node keeps what it is told of the others. Afterwards that is held against what really happened.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from understudy.actors import Actor, ActorRef, Request, message
from understudy.simulation import Cluster, Simulation, faults
from understudy.transport import Node, NodeLost, NodeUp

DECLARED_WITHIN = 8.0
"""Seconds from a death to the news of it while network and table are well: three missed probes, two votes, one reading."""

MET_WITHIN = 1.0
"""Seconds from a node's joining until everybody knows it, if the table tells."""


@dataclass
class Diary:
    """What one life of a node was told."""

    node: Node
    lines: list[NodeUp | NodeLost | Chat] = field(default_factory=list)

    @property
    def lost(self) -> list[tuple[str, int]]:
        return [(line.node, line.incarnation) for line in self.lines if isinstance(line, NodeLost)]


@message("test.where")
class Where(Request[int]):
    """Answered with the incarnation of the node it reached."""


@message("test.chat")
class Chat:
    """Something that a life of a node said."""

    node: str
    incarnation: int


class Talker(Actor):
    """Says who it is, again and again."""

    def __init__(self, other: ActorRef[Any]) -> None:
        super().__init__()
        self.other = other

    def on_start(self) -> None:
        self.send_every(0.2, "talk")

    def on_receive(self, message: object) -> None:
        node, incarnation, _ = self.actor_ref.address
        self.other.tell(Chat(node, incarnation))


class Witness(Actor):
    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.diary = diary

    def on_receive(self, message: object) -> object:
        match message:
            case NodeUp() | NodeLost() | Chat():
                self.diary.lines.append(message)
                return None
            case Where():
                return self.actor_ref.address.incarnation
            case _:
                return self.unhandled(message)


class Witnesses:
    """A cluster whose nodes all keep diaries."""

    def __init__(self, simulation: Simulation, cluster: Cluster, count: int) -> None:
        self.cluster = cluster
        self.simulation = simulation
        self.names = [f"node-{number}" for number in range(1, count + 1)]
        self.diaries: list[Diary] = []

    async def begin(self) -> None:
        await asyncio.gather(*(self.cluster.start(name, self.setup) for name in self.names))
        await self.meet(60)

    async def meet(self, within: float) -> None:
        """Wait until all know each other, and it stands in their diaries."""
        await self.cluster.met(within)
        await asyncio.sleep(0.01)

    async def setup(self, node: Node) -> None:
        diary = Diary(node)
        self.diaries.append(diary)
        node.subscribe(await node.spawn(Witness, diary, name="witness"))

    def present(self) -> list[Diary]:
        """The diaries of those who live."""
        running = [self.cluster.node(name) for name in self.cluster.running()]
        return [diary for diary in self.diaries if diary.node in running]

    def check_order(self) -> None:
        """Of each node: up, lost, up, lost; every loss that of the life that was up; every life newer than the last."""
        for diary in self.diaries:
            up: dict[str, int] = {}
            last: dict[str, int] = {}
            for line in diary.lines:
                match line:
                    case NodeUp(member):
                        assert member.node not in up, f"{member.node} came up twice: {diary}"
                        assert member.incarnation > last.get(member.node, -1), f"{member.node} came back: {diary}"
                        up[member.node] = last[member.node] = member.incarnation
                    case Chat(node, incarnation):
                        assert up.get(node, incarnation) == incarnation, f"a word of another life of {node}: {diary}"
                        assert incarnation > last.get(node, -1) or node in up, f"{node} talked when dead: {diary}"
                    case NodeLost(node, incarnation):
                        assert up.pop(node, None) == incarnation, f"{node} was lost and had not been up: {diary}"
            assert diary.node.name not in last, f"it was told of itself: {diary}"

    def check_views(self) -> None:
        """Whoever lives sees everybody who lives, and nobody else."""
        lives = {(diary.node.name, diary.node.incarnation) for diary in self.present()}
        for diary in self.present():
            up = {line.member.key for line in diary.lines if isinstance(line, NodeUp)} - set(diary.lost)
            assert up == lives - {(diary.node.name, diary.node.incarnation)}


@pytest.mark.seeds(300)
async def test_while_all_is_well_nobody_is_ever_declared_dead(simulation: Simulation) -> None:
    """Well: frames take up to a third of a probe's time, some are lost now and then, the table is no hurry."""
    async with Cluster(simulation) as cluster:
        cluster.network.slow(0.0, simulation.delay(0, 0.12, "network"))
        cluster.table.slow(0.0, simulation.delay(0, 0.3, "table"))
        witnesses = Witnesses(simulation, cluster, simulation.choose([2, 3, 4]))
        await witnesses.begin()
        cluster.network.cut(witnesses.names[0])
        await asyncio.sleep(12)
        assert [diary.lost for diary in witnesses.diaries] == [[]] * len(witnesses.names)
        witnesses.check_views()


@pytest.mark.seeds(300)
async def test_killed_nodes_are_lost_to_all_others_in_time_and_their_next_lives_are_met(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, simulation.choose([2, 3, 4, 5]))
        await witnesses.begin()
        await asyncio.sleep(simulation.delay(0, 2, "calm"))
        count = simulation.choose(range(1, len(witnesses.names)), "deaths")
        killed = sorted(simulation.random.sample(witnesses.names, count))
        lives = [(name, cluster.node(name).incarnation) for name in killed]
        for name in killed:
            cluster.crash(name)
            await asyncio.sleep(simulation.choose([0, 0, 0.5], "between deaths"))
        await asyncio.sleep(DECLARED_WITHIN * (1 if len(killed) < len(witnesses.names) - 1 else 2))
        for diary in witnesses.present():
            assert sorted(diary.lost) == lives
        await asyncio.gather(*(cluster.restart(name) for name in killed))
        await witnesses.meet(MET_WITHIN)
        witnesses.check_order()
        witnesses.check_views()


@pytest.mark.seeds(300)
async def test_a_node_that_stood_still_for_too_long_ends_itself_and_nobody_else(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, simulation.choose([2, 3, 4]))
        await witnesses.begin()
        victim, *others = simulation.random.sample(witnesses.names, len(witnesses.names))
        life, ended = cluster.node(victim).incarnation, asyncio.ensure_future(cluster.node(victim).ended())
        if simulation.chance(0.5, "cut off"):
            cluster.network.isolate(victim)
            if len(others) == 1:  # of two that do not hear each other either may be the one: let it be this
                cluster.pause(victim)
        else:
            cluster.pause(victim)
        await asyncio.sleep(DECLARED_WITHIN + simulation.delay(0, 5, "longer"))
        for name in others:
            [diary] = [diary for diary in witnesses.diaries if diary.node.name == name]
            assert diary.lost == [(victim, life)]
        cluster.network.heal()
        cluster.resume(victim)
        reason = await asyncio.wait_for(ended, 10)
        assert "declared this node dead" in reason
        assert victim not in cluster.running()
        await cluster.restart(victim)
        await witnesses.meet(10)
        witnesses.check_order()
        witnesses.check_views()


@pytest.mark.seeds(300)
async def test_nodes_whom_only_one_other_does_not_hear_are_not_declared_dead(simulation: Simulation) -> None:
    """Two must miss a node at the same time. That another one missed it before, and has heard it since, does not count."""
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, simulation.choose([3, 3, 3, 4]))
        await witnesses.begin()
        for _ in range(2):
            one, other = simulation.random.sample(witnesses.names, 2)
            one_way = simulation.chance(0.3, "one way")
            cluster.network.partition(one, other, one_way=one_way)
            await asyncio.sleep(simulation.delay(3.0, 5.0, "trouble"))
            cluster.network.heal()
            await asyncio.sleep(3.5)  # the line is up again, the next probe answered, the vote withdrawn
        assert [diary.lost for diary in witnesses.diaries] == [[]] * len(witnesses.names)
        witnesses.check_views()


@pytest.mark.seeds(300)
async def test_nothing_is_heard_of_a_life_that_was_declared_dead_and_it_learns_of_it_from_whom_it_talks_to(
    simulation: Simulation,
) -> None:
    """Though it was cut off before it had said its first word, and the table tells it nothing."""
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, simulation.choose([2, 2, 3]))
        await witnesses.begin()
        *others, victim = witnesses.names
        cluster.crash(victim)
        booting = asyncio.ensure_future(cluster.restart(victim))
        await asyncio.sleep(simulation.delay(0, 0.3, "to boot"))
        for other in others:  # nobody hears it, and perhaps it hears nobody
            cluster.network.partition(victim, other, one_way=simulation.chance(0.5, "one way"))
        node = await booting
        life, ended = node.incarnation, asyncio.ensure_future(node.ended())
        cluster.table.fail(1.0, victim)
        talkers = [await cluster.run(victim, node.spawn(Talker, node.ref(f"witness@{other}"))) for other in others]
        assert all(talker.is_alive() for talker in talkers)
        await asyncio.sleep(DECLARED_WITHIN + simulation.delay(0, 2, "longer"))
        for name in others:
            assert (victim, life) not in {row.key for row in cluster.node(name).members() if row.status == "active"}
        cluster.network.heal()
        reason = await asyncio.wait_for(ended, 10)
        assert "declared this node dead" in reason
        witnesses.check_order()
        assert set(cluster.running()) == set(others)


@pytest.mark.seeds(300)
async def test_after_any_faults_all_who_live_agree_on_who_lives(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, simulation.choose([2, 3, 4]))
        await witnesses.begin()
        kinds = faults.NETWORK + 3 * faults.NODES + 2 * faults.TABLE
        script = faults.plan(simulation, witnesses.names, kinds, seconds=8, most=8, longest=6.0)
        await faults.play(cluster, script)
        await asyncio.sleep(DECLARED_WITHIN)
        await witnesses.meet(DECLARED_WITHIN)
        witnesses.check_order()
        witnesses.check_views()
        assert cluster.running(), "somebody must survive"
        if not any(fault.kind in ("partition", "deafen", "pause", "slow", "lose") for fault in script):
            assert set(cluster.running()) == set(witnesses.names), "nothing that happened is a reason to end a node"


@pytest.mark.seeds(300)
async def test_nodes_that_use_the_table_of_another_over_its_link_agree_too(simulation: Simulation) -> None:
    """The one that serves it is started again as well: its table is a file, the others find it by its new address."""
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, simulation.choose([2, 2, 3]))
        seed, *guests = witnesses.names
        await cluster.start(seed, witnesses.setup)
        await asyncio.gather(*(cluster.start(name, witnesses.setup, join=seed) for name in guests))
        await witnesses.meet(60)
        keeper = asyncio.ensure_future(cluster.keep_alive())
        kinds = faults.NETWORK + 3 * faults.NODES
        await faults.play(cluster, faults.plan(simulation, witnesses.names, kinds, seconds=6, longest=5.0))
        await asyncio.sleep(DECLARED_WITHIN)  # whoever is to be declared dead is by now
        while len(cluster.running()) < len(witnesses.names):  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.5)
        await witnesses.meet(20)
        keeper.cancel()
        witnesses.check_order()
        witnesses.check_views()


@pytest.mark.seeds(300)
async def test_a_node_that_cannot_reach_the_table_meets_the_next_life_of_another_all_the_same(
    simulation: Simulation,
) -> None:
    """It says HELLO, and so the life before is over: nobody has to wait for the table to know that."""
    async with Cluster(simulation) as cluster:
        witnesses = Witnesses(simulation, cluster, 2)
        await witnesses.begin()
        one, other = simulation.random.sample(witnesses.names, 2)
        [diary] = [diary for diary in witnesses.diaries if diary.node.name == one]
        cluster.table.fail(1.0, one)
        await asyncio.sleep(simulation.delay(0, 2, "calm"))
        before = cluster.node(other).incarnation
        after = (await cluster.restart(other)).incarnation
        await asyncio.sleep(MET_WITHIN)
        assert diary.lost == [(other, before)]
        assert await cluster.node(one).ref(f"witness@{other}").call(Where()) == after
        cluster.table.mend()
        await witnesses.meet(10)
        witnesses.check_order()
        witnesses.check_views()

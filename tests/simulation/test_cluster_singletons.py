"""Singletons: one runs, somewhere, whatever happens to its node and to itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from understudy.actors import Actor, ActorRef, NodeDown, Request, UnderstudyError, message
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node

WITHIN = 10.0
"""Seconds from a death to the next life, while network and table are well."""


@message("singletons.where")
class Where(Request[list[Any]]):
    """The node and the fence."""


@message("singletons.note")
class Note:
    what: Any


@message("singletons.crash")
class Crash:
    pass


class Leader(Actor):
    """Writes down its lives: where, under which fence, and what it was told."""

    def __init__(self, diary: list[list[Any]]) -> None:
        super().__init__()
        self.diary = diary

    def on_start(self) -> None:
        self.diary.append([self.system.name, self.fence])

    def on_receive(self, message: object) -> object:
        match message:
            case Where():
                return [self.system.name, self.fence]
            case Note(what):
                self.diary.append([self.fence, what])
                return None
            case Crash():
                raise ValueError("as it was told")
            case _:
                return self.unhandled(message)


class Busy(Leader):
    """Takes its time over each note."""

    async def on_receive(self, message: object) -> object:
        if isinstance(message, Note):
            await asyncio.sleep(0.03)
        return super().on_receive(message)


class Slow(Leader):
    """Takes two seconds over whatever it is."""

    async def on_receive(self, message: object) -> object:
        await asyncio.sleep(2.0)
        return super().on_receive(message)


class Endless(Leader):
    """Is never done with a note."""

    async def on_receive(self, message: object) -> object:
        if isinstance(message, Note):
            self.diary.append(["at work", self.actor_ref])
            await asyncio.sleep(3600)
        return super().on_receive(message)


class Elected:
    """A cluster, all of whose nodes are candidates."""

    def __init__(self, cluster: Cluster, role: str | None = None, cls: type[Leader] = Leader) -> None:
        self.cls = cls
        self.cluster = cluster
        self.diary: list[list[Any]] = []
        self.role = role

    async def candidate(self, node: Node) -> None:
        await node.singleton("leader", self.cls, self.diary, role=self.role)

    async def begin(self, *names: str, roles: dict[str, str] | None = None) -> list[Node]:
        nodes = [
            await self.cluster.start(
                name, self.candidate, roles=(roles[name],) if roles is not None and name in roles else ()
            )
            for name in names
        ]
        await self.cluster.met()
        return nodes

    async def where(self, asker: str, timeout: float = WITHIN) -> tuple[str, int]:
        leader: ActorRef[Any] = self.cluster.node(asker).cluster_ref("leader")
        node, fence = await self.cluster.run(asker, leader.call(Where(), timeout))
        return node, fence


@pytest.mark.seeds(20)
async def test_one_runs_and_every_node_reaches_it(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster)
        await elected.begin("a", "b", "c")
        [answer] = {await elected.where(name) for name in "abc"}
        assert elected.diary == [list(answer)]


@pytest.mark.seeds(20)
async def test_it_runs_elsewhere_within_ten_seconds_of_its_nodes_death(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster)
        await elected.begin("a", "b", "c")
        node, fence = await elected.where("a")
        how = simulation.choose(["crash", "pause", "isolate", "block"], "how it dies")
        within = WITHIN
        match how:
            case "crash":
                cluster.crash(node)
            case "pause":
                cluster.pause(node)
            case "block":
                cluster.block(node)
                within = WITHIN + 10.0  # its connections stand: it is given that long first
            case _:
                cluster.network.isolate(node)
        asker = simulation.choose([name for name in "abc" if name != node], "who asks")
        began = simulation.time
        while True:  # what is sent to a node that is not known to be dead fails with it
            try:
                other, higher = await elected.where(asker, 1.0)
            except Exception:  # noqa: BLE001 - NodeDown, or no time left
                assert simulation.time - began < within
                continue
            break
        assert other != node
        assert higher > fence
        assert simulation.time - began <= within


async def test_it_moves_at_once_when_its_node_drains_or_stops_and_a_drain_loses_nothing(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster, cls=Busy)
        await elected.begin("a", "b", "c")
        node, fence = await elected.where("a")
        asker = next(name for name in "abc" if name != node)
        leader = cluster.node(asker).cluster_ref("leader")

        async def speak() -> None:
            for number in range(100):
                leader.tell(Note(number))
                await asyncio.sleep(0.01)

        speaking = asyncio.ensure_future(cluster.run(asker, speak()))
        await asyncio.sleep(0.3)
        began = simulation.time
        report = await cluster.run(node, cluster.node(node).drain(30.0))
        assert report.complete, str(report)
        other, higher = await elected.where(asker)
        assert simulation.time - began < 5.0  # what had come took three of them
        assert (other != node, higher > fence) == (True, True)
        await speaking
        await elected.where(asker)
        assert sorted(line[1] for line in elected.diary if isinstance(line[0], int)) == list(range(100))
        await cluster.stop(other)
        began = simulation.time
        last = next(name for name in "abc" if name not in (node, other))
        third, highest = await elected.where(last)
        assert (third, highest > higher) == (last, True)
        assert simulation.time - began < 2.0


@pytest.mark.seeds(5)
@pytest.mark.parametrize("successor", ["there", "late"])
async def test_a_node_leaves_when_what_came_meanwhile_has_gone_to_the_next_one_and_is_answered(
    simulation: Simulation, successor: str
) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster, role="candidate", cls=Slow)
        await elected.begin("a", "c", roles={"a": "candidate"})
        assert (await elected.where("c"))[0] == "a"
        if successor == "there":
            await elected.begin("b", roles={"b": "candidate"})
        leader = cluster.node("c").cluster_ref("leader")

        async def tell(what: str) -> None:
            leader.tell(Note(what))

        await cluster.run("c", tell("before"))
        await asyncio.sleep(0.5)
        leaving = asyncio.ensure_future(cluster.leave("a"))
        await asyncio.sleep(1.0)  # its last life still handles the first one
        await cluster.run("c", tell("meanwhile"))
        asked = asyncio.ensure_future(elected.where("c", 30.0))
        if successor == "late":
            await asyncio.sleep(3.0)
            await elected.begin("b", roles={"b": "candidate"})
        node, fence = await asked
        assert node == "b"
        assert [fence, "meanwhile"] in elected.diary
        await leaving


async def test_a_crash_begins_another_life_with_a_fence_of_its_own_and_a_node_where_it_always_crashes_lets_others_have_it(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster)
        await elected.begin("a", "b")
        leader = cluster.node("a").cluster_ref("leader")
        seen = {await elected.where("a")}
        for _ in range(8):
            cluster.node("a").system.scheduler.signal(leader.tell, (Crash(),))
            await asyncio.sleep(0.1)
            now = await elected.where("a", 60.0)
            assert now not in seen
            seen.add(now)
        fences = [line[1] for line in elected.diary]
        assert fences == sorted(set(fences))
        assert {node for node, _ in seen} == {"a", "b"}


async def test_a_node_that_cannot_start_it_leaves_it_to_one_that_can(simulation: Simulation) -> None:
    class Picky(Leader):
        def on_start(self) -> None:
            if self.system.name != "c":
                raise OSError("not here")
            super().on_start()

    async with Cluster(simulation) as cluster:
        diary: list[list[Any]] = []

        async def candidate(node: Node) -> None:
            await node.singleton("leader", Picky, diary)

        for name in "abc":
            await cluster.start(name, candidate)
        elected = Elected(cluster)
        node, fence = await elected.where("a", 30.0)
        assert node == "c"
        assert diary == [["c", fence]]


async def test_only_nodes_of_the_role_are_candidates(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster, role="engine")
        await elected.begin("a", "b", "c", roles={"b": "engine"})
        assert (await elected.where("a"))[0] == "b"
        cluster.crash("b")
        await asyncio.sleep(20)
        assert len(elected.diary) == 1


async def test_one_that_its_node_loses_while_it_starts_never_lives(simulation: Simulation) -> None:
    class Slow(Leader):
        async def on_start(self) -> None:  # type: ignore[override]
            await asyncio.sleep(8)
            super().on_start()

    async with Cluster(simulation) as cluster:
        diary: list[list[Any]] = []

        async def candidate(node: Node) -> None:
            await node.singleton("leader", Slow, diary)

        for name in "abc":
            await cluster.start(name, candidate)
        await cluster.met()
        await cluster.node("a").names.look()
        owner = cluster.node("a").names.owner("leader")
        assert owner is not None
        cluster.network.isolate(owner.node)
        asker = next(name for name in "abc" if name != owner.node)
        with pytest.raises(NodeDown):  # it waited there
            await Elected(cluster).where(asker, 60.0)
        node, fence = await Elected(cluster).where(asker, 60.0)
        assert node != owner.node
        assert diary == [[node, fence]]


async def test_one_whose_node_loses_it_while_it_is_handed_over_is_dead_at_once(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster, cls=Endless)
        await elected.begin("a", "b", "c")
        name, _ = await elected.where("a")
        node = cluster.node(name)
        node.system.scheduler.signal(node.cluster_ref("leader").tell, (Note("begin"),))
        draining = asyncio.ensure_future(cluster.run(name, node.drain(60.0)))
        await asyncio.sleep(2.0)
        [leader] = [what for said, what in elected.diary if said == "at work"]
        assert leader.is_alive()
        lost = asyncio.get_running_loop().create_future()
        node.names.on_lost(lambda *_: lost.set_result(leader.is_alive()))
        cluster.network.isolate(name)
        assert await lost is False
        await asyncio.wait([draining])
        assert isinstance(draining.exception(), UnderstudyError)


async def test_table_away_nothing_moves_and_one_that_crashes_begins_again_with_it(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        elected = Elected(cluster)
        await elected.begin("a", "b")
        before = await elected.where("a")
        cluster.table.fail(1.0)
        await asyncio.sleep(30)
        assert await elected.where("b") == before
        leader = cluster.node("a").cluster_ref("leader")
        cluster.node("a").system.scheduler.signal(leader.tell, (Crash(),))
        await asyncio.sleep(5)
        assert len(elected.diary) == 1
        cluster.table.mend()
        _, fence = await elected.where("b")
        assert fence > before[1]

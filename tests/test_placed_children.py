"""Supervisors whose children are placed by role: at each start, when their node dies, and when it drains. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.emigrants import Emigrant, Obstinate, Say
from tests.in_cluster import DECLARED, Events, in_cluster, rows
from understudy.actors import (
    Actor,
    ActorRef,
    Draining,
    ExitReason,
    Normal,
    NoRoom,
    Refused,
    Request,
    Restarted,
    StartFailed,
    message,
)
from understudy.simulation import Cluster
from understudy.supervisors import (
    Awaited,
    Child,
    DynamicSupervisor,
    StartAnother,
    StartChild,
    Supervisor,
)


@message("test.placed.add")
class Add:
    """One more, after a while."""

    number: int


@message("test.placed.ended")
class WhoEnded(Request[list[str]]):
    """What the diary says."""


DIARY: list[tuple[str, list[int], ExitReason]] = []
"""Who ended where, with which numbers, and how: outside of all nodes."""


class Counting(Actor):
    """Takes its time for each number."""

    async def on_receive(self, message: object) -> object:
        match message:
            case Add(number):
                await asyncio.sleep(0.1)
                self.numbers.append(number)
                return len(self.numbers)
            case Say("where"):
                return self.system.name
            case _:
                return self.unhandled(message)

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def on_stop(self, reason: ExitReason) -> None:
        DIARY.append((self.system.name, self.numbers, reason))


@pytest.fixture(autouse=True)
def empty_diary() -> None:
    """Each test begins with a clean page."""
    DIARY.clear()


async def until_placed(boss: ActorRef[Any], where: Callable[[dict[str, Any]], object], within: float = 30.0) -> Any:
    async with asyncio.timeout(within):
        while True:
            now = await rows(boss)
            if all(row.ref is not None for row in now.values()) and where(now):
                return now
            await asyncio.sleep(0.05)


def placed(name: str, cls: Any = Emigrant, **more: Any) -> Child:
    return Child(cls, name=name, role="engine", **more)


@in_cluster("stage", "engine-1", "engine-2")
async def test_children_are_placed_on_the_nodes_of_their_role_at_each_start_and_restart(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    told = Events(stage, Restarted)
    boss = await stage.spawn(Supervisor, [placed("a"), placed("b"), Child(Emigrant, name="c")], intensity=3)
    before = await rows(boss)
    assert {before["a"].node, before["b"].node} == {"engine-1", "engine-2"}
    assert (before["a"].role, before["c"].node, before["c"].role) == ("engine", None, None)
    assert await before["a"].ref.call(Say("where")) == before["a"].node
    before["a"].ref.tell(Say("raise", "boom"))
    after = await until_placed(boss, lambda now: now["a"].restarts == 1)
    assert after["a"].node in ("engine-1", "engine-2")
    assert after["b"].ref == before["b"].ref
    assert [event.id for event in told.seen] == ["a"]


@in_cluster("stage", "engine-1", "engine-2")
async def test_when_its_node_dies_a_child_is_started_on_another_one_at_once_and_that_counts_once(
    cluster: Cluster,
) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(Supervisor, [placed(name) for name in "abcd"], intensity=1, period=3_600.0)
    before = await rows(boss)
    assert sorted(row.node for row in before.values()) == ["engine-1", "engine-1", "engine-2", "engine-2"]
    cluster.crash("engine-1")
    after = await until_placed(boss, lambda now: all(row.node == "engine-2" for row in now.values()), DECLARED)
    assert {id_ for id_ in "abcd" if after[id_].ref != before[id_].ref} == {
        id_ for id_ in "abcd" if before[id_].node == "engine-1"
    }
    assert sum(row.restarts for row in after.values()) == 2


@in_cluster("stage", "engine-1")
async def test_while_no_node_has_room_a_child_waits_and_nobody_gives_up(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    awaited = Events(stage, Awaited)
    boss = await stage.spawn(Supervisor, [placed("a"), placed("b")], intensity=1, period=3_600.0, name="boss")
    cluster.crash("engine-1")
    async with asyncio.timeout(DECLARED):
        while len(awaited.seen) < 2:  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.05)
    assert {(event.node, event.role) for event in awaited.seen} == {("", "engine")}
    assert {row.state for row in (await rows(boss)).values()} == {"restarting"}
    await asyncio.sleep(60.0)
    with pytest.raises(Refused, match="no node has room for one more with the role 'engine'"):
        await boss.call(StartChild(placed("c")))
    await cluster.start("engine-3", roles=("engine",))
    after = await until_placed(boss, lambda now: True, 3.0)
    assert {row.node for row in after.values()} == {"engine-3"}


@in_cluster("stage")
async def test_the_first_start_waits_for_a_node_of_the_role(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    starting = asyncio.ensure_future(stage.spawn(Supervisor, [placed("a")]))
    await asyncio.sleep(10.0)
    await cluster.start("engine-1", roles=("engine",))
    boss = await starting
    assert (await rows(boss))["a"].node == "engine-1"
    with pytest.raises(StartFailed, match="a node of the role 'gpu' with the tags big was not there with room"):
        await stage.spawn(Supervisor, [Child(Emigrant, role="gpu", tags=("big",), start_timeout=2.0)])


@in_cluster("stage", "engine-1", "engine-2")
async def test_when_its_node_drains_a_child_handles_what_it_has_and_is_started_elsewhere_and_that_is_no_failure(
    cluster: Cluster,
) -> None:
    stage = cluster.node("stage")
    told = Events(stage, Restarted)
    boss = await stage.spawn(Supervisor, [placed("a", Counting), placed("b", Counting)], intensity=0)
    before = await rows(boss)
    node = before["a"].node
    for number in range(10):
        before["a"].ref.tell(Add(number))
    await stage.drained(before["a"].ref)
    report = await cluster.run(node, cluster.node(node).drain())
    assert report.complete
    after = await rows(boss)
    assert after["a"].ref is not None
    assert after["a"].node != node
    assert await stage.ref(f"a@{after['a'].node}").call(Say("where")) == after["a"].node
    assert after["b"].ref == before["b"].ref
    assert [(event.id, event.restarts) for event in told.seen] == [("a", 1)]
    assert [(node, list(range(10)), Normal())] == DIARY, "all that had arrived was handled"


@in_cluster("stage", "engine-1", capacity=2)
async def test_the_children_on_the_last_node_of_their_role_stay_while_it_drains_and_the_report_says_so(
    cluster: Cluster,
) -> None:
    stage, engine = cluster.node("stage"), cluster.node("engine-1")
    boss = await stage.spawn(Supervisor, [placed("a"), placed("b")], name="boss")
    before = await rows(boss)
    report = await cluster.run("engine-1", engine.drain(5.0))
    assert len(report.left["children"]) == 2
    assert "'a' at engine-1" in report.left["children"][0]
    assert await rows(boss) == before, "better there than nowhere"
    await cluster.start("engine-2", roles=("engine",), capacity=1)
    now = await until_placed(boss, lambda now: "engine-2" in (now["a"].node, now["b"].node), 3.0)
    assert {now["a"].node, now["b"].node} == {"engine-1", "engine-2"}, "there is room for one"
    left = await cluster.run("engine-1", engine.leave(1.0))
    assert len(left.left["children"]) == 1
    await cluster.start("engine-3", roles=("engine",))
    now = await until_placed(boss, lambda now: True, 3.0)
    assert {now["a"].node, now["b"].node} == {"engine-2", "engine-3"}


@in_cluster("stage", "engine-1", "engine-2")
async def test_the_children_of_a_dynamic_supervisor_are_moved_and_known_as_before(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(DynamicSupervisor, Child(Emigrant, role="engine"), intensity=0)
    for number in range(6):
        await boss.call(StartAnother((number,)))
    before = await rows(boss)
    report = await cluster.run("engine-2", cluster.node("engine-2").drain())
    assert report.complete
    after = await rows(boss)
    assert after.keys() == before.keys()
    assert {row.node for row in after.values()} == {"engine-1"}
    for number, row in enumerate(after.values()):
        assert await row.ref.call(Say("given")) == [[number], {}]


@in_cluster("stage", "engine-1", "engine-2")
async def test_siblings_that_go_with_a_child_are_started_again_with_it_when_it_is_moved(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    first, last = Child(Emigrant, name="first"), Child(Emigrant, name="last")
    boss = await stage.spawn(Supervisor, [first, placed("a"), last], strategy="rest_for_one", intensity=0)
    before = await rows(boss)
    await cluster.run(before["a"].node, cluster.node(before["a"].node).drain())
    after = await rows(boss)
    assert [id_ for id_ in after if after[id_].ref != before[id_].ref] == ["a", "last"]
    assert all(row.ref is not None for row in after.values())


@in_cluster("stage", "engine-1", "engine-2")
async def test_a_temporary_child_is_not_moved_and_a_drain_waits_for_its_end(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(Supervisor, [placed("a", restart="temporary")])
    child = (await rows(boss))["a"]
    node = cluster.node(child.node)
    draining = asyncio.ensure_future(cluster.run(child.node, node.drain(30.0)))
    await asyncio.sleep(10.0)
    assert (await rows(boss))["a"].ref == child.ref
    child.ref.tell(Say("stop"))
    report = await draining
    assert report.complete
    assert 10.0 < report.seconds < 12.0


@in_cluster("stage", "engine-1", "engine-2")
async def test_a_drain_that_is_called_off_moves_nobody_more(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(Supervisor, [placed("a")])
    node = (await rows(boss))["a"].node
    other = {"engine-1": "engine-2", "engine-2": "engine-1"}[node]
    cluster.crash(other)
    await asyncio.sleep(DECLARED)

    async def briefly() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await cluster.node(node).drain()

    await cluster.run(node, briefly())
    await cluster.restart(other)
    await cluster.met()
    await asyncio.sleep(10.0)
    assert (await rows(boss))["a"].node == node
    report = await cluster.run(node, cluster.node(node).drain())
    assert report.complete
    assert (await rows(boss))["a"].node == other


@in_cluster("stage", "engine-1", "engine-2")
async def test_a_node_that_is_simply_stopped_is_no_place_for_its_children_any_more_and_that_is_no_failure(
    cluster: Cluster,
) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(Supervisor, [placed(name) for name in "abcd"], intensity=0)
    before = await rows(boss)
    await cluster.stop("engine-1")
    after = await until_placed(boss, lambda now: {row.node for row in now.values()} == {"engine-2"}, 3.0)
    assert {id_ for id_ in "abcd" if after[id_].ref == before[id_].ref} == {
        id_ for id_ in "abcd" if before[id_].node == "engine-2"
    }


@in_cluster("stage", "engine-1")
async def test_nobody_is_placed_on_a_node_that_stops_and_no_room_says_so(cluster: Cluster) -> None:
    stage, engine = cluster.node("stage"), cluster.node("engine-1")
    await engine.spawn(Obstinate)  # so that it takes a while
    stopping = asyncio.ensure_future(cluster.run("engine-1", engine.stop()))
    await asyncio.sleep(1.0)
    for _ in range(2):
        with pytest.raises(NoRoom, match="engine-1 stops; stage has the role stage"):
            await stage.spawn_on(Emigrant, role="engine")
    with pytest.raises(Draining, match="the node 'engine-1' stops"):
        await stage.spawn_on("engine-1", Emigrant)
    waiting = asyncio.ensure_future(stage.up("engine-1"))
    await stopping
    assert not waiting.done()
    await cluster.restart("engine-1")
    await waiting

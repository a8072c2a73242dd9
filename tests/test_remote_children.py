"""Supervisors with children on other nodes: in virtual time, on the virtual network, with deaths and cuts where they are wanted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.emigrants import Declining, Emigrant, Mother, Obstinate, Say, Trapping
from tests.in_cluster import DECLARED, Events, in_cluster, rows, until
from understudy.actors import (
    ActorDied,
    ActorRef,
    ActorSystem,
    Cell,
    Failure,
    Killed,
    NoConnection,
    Refused,
    Restarted,
    Shutdown,
    StartFailed,
)
from understudy.simulation import Cluster
from understudy.supervisors import (
    Awaited,
    Backoff,
    Child,
    CountChildren,
    DynamicSupervisor,
    HeldDown,
    PartitionedSupervisor,
    RestartChild,
    Router,
    StartAnother,
    StartChild,
    Supervisor,
    TerminateChild,
)
from understudy.transport import Node
from understudy.tree import look


async def until_running(boss: ActorRef[Any], *ids: str, within: float = 30.0) -> dict[str, Any]:
    async with asyncio.timeout(within):
        while True:
            now = await rows(boss)
            if all(now[each].ref is not None for each in ids):
                return now
            await asyncio.sleep(0.05)


def there(node: Node, cls: type) -> list[Cell[Any]]:
    return [ref for ref in node.system.actors() if isinstance(ref, Cell) and ref.kind is cls]


def engine(name: str, node: str = "engine", cls: Any = Emigrant, *args: Any, **more: Any) -> Child:
    return Child(cls, args, name=name, node=node, **more)


@in_cluster("stage", "engine")
async def test_a_child_on_another_node_is_started_seen_restarted_and_ended_like_any_other(cluster: Cluster) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    told = Events(stage, Restarted)
    boss = await stage.spawn(Supervisor, [engine("a"), Child(Emigrant, name="b")], intensity=3)
    before = await rows(boss)
    child = before["a"].ref
    assert (before["a"].node, before["a"].state, before["b"].node) == ("engine", "running", None)
    assert await child.call(Say("where")) == "engine"
    with pytest.raises(ActorDied):
        await child.call(Say("raise", "boom"))
    await until(lambda: told.seen)
    after = await until_running(boss, "a")
    assert after["a"].ref != child
    assert after["b"].ref == before["b"].ref
    assert after["a"].restarts == 1
    assert isinstance(after["a"].last_exit, Failure)
    assert after["a"].last_exit.trace[-1][2] == "Emigrant.on_receive"
    assert (await after["a"].ref.info()).restarts == 1
    assert [(one.id, one.restarts) for one in told.seen] == [("a", 1)]
    [old] = there(node, Emigrant)
    [row] = [row for row in await look(stage.system) if row["cls"] == "Supervisor"]
    assert [(one["id"], one["state"], one["restarts"]) for one in row["children"]] == [
        ("a on engine", "running", 1),
        ("b", "running", 0),
    ]
    await boss.call(TerminateChild(after["a"].ref))
    assert old.reason == Shutdown()
    assert (await rows(boss))["a"].state == "stopped"
    assert await (await boss.call(RestartChild("a"))).call(Say("where")) == "engine"
    await boss.stop()
    assert there(node, Emigrant) == []


@in_cluster("stage", "engine")
async def test_children_here_and_there_end_in_reverse_order_each_when_the_one_after_it_has(cluster: Cluster) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    boss = await stage.spawn(
        Supervisor, [engine("a", cls=Trapping), Child(Emigrant, name="b"), engine("c", cls=Trapping)]
    )
    ends: list[str] = []
    for name, ref in (await rows(boss)).items():
        mine = node.system.whereis(name) or ref.ref
        asyncio.ensure_future(mine.ended()).add_done_callback(lambda _, name=name: ends.append(name))  # type: ignore[misc]
    await asyncio.sleep(0)
    await boss.stop()
    await asyncio.sleep(0)
    assert ends == ["c", "b", "a"]


@in_cluster("stage", "engine")
async def test_one_that_does_not_end_in_its_shutdown_time_is_killed_and_brutal_kill_runs_no_hook(
    cluster: Cluster,
) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    clock = stage.system.loop.time
    for shutdown, takes in ((2.0, 2.0), ("brutal_kill", 0.0)):
        boss = await stage.spawn(Supervisor, [engine("a", cls=Obstinate, shutdown=shutdown)])
        [child] = there(node, Obstinate)
        begun = clock()
        await boss.stop()
        assert takes <= clock() - begun < takes + 0.1
        assert child.reason == Killed()


@in_cluster("stage", "engine")
async def test_whoever_is_started_after_a_kill_finds_the_names_of_the_family_there_free(cluster: Cluster) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    boss = await stage.spawn(Supervisor, [engine("a", cls=Mother, shutdown="brutal_kill")], intensity=1, period=3600.0)
    node.system.ref("a").kill()
    await until(lambda: len(there(node, Mother)) == 1 and there(node, Mother)[0].is_alive())
    assert (await rows(boss))["a"].restarts == 1, "and no attempt has failed"
    await boss.call(TerminateChild("a"))
    assert await (await boss.call(RestartChild("a"))).call(Say("where")) == "engine"


@in_cluster("stage", "engine")
async def test_an_exit_signal_that_a_living_child_there_sends_is_ignored(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(Supervisor, [engine("a")], name="boss")
    child = (await rows(boss))["a"].ref
    await child.call(Say("annoy", "boss@stage"))
    await asyncio.sleep(1.0)
    assert (await rows(boss))["a"].ref == child
    with pytest.raises(ActorDied):
        await child.call(Say("raise", "and its end is seen all the same"))
    await asyncio.sleep(1.0)
    assert (await rows(boss))["a"].restarts == 1


@in_cluster("stage", "engine")
async def test_the_loss_of_a_node_counts_once_and_its_children_are_back_as_soon_as_it_is(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    told = Events(stage, Awaited)
    children = [*(engine(f"e{n}") for n in range(5)), Child(Emigrant, name="here")]
    boss = await stage.spawn(Supervisor, children, intensity=1, period=3600.0)
    here = (await rows(boss))["here"].ref
    cluster.crash("engine")
    await asyncio.sleep(600.0)
    away = await rows(boss)
    assert [away[f"e{n}"].state for n in range(5)] == ["restarting"] * 5
    assert isinstance(away["e0"].last_exit, NoConnection)
    assert (await boss.call(CountChildren())).restarting == 5
    assert [(one.id, one.node) for one in told.seen] == [(f"e{n}", "engine") for n in range(5)]
    with pytest.raises(Refused, match="is restarting"):
        await boss.call(RestartChild("e0"))
    await cluster.restart("engine")
    began = stage.system.loop.time()
    back = await until_running(boss, *(f"e{n}" for n in range(5)))
    assert stage.system.loop.time() - began < 1.0
    assert back["here"].ref == here, "whoever does not depend on it is left alone"
    assert await back["e3"].ref.call(Say("where")) == "engine"


@in_cluster("stage", "engine")
async def test_a_node_that_is_lost_again_and_again_is_too_much(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    boss = await stage.spawn(Supervisor, [engine("a"), engine("b")], intensity=1, period=3600.0)
    cluster.crash("engine")
    await asyncio.sleep(DECLARED)
    await cluster.restart("engine")
    await until_running(boss, "a", "b")
    cluster.crash("engine")
    assert "too many restarts, the last one of" in str(await boss.ended(DECLARED + 2))


@in_cluster("stage", "engine")
async def test_a_degraded_supervisor_holds_the_children_of_a_node_down_that_is_lost_too_often(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    told = Events(stage, HeldDown)
    boss = await stage.spawn(Supervisor, [engine("a"), Child(Emigrant, name="b")], intensity=0, degraded=True)
    cluster.crash("engine")
    await asyncio.sleep(DECLARED)
    now = await rows(boss)
    assert (now["a"].state, now["b"].state) == ("held", "running")
    assert [one.id for one in told.seen] == ["a"]
    with pytest.raises(Refused, match="no node 'engine' is up"):
        await boss.call(RestartChild("a"))
    await cluster.restart("engine")
    await cluster.met()
    assert await (await boss.call(RestartChild("a"))).call(Say("where")) == "engine"


@in_cluster("stage", "engine", "other")
async def test_a_node_that_stops_in_order_counts_for_nothing_and_its_children_are_tried_again_when_it_is_back(
    cluster: Cluster,
) -> None:
    stage = cluster.node("stage")
    told, restarted = Events(stage, Awaited), Events(stage, Restarted)
    children = [*(engine(f"e{n}") for n in range(5)), engine("o", "other", restart="transient")]
    boss = await stage.spawn(Supervisor, children, intensity=0)
    tries = Counter[str]()
    spawn_on = stage.system.nodes.spawn_on

    def counted(node: str, *args: Any, **more: Any) -> Any:
        tries[node] += 1
        return spawn_on(node, *args, **more)

    stage.system.nodes.spawn_on = counted  # type: ignore[method-assign]
    await cluster.run("engine", cluster.node("engine").leave())
    await cluster.stop("other")
    await asyncio.sleep(600.0)
    away = await rows(boss)
    assert {row.state for row in away.values()} == {"restarting"}
    assert {str(row.last_exit) for row in away.values()} == {
        str(NoConnection(f"the node {node!r} stops")) for node in ("engine", "other")
    }
    assert sorted((one.id, one.node) for one in told.seen) == [*((f"e{n}", "engine") for n in range(5)), ("o", "other")]
    assert not tries
    for node in ("engine", "other"):
        await cluster.restart(node)
    back = await until_running(boss, *away)
    assert {row.restarts for row in back.values()} == {1}
    assert len(restarted.seen) == 6
    assert tries == {"engine": 5, "other": 1}


@in_cluster("stage", "engine")
async def test_a_node_that_stops_refuses_a_restart_and_is_awaited_by_whoever_had_not_heard_of_it(
    cluster: Cluster,
) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    await node.spawn(Obstinate)  # so that it takes a while
    boss = await stage.spawn(Supervisor, [engine("a")], intensity=1, period=3600.0)
    node.placement.announce = lambda: None  # type: ignore[method-assign]
    await cluster.run("engine", node.stop())
    await asyncio.sleep(60.0)
    away = await rows(boss)
    assert (away["a"].state, away["a"].restarts) == ("restarting", 1)
    assert "the node 'engine' stops, and takes nothing new" in str(away["a"].last_exit)
    await cluster.restart("engine")
    await until_running(boss, "a")


@in_cluster("stage", "engine")
async def test_siblings_run_until_the_node_is_back_and_are_restarted_with_those_on_it(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    children = [Child(Emigrant, name="before"), engine("there"), Child(Emigrant, name="after")]
    for strategy, touched in (("rest_for_one", {"after"}), ("one_for_all", {"before", "after"})):
        boss = await stage.spawn(Supervisor, children, strategy=strategy, intensity=1, period=3600.0)
        before = await rows(boss)
        cluster.crash("engine")
        await asyncio.sleep(60.0)
        away = await rows(boss)
        assert {name: row.ref for name, row in away.items() if name != "there"} == {
            name: row.ref for name, row in before.items() if name != "there"
        }
        await cluster.restart("engine")
        after = await until_running(boss, "before", "there", "after")
        assert {name for name in ("before", "after") if after[name].ref != before[name].ref} == touched
        assert after["there"].restarts == 1
        await boss.stop()
        await cluster.met()


@in_cluster("stage", "engine")
async def test_a_backoff_comes_before_the_wait_for_the_node(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    backoff = Backoff(first=20.0, most=20.0, jitter=0.0)
    boss = await stage.spawn(Supervisor, [engine("a")], backoff=backoff)
    cluster.crash("engine")
    await asyncio.sleep(DECLARED)
    await cluster.restart("engine")
    await asyncio.sleep(5.0)
    assert (await rows(boss))["a"].state == "restarting"
    await until_running(boss, "a", within=20.0)


@in_cluster("stage")
async def test_the_first_start_waits_for_the_node_and_an_operator_is_refused_at_once(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    starting = asyncio.ensure_future(stage.spawn(Supervisor, [engine("a")]))
    await asyncio.sleep(20.0)
    assert not starting.done()
    await cluster.start("engine")
    boss = await starting
    assert await (await rows(boss))["a"].ref.call(Say("where")) == "engine"
    with pytest.raises(StartFailed, match=r"the node 'nowhere' was not there within 3\.0 s"):
        await stage.spawn(Supervisor, [engine("x", "nowhere", start_timeout=3.0)])
    begun = stage.system.loop.time()
    with pytest.raises(Refused, match="no node 'nowhere' is up"):
        await boss.call(StartChild(engine("x", "nowhere")))
    assert stage.system.loop.time() == begun


@in_cluster("stage", "engine")
async def test_a_supervisor_ends_in_time_though_the_nodes_of_its_children_do_not_answer(cluster: Cluster) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    boss = await stage.spawn(Supervisor, [engine("a", shutdown=1.0), engine("b", shutdown=1.0)])
    cluster.network.partition("stage", "engine")
    begun = stage.system.loop.time()
    await boss.stop().within(60.0)
    assert stage.system.loop.time() - begun < 2 * (1.0 + 5.0) + 0.1
    cluster.network.heal()
    await asyncio.sleep(3.0)
    assert there(node, Emigrant) == [], "and they end as soon as they can be told"


@in_cluster("stage", "engine", "third")
async def test_the_children_of_a_supervisor_whose_node_is_lost_end_with_their_hooks_and_nobody_elses_do(
    cluster: Cluster,
) -> None:
    stage, node, third = (cluster.node(name) for name in ("stage", "engine", "third"))
    await stage.spawn(Supervisor, [engine("a", cls=Trapping), engine("b", cls=Trapping)])
    await third.spawn(Supervisor, [engine("c", cls=Trapping)])
    [a, b, _] = sorted(there(node, Trapping), key=lambda ref: str(ref.name))
    cluster.crash("stage")
    await asyncio.sleep(DECLARED)
    assert [ref.name for ref in there(node, Trapping)] == ["c"]
    assert (a.reason, b.reason) == (Shutdown("its parent ended"),) * 2


@in_cluster("stage", "engine")
async def test_a_child_that_declines_there_is_left_out(cluster: Cluster) -> None:
    boss = await cluster.node("stage").spawn(Supervisor, [engine("a", cls=Declining), engine("b")])
    now = await rows(boss)
    assert (now["a"].state, now["b"].state) == ("stopped", "running")


@in_cluster("stage", "engine")
async def test_supervisors_of_every_kind_have_children_there_and_live_there_themselves(cluster: Cluster) -> None:
    stage, node = cluster.node("stage"), cluster.node("engine")
    visits = await stage.spawn(DynamicSupervisor, Child(Emigrant, node="engine", restart="temporary"))
    ann = await visits.call(StartAnother(("ann",)))
    assert await ann.call(Say("given")) == [["ann"], {}]
    await visits.call(TerminateChild(ann))
    parts = await stage.spawn(PartitionedSupervisor, Child(DynamicSupervisor), partitions=2)
    one = await parts.call(StartChild(Child(Emigrant, node="engine")))
    two = await parts.call(StartChild(Child(Emigrant, node="engine")))
    assert await two.call(Say("where")) == "engine"
    await parts.call(TerminateChild(one))
    assert len(there(node, Emigrant)) == 1
    away = await stage.spawn(Supervisor, [Child(DynamicSupervisor, (), name="there", node="engine")])
    below = (await rows(away))["there"].ref
    assert (await below.call(CountChildren())).active == 0
    mine = await stage.spawn(Supervisor, [Child(Emigrant, name="mine", node="stage")])
    assert isinstance((await rows(mine))["mine"].ref, Cell), "one's own node is no other"
    with pytest.raises(StartFailed, match="a Router's workers live beside it"):
        await stage.spawn(Router, Child(Emigrant, node="engine"), size=2)


async def test_where_there_are_no_other_nodes_that_is_said() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="the system 'local' is no node"):
            await system.spawn(Supervisor, [engine("a")])
    with pytest.raises(ValueError, match=r"Child\.node: a node's name has no '@'"):
        engine("a", "x@y")
    with pytest.raises(TypeError, match=r"Child\.node is the name of a node or None"):
        engine("a", 3)  # type: ignore[arg-type]

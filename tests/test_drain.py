"""Draining a node, in virtual time: what it refuses, what it waits for, what it reports, and how it is called off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests import in_cluster as nodes
from tests.emigrants import Emigrant, Say
from tests.in_cluster import until
from understudy.actors import Actor, Draining, NoRoom, Request, Stop, UnderstudyError, message
from understudy.simulation import Cluster
from understudy.transport import DrainReport, Node, NodeDrains, NodeLost, NodeUp


@message("test.drain.work")
class Work(Request[str]):
    """Takes a while."""

    seconds: float = 1.0


@message("test.drain.please")
class Please(Request[DrainReport]):
    """Have the node drain, by an actor of its own."""


class Worker(Actor):
    """Takes its time for each message."""

    def __init__(self, node: Node | None = None) -> None:
        super().__init__()
        self.node = node
        self.done = 0

    async def on_receive(self, message: object) -> object:
        match message:
            case Work(seconds):
                await asyncio.sleep(seconds)
                self.done += 1
                return f"{self.done} done"
            case Please():
                assert self.node is not None
                return await self.node.drain(5.0)
            case _:
                return self.unhandled(message)


class Listener(Actor):
    """Hears the news."""

    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self.heard = heard

    def on_receive(self, message: object) -> None:
        self.heard.append(message)


in_cluster = nodes.in_cluster("stage", "engine-1", "engine-2")


@in_cluster
async def test_a_node_that_drains_takes_no_names_and_no_actors_and_everybody_knows(cluster: Cluster) -> None:
    stage, one = cluster.node("stage"), cluster.node("engine-1")
    heard: list[Any] = []
    stage.subscribe(await stage.spawn(Listener, heard))
    report = await cluster.run("engine-1", one.drain())
    assert report.complete
    assert (report.node, report.incarnation, report.trouble) == ("engine-1", one.incarnation, "")
    assert one.draining
    with pytest.raises(Draining):
        await cluster.run("engine-1", one.names.claim("lobby"))
    await until(lambda: NodeDrains("engine-1", one.incarnation) in heard)
    for _ in range(3):
        assert stage.placement.choose("engine") == "engine-2"
    with pytest.raises(Draining, match="'engine-1' drains"):
        await stage.spawn_on("engine-1", Emigrant)
    assert await (await stage.spawn_on(Emigrant, role="engine")).call(Say("where")) == "engine-2"
    await cluster.run("engine-2", cluster.node("engine-2").drain())
    with pytest.raises(NoRoom, match="engine-1 drains; engine-2 drains"):
        await stage.spawn_on(Emigrant, role="engine")
    row = next(row for row in stage.members() if row.node == "engine-1")
    assert (row.status, row.draining) == ("active", True)


@in_cluster
async def test_a_node_is_refused_that_nobody_has_heard_to_drain_and_another_is_taken_at_once(cluster: Cluster) -> None:
    stage, one, two = cluster.node("stage"), cluster.node("engine-1"), cluster.node("engine-2")
    for _ in range(3):
        await stage.spawn_on("engine-2", Emigrant)
    await asyncio.sleep(2.0)
    assert stage.placement.choose("engine") == "engine-1"
    one.placement.draining = True  # and nobody is told
    assert not stage.placement.is_draining("engine-1")
    assert await (await stage.spawn_on(Emigrant, role="engine")).call(Say("where")) == "engine-2"
    assert stage.placement.is_draining("engine-1"), "its refusal has said so"
    one.placement.draining = False
    assert two.placement.load.placed == 4


@in_cluster
async def test_what_has_arrived_is_handled_before_a_drain_is_over(cluster: Cluster) -> None:
    stage, one = cluster.node("stage"), cluster.node("engine-1")
    await one.spawn(Worker, name="worker")
    worker = stage.ref("worker@engine-1")
    calls = [asyncio.ensure_future(worker.call(Work(), timeout=30.0)) for _ in range(3)]
    await asyncio.sleep(0.5)
    report = await cluster.run("engine-1", one.drain())
    assert report.complete
    assert 2.0 < report.seconds < 4.0
    assert sorted(await asyncio.gather(*calls)) == ["1 done", "2 done", "3 done"]


@in_cluster
async def test_a_drain_whose_time_is_up_says_what_is_left_and_the_node_goes_on(cluster: Cluster) -> None:
    one = cluster.node("engine-1")
    worker = await one.spawn(Worker, name="worker")
    for _ in range(5):
        worker.tell(Work(10.0))
    report = await cluster.run("engine-1", one.drain(2.0))
    assert report.left == {"mailboxes": (f"{worker!r} has 4 messages in its mailbox",)}
    assert report.seconds < 3.5
    assert "leaves behind" in str(report)
    again = await cluster.run("engine-1", one.drain(60.0))
    assert again.complete
    assert "has drained" in str(again)


@in_cluster
async def test_whoever_leaves_drains_first_and_is_gone_at_once_for_the_others(cluster: Cluster) -> None:
    stage, one = cluster.node("stage"), cluster.node("engine-1")
    heard: list[Any] = []
    stage.subscribe(await stage.spawn(Listener, heard))
    life = one.incarnation
    await one.spawn(Worker, name="worker")
    call = asyncio.ensure_future(stage.ref("worker@engine-1").call(Work()))
    await asyncio.sleep(0.2)
    report = await cluster.run("engine-1", one.leave())
    assert report.complete
    assert await call == "1 done"
    assert await one.ended() == "it left"
    await until(lambda: NodeLost("engine-1", life, "it left") in heard, 1.0)
    news = [each for each in heard if not isinstance(each, NodeUp)]
    assert news == [NodeDrains("engine-1", life), NodeLost("engine-1", life, "it left")]
    with pytest.raises(UnderstudyError, match="has stopped"):
        await one.drain()


@in_cluster
async def test_a_second_drain_waits_for_the_first_and_has_its_report(cluster: Cluster) -> None:
    one = cluster.node("engine-1")
    worker = await one.spawn(Worker)
    worker.tell(Work(2.0))
    first = asyncio.ensure_future(cluster.run("engine-1", one.drain(60.0)))
    await asyncio.sleep(0.5)
    second = await cluster.run("engine-1", one.drain(0.1))
    assert second is await first
    assert second.complete


@in_cluster
async def test_a_drain_that_nobody_waits_for_is_called_off_and_the_node_takes_new_things(cluster: Cluster) -> None:
    stage, one = cluster.node("stage"), cluster.node("engine-1")
    worker = await one.spawn(Worker)
    worker.tell(Work(20.0))

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.gather(one.drain(), one.drain())

    await cluster.run("engine-1", impatient())
    await until(lambda: not one.draining, 0.1)
    await cluster.run("engine-1", one.names.claim("lobby"))
    await until(lambda: not stage.placement.is_draining("engine-1"), 10.0)
    assert await (await stage.spawn_on("engine-1", Emigrant)).call(Say("where")) == "engine-1"


@in_cluster
async def test_an_actor_may_ask_its_own_node_to_drain(cluster: Cluster) -> None:
    stage, one = cluster.node("stage"), cluster.node("engine-1")
    await one.spawn(Worker, one, name="control")
    report = await stage.ref("control@engine-1").call(Please(), timeout=30.0)
    assert report.complete
    assert report.seconds < 1.0


class Owner(Actor):
    """Ends, gives its name up in a moment, or keeps it, when its node drains."""

    def __init__(self, node: Node, does: str) -> None:
        super().__init__()
        self.node = node
        self.does = does

    async def on_receive(self, message: object) -> object:
        if isinstance(message, NodeDrains) and message.node == self.node.name:
            if self.does == "end":
                return Stop()
            if self.does == "give up":
                await asyncio.sleep(1.0)
                await self.node.unregister("give up")
        return None


@in_cluster
async def test_a_drain_names_the_actors_that_have_a_name_and_did_not_end_or_give_it_up_when_they_heard_of_it(
    cluster: Cluster,
) -> None:
    one = cluster.node("engine-1")

    async def owners() -> dict[str, Any]:
        made = {name: await one.spawn(Owner, one, name) for name in ("end", "give up", "keep")}
        for name, ref in made.items():
            one.subscribe(ref)
            await one.register(name, ref)
        return made

    made = await cluster.run("engine-1", owners())
    report = await cluster.run("engine-1", one.drain())
    assert report.left == {"names": (f"the name 'keep' of {made['keep']!r} goes when this node stops",)}
    assert cluster.node("stage").names.owner("keep") is not None, "until then it has it"
    await made["keep"].stop()
    assert (await cluster.run("engine-1", one.drain())).complete


@in_cluster
async def test_while_the_table_is_away_a_node_drains_all_the_same_and_says_so_later(cluster: Cluster) -> None:
    stage, one = cluster.node("stage"), cluster.node("engine-1")
    cluster.table.fail(1.0)
    report = await cluster.run("engine-1", one.drain())
    assert report.complete
    assert "table" in report.trouble
    assert stage.placement.choose("engine") == "engine-2", "the links have said so"
    assert not any(row.draining for row in stage.members())
    cluster.table.fail(0.0)
    await until(lambda: any(row.node == "engine-1" and row.draining for row in stage.members()), 40.0)


@in_cluster
async def test_steps_are_taken_stage_by_stage_and_one_that_fails_keeps_no_other_from_its_turn(cluster: Cluster) -> None:
    one = cluster.node("engine-1")
    order: list[str] = []

    async def fails(deadline: float) -> None:
        order.append("names")
        raise ValueError("no such thing")

    async def hangs(deadline: float) -> None:
        order.append("runs")
        await asyncio.sleep(3_600.0)

    async def late(deadline: float) -> list[str]:
        order.append("clients")
        return ["12 clients"] if asyncio.get_running_loop().time() >= deadline else []

    async def gone(deadline: float) -> None:
        order.append("gone")

    one.drains.add("clients", "gateway", late)
    one.drains.add("runs", "engine", hangs)
    one.drains.add("names", "mine", fails)
    one.drains.add("names", "gone", gone)()
    report = await cluster.run("engine-1", one.drain(3.0))
    assert order == ["names", "runs", "clients"]
    assert report.left == {
        "mine": ("it failed: ValueError: no such thing",),
        "engine": ("it was not done when the time was up",),
        "gateway": ("12 clients",),
    }
    with pytest.raises(ValueError, match="the stage of a step is one of names, runs, clients, mailboxes, rest"):
        one.drains.add("afterwards", "mine", gone)  # type: ignore[arg-type]


@in_cluster
async def test_a_node_that_is_stopped_during_its_drain_ends_it(cluster: Cluster) -> None:
    one = cluster.node("engine-1")
    worker = await one.spawn(Worker)
    worker.tell(Work(20.0))

    async def both() -> None:
        draining = asyncio.ensure_future(one.drain())
        await asyncio.sleep(1.0)
        await one.stop()
        with pytest.raises(UnderstudyError, match="the node 'engine-1' has stopped"):
            await draining

    await cluster.run("engine-1", both())

"""Actors on other nodes, with real processes and sockets: what virtual time proves, once more in the world."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.emigrants import Trapping
from tests.helpers import eventually
from tests.processes import running
from tests.sides import Add, Counter, Misbehave, Total
from understudy.actors import Actor, ActorDied, ActorRef, Cell, NoConnection, NodeDown, NotRegistered
from understudy.supervisors import Awaited, Child, Supervisor, WhichChildren
from understudy.transport import Node

PROBES = 0.3
"""Seconds between two of them, so that a death is declared soon."""


class Elsewhere(Actor):
    """A class that no other process has."""


async def child_of(boss: ActorRef[Any]) -> Any:
    [row] = await boss.call(WhichChildren())
    return row


async def test_a_child_in_another_process_is_started_seen_followed_and_its_errors_show_their_trace(
    tmp_path: Path,
) -> None:
    async with (
        Node("stage", state=tmp_path) as stage,
        running("tests.node_program", "engine-1", str(tmp_path)) as engine,
    ):
        await engine.line()
        await eventually(lambda: len(stage.members()) == 2)
        counter = await stage.spawn_on("engine-1", Counter, name="second", timeout=5.0)
        async with stage.system.trace(counter) as trace:
            counter.tell(Add(3))
            assert await counter.call(Total()) == 3
            kinds = [(await anext(trace)).kind for _ in range(4)]
        assert kinds == ["received", "handled", "received", "replied"]
        info = await counter.info()
        assert (info.name, info.state) == ("second", "alive")
        assert (await stage.system.get_state(counter))["total"] == 3
        assert await stage.ref("second@engine-1").call(Total()) == 3
        with pytest.raises(ActorDied) as died:
            await counter.call(Misbehave("boom"))
        shown = "".join(traceback.format_exception(died.value))
        assert "On node engine-1:\nTraceback" in shown
        assert "in Counter.on_receive\nValueError: boom" in shown
        with pytest.raises(
            NotRegistered, match=r"engine-1: no actor class 'tests\.test_remote_processes:Elsewhere' is imported"
        ):
            await stage.spawn_on("engine-1", Elsewhere)


async def test_a_supervised_child_is_back_when_its_killed_process_is(tmp_path: Path) -> None:
    async with Node("stage", state=tmp_path, probe_interval=PROBES) as stage:
        awaited: list[Awaited] = []
        stage.system.hooks.subscribe(Awaited, awaited.append)
        starting = asyncio.ensure_future(stage.spawn(Supervisor, [Child(Counter, name="worker", node="engine-1")]))
        async with running("tests.node_program", "engine-1", str(tmp_path)) as engine:
            await engine.line()
            boss = await starting
            worker = (await child_of(boss)).ref
            assert await worker.call(Total()) == 0
            engine.kill()
            await eventually(lambda: awaited)
            with pytest.raises(NodeDown):
                await worker.call(Total())
            assert isinstance((await child_of(boss)).last_exit, NoConnection)
        async with running("tests.node_program", "engine-1", str(tmp_path)) as engine:
            await engine.line()
            async with asyncio.timeout(10.0):
                while (row := await child_of(boss)).ref is None:  # noqa: ASYNC110 - its supervisor tells nobody
                    await asyncio.sleep(0.01)
            assert row.restarts == 1
            assert await stage.ref("worker@engine-1").call(Total()) == 0
            await boss.stop()
            with pytest.raises(ActorDied):
                await stage.ref("worker@engine-1").call(Total())


async def test_the_children_of_a_killed_process_end_where_they_are(tmp_path: Path) -> None:
    async with (
        Node("engine-1", state=tmp_path, probe_interval=PROBES) as engine,
        running("tests.remote_parent", "stage", str(tmp_path)) as stage,
    ):
        assert await stage.line() == "ready"
        worker = engine.system.whereis("worker")
        assert isinstance(worker, Cell)
        assert worker.actor_class is Trapping, "it traps exits: that of its parent all the same"
        stage.kill()
        # Killed before it had said that it keeps the child, it was nobody's yet.
        assert str(await worker.ended(10.0)) in ("shutdown: its parent ended", "shutdown: nobody waits for it any more")

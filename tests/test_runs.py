"""The scheduler: places runs on engines, knows how each is, and never waits for any of them."""

import asyncio
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.helpers import eventually
from tests.test_engine import PROGRAMS, Ear
from tests.test_worker import is_gone
from understudy.actors import Actor, ActorRef, ActorSystem, Refused
from understudy.engine import (
    CancelRun,
    Engine,
    Follow,
    Frame,
    GetRun,
    Launch,
    ListRuns,
    RunChanged,
    RunEnded,
    RunInfo,
    Runs,
    TakeOver,
    UnwatchRun,
    WatchRun,
)
from understudy.supervisors import Supervisor, WhichChildren
from understudy.transport import Node


@dataclass(frozen=True)
class Seat:
    """A member as the table shows it."""

    node: str
    status: str = "active"
    roles: Sequence[str] = ("engine",)


class Stage:
    """A cluster in one process: each engine node is an actor system of its own."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.nodes: dict[str, ActorSystem] = {}
        self.seats: dict[str, Seat] = {"stage": Seat("stage", roles=())}
        self.runs: ActorRef[Runs]

    def members(self) -> list[Seat]:
        return list(self.seats.values())

    def ref(self, name: str) -> ActorRef[Any]:
        local, _, node = name.partition("@")
        return self.nodes[node].ref(local)

    async def launch(self, program: str, rate: float | None = None, **args: Any) -> RunInfo:
        return await self.runs.call(Launch(program, args, rate))

    async def state(self, run: str) -> str:
        return (await self.runs.call(GetRun(run))).state


@asynccontextmanager
async def stage(*engines: str, capacity: int = 64, history: int = 200, keep: float = 0.0) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as open_systems:
        stage = Stage(await open_systems.enter_async_context(ActorSystem("stage")))
        for node in engines:
            stage.nodes[node] = await open_systems.enter_async_context(ActorSystem(node))
            stage.seats[node] = Seat(node)
            await stage.nodes[node].spawn(Engine, [PROGRAMS], capacity, name="engine")
        stage.runs = await stage.system.spawn(Runs, stage, history=history, keep=keep, name="runs")
        yield stage


async def test_a_follower_sees_a_run_start_run_and_finish() -> None:
    async with stage("engine-1") as house:
        ear = await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        info = await house.launch("count", to=5)
        assert (info.program, info.args, info.state, info.node) == ("count", {"to": 5}, "starting", "engine-1")
        assert info.worker_pid is not None
        assert info.started is not None
        changes = [(await ear.next(RunChanged)).info for _ in range(3)]
        assert [change.state for change in changes] == ["starting", "running", "finished"]
        assert (changes[-1].result, changes[-1].turn, changes[-1].reason) == (5, 4, None)
        assert changes[-1].ended is not None
        assert changes[-1].ended >= info.started
        assert await house.runs.call(GetRun(info.run)) == changes[-1]
        assert await house.runs.call(ListRuns()) == [changes[-1]]


async def test_a_new_follower_first_hears_of_every_known_run() -> None:
    async with stage("engine-1") as house:
        launched = [await house.launch("forever") for _ in range(2)]
        ear = await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        assert [(await ear.next(RunChanged)).info.run for _ in range(2)] == [info.run for info in launched]


async def test_runs_are_spread_over_the_engines() -> None:
    async with stage("engine-1", "engine-2") as house:
        nodes = [(await house.launch("forever")).node for _ in range(4)]
        assert nodes == ["engine-1", "engine-2", "engine-1", "engine-2"]
        first, *_ = await house.runs.call(ListRuns())
        await house.runs.call(CancelRun(first.run))
        ear = await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        await ear.next(RunChanged, lambda change: change.info.state == "cancelled")
        assert (await house.launch("forever")).node == "engine-1"


async def test_launches_at_the_same_time_are_spread_too() -> None:
    async with stage("engine-1", "engine-2") as house:
        infos = await asyncio.gather(*(house.launch("forever") for _ in range(6)))
        assert sorted(info.node for info in infos if info.node) == ["engine-1"] * 3 + ["engine-2"] * 3


async def test_only_active_engines_are_asked() -> None:
    async with stage("engine-1", "engine-2") as house:
        house.seats["engine-1"] = Seat("engine-1", status="dead")
        assert (await house.launch("forever")).node == "engine-2"
        house.seats["engine-2"] = Seat("engine-2", roles=("gateway",))
        with pytest.raises(Refused, match="no engine node is up"):
            await house.launch("forever")


async def test_an_engine_that_is_not_there_yet_is_passed_over() -> None:
    async with stage("engine-1", "engine-2") as house:
        house.ref("engine@engine-1").kill()
        assert (await house.launch("forever")).node == "engine-2"
        house.ref("engine@engine-2").kill()
        with pytest.raises(
            Refused, match=r"engine on engine-1 is not there \(no such actor\); the engine on engine-2 is"
        ):
            await house.launch("forever")
        assert len(await house.runs.call(ListRuns())) == 1


async def test_full_engines_are_passed_over_and_then_refused() -> None:
    async with stage("engine-1", "engine-2", capacity=1) as house:
        for _ in range(2):
            await house.launch("forever")
        with pytest.raises(
            Refused, match=r"^all 1 places are taken: cancel a run, wait for one to end, or add an engine node$"
        ):
            await house.launch("forever")


@pytest.mark.parametrize(
    ("launch", "sentence"),
    [
        (Launch("cuont"), "no program is published as 'cuont'; there are: count"),
        (Launch("count", {"too": 1}), "program 'count': missing a required argument: 'to'"),
        (Launch("count", ["to"]), r"a program's arguments are values by name, such as {'seed': 7}, not \['to'\]"),  # type: ignore[arg-type]
        (Launch("count", {"to": object()}), "the arguments cannot be sent: can not serialize 'object' object"),
        (Launch("count", {"to": 1}, rate=float("inf")), "a rate is a number of frames per second"),
        (Launch("count", {"to": 1}, rate="fast"), "a rate is a number of frames per second"),  # type: ignore[arg-type]
        (Launch(None), "a program is known by its name, not by None"),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_run_is_refused_and_leaves_no_trace(launch: Launch, sentence: str) -> None:
    async with stage("engine-1") as house:
        with pytest.raises(Refused, match=sentence):
            await house.runs.call(launch)
        assert await house.runs.call(ListRuns()) == []


async def test_an_unknown_run_is_refused() -> None:
    async with stage() as house:
        for request in (GetRun("nix"), CancelRun("nix"), WatchRun("nix", house.runs)):
            with pytest.raises(Refused, match="no run 'nix' is known; besides those under way, the last 200 are"):
                await house.runs.call(request)
        house.runs.tell(UnwatchRun("nix", house.runs))
        assert await house.runs.call(ListRuns()) == []


async def test_a_viewer_gets_frames_and_the_end() -> None:
    async with stage("engine-1") as house:
        info = await house.launch("forever", rate=100)
        viewers = [await Ear.of(house.system) for _ in range(3)]
        for viewer in viewers:
            assert (await house.runs.call(WatchRun(info.run, viewer.ref))).info.run == info.run
        frames = [await viewer.next(Frame) for viewer in viewers]
        assert [frame.run for frame in frames] == [info.run] * 3
        house.runs.tell(UnwatchRun(info.run, viewers[2].ref))
        await house.runs.call(CancelRun(info.run))
        for viewer in viewers[:2]:
            assert (await viewer.next(RunEnded)).state == "cancelled"
            assert viewer.heard.empty()
        assert not any(isinstance(viewers[2].heard.get_nowait(), RunEnded) for _ in range(viewers[2].heard.qsize()))


async def test_who_comes_late_has_the_current_frame_and_after_the_end_the_last_one() -> None:
    async with stage("engine-1") as house:
        ear, late = await Ear.of(house.system), await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        info = await house.launch("forever", rate=100)
        await ear.next(RunChanged, lambda change: change.info.state == "running")
        await eventually_frame(house, info.run, at_least=0)
        await house.runs.call(CancelRun(info.run))
        await ear.next(RunChanged, lambda change: change.info.state == "cancelled")
        view = await house.runs.call(WatchRun(info.run, late.ref))
        assert view.info.state == "cancelled"
        assert view.frame is not None
        assert view.frame.seq == view.info.turn
        assert late.heard.empty()


async def eventually_frame(house: Stage, run: str, at_least: int) -> Frame:
    ear = await Ear.of(house.system)
    async with asyncio.timeout(30):
        while True:
            view = await house.runs.call(WatchRun(run, ear.ref))
            if view.frame is not None and view.frame.seq >= at_least:
                return view.frame
            await ear.next(Frame)


async def test_cancelling_twice_or_too_late_changes_nothing() -> None:
    async with stage("engine-1") as house:
        ear = await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        info = await house.launch("forever")
        await house.runs.call(CancelRun(info.run))
        await house.runs.call(CancelRun(info.run))
        ended = (await ear.next(RunChanged, lambda change: change.info.state == "cancelled")).info
        assert await house.runs.call(CancelRun(info.run)) == ended
        assert await house.runs.call(GetRun(info.run)) == ended


async def test_a_failed_run_tells_why() -> None:
    async with stage("engine-1") as house:
        ear = await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        await house.launch("fails")
        info = (await ear.next(RunChanged, lambda change: change.info.state == "failed")).info
        assert (info.reason or "").startswith("LookupError: the script is missing a page\n")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("the node stops", "its engine on engine-1 was shut down"),
        ("the engine is killed", "its engine on engine-1 was shut down"),
        ("the run is killed", "its actor on engine-1 was killed"),
    ],
)
async def test_a_run_whose_engine_or_actor_is_gone_is_lost(end: str, reason: str) -> None:
    async with stage("engine-1", "engine-2") as house:
        ear, viewer = await Ear.of(house.system), await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        info = await house.launch("forever")
        await house.runs.call(WatchRun(info.run, viewer.ref))
        await viewer.next(Frame)
        match end:
            case "the node stops":
                await house.nodes["engine-1"].shutdown()
            case "the engine is killed":
                house.ref("engine@engine-1").kill()
            case _:
                await kill_the_run(house.nodes["engine-1"])
        lost = (await ear.next(RunChanged, lambda change: change.info.state == "lost")).info
        assert (lost.run, lost.reason) == (info.run, reason)
        assert await viewer.next(RunEnded) == RunEnded(info.run, "lost", None, reason)
        assert info.worker_pid is not None
        pid = info.worker_pid
        await eventually(lambda: is_gone(pid))
        assert (await house.launch("forever")).node is not None


async def kill_the_run(system: ActorSystem) -> None:
    """Kill the one run of this engine node, as its supervisor shows it."""
    engine = system.whereis("engine")
    assert engine is not None
    supervisor = next(child for child in engine.bonds.children if child.kind is Supervisor)  # type: ignore[attr-defined]
    (child,) = await supervisor.call(WhichChildren())
    child.ref.kill()


async def test_only_the_last_ended_runs_are_kept() -> None:
    async with stage("engine-1", history=2) as house:
        ear = await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        long = await house.launch("forever")
        runs = []
        for number in range(4):
            runs.append((await house.launch("sum", numbers=[number])).run)
            await ear.next(RunChanged, lambda change: change.info.state == "finished")
        known = [info.run for info in await house.runs.call(ListRuns())]
        assert known == [long.run, *runs[2:]]


class Deaf(Actor):
    """An engine that never answers."""

    async def on_receive(self, message: Any) -> None:
        await asyncio.Event().wait()


async def test_a_slow_engine_holds_up_nobody_else() -> None:
    async with stage("engine-2") as house:
        house.nodes["engine-1"] = ActorSystem("engine-1")
        house.seats["engine-1"] = Seat("engine-1")
        deaf = await house.nodes["engine-1"].spawn(Deaf, name="engine")
        waiting = asyncio.ensure_future(house.launch("forever"))
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert (await house.launch("forever")).node == "engine-2"
            assert len(await house.runs.call(ListRuns())) == 1
        deaf.kill()
        assert (await waiting).node == "engine-2"
        await house.nodes["engine-1"].shutdown()


async def test_runs_end_with_their_scheduler() -> None:
    async with stage("engine-1") as house:
        pids = [(await house.launch("forever")).worker_pid or 0 for _ in range(2)]
        house.runs.kill()
        await eventually(lambda: all(is_gone(pid) for pid in pids))


async def test_a_run_on_another_node_streams_to_viewers_here_and_is_lost_with_its_node() -> None:
    """Over real links: an engine node in a process of its own is killed under a run that is being watched."""
    async with Node("stage") as node:
        engine = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(ENGINE_NODE), node.address),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        await eventually(lambda: any("engine" in member.roles for member in node.members()))
        runs = await node.spawn(Runs, node, name="runs")
        ear = await Ear.of(node.system)
        runs.tell(Follow(ear.ref))
        info = await launched(runs)
        assert (info.node, info.pid) == ("engine-1", engine.pid)
        view = await runs.call(WatchRun(info.run, ear.ref))
        assert view.info == info
        first = await ear.next(Frame)
        assert [(await ear.next(Frame)).seq for _ in range(20)] == list(range(first.seq + 1, first.seq + 21))
        with pytest.raises(Refused, match="program 'count': missing a required argument"):
            await runs.call(Launch("count"))
        engine.kill()
        await engine.wait()
        end = await ear.next(RunEnded)
        assert (end.run, end.state) == (info.run, "lost")
        assert (end.reason or "").startswith("its engine node engine-1 is gone")
        worker_pid = info.worker_pid or 0
        await eventually(lambda: is_gone(worker_pid))
        with pytest.raises(Refused, match="no engine node is up"):
            await runs.call(Launch("count", {"to": 1}))


ENGINE_NODE = """
    import asyncio, sys
    from understudy.engine import Engine
    from understudy.transport import Node

    async def main() -> None:
        async with Node("engine-1", join=sys.argv[1], roles=("engine",)) as node:
            await node.spawn(Engine, ["tests.run_programs"], name="engine")
            await node.ended()

    asyncio.run(main())
"""


async def launched(runs: ActorRef[Runs]) -> RunInfo:
    """Launch as soon as the engine node, which is a member already, has its engine."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await runs.call(Launch("forever", rate=100))
            except Refused:
                await asyncio.sleep(0.01)


# --- one life after the other ---


async def test_a_successor_takes_over_the_runs_that_play_on_and_knows_the_last_that_ended() -> None:
    async with stage("engine-1", "engine-2", keep=20.0) as house:
        ear, viewer = await Ear.of(house.system), await Ear.of(house.system)
        house.runs.tell(Follow(ear.ref))
        over = await house.launch("count", 0, to=5)
        await ear.next(RunChanged, lambda change: change.info.state == "finished")
        one, two = [await house.launch("forever", 50) for _ in range(2)]
        running = set[str]()
        while running != {one.run, two.run}:
            running.add((await ear.next(RunChanged, lambda change: change.info.state == "running")).info.run)
        await house.runs.call(WatchRun(one.run, viewer.ref))
        await viewer.next(Frame)
        house.runs.kill()
        await house.runs.ended()
        seen = (await viewer.next(Frame)).seq
        await viewer.next(Frame, lambda frame: frame.seq > seen + 2)  # it is seen while nobody schedules it

        house.runs = await house.system.spawn(Runs, house, keep=20.0, name="runs")
        known = {info.run: info for info in await house.runs.call(ListRuns())}
        assert {run: info.state for run, info in known.items()} == {
            over.run: "finished",
            one.run: "running",
            two.run: "running",
        }
        assert (known[over.run].result, known[over.run].turn) == (5, 4)
        assert known[one.run] == replace(one, state="running", started=known[one.run].started, turn=known[one.run].turn)
        following = await house.runs.call(Follow(ear.ref))
        assert following.runs == house.runs
        assert {info.run for info in following.known} == known.keys()
        await house.runs.call(CancelRun(two.run))
        await ear.next(RunChanged, lambda change: change.info.run == two.run and change.info.state == "cancelled")
        house.nodes[str(one.node)].ref("engine").kill()
        await ear.next(
            RunChanged, lambda change: change.info.run == one.run and change.info.state in ("lost", "failed")
        )


async def test_a_run_that_is_kept_ends_when_nobody_takes_it_over_in_time() -> None:
    async with stage("engine-1", keep=0.2) as house:
        worker = (await house.launch("forever")).worker_pid
        assert worker is not None
        house.runs.kill()
        await eventually(lambda: is_gone(worker))


async def test_an_engine_that_has_heard_a_later_scheduler_refuses_an_earlier_one() -> None:
    async with stage("engine-1") as house:
        ear = await Ear.of(house.system)
        engine = house.ref("engine@engine-1")
        assert await engine.call(TakeOver(ear.ref, 7)) == []
        with pytest.raises(Refused, match="its fence is 7, and this one's 6"):
            await engine.call(TakeOver(ear.ref, 6))

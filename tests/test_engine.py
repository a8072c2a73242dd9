"""An engine and its runs, with real worker processes: frames for every viewer, every way to end, and no process left."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.helpers import eventually
from tests.test_worker import is_gone
from understudy.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    DeadlineExceeded,
    NoProc,
    Normal,
    Refused,
    Shutdown,
    StartFailed,
)
from understudy.engine import (
    Cancel,
    EndRun,
    Engine,
    Frame,
    RunBegan,
    RunEnded,
    RunStarted,
    RunState,
    StartRun,
    Unwatch,
    Watch,
    program,
)
from understudy.engine.catalog import CatalogError, load
from understudy.engine.process import WorkerProcess

PROGRAMS = "tests.run_programs"

M = TypeVar("M")


class Listener(Actor):
    """Puts what it is told into a queue."""

    def __init__(self, heard: "asyncio.Queue[Any]") -> None:
        super().__init__()
        self.heard = heard

    def on_receive(self, message: Any) -> None:
        self.heard.put_nowait(message)


class Ear:
    """The test's end of a Listener."""

    def __init__(self, ref: ActorRef[Listener], heard: "asyncio.Queue[Any]") -> None:
        self.ref = ref
        self.heard = heard

    @classmethod
    async def of(cls, system: ActorSystem) -> "Ear":
        heard: asyncio.Queue[Any] = asyncio.Queue()
        return cls(await system.spawn(Listener, heard), heard)

    async def next(self, kind: type[M], true: Callable[[M], bool] = lambda message: True) -> M:
        """The next message of this kind of which that is true; others are dropped."""
        async with asyncio.timeout(10):
            while True:
                message = await self.heard.get()
                if isinstance(message, kind) and true(message):
                    return message


class House:
    """An engine, and somebody who owns its runs."""

    def __init__(self, system: ActorSystem, engine: ActorRef[Engine], owner: Ear) -> None:
        self.system = system
        self.engine = engine
        self.owner = owner

    async def start(self, program: str, rate: float | None = None, run: str = "r1", **args: Any) -> RunStarted:
        return await self.engine.call(StartRun(run, program, args, rate, self.owner.ref))

    async def end(self) -> RunEnded:
        return await self.owner.next(RunEnded)


@asynccontextmanager
async def house(*programs: str, capacity: int = 4) -> AsyncIterator[House]:
    async with ActorSystem("engine-1") as system:
        engine = await system.spawn(Engine, list(programs) or [PROGRAMS], capacity, name="engine")
        yield House(system, engine, await Ear.of(system))


async def test_a_run_begins_streams_and_finishes_with_its_result() -> None:
    async with house() as stage:
        started = await stage.start("count", to=1000, note="n")
        assert (started.run, started.node, started.pid) == ("r1", "engine-1", os.getpid())
        assert await stage.owner.next(RunBegan) == RunBegan("r1")
        first, last = await stage.owner.next(Frame), await stage.owner.next(Frame)
        assert first == Frame("r1", 0, {"number": 0, "note": "n"})
        assert last.seq == 999  # the owner gets one a second, and always the last
        assert await stage.end() == RunEnded("r1", "finished", 1000, None)
        assert isinstance(await started.ref.ended(), Normal | NoProc)
        assert is_gone(started.worker_pid)


async def test_every_viewer_gets_every_frame_and_the_end() -> None:
    async with house() as stage:
        viewers = [await Ear.of(stage.system) for _ in range(3)]
        started = await stage.start("forever", rate=100)
        states = [await started.ref.call(Watch(viewer.ref)) for viewer in viewers]
        assert all(isinstance(state, RunState) for state in states)
        for viewer in viewers:
            first = await viewer.next(Frame)
            numbers = [(await viewer.next(Frame)).seq for _ in range(10)]
            assert numbers == list(range(first.seq + 1, first.seq + 11))
        started.ref.tell(Cancel())
        for viewer in viewers:
            assert (await viewer.next(RunEnded)).state == "cancelled"


async def test_a_late_viewer_has_the_current_frame_at_once_and_may_leave() -> None:
    async with house() as stage:
        early, late = await Ear.of(stage.system), await Ear.of(stage.system)
        started = await stage.start("forever", rate=200)
        await started.ref.call(Watch(early.ref))
        await early.next(Frame, lambda frame: frame.seq >= 20)
        state = await started.ref.call(Watch(late.ref))
        assert state.state == "running"
        assert state.frame is not None
        assert state.frame.seq >= 20
        assert (await late.next(Frame)).seq == state.frame.seq + 1
        started.ref.tell(Unwatch(late.ref))
        await started.ref.call(Watch(early.ref))
        while not late.heard.empty():
            late.heard.get_nowait()
        await early.next(Frame)
        await early.next(Frame)
        assert late.heard.empty()


async def test_a_viewer_that_dies_is_dropped() -> None:
    async with house() as stage:
        viewer = await Ear.of(stage.system)
        started = await stage.start("forever", rate=200)
        await started.ref.call(Watch(viewer.ref))
        await viewer.next(Frame)
        viewer.ref.kill()
        await viewer.ref.ended()
        await started.ref.call(Watch(stage.owner.ref))
        await stage.owner.next(Frame)
        letters = stage.system.dead_letters.count
        for _ in range(5):
            await stage.owner.next(Frame)
        assert stage.system.dead_letters.count == letters


async def test_an_exception_of_the_program_is_the_reason_with_its_traceback_below() -> None:
    async with house() as stage:
        await stage.start("fails", after=2)
        end = await stage.end()
        assert end.state == "failed"
        assert end.reason is not None
        assert end.reason.splitlines()[0] == "LookupError: the script is missing a page"
        assert "run_programs.py" in end.reason


async def test_a_frame_that_cannot_be_sent_fails_the_run() -> None:
    async with house() as stage:
        await stage.start("yields", what="object")
        end = await stage.end()
        assert (end.state, (end.reason or "")[:24]) == ("failed", "frame 1 cannot be sent: ")


async def test_a_killed_worker_fails_the_run_and_says_so() -> None:
    async with house() as stage:
        started = await stage.start("forever")
        await stage.owner.next(Frame)
        os.kill(started.worker_pid, signal.SIGKILL)
        end = await stage.end()
        expected = f"its worker process {started.worker_pid} was ended by SIGKILL before the program ended"
        assert (end.state, end.reason) == ("failed", expected)


async def test_a_worker_that_just_leaves_fails_the_run_with_its_last_words() -> None:
    async with house() as stage:
        await stage.start("leaves", status=3)
        end = await stage.end()
        assert end.state == "failed"
        assert end.reason is not None
        assert end.reason.splitlines() == [
            end.reason.splitlines()[0],
            "the roof is on fire",
        ]
        assert "exited with status 3" in end.reason


async def test_a_cancelled_run_ends_at_once() -> None:
    async with house() as stage:
        started = await stage.start("forever")
        await stage.owner.next(Frame)
        begin = stage.system.loop.time()
        started.ref.tell(Cancel())
        assert await stage.end() == RunEnded("r1", "cancelled")
        assert stage.system.loop.time() - begin < 0.5
        assert is_gone(started.worker_pid)


async def test_a_worker_that_ignores_sigterm_is_killed_after_a_second() -> None:
    async with house() as stage:
        started = await stage.start("stubborn")
        await stage.owner.next(Frame)
        begin = stage.system.loop.time()
        started.ref.tell(Cancel())
        assert (await stage.end()).state == "cancelled"
        assert 0.9 < stage.system.loop.time() - begin < 2.0
        assert is_gone(started.worker_pid)


async def test_what_a_program_started_ends_with_its_run() -> None:
    async with house() as stage:
        started = await stage.start("parent")
        child = (await stage.owner.next(Frame)).data
        assert not is_gone(child)
        started.ref.tell(Cancel())
        await stage.end()
        await eventually(lambda: is_gone(child))


async def test_a_run_ends_with_its_owner() -> None:
    async with house() as stage:
        started = await stage.start("forever")
        viewer = await Ear.of(stage.system)
        await started.ref.call(Watch(viewer.ref, tell_end=False))
        stage.owner.ref.kill()
        end = await viewer.next(RunEnded)
        assert (end.state, end.reason) == ("cancelled", "the scheduler that launched it ended (killed)")
        await eventually(lambda: is_gone(started.worker_pid))


@pytest.mark.parametrize("end", ["kill", "exit"])
async def test_the_worker_ends_with_its_actor(end: str) -> None:
    async with house() as stage:
        started = await stage.start("stubborn")
        await stage.owner.next(Frame)
        if end == "kill":
            started.ref.kill()
        else:
            started.ref.exit(Shutdown())
        await started.ref.ended()
        await eventually(lambda: is_gone(started.worker_pid))


async def test_when_an_engine_ends_so_do_its_runs() -> None:
    async with house() as stage:
        started = [await stage.start("forever", run=f"r{number}") for number in range(3)]
        stage.engine.stop()
        for each in started:
            await each.ref.ended()
            assert is_gone(each.worker_pid)


async def test_no_worker_outlives_an_engine_process_that_is_killed(tmp_path: Path) -> None:
    code = tmp_path / "engine_node.py"
    code.write_text(
        "import asyncio, sys\n"
        "from tests.test_engine import house\n"
        "async def main():\n"
        "    async with house() as stage:\n"
        "        started = [await stage.start(p, run=p) for p in ('stubborn', 'locked', 'forever', 'parent')]\n"
        "        ready = {}\n"
        "        while len(ready) < 4:\n"
        "            message = await stage.owner.heard.get()\n"
        "            if type(message).__name__ == 'Frame':\n"
        "                ready[message.run] = message.data\n"
        "        print(*[each.worker_pid for each in started], ready['parent'], flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(code),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert len(pids) == 5
    assert not any(is_gone(pid) for pid in pids)
    process.kill()
    await eventually(lambda: all(is_gone(pid) for pid in pids))
    await process.wait()


async def test_a_hasty_program_does_not_hold_up_the_node() -> None:
    async with house() as stage:
        await stage.start("hasty", frames=200_000)
        slowest, before = 0.0, time.thread_time()  # what others do with the processor meanwhile is not its fault
        ended = asyncio.ensure_future(stage.end())
        while not ended.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            slowest, before = max(slowest, now - before), now
        assert (await ended).state == "finished"
        assert slowest < 0.25


@pytest.mark.parametrize(
    ("program", "args", "rate", "sentence"),
    [
        ("cuont", {}, None, "no program is published as 'cuont'; there are: count, dawdles,"),
        ("count", {}, None, "program 'count': missing a required argument: 'to'; it takes"),
        ("count", {"to": 1, "up": 2}, None, "program 'count': got an unexpected keyword argument 'up'"),
        ("count", {"to": "three"}, None, "program 'count': to must be int, not 'three'"),
        ("sum", {"numbers": [1, "2"]}, None, r"program 'sum': numbers must be list\[int\], not \[1, '2'\]"),
        ("count", {"to": 2**64}, None, "the arguments cannot be sent: Integer value out of range"),
        ("count", {"to": 1, "note": "x" * 70_000}, None, "the arguments have 70,015 bytes as MessagePack; 65,536"),
        ("count", {"to": 1}, -1, "a rate is a number of frames per second from 0"),
    ],
)
async def test_what_cannot_run_is_refused_with_a_sentence(
    program: str, args: dict[str, Any], rate: float | None, sentence: str
) -> None:
    async with house() as stage:
        with pytest.raises(Refused, match=sentence):
            await stage.start(program, rate, **args)
        assert (await stage.start("sum", numbers=[1])).run == "r1"


async def test_a_full_engine_refuses_and_has_room_again_later() -> None:
    async with house(capacity=1) as stage:
        await stage.start("forever")
        with pytest.raises(Refused, match="a run 'r1' is under way here already"):
            await stage.start("forever")
        with pytest.raises(Refused, match="all 1 places are taken"):
            await stage.start("forever", run="r2")
        stage.engine.tell(EndRun("r1"))
        stage.engine.tell(EndRun("unknown"))
        await stage.end()
        async with asyncio.timeout(30):
            while True:
                try:
                    await stage.start("forever", run="r2")
                    return
                except Refused:
                    await asyncio.sleep(0)


async def test_where_no_process_can_be_started_a_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house() as stage:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", "/no/such/python")
            with pytest.raises(Refused, match=r"no worker process could be started: .*/no/such/python"):
                await stage.start("forever")
        assert (await stage.start("forever")).run == "r1"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("tests.no_such_module", "cannot import 'tests.no_such_module': ModuleNotFoundError"),
        ("json", "'json' publishes no program: decorate a function in it with @program"),
    ],
)
async def test_an_engine_without_its_programs_does_not_start(path: str, sentence: str) -> None:
    with pytest.raises(StartFailed, match=sentence):
        async with house(path):
            pass


def test_a_catalog_holds_what_was_named_and_nothing_else() -> None:
    assert "arena" not in load([PROGRAMS])
    assert set(load([PROGRAMS, "understudy.examples.arena"])) > {"arena", "count"}
    assert load(["understudy.examples.arena"])["arena"].rate == 10.0


def test_two_functions_under_one_name_are_refused() -> None:
    with pytest.raises(CatalogError, match=r"two functions are published as 'count': tests\.run_programs\.count and "):
        program("count")(lambda: None)


@pytest.mark.parametrize(("name", "rate"), [("", None), ("x", float("nan")), ("x", -1), ("x", True), ("x", 1e6)])
def test_a_program_needs_a_name_and_a_possible_rate(name: str, rate: float | None) -> None:
    with pytest.raises(CatalogError):
        program(name, rate=rate)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"agents": 6}, r"agents must be Literal\[2, 3, 4, 5\], not 6"),
        ({"bots": ["greedy", "grredy"]}, r"bots must be list\[Literal\['greedy'"),
        ({"seed": 1.5}, r"seed must be int \| None, not 1.5"),
        ({"seed": True}, r"seed must be int \| None, not True"),
    ],
)
def test_the_arena_is_refused_what_it_cannot_be_played_with(args: dict[str, Any], sentence: str) -> None:
    arena = load(["understudy.examples.arena"])["arena"]
    arena.check({"seed": 1, "bots": ["greedy", "hunter"], "agents": 2})
    with pytest.raises(CatalogError, match=sentence):
        arena.check(args)


@pytest.mark.parametrize("whose", ["the caller's", "the engine's"])
async def test_a_run_that_starts_too_late_is_called_off_and_the_engine_lives(
    whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    started: list[WorkerProcess] = []
    start = WorkerProcess.start

    async def late(run: ActorRef[Any], order: dict[str, Any]) -> WorkerProcess:
        await go_on.wait()
        started.append(await start(run, order))
        return started[-1]

    monkeypatch.setattr(WorkerProcess, "start", late)
    async with house(capacity=1) as stage:
        order = StartRun("r1", "forever", {}, None, stage.owner.ref)
        if whose == "the caller's":
            with pytest.raises(DeadlineExceeded):
                await stage.engine.call(order, timeout=0.02)
        else:
            with monkeypatch.context() as short:
                short.setattr("understudy.engine.engine.START_TIMEOUT", 0.02)
                with pytest.raises(Refused, match="did not start in time"):
                    await stage.engine.call(order)
        for run, why in (("r1", "under way here already"), ("r2", "all 1 places are taken")):
            with pytest.raises(Refused, match=why):
                await stage.start("forever", run=run)
        stage.engine.tell(EndRun("r1"))
        go_on.set()

        async with asyncio.timeout(10):
            while len(started) < 2:  # until the place is free
                with suppress(Refused):
                    await stage.start("forever", run="r2")
        late_one, second = started
        assert is_gone(late_one.pid)
        assert not is_gone(second.pid)
        assert stage.engine.is_alive()

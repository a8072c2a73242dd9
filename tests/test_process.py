"""An operating-system process as an actor: it starts, fails and ends with it, and never outlives it."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import inside
from understudy.actors import ActorRef, ActorSystem, Failure, Normal, StartFailed
from understudy.supervisors import Child, OsProcess, ProcessStatus, Supervisor, WhichChildren

READY = "import sys; print('noise'); print('ready on 7', flush=True); sys.stdin.read()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}; signal.pause()"
NEVER_READY = "import sys; sys.stdin.read()"
WITH_CHILD = f"import subprocess; c = subprocess.Popen(['sleep', '600']); print('child', c.pid); {READY}"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")


async def pid_of(process: ActorRef[Any]) -> int:
    status = await process.call(ProcessStatus())
    pid = status["pid"]
    assert isinstance(pid, int)
    return pid


async def test_it_is_ready_when_its_program_says_so_and_ends_with_it() -> None:
    async with ActorSystem() as system:
        process = await system.spawn(OsProcess, python(READY), ready="ready")
        status = await process.call(ProcessStatus())
        assert (status["ready"], alive(status["pid"])) == ("ready on 7", True)
        process.stop()
        assert await process.ended() == Normal()
        assert not alive(status["pid"])
        assert system.dead_letters.count == 0


async def test_a_killed_program_is_started_again_by_the_supervisor() -> None:
    async with ActorSystem() as system:
        spec = Child(OsProcess, id="p", args=(python(READY),), kwargs={"ready": "ready"}, name="p")
        supervisor = await system.spawn(Supervisor, [spec])
        first = system.whereis("p")
        assert first is not None
        pid = await pid_of(first)
        os.kill(pid, signal.SIGKILL)
        reason = await first.ended()
        assert isinstance(reason, Failure)
        assert f"(process {pid}) was ended by SIGKILL" in reason.message
        [info] = await supervisor.call(WhichChildren(), timeout=30.0)
        assert info.ref is not None
        again = await pid_of(info.ref)
        assert again != pid
        assert alive(again)
    assert not alive(again)


async def test_a_program_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    async with ActorSystem() as system:
        process = await system.spawn(OsProcess, python(STUBBORN), ready="ready", grace=0.1)
        pid = await pid_of(process)
        process.stop()
        assert await process.ended(10.0) == Normal()
        assert not alive(pid)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_killed_actor_leaves_no_process(at_once: bool) -> None:
    async with ActorSystem() as system:
        process = await system.spawn(OsProcess, python(STUBBORN), ready="ready")
        pid: int = inside(process)._program.pid
        if not at_once:
            await pid_of(process)
        process.kill()
        await eventually(lambda: not alive(pid))


async def test_an_actor_killed_while_it_waits_for_its_program_leaves_no_process() -> None:
    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(OsProcess, python(NEVER_READY), ready="ready"))
        await eventually(lambda: system._top)
        [cell] = system._top
        actor: Any = cell.actor
        await eventually(lambda: actor._program is not None)
        pid = actor._program.pid
        assert alive(pid)
        cell.kill()
        with pytest.raises(StartFailed, match="killed"):
            await spawning
        await eventually(lambda: not alive(pid))


async def test_a_program_that_ends_before_it_is_ready_fails_the_start() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="exited with status 3 before it was ready"):
            await system.spawn(OsProcess, python("raise SystemExit(3)"), ready="ready")


async def test_a_start_that_takes_too_long_fails_and_leaves_no_process() -> None:
    async with ActorSystem() as system:
        spec = Child(OsProcess, args=(python(NEVER_READY),), kwargs={"ready": "ready"}, start_timeout=0.2)
        with pytest.raises(StartFailed, match="longer than"):
            await system.spawn(Supervisor, [spec])


async def test_a_missing_program_fails_the_start_with_its_name() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="no-such-program could not be started"):
            await system.spawn(OsProcess, ["no-such-program"])


@pytest.mark.parametrize("argv", ["echo hello", []])
async def test_a_command_line_that_cannot_be_meant_is_refused(argv: Any) -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="argv is a list"):
            await system.spawn(OsProcess, argv)


async def test_a_crash_is_seen_though_a_grandchild_holds_the_pipes_and_that_one_ends_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ActorSystem() as system:
        process = await system.spawn(OsProcess, python(WITH_CHILD), ready="child")
        grandchild = int((await process.call(ProcessStatus()))["ready"].split()[1])
        pid = await pid_of(process)
        os.kill(pid, signal.SIGKILL)
        assert isinstance(await process.ended(5.0), Failure)
        await eventually(lambda: not alive(grandchild))


async def test_its_lines_are_logged_and_an_endless_one_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="understudy.supervisors")
    program = "print('ready'); print('hello'); print('x' * 200_000); print('bye', end='')"
    async with ActorSystem() as system:
        process = await system.spawn(OsProcess, python(program), ready="ready")
        assert isinstance(await process.ended(10.0), Failure)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert lines == ["hello", "x" * 65_536, "bye"]

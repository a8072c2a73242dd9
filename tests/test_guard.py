"""Whatever becomes of a process, what it guards ends; whatever ends in order leaves no guard."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import eventually
from tests.system.demo import children_of, is_running, still_running
from understudy.actors import ActorSystem
from understudy.supervisors import Guard, OsProcess

DEAF = ["sh", "-c", "trap '' TERM; sleep 600 & echo ready; wait"]
"""A program that heeds neither SIGTERM nor its standard input, and has a child."""


@pytest.fixture
def deaf() -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(DEAF, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    yield program
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    program.stdout.close()


def guards() -> list[int]:
    return [pid for pid in children_of(os.getpid()) if b"understudy-guard" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_process_that_ends_in_order_leaves_no_guard() -> None:
    async with ActorSystem() as system:
        process = await system.spawn(OsProcess, ["cat"])
        await eventually(lambda: len(guards()) == 1)
        process.stop()
        await process.ended()
        await eventually(lambda: not guards())


async def test_a_process_that_ends_by_itself_or_is_killed_leaves_no_guard() -> None:
    async with ActorSystem() as system:
        await (await system.spawn(OsProcess, ["true"])).ended()
        await eventually(lambda: not guards())
        (await system.spawn(OsProcess, ["sleep", "600"])).kill()
        await eventually(lambda: not guards())


def test_a_guard_that_is_dismissed_ends_nobody(deaf: subprocess.Popen[str]) -> None:
    before = children_of(deaf.pid)
    guard = Guard(deaf.pid)
    guard.dismiss()
    assert guards() == []
    assert is_running(deaf.pid)
    assert children_of(deaf.pid) == before


def test_a_guard_that_somebody_killed_can_be_dismissed(deaf: subprocess.Popen[str]) -> None:
    guard = Guard(deaf.pid)
    os.kill(guard._pid, signal.SIGKILL)
    guard.dismiss()
    assert not is_running(guard._pid)


@pytest.mark.parametrize("group", [True, False])
def test_when_its_owner_is_killed_the_process_ends_and_its_group_only_if_it_is_meant(
    deaf: subprocess.Popen[str], group: bool
) -> None:
    [child] = children_of(deaf.pid)
    owner = (
        "import os, signal, sys; from understudy.supervisors import Guard; "
        "guard = Guard(int(sys.argv[1]), group=bool(int(sys.argv[2]))); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", owner, str(deaf.pid), str(int(group))], timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert still_running([deaf.pid, *([child] if group else [])], 3.0) == []
    assert is_running(child) is not group


async def test_a_machine_that_has_no_room_for_a_guard_runs_the_program_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise BlockingIOError("no further process")

    async with ActorSystem() as system:
        monkeypatch.setattr(os, "posix_spawn", refuse)
        process = await system.spawn(OsProcess, ["cat"])
        assert "has no guard, and may outlive us if we are killed: no further process" in caplog.text
        process.stop()
        await asyncio.wait_for(process.ended(), 10.0)

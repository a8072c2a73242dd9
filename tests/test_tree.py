"""What `understudy tree` shows of a system: every actor, every place that nobody fills, and how it last ended."""

import asyncio
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.helpers import eventually
from tests.system.demo import is_running
from tests.virtual import virtually
from understudy.actors import Actor, ActorSystem
from understudy.control import Control, folder, processes
from understudy.supervisors import Child, OsProcess, Supervisor, TerminateChild
from understudy.tree import FOLDED, PATIENCE, Process, Row, draw, look


class Clerk(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise KeyError("till\nsecond line")
        if message == "have a child":
            return self.spawn(Clerk, name="child")
        return message


class Odd(Supervisor):
    """Answers nobody any more once it is told so, and may have a child of which its specs know nothing."""

    async def on_receive(self, message: Any) -> Any:
        if message == "stick":
            await asyncio.Event().wait()
        if message == "have a child":
            return await self.spawn(Clerk, name="child")
        return await super().on_receive(message)


class Tolerant(Supervisor):
    degraded = True
    intensity = 0


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="understudy-") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        yield Path(place)


def found(rows: list[Row], name: str) -> Row:
    """The row of that id, wherever it is."""
    every = list(rows)
    for row in every:
        if row["id"] == name:
            return row
        every += row["children"]
    raise AssertionError(f"no {name!r} among {[row['id'] for row in every]}")


def row(number: int, state: str = "running", last_exit: str | None = None, children: list[Row] | None = None) -> Row:
    return Row(
        id=f"c{number}", cls="Clerk", state=state, restart="permanent", restarts=0, last_exit=last_exit, waiting=0,
        pid=None, children=children or [],
    )  # fmt: skip


def drawn(rows: list[Row], *, everything: bool = False, **console: Any) -> list[str]:
    file = io.StringIO()
    process = Process(name="shop:main", pid=7, phase="running", up=200.0, children=rows)
    draw([process], Console(file=file, **console), everything=everything)
    return [line.rstrip() for line in file.getvalue().splitlines()]


# --- looking ---


async def test_it_has_every_actor_in_order_and_what_its_supervisor_knows_of_it() -> None:
    async with ActorSystem() as system:
        branch = Child(Supervisor, id="branch", args=([Child(Clerk, name="leaf", restart="transient")],))
        await system.spawn(Supervisor, [Child(Clerk, name="first"), branch], name="root")
        await system.spawn(Clerk, name="loner")
        rows = await look(system)
        assert [each["id"] for each in rows] == ["root", "loner"]
        assert [each["id"] for each in rows[0]["children"]] == ["first", "branch"]
        leaf = found(rows, "leaf")
        assert (leaf["cls"], leaf["state"], leaf["restart"], leaf["restarts"]) == ("Clerk", "running", "transient", 0)
        assert (found(rows, "loner")["restart"], found(rows, "loner")["last_exit"]) == (None, None)
        assert json.loads(json.dumps(rows)) == rows


async def test_restarts_and_the_last_exit_are_shown_of_the_living_and_of_the_stopped() -> None:
    async with ActorSystem() as system:
        root = await system.spawn(Supervisor, [Child(Clerk, name="again"), Child(Clerk, name="away")])
        system.ref("again").tell("crash")
        await root.call(TerminateChild("away"))
        await eventually(lambda: system.whereis("again") is not None)
        rows = await look(system)
        assert (found(rows, "again")["restarts"], found(rows, "again")["state"]) == (1, "running")
        assert str(found(rows, "again")["last_exit"]).startswith("KeyError: ")
        assert (found(rows, "away")["state"], found(rows, "away")["last_exit"]) == ("stopped", "shutdown")


async def test_a_supervisor_that_holds_a_child_down_is_degraded() -> None:
    async with ActorSystem() as system:
        root = await system.spawn(Tolerant, [Child(Clerk, name="poor"), Child(Clerk, name="rich")], name="root")
        poor = system.whereis("poor")
        assert poor is not None
        poor.tell("crash")
        await poor.ended()
        await root.call(TerminateChild("rich"))
        rows = await look(system)
        states = {name: found(rows, name)["state"] for name in ("root", "poor", "rich")}
        assert states == {"root": "degraded", "poor": "held", "rich": "stopped"}


@pytest.mark.parametrize("parent", [Child(Clerk, name="parent"), Child(Odd, name="parent")])
async def test_children_of_which_no_supervisor_knows_are_shown_too(parent: Child) -> None:
    async with ActorSystem() as system:
        await system.spawn(Supervisor, [parent])
        await (await system.ref("parent").call("have a child")).call("hello")
        assert [each["id"] for each in found(await look(system), "parent")["children"]] == ["child"]


async def test_a_supervisor_that_does_not_answer_is_silent_and_its_children_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("understudy.tree.PATIENCE", 0.05)
    async with ActorSystem() as system:
        stuck = await system.spawn(Odd, [Child(Clerk, name="clerk")], name="stuck")
        stuck.tell("stick")
        rows = await look(system)
        assert (found(rows, "stuck")["state"], found(rows, "clerk")["state"]) == ("silent", "running")
        stuck.kill()


def test_however_many_do_not_answer_a_look_takes_the_time_of_one() -> None:
    async def main() -> tuple[list[str], float]:
        system = ActorSystem(slow_after=None, slow_thread_after=None)
        inner = Child(Odd, name="inner")
        names = ["outer", "inner", *(f"odd{number}" for number in range(10))]
        await system.spawn(Odd, [inner, *(Child(Odd, name=name) for name in names[2:])], name="outer")
        for name in names:
            system.ref(name).tell("stick")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        rows = await look(system)
        seconds = loop.time() - begun
        for actor in reversed(system.actors()):
            actor.kill()
        await system.shutdown()
        return [found(rows, name)["state"] for name in names], seconds

    assert virtually(main()) == (["silent"] * 12, PATIENCE)


async def test_a_process_has_its_number() -> None:
    async with ActorSystem() as system:
        await system.spawn(Supervisor, [Child(OsProcess, id="cat", args=(["cat"],))])
        pid = found(await look(system), "cat")["pid"]
        assert pid is not None
        assert is_running(pid)


# --- drawing ---


def test_to_anything_but_a_terminal_it_is_plain_text_in_whole_lines() -> None:
    long = "KeyError: " + "x" * 300
    lines = drawn([row(1, children=[row(2, last_exit=long + "\nmore"), row(3)]), row(4, "restarting")])
    assert lines[0] == "shop:main  process 7  running, up 3 min"
    assert [line.split()[:4] for line in lines[2:]] == [
        ["├─", "c1", "Clerk", "running"],
        ["│", "├─", "c2", "Clerk"],
        ["│", "└─", "c3", "Clerk"],
        ["└─", "c4", "Clerk", "restarting"],
    ]
    assert lines[3].endswith(long)
    assert "\x1b" not in "".join(lines)


def test_in_a_terminal_a_line_is_cut_to_its_width() -> None:
    lines = drawn([row(1, last_exit="x" * 300)], force_terminal=True, color_system=None, width=60)
    assert max(map(len, lines)) <= 60
    assert lines[2].endswith("…")


def test_a_long_row_of_healthy_children_is_folded_and_whatever_is_not_well_stands_out() -> None:
    children = [row(number, "held" if number == 77 else "running") for number in range(100)]
    lines = drawn([row(-1, children=children)])
    assert sum("running" in line for line in lines[3:-1]) == FOLDED
    assert any("c77" in line and "held" in line for line in lines)
    assert lines[-1].endswith(f"... {99 - FOLDED} more, all running (--all shows them)")
    assert len(drawn([row(-1, children=children)], everything=True)) == 103


# --- through the window ---


async def test_whoever_looks_through_the_window_sees_the_process() -> None:
    async with ActorSystem() as system, Control("shop:main", system) as control:
        await system.spawn(Clerk, name="clerk")
        control.phase = "stopping"
        [process], silent = await processes()
        assert (process["name"], process["phase"], silent) == ("shop:main", "stopping", [])
        assert [each["id"] for each in process["children"]] == ["clerk"]
    assert await processes() == ([], [])


async def test_the_window_of_a_process_that_was_killed_is_removed() -> None:
    async with ActorSystem() as system:
        async with Control("shop:main", system):
            [window] = folder().iterdir()
            window.rename(window.with_name("0.sock"))
        assert [each.name for each in folder().iterdir()] == ["0.sock"]
        assert await processes() == ([], [])
        assert list(folder().iterdir()) == []


async def test_what_others_put_into_the_folder_is_left_alone() -> None:
    stranger = folder() / "bus.sock"
    stranger.touch()
    assert await processes() == ([], [])
    assert stranger.exists()


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ("/proc/nope", "/proc/nope/understudy cannot be made: .*; set XDG_RUNTIME_DIR to a folder of your own"),
        ("/tmp/" + "long/" * 30, "long/understudy is too long a path for a socket: set XDG_RUNTIME_DIR to a shorter one"),
    ],
)  # fmt: skip
async def test_a_folder_that_cannot_be_is_named_with_a_remedy_and_the_process_runs_without_a_window(
    runtime: str, says: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    async with ActorSystem() as system, Control("shop:main", system):
        assert re.search(says, caplog.text)
    with pytest.raises(OSError, match=says):
        await processes()


async def test_a_folder_that_others_can_write_is_refused_and_the_process_runs_without_a_window(
    runtime_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (runtime_dir / "understudy").mkdir(mode=0o755)
    async with ActorSystem() as system, Control("shop:main", system):
        assert "is open to other users: remove it, or set XDG_RUNTIME_DIR" in caplog.text
    with pytest.raises(PermissionError):
        await processes()

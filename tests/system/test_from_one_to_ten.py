"""The page "From one machine to ten": its commands are run, in order, on the machines that it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers import Postgres, missing_postgres
from tests.system.services import Service
from tests.system.street import Machine, Street, missing
from tests.system.theatre import NODES, TABLE, UNDERSTUDY

PAGE = Path(__file__).parent.parent.parent / "docs" / "from-one-to-ten.md"

READY_WITHIN = 60.0
"""Seconds, on a machine that others use too."""


@dataclass
class Block:
    """Commands that are typed on one machine."""

    machine: str
    text: str


@dataclass
class Section:
    title: str
    blocks: list[Block] = field(default_factory=list[Block])


def sections() -> list[Section]:
    """Those of the page that have commands to run."""
    found: list[Section] = []
    machine = ""
    token = re.compile(
        r"^## (?P<title>[^\n]+)$|^On `(?P<machine>[\w-]+)`|^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
    )
    for match in token.finditer(PAGE.read_text()):
        if match["title"] is not None:
            found.append(Section(match["title"]))
        elif match["machine"] is not None:
            machine = match["machine"]
        else:
            found[-1].blocks.append(Block(machine, match["text"]))
    return [section for section in found if section.blocks]


class Scene:
    """The machines of one section, each with a folder that its commands are typed in."""

    def __init__(self, street: Street, folder: Path, stack: ExitStack) -> None:
        self._street = street
        self._folder = folder
        self._stack = stack
        self.nodes: dict[str, Service] = {}
        self.table: Postgres | None = None

    def machine(self, name: str) -> Machine:
        if name not in self._street.machines:
            self._street.machine(name, TABLE if name == "table" else NODES[name])
            self.home(name).mkdir()
        return self._street.machines[name]

    def home(self, name: str) -> Path:
        return self._folder / name

    def type(self, block: Block) -> str:
        """What it prints. A node is started in a terminal of its own, and waited for until it is ready."""
        machine = self.machine(block.machine)
        lines = block.text.splitlines()
        if all(line.startswith("understudy node ") for line in lines):
            for line in lines:
                self._start(machine, line)
            return ""
        if block.machine == "table" and self.table is None:
            table = Postgres(through=machine.through, address=machine.address, port=5432, user="postgres")
            self.table = self._stack.enter_context(table)
        done = subprocess.run(
            [*machine.through, "sh", "-euc", block.text],
            cwd=self.home(machine.name),
            env={
                **self._environment(machine),
                **(self.table.at_home() if block.machine == "table" and self.table else {}),
            },
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, f"{block.text}{done.stdout}{done.stderr}{self.said()}"
        return done.stdout

    def _start(self, machine: Machine, line: str) -> None:
        name = line.split()[2]
        home = self.home(machine.name)
        words = ("sh", "-c", f"exec {line}")
        environment = self._environment(machine)
        service = Service(machine, *words, log=home / f"{name}.log", environment=environment, home=home)
        self.nodes[name] = self._stack.enter_context(service)
        service.hold()
        self.waits_for(name, f"ready {name} ")

    def waits_for(self, name: str, words: str) -> None:
        """Until that node has printed them."""
        end = time.monotonic() + READY_WITHIN
        while words not in self.nodes[name].said():
            assert time.monotonic() < end, f"{name} does not say {words!r}\n{self.said()}"
            assert not self.nodes[name].statuses, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return "\n".join(f"--- {name}\n{node.said()}" for name, node in self.nodes.items())

    def _environment(self, machine: Machine) -> dict[str, str]:
        path = f"{UNDERSTUDY.parent}{os.pathsep}{os.environ['PATH']}"
        runtime = Path(tempfile.gettempdir()) / f"u-{os.getpid()}-{machine.name}"  # a socket's path has to be short
        runtime.mkdir(mode=0o700, exist_ok=True)
        self._stack.callback(shutil.rmtree, runtime, ignore_errors=True)
        return {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(runtime)}


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack.enter_context(Street()), folder, stack)


def by_title(title: str) -> list[Block]:
    return next(section.blocks for section in sections() if section.title == title)


@pytest.fixture(autouse=True)
def _machines() -> None:
    if why := missing() or missing_postgres():
        pytest.skip(why)


def games(printed: str) -> int:
    return printed.count('"program": "arena"')


def test_every_section_with_commands_is_run_by_a_test_here() -> None:
    assert [section.title for section in sections()] == [
        "One process",
        "Several processes on a machine",
        "Several machines, no database",
        "Several machines and PostgreSQL",
    ]


def test_one_process(tmp_path: Path) -> None:
    with scene(tmp_path) as here:
        start, ask = by_title("One process")
        here.type(start)
        printed = here.type(ask)
        assert games(printed) == 1
        assert "theatre" in printed
        here.nodes["theatre"].stopped()
        assert here.nodes["theatre"].statuses == [0], here.said()


def test_several_processes_on_a_machine(tmp_path: Path) -> None:
    with scene(tmp_path) as here:
        start, play, leave = by_title("Several processes on a machine")
        here.type(start)
        here.waits_for("stage-1", "engine-2 is here")
        assert games(here.type(play)) == 2, "started on one page, seen on the other"
        assert "engine-2" in here.type(leave)
        here.nodes["engine-2"].ended()
        assert here.nodes["engine-2"].statuses == [0], here.said()


def test_several_machines_without_a_database(tmp_path: Path) -> None:
    with scene(tmp_path) as here:
        first, token, second, ask = by_title("Several machines, no database")
        here.type(first)
        here.type(token)
        here.machine("engine-1")
        shutil.copy(here.home("stage-1") / "engine-1.token", here.home("engine-1"))  # handed over, in secret
        here.type(second)
        here.waits_for("stage-1", "engine-1 is here")
        printed = here.type(ask)
        assert games(printed) == 1
        assert re.search(r"trusted +engine-1", printed)


def test_several_machines_and_postgresql(tmp_path: Path) -> None:
    with scene(tmp_path) as here:
        table, *keys, trust, settle, start, ask, other = by_title("Several machines and PostgreSQL")
        here.type(table)
        assert [block.machine for block in keys] == list(NODES)
        for block in keys:
            here.type(block)
        for name in NODES:  # "and so on each of the four"
            for peer in NODES.keys() - {name}:
                shutil.copy(here.home(peer) / "keys" / "own" / f"{peer}.pub", here.home(name))
            lines = [line for line in trust.text.splitlines() if f" {name} " not in line]
            if name != "stage-1":
                lines.append("understudy keys trust stage-1 stage-1.pub --keys keys")
            here.type(Block(name, "\n".join(lines) + "\n"))
        assert "table_file" in here.type(settle)
        for name, number in NODES.items():  # "and so on the three others, each with its own name, role and address"
            kind = name.partition("-")[0]
            text = settle.text.replace("stage-1", name).replace("10.77.0.11", f"10.77.0.{number}")
            here.type(Block(name, text.replace(":stage", f":{kind}").replace('"stage"', f'"{kind}"')))
            here.type(Block(name, start.text.replace("stage-1", name)))
        for name in NODES.keys() - {"stage-1"}:
            here.waits_for("stage-1", f"{name} is here")
        printed = here.type(ask)
        assert all(name in printed for name in NODES)
        assert games(printed) == 1
        assert games(here.type(other)) == 1, "started on one page, seen on the other"

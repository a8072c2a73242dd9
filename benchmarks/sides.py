"""Who is compared: what each side needs, how its program is run, and which cases it cannot do.

Packages are installed when the benchmark runs, each side's into a virtual environment of its own under `.venv-bench`:
they cannot disturb ours, nor each other. What cannot be installed is "not here", with the reason.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".venv-bench"
PATIENCE = 600.0
"""Seconds that an installation may take."""


class NotHereError(Exception):
    """A side cannot be measured on this machine; the text says why."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side. `packages` are requirements; without any it runs where we do. `lacks`: case -> why it cannot do it."""

    name: str
    packages: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def key(self) -> str:
        """The name that the command line and the program's module have for it."""
        return re.split(r"\W", self.name)[0].lower()

    def prepare(self) -> list[str]:
        """Install what it needs; returns its command, without the case. Raises NotHereError."""
        python = sys.executable
        if self.packages:
            python = _environment(PLACE / self.key, self.packages)
        return [python, "-m", f"benchmarks.programs.with_{self.key}"]

    def case(self, case: str, scale: float) -> list[str]:
        """The arguments that name a case."""
        return [case, "--scale", str(scale)]


class Erlang(Side):
    """Erlang/OTP as Debian has it: installed if we may."""

    def prepare(self) -> list[str]:
        if shutil.which("erlc") is None:
            if shutil.which("apt-get") is None or os.geteuid() != 0:
                raise NotHereError("there is no erlc, and this user cannot install it (Debian: erlang-base)")
            _run(["apt-get", "update", "-qq"])
            _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "erlang-base"])
        place = PLACE / self.key
        place.mkdir(parents=True, exist_ok=True)
        _run(["erlc", "-o", str(place), str(Path(__file__).parent / "programs" / "with_erlang.erl")])
        return ["erl", "-noinput", "-pa", str(place), "-run", "with_erlang", "main"]

    def case(self, case: str, scale: float) -> list[str]:
        return [case, str(scale)]


SIDES = (
    Side("Understudy"),
    Erlang(
        "Erlang/OTP",
        lacks={
            "async": "a process may wait in any handler: there is no such difference",
            "thread": "there are no threads besides its processes",
        },
    ),
    Side("Pykka", lacks={"async": "its handlers are plain"}),
    Side(
        "Thespian (simple system base)",
        packages=("thespian==4.0.1",),
        lacks={
            "queued": "a tell has been handled when it returns",
            "async": "its handlers are plain",
            "thread": "one thread alone may use it",
            "restart": "an actor goes on after an exception",
            "crashes": "an actor goes on after an exception",
            "logged": "an actor goes on after an exception",
        },
    ),
    Side(
        "xoscar",
        packages=("xoscar==0.12.2", "uvloop>=0.21"),
        lacks={
            "queued": "its tell gives way to the handler at once",
            "thread": "only coroutines of its loop may use it",
            "restart": "an actor goes on after an exception",
            "crashes": "an actor goes on after an exception",
            "logged": "an actor goes on after an exception",
        },
    ),
    Side(
        "otpylib",
        packages=("otpylib==0.5.18", "uvloop>=0.21"),
        lacks={
            "thread": "only coroutines of its loop may use it",
            "crashes": "a crash just after a restart is never noticed",
            "logged": "it prints what others log",
        },
    ),
)


def version(side: Side) -> str:
    """What was measured, for the head of a report."""
    if side.packages:
        return side.packages[0].replace("==", " ")
    return side.name


def _environment(place: Path, packages: tuple[str, ...]) -> str:
    """The interpreter of a virtual environment with these packages, made if it is not there."""
    python, mark = place / "bin" / "python", place / "packages"
    wanted = "\n".join((sys.version, *packages))
    if not mark.exists() or mark.read_text() != wanted:
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        _run([str(python), "-m", "pip", "install", "--quiet", *packages])
        mark.write_text(wanted)
    return str(python)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHereError(str(error)) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise NotHereError(f"{' '.join(command[:4])} ...: {said}")

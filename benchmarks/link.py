"""`python -m benchmarks.link`: messages between two processes of this machine, Understudy beside its peers and the floor.

    case ──▶ all cores, then one core ──▶ round ──▶ each side in turn: a program of its own (benchmarks/wire) with its two
                                                    processes ──▶ one line of JSON: row -> figure

The sides take turns, so that a noisy machine is noisy for all of them. "One core" holds both processes on a single one.
"""

import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.__main__ import CORE, QUICK, readable, table
from benchmarks.sides import PLACE, ROOT, Erlang, NotHereError, Side

PATIENCE = 120.0
"""Seconds for one program."""


class Row(NamedTuple):
    """`target` is what Understudy is to reach, in `unit`; None: there is nothing to reach. `pinned`: the same on one core."""

    what: str
    unit: str
    less_is_better: bool = False
    target: float | None = None
    pinned: float | None = None


ROWS = {
    "tell": Row("100-byte messages of a registered type, until the last was counted there", "messages/s", target=1.2e6),
    "call p50": Row("a request and its answer, nothing else under way", "us", True, 90, 45),
    "call p99": Row("the same", "us", True),
    "loaded rate": Row("messages that pass the same link, meant to be 500 k/s, while there are calls", "messages/s"),
    "loaded p50": Row("calls meanwhile", "us", True),
    "loaded p99": Row("the same", "us", True),
    "binaries": Row("1-MiB binaries, each read to its end", "GB/s", target=3e9),
    "beside rate": Row("a payload of 1 GiB that passes, again and again, while there are calls", "GB/s"),
    "beside p50": Row("calls meanwhile", "us", True),
    "beside p99": Row("the same", "us", True),
    "sender": Row("`tell`: the sender's processor time", "us", True),
    "receiver": Row("`tell`: the receiver's processor time", "us", True),
}

CASES = ("tell", "call", "loaded", "binaries", "beside")
PINNABLE = ("call",)


@dataclass(frozen=True, eq=False)
class Linked(Side):
    """A side of this comparison; `extra` is said to its program after the case and the scale."""

    extra: tuple[str, ...] = ()
    program: str = ""

    def prepare(self) -> list[str]:
        python, *_ = super().prepare()
        return [python, "-m", f"benchmarks.wire.with_{self.program or self.key}"]

    def case(self, case: str, scale: float) -> list[str]:
        return [case, str(scale), *self.extra]


@dataclass(frozen=True, eq=False)
class LinkedErlang(Erlang):
    """Two nodes of Erlang's own distribution."""

    place: Path = field(default=PLACE / "erlang-wire")

    def prepare(self) -> list[str]:
        super().prepare()
        self.place.mkdir(parents=True, exist_ok=True)
        source = ROOT / "benchmarks" / "wire" / "with_erlang.erl"
        subprocess.run(["erlc", "-o", str(self.place), str(source)], check=True)
        return [
            "erl",
            "-noinput",
            "-pa",
            str(self.place),
            "-sname",
            f"here{os.getpid()}",
            "-run",
            "with_erlang",
            "main",
        ]


ONLY_OURS = {"beside": "it has no payloads that are streams"}
NO_FLOOD = {"loaded": "not measured", **ONLY_OURS}

SIDES: tuple[Side, ...] = (
    Linked("Understudy"),
    Linked("CURVE (Understudy)", program="understudy", extra=("curve",)),
    LinkedErlang("Erlang/OTP", lacks=ONLY_OURS),
    Linked("osBrain", packages=("osbrain==0.6.5",), lacks=NO_FLOOD),
    Linked("xoscar", packages=("xoscar==0.12.2", "uvloop>=0.21"), lacks=NO_FLOOD),
    Linked("Ray", packages=("ray==2.60.0",), lacks=NO_FLOOD),
    Linked("ZeroMQ alone", program="bare", extra=("zeromq",), lacks=NO_FLOOD),
    Linked("TCP alone", program="bare", extra=("tcp",), lacks=NO_FLOOD),
)


def measured(command: list[str], pinned: bool) -> dict[str, float]:
    """What one program found. Raises RuntimeError with the last line it said if it failed. Nothing of it is left."""
    pin = (lambda: os.sched_setaffinity(0, {CORE})) if pinned else None
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=pin,
        start_new_session=True,
    ) as program:
        try:
            out, err = program.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not done in {PATIENCE:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # its other process, too, however it ended
                os.killpg(program.pid, signal.SIGKILL)
    lines = [line for line in out.splitlines() if line.startswith('{"')]
    if not lines:
        raise RuntimeError((err.strip() or out.strip() or "it said nothing").splitlines()[-1])
    found: dict[str, float] = json.loads(lines[-1])
    return found


Figures = dict[tuple[str, str], dict[str, list[float]]]
"""(row, cores) -> side -> the figure of each round."""


def compare(
    case: str, cores: str, commands: dict[Side, list[str]], rounds: int, scale: float, figures: Figures
) -> list[str]:
    """Measure one case, the sides in turn; returns what went wrong."""
    failed: dict[Side, str] = {}
    for _ in range(rounds):
        for side, command in commands.items():
            if case in side.lacks or side in failed:
                continue
            try:
                found = measured([*command, *side.case(case, scale)], cores == "one")
            except RuntimeError as error:
                failed[side] = f"* {case}, {side.name}: failed: {error}"
                continue
            for row, value in found.items():
                figures.setdefault((row, cores), {}).setdefault(side.name, []).append(value)
    return list(failed.values())


def shown(number: float, unit: str) -> str:
    return f"{number / 1e9:.2f} GB/s" if unit == "GB/s" else readable(number, unit)


def cell(row: Row, ours: list[float], theirs: list[float], mine: bool) -> str:
    """A figure, and how many times better ours is: the median of the rounds' ratios, each in its own noise."""
    if not theirs:
        return "-"
    text = shown(statistics.median(theirs), row.unit)
    if mine or not ours:
        return text
    ratio = statistics.median(
        (other / own if row.less_is_better else own / other) for own, other in zip(ours, theirs, strict=False)
    )
    return f"{text} ({ratio:.2g}x)"


def report(figures: Figures, names: list[str]) -> str:
    """The table, and what its rows are."""
    lines: list[list[str]] = []
    for name, row in ROWS.items():
        for cores in ("all", "one"):
            found = figures.get((name, cores))
            if found is None:
                continue
            target = row.pinned if cores == "one" else row.target
            ours = found.get(names[0], [])
            cells = [cell(row, ours, found.get(side, []), side == names[0]) for side in names]
            lines.append([name, cores, shown(target, row.unit) if target else "-", *cells])
    rows = {line[0] for line in lines}
    return "\n".join(
        (
            *(f"* {name}: {row.what} ({row.unit})" for name, row in ROWS.items() if name in rows),
            "",
            "Medians; in brackets how many times better Understudy is, the median of the rounds.",
            "",
            table(["row", "cores", "to reach", *names], lines),
        )
    )


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Programs for each figure.")
@click.option("--only", type=click.Choice(CASES), multiple=True, help="Measure these cases alone.")
@click.option(
    "--peers",
    default="all",
    show_default=True,
    help=f"Which, with commas: {', '.join(side.key for side in SIDES[1:])}; or none.",
)
@click.option("--quick", is_flag=True, help="One short round of each.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write every figure to this file, too.")
def main(rounds: int, only: tuple[str, ...], peers: str, quick: bool, as_json: Path | None) -> None:
    """Measure messages between two processes."""
    known = {side.key: side for side in SIDES[1:]}
    wanted = list(known) if peers == "all" else [] if peers == "none" else peers.split(",")
    if strangers := set(wanted) - set(known):
        raise click.BadParameter(f"no such peer: {', '.join(sorted(strangers))}", param_hint="--peers")
    rounds, scale = (1, QUICK) if quick else (rounds, 1.0)
    commands: dict[Side, list[str]] = {}
    remarks: list[str] = []
    for side in (SIDES[0], *(known[peer] for peer in wanted)):
        try:
            commands[side] = side.prepare()
        except NotHereError as error:
            remarks.append(f"* {side.name} is not here: {error}")
    figures: Figures = {}
    for case in only or CASES:
        for cores in ("all", "one") if case in PINNABLE else ("all",):
            click.echo(f"{case}, {cores} cores" if cores == "all" else f"{case}, one core", err=True)
            remarks += compare(case, cores, commands, rounds, scale, figures)
    click.echo(f"Python {platform.python_version()}, {os.cpu_count()} cores; medians of {rounds} rounds\n")
    click.echo("\n".join((report(figures, [side.name for side in commands]), "", *remarks)))
    if as_json is not None:
        record = {f"{row}, {cores}": sides for (row, cores), sides in figures.items()}
        as_json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

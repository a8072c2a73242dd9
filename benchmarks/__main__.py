"""`make bench`: Understudy beside its peers in one run. Prints tables of medians and ratios, and the same as JSON if asked.

    case ──▶ all cores, then one core ──▶ round ──▶ each side in turn: a process of its own ──▶ one line of JSON

The sides take turns, so that a noisy machine is noisy for all of them. "One core" holds the whole process on a single
one: anything that hands over between threads behaves very differently there.
"""

import json
import os
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.cases import MEASURES, Measure
from benchmarks.sides import ROOT, SIDES, NotHereError, Side, version

PATIENCE = 120.0
"""Seconds for one process."""

QUICK = 0.2
"""Which part of the operations a quick run makes, in one round."""

CORE = max(os.sched_getaffinity(0))
"""The one core that a pinned process gets: the first one is the busiest on most machines."""


class Figures(NamedTuple):
    """One side's figures for one case on so many cores: of each process, or why there are none."""

    case: str
    cores: str
    side: str
    values: list[float]
    cpu: list[float]
    note: str


def measure(command: list[str], pinned: bool) -> dict[str, Any]:
    """What one process measured. Raises RuntimeError with the last line it said if it failed."""
    pin = (lambda: os.sched_setaffinity(0, {CORE})) if pinned else None
    quiet = os.environ | {"ERL_CRASH_DUMP": os.devnull}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=PATIENCE, preexec_fn=pin
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done in {PATIENCE:.0f} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"value"')]
    if not lines:
        raise RuntimeError((done.stderr.strip() or "it said nothing").splitlines()[-1])
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def compare(case: str, cores: str, commands: dict[Side, list[str]], rounds: int, scale: float) -> list[Figures]:
    """One row: every side, in turn, so many times."""
    rows = {side: Figures(case, cores, side.name, [], [], side.lacks.get(case, "")) for side in commands}
    for _ in range(rounds):
        for side, command in commands.items():
            row = rows[side]
            if case in side.lacks or row.note.startswith("failed"):
                continue
            try:
                found = measure([*command, *side.case(case, scale)], cores == "one")
            except RuntimeError as error:
                rows[side] = row._replace(note=f"failed: {error}")
            else:
                row.values.append(found["value"])
                row.cpu.append(found["cpu"])
                rows[side] = row._replace(note=found["note"])
    return list(rows.values())


# --- the report ---


def readable(number: float, unit: str) -> str:
    """A figure with its unit, short."""
    kind, _, per = unit.partition("/")
    if per:
        for factor, letter in ((1e6, "M"), (1e3, "k")):
            if number >= factor:
                return (
                    f"{number / factor:.2f} {letter}/s"
                    if number < 100 * factor
                    else f"{number / factor:.0f} {letter}/s"
                )
        return f"{number:.0f} /s"
    return f"{number:.2f} us" if kind == "us" else f"{number:,.0f}"


def cell(mine: Figures, other: Figures, measure: Measure) -> str:
    """A figure, and how many times better ours is."""
    if not other.values:
        return "failed" if other.note.startswith("failed") else "-"
    theirs, ours = statistics.median(other.values), statistics.median(mine.values) if mine.values else 0.0
    text = readable(theirs, measure.unit)
    if other is mine or not ours or not theirs:
        return text
    ratio = theirs / ours if measure.less_is_better else ours / theirs
    return f"{text} ({ratio:.1f}x)" if ratio < 10 else f"{text} ({ratio:.0f}x)"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table as Markdown has it, aligned for people who read it as it is."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in lines)


def report(results: list[list[Figures]]) -> str:
    """Both tables, and the remarks."""
    names = [figures.side for figures in results[0]]
    figures_table: list[list[str]] = []
    cpu_table: list[list[str]] = []
    for row in results:
        mine, measure = row[0], MEASURES[row[0].case]
        begin = [mine.case, mine.cores]
        figures_table.append(
            [*begin, readable(measure.target, measure.unit), *(cell(mine, other, measure) for other in row)]
        )
        cpu_table.append([*begin, *(f"{statistics.median(one.cpu):.2f}" if one.cpu else "-" for one in row)])
    remarks: dict[str, None] = {}  # in the order of their coming, each once
    for row in results:
        for one in row:
            if one.note:
                remarks[f"* {one.case}, {one.side}: {one.note}"] = None
    return "\n".join(
        (
            "What each case is:",
            *(
                f"* {case}: {MEASURES[case].what} ({MEASURES[case].unit})"
                for case in {row[0].case: 0 for row in results}
            ),
            "",
            "Medians; in brackets how many times better Understudy is.",
            "",
            table(["case", "cores", "to reach", *names], figures_table),
            "",
            "Processor time of the whole process, all its threads, microseconds for each operation.",
            "",
            table(["case", "cores", *names], cpu_table),
            "",
            *remarks,
        )
    )


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Processes for each figure.")
@click.option("--only", type=click.Choice(list(MEASURES)), multiple=True, help="Measure these cases alone.")
@click.option(
    "--peers",
    default="all",
    show_default=True,
    help=f"Which, with commas: {', '.join(s.key for s in SIDES[1:])}; or none.",
)
@click.option("--quick", is_flag=True, help="One short round of each.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write every figure to this file, too.")
def main(rounds: int, only: tuple[str, ...], peers: str, quick: bool, as_json: Path | None) -> None:
    """Measure Understudy beside its peers."""
    known = {side.key: side for side in SIDES[1:]}
    wanted = list(known) if peers == "all" else [] if peers == "none" else peers.split(",")
    if strangers := set(wanted) - set(known):
        raise click.BadParameter(f"no such peer: {', '.join(sorted(strangers))}", param_hint="--peers")
    rounds, scale = (1, QUICK) if quick else (rounds, 1.0)
    commands: dict[Side, list[str]] = {}
    absent: list[str] = []
    for side in (SIDES[0], *(known[peer] for peer in wanted)):
        try:
            commands[side] = side.prepare()
        except NotHereError as error:
            absent.append(f"* {side.name} is not here: {error}")
    results: list[list[Figures]] = []
    for case in only or MEASURES:
        for cores in ("all", "one") if MEASURES[case].pinnable else ("all",):
            click.echo(f"{case}, {cores} cores" if cores == "all" else f"{case}, one core", err=True)
            results.append(compare(case, cores, commands, 1 if case == "alive" else rounds, scale))
    sides = ", ".join(version(side) for side in commands)
    click.echo(f"{sides}; Python {platform.python_version()}, {os.cpu_count()} cores; medians of {rounds} processes\n")
    click.echo("\n".join((report(results), *absent)))
    if as_json is not None:
        record = {
            "rounds": rounds,
            "scale": scale,
            "python": platform.python_version(),
            "sides": [version(side) for side in commands],
            "absent": absent,
            "results": [figures._asdict() for row in results for figures in row],
        }
        as_json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

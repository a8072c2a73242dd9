"""`make bench`: Understudy beside Pykka in one run. Prints a table of medians and ratios, and the same as JSON.

Each figure comes from a process of its own, ours and theirs in turn, so that a noisy machine is noisy for both. "pinned"
holds the whole process on one core: anything with a thread hand-off behaves very differently there.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

UNITS = {"tell": "messages/s", "call": "us", "ring": "hops/s", "spawn": "actors/s", "memory": "bytes/actor"}
LESS_IS_BETTER = {"call", "memory"}


def measure(who: str, what: str, pinned: bool) -> float:
    """One figure, from a process of its own."""
    pin = (lambda: os.sched_setaffinity(0, {0})) if pinned else None
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", who, what],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=pin,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Processes per figure and side.")
@click.option("--only", type=click.Choice(list(UNITS)), multiple=True, help="Measure these alone.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
def main(rounds: int, only: tuple[str, ...], as_json: Path | None) -> None:
    """Measure ours beside Pykka's."""
    results: list[dict[str, Any]] = []
    table = Table(title=f"Understudy beside Pykka, medians of {rounds} processes each, Python {sys.version.split()[0]}")
    for column in ("measure", "cores", "Understudy", "Pykka", "unit", "times better"):
        table.add_column(column, justify="right" if column != "measure" else "left")
    for what in only or UNITS:
        for pinned in (False, True):
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(measure("understudy", what, pinned))
                theirs.append(measure("pykka", what, pinned))
            mine, other = statistics.median(ours), statistics.median(theirs)
            ratio = other / mine if what in LESS_IS_BETTER else mine / other
            cores = "one" if pinned else "all"
            results.append(
                {
                    "measure": what,
                    "unit": UNITS[what],
                    "cores": cores,
                    "understudy": ours,
                    "pykka": theirs,
                    "ratio": ratio,
                }
            )
            table.add_row(what, cores, f"{mine:,.2f}", f"{other:,.2f}", UNITS[what], f"{ratio:,.1f}")
    Console().print(table)
    text = json.dumps({"rounds": rounds, "python": sys.version.split()[0], "results": results})
    click.echo(text)
    if as_json is not None:
        as_json.write_text(text + "\n")


if __name__ == "__main__":
    main()

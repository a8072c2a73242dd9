"""What Python's garbage collector costs with many actors: `python -m benchmarks.collector`.

A million actors are spawned, then live for a while: messages that hold fresh objects, calls, actors that come and go.
`gc.callbacks` times every collection. Each way to set the collector is a process of its own:

    default     as Python has it: thresholds 700, 10, 10
    frozen      `gc.freeze()` once the actors are there: full collections do not look at them any more
    high        `gc.set_threshold(10_000, 10, 100)`: the young are looked at less often, everybody hardly ever
    both        thresholds first, frozen when the actors are there
    off         `gc.disable()`: only what is in no cycle is freed. Not advice, but the floor

A pause is a time in which nothing else runs: the loop, timers and other threads wait for its end.
"""

import gc
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.__main__ import table
from benchmarks.sides import ROOT
from benchmarks.stopwatch import resident
from understudy import Actor, ActorSystem
from understudy.app import run

ACTORS = 1_000_000
MESSAGES = 1_000_000
COMING = 100_000
"""Actors that come and go while the others live."""

STRIDE = 7919
HIGH = (10_000, 10, 100)


class Way(NamedTuple):
    """A way to set the collector: what is called before the first actor, and when all of them are there."""

    what: str
    before: Callable[[], object]
    after: Callable[[], object]


def nothing() -> None:
    """Leave it as it is."""


WAYS = {
    "default": Way("thresholds as Python has them", nothing, nothing),
    "frozen": Way("gc.freeze() when all are there", nothing, gc.freeze),
    "high": Way(f"gc.set_threshold{HIGH}", lambda: gc.set_threshold(*HIGH), nothing),
    "both": Way("both", lambda: gc.set_threshold(*HIGH), gc.freeze),
    "off": Way("gc.disable()", gc.disable, nothing),
}


class Pauses:
    """Times every collection while it is entered, by generation."""

    def __init__(self) -> None:
        self.times: tuple[list[float], list[float], list[float]] = ([], [], [])
        self._began = 0.0
        self._entered = 0.0
        self.seconds = 0.0

    def __enter__(self) -> "Pauses":
        gc.callbacks.append(self._notice)
        self._entered = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._entered
        gc.callbacks.remove(self._notice)

    def _notice(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.times[info["generation"]].append(time.perf_counter() - self._began)

    def figures(self) -> dict[str, float]:
        """Seconds it took altogether, share of it spent in collections, the worst pause, and how many were full ones."""
        every = [one for times in self.times for one in times]
        return {
            "seconds": self.seconds,
            "share": sum(every) / self.seconds,
            "worst": max(every, default=0.0),
            "full": len(self.times[2]),
        }


class Keeper(Actor):
    """Keeps the last message it got, as an actor with some state does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Any = None

    def on_receive(self, message: Any) -> Any:
        self.kept = message


async def lived(way: Way, scale: float) -> dict[str, Any]:
    """The figures of the start, the life, and one full collection at the end."""
    actors, messages, coming = (max(10, int(number * scale)) for number in (ACTORS, MESSAGES, COMING))
    logging.disable(logging.CRITICAL)
    way.before()
    async with ActorSystem("collector") as system:
        with Pauses() as start:
            refs = [await system.spawn(Keeper) for _ in range(actors)]
        way.after()
        with Pauses() as life:
            for number in range(messages):
                refs[number * STRIDE % actors].tell({"number": number, "more": [number]})
                if not number % 100:
                    await refs[number * STRIDE % actors].call(("question", number))
            for _ in range(coming):
                (await system.spawn(Keeper)).kill()
            await refs[0].call("done?")
        began = time.perf_counter()
        gc.collect()
        full = time.perf_counter() - began
        return {"start": start.figures(), "life": life.figures(), "full": full, "resident": resident()}


def measured(name: str, scale: float) -> dict[str, Any]:
    """The figures of one way, in this process."""
    found: list[dict[str, Any]] = []

    async def program() -> int:
        found.append(await lived(WAYS[name], scale))
        return 0

    run(program())
    return found[0]


def apart(name: str, scale: float) -> dict[str, Any]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.collector", "--one", name, "--scale", str(scale)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command()
@click.option("--scale", default=1.0, show_default=True, help="Which part of a million actors.")
@click.option("--only", type=click.Choice(list(WAYS)), multiple=True, help="These ways alone.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
@click.option("--one", hidden=True, help="A way, measured in this process.")
def main(scale: float, only: tuple[str, ...], as_json: Path | None, one: str | None) -> None:
    """Measure the pauses of the garbage collector beside many actors."""
    if one is not None:
        click.echo(json.dumps(measured(one, scale)))
        return
    found = {name: apart(name, scale) for name in only or WAYS}
    rows: list[list[str]] = []
    for name, figures in found.items():
        row = [name, WAYS[name].what]
        for part in ("start", "life"):
            of = figures[part]
            row += [
                f"{of['seconds']:.2f}",
                f"{of['share'] * 100:.0f} %",
                f"{of['worst'] * 1000:.1f}",
                f"{of['full']:.0f}",
            ]
        rows.append([*row, f"{figures['full'] * 1000:.0f}", f"{figures['resident'] / 1e6:,.0f}"])
    head = ["way", "", "start, s", "in gc", "worst, ms", "full ones"]
    head += ["life, s", "in gc", "worst, ms", "full ones", "a full one by hand, ms", "MB"]
    click.echo(
        f"{int(ACTORS * scale):,} actors; {int(MESSAGES * scale):,} messages, {int(COMING * scale):,} come and go.\n"
    )
    click.echo(table(head, rows))
    if as_json is not None:
        as_json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

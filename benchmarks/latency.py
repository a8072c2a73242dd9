"""What a flood leaves to others: `python -m benchmarks.latency`.

Actors are flooded with messages whose handler works for a millisecond, so that the loop is never idle. Beside them a
coroutine does `asyncio.sleep(0.01)` over and over, then a thread asks an actor that has nothing else to do. Measured:
how long each sleep really took (10 ms would be perfect, under 20 ms is promised), and each question. The first row,
where nobody is flooded, is the machine's own share. An actor waits for its turn behind all others that are ready: with
100 of them that take a millisecond each, an answer takes more than 100 ms; the loop's own turns come in between.
"""

import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.__main__ import table
from benchmarks.sides import ROOT
from understudy import Actor, ActorSystem, ThreadActor
from understudy.app import run

WORK = 0.001
NAP = 0.01
NAPS = 200
PROMISE = 0.02
PATIENCE = 3.0
"""Seconds for the sleeps of one process, and for its calls: a flood that delays them much has fewer of them."""

GIVEN_UP = 30.0
"""Seconds after which a call that is not answered is an error of the system, and ends the benchmark."""


def work() -> None:
    """Keep the processor busy for a millisecond."""
    end = time.perf_counter() + WORK
    while time.perf_counter() < end:
        pass


class Plain(Actor):
    def on_receive(self, message: Any) -> None:
        work()
        self.actor_ref.tell(message)


class Asynchronous(Actor):
    async def on_receive(self, message: Any) -> None:
        work()
        self.actor_ref.tell(message)


class Threaded(ThreadActor):
    def on_receive(self, message: Any) -> None:
        work()
        self.actor_ref.tell(message)


class Quick(Actor):
    """The other flood: many messages that take no time each."""

    def on_receive(self, message: Any) -> None:
        self.actor_ref.tell(message)


class Echo(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


class Flood(NamedTuple):
    """So many actors of a kind, each with so many messages that never end."""

    what: str
    kind: type[Any]
    actors: int
    messages: int


FLOODS = {
    "none": Flood("nobody", Plain, 0, 0),
    "plain": Flood("one actor, plain handler of 1 ms", Plain, 1, 1_000),
    "plain-100": Flood("100 actors, plain handlers of 1 ms", Plain, 100, 10),
    "async": Flood("one actor, asynchronous handler that works 1 ms", Asynchronous, 1, 1_000),
    "async-100": Flood("100 actors, asynchronous handlers that work 1 ms", Asynchronous, 100, 10),
    "quick": Flood("1,000 actors, handlers that take no time", Quick, 1_000, 10),
    "thread": Flood("one actor on a thread of its own, 1 ms", Threaded, 1, 1_000),
}


async def flooded(flood: Flood, naps: int) -> dict[str, list[float]]:
    """How long the sleeps and the calls beside a flood took, in seconds."""
    slept: list[float] = []
    called: list[float] = []
    async with ActorSystem("latency") as system:
        echo = await system.spawn(Echo)
        refs = [await system.spawn(flood.kind) for _ in range(flood.actors)]
        for ref in refs:
            for number in range(flood.messages):
                ref.tell(number)
        await asyncio.sleep(NAP)
        end = time.perf_counter() + PATIENCE
        while len(slept) < naps and time.perf_counter() < end:
            began = time.perf_counter()
            await asyncio.sleep(NAP)
            slept.append(time.perf_counter() - began)
        end += PATIENCE
        while len(called) < naps and time.perf_counter() < end:
            began = time.perf_counter()
            await asyncio.to_thread(echo.ask, "there?", timeout=GIVEN_UP)
            called.append(time.perf_counter() - began)
        for ref in refs:
            ref.kill()
    return {"slept": slept, "called": called}


def measured(name: str, naps: int) -> dict[str, list[float]]:
    """The times of one flood, in this process."""
    found: list[dict[str, list[float]]] = []

    async def program() -> int:
        logging.disable(logging.CRITICAL)  # what dies here is meant to
        found.append(await flooded(FLOODS[name], naps))
        return 0

    run(program())
    return found[0]


def apart(name: str, naps: int) -> dict[str, list[float]]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.latency", "--one", name, "--naps", str(naps)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(seconds: list[float]) -> list[str]:
    """Median, 99th percentile and worst, in milliseconds."""
    ordered = sorted(seconds)
    picked = statistics.median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1]
    return [f"{one * 1000:.1f}" for one in picked]


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Processes for each flood.")
@click.option("--naps", default=NAPS, show_default=True, help="Sleeps and calls in each process.")
@click.option("--only", type=click.Choice(list(FLOODS)), multiple=True, help="These floods alone.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write every time to this file, too.")
@click.option("--one", hidden=True, help="A flood, measured in this process.")
def main(rounds: int, naps: int, only: tuple[str, ...], as_json: Path | None, one: str | None) -> None:
    """Measure how long `asyncio.sleep(0.01)` and calls take beside a flood of messages."""
    if one is not None:
        click.echo(json.dumps(measured(one, naps)))
        return
    found: dict[str, dict[str, list[float]]] = {name: {"slept": [], "called": []} for name in only or FLOODS}
    for _ in range(rounds):
        for name, times in found.items():
            more = apart(name, naps)
            for what in times:
                times[what] += more[what]
    rows = [
        [
            FLOODS[name].what,
            *figures(times["slept"]),
            f"{100 * sum(slept < PROMISE for slept in times['slept']) / len(times['slept']):.1f} %",
            *figures(times["called"]),
        ]
        for name, times in found.items()
    ]
    head = ["flooded", "sleep p50", "p99", "worst", "under 20 ms", "ask from a thread p50", "p99", "worst"]
    click.echo(f"Milliseconds; asyncio.sleep({NAP}) and calls beside the flood, up to {rounds * naps} of each.\n")
    click.echo(table(head, rows))
    if as_json is not None:
        as_json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

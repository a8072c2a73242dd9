"""`python -m benchmarks.cluster`: how long a cluster takes to notice a `kill -9` and to go on, and to let nodes in.

    failover   three nodes in processes of their own (tests/cluster/citizen.py), on SQLite, PostgreSQL, etcd: the one with the
               singleton is killed. From then on: until another node sees that the name is free, until an actor that
               monitored the singleton has its `Down`, until the singleton runs again
    joins      8 processes, from the start of the first until each sees all others; 50 nodes in virtual time

Figures are in seconds, medians over the rounds. Probes are those of every day: one each second, three missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from benchmarks.__main__ import table
from tests.cluster.country import ANSWERS_WITHIN, SUN, Country
from tests.servers import Etcd, Postgres, missing_etcd, missing_postgres
from understudy.simulation import Cluster, Simulation

ENGINES = ("SQLite", "PostgreSQL", "etcd")

NODES = ("a", "b", "c")

RUNS_WITHIN = 30.0
"""Seconds after which a singleton that does not run again is given up."""


class NotHere(Exception):
    """An engine that is not installed."""


@contextmanager
def engine(name: str) -> Iterator[dict[str, Any]]:
    """What nodes are started with to have their table there."""
    if name == "SQLite":
        yield {}
        return
    server, missing = (Postgres, missing_postgres()) if name == "PostgreSQL" else (Etcd, missing_etcd())
    if missing:
        raise NotHere(missing)
    with server() as running:
        yield {"state": None, "table": running.fresh()}


async def failover(node: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Kill whoever has the singleton, so often; seconds until what."""
    figures: dict[str, list[float]] = {"name gone": [], "Down": [], "running again": []}
    with tempfile.TemporaryDirectory() as folder:
        async with Country(Path(folder), probes=1.0, **node) as country:
            await country.enter(*NODES)
            for _ in range(rounds):
                await country.agree(60.0)
                victim, life, _ = await country.citizens[NODES[0]].ask("owner", SUN)
                other = country.citizens[next(name for name in NODES if name != victim)]
                await other.ask("mourn", SUN)
                vacant = asyncio.ensure_future(other.ask("vacant", SUN, life))
                killed = time.monotonic()
                country.end(victim)
                figures["name gone"].append(await vacant - killed)
                figures["Down"].append(await other.ask("mourned", SUN) - killed)
                figures["running again"].append(await _began(other, life) - killed)
                await country.enter(victim)
    return figures


async def _began(citizen: Any, life: int) -> float:
    """When the successor of that life's singleton began."""
    given_up = time.monotonic() + RUNS_WITHIN
    while True:
        answer = await citizen.ask("whoever", SUN, ANSWERS_WITHIN)
        if not isinstance(answer, str) and answer[1] != life:
            return float(answer[-1])
        if time.monotonic() > given_up:
            standings = await citizen.ask("standings")
            raise TimeoutError(
                f"no singleton within {RUNS_WITHIN} s: {citizen.name} is told {answer}, sees {standings}"
            )
        await asyncio.sleep(0.01)


async def processes(node: dict[str, Any], count: int) -> float:
    """Seconds from the start of so many processes until each sees all others; of which Python itself takes some."""
    names = [f"node-{number}" for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory() as folder:
        async with Country(Path(folder), probes=1.0, **node) as country:
            begun = time.monotonic()
            await country.join(*names)
            citizens = list(country.citizens.values())
            await asyncio.gather(*(one.sees(*(other for other in citizens if other is not one)) for one in citizens))
            return time.monotonic() - begun


def virtual(seed: int, count: int) -> tuple[float, float]:
    """Virtual seconds until so many nodes that are started in one moment have met, and what that took of real ones."""
    simulation = Simulation(seed, max_steps=10**9)

    async def main() -> float:
        async with Cluster(simulation) as cluster:
            await asyncio.gather(*(cluster.start(f"node-{number}") for number in range(count)))
            await cluster.met()
            return simulation.time

    begun = time.perf_counter()
    met = simulation.run(main)
    return met, time.perf_counter() - begun


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Deaths, and joins, for each figure.")
@click.option("--only", type=click.Choice(ENGINES), multiple=True, help="Measure these engines alone.")
@click.option("--quick", is_flag=True, help="One round of each, with few nodes.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write every figure to this file, too.")
def main(rounds: int, only: tuple[str, ...], quick: bool, as_json: Path | None) -> None:
    """Measure failover and joins."""
    rounds, few, many = (1, 3, 10) if quick else (rounds, 8, 50)
    figures: dict[str, dict[str, list[float]]] = {}
    remarks: list[str] = []
    for name in only or ENGINES:
        click.echo(name, err=True)
        try:
            with engine(name) as node:
                figures[name] = asyncio.run(failover(node, rounds))
            joins: list[float] = []
            for _ in range(rounds):
                with engine(name) as node:
                    joins.append(asyncio.run(processes(node, few)))
            figures[name][f"{few} processes joined"] = joins
        except NotHere as why:
            remarks.append(f"{name}: {why}")
    met = [virtual(seed, many) for seed in range(rounds)]
    figures["virtual time"] = {
        f"{many} nodes joined, virtual": [each for each, _ in met],
        f"{many} nodes joined, real": [each for _, each in met],
    }
    click.echo(f"Python {platform.python_version()}, {os.cpu_count()} cores; medians of {rounds} rounds, in seconds\n")
    rows = [
        [where, what, f"{statistics.median(each):.2f}", f"{min(each):.2f} to {max(each):.2f}"]
        for where, found in figures.items()
        for what, each in found.items()
    ]
    click.echo(table(["table", "until", "median", "from, to"], rows))
    click.echo("\n".join(remarks))
    if as_json is not None:
        as_json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

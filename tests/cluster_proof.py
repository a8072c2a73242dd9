"""The proof of the cluster: what real processes do when they are killed, stopped and cut off, and then its properties in virtual time.

make proof cluster [SEED=7]        docs/proofs/cluster.json: what happened to whom and what came of it; about half an hour

What is played stands in tests/cluster, and is played in small in every run of the tests.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.plays import die_together, many_faults, table_away
from tests.cluster.rolling import rolling_restart
from tests.proof import Outcome, proof
from tests.servers import Etcd, Postgres, missing_etcd, missing_postgres
from tests.simulated import hold

VIRTUAL = tuple(f"tests.simulation.test_cluster_{what}" for what in ("fences", "groups", "entities"))
"""Where the properties of the cluster are; each of them holds the nodes to what is promised of the members, too."""

AWAY_FOR = 30.0
"""Seconds for which the engine of the table is gone."""

ROUNDS = 3
"""How often each of four nodes is restarted, one after the other, on SQLite; and each of three on PostgreSQL."""

FAULTS = {"SQLite": (5, 100), "PostgreSQL": (4, 60), "etcd": (3, 40)}
"""How many nodes, and how many faults happen to them, on which table."""


@proof("cluster", seeds=10_000)
def cluster(seed: int, seeds: int) -> Outcome:
    """Every play ends as it should, and the properties hold for so many seeds each."""
    assert not missing_postgres(), missing_postgres()
    assert not missing_etcd(), missing_etcd()
    figures: dict[str, Any] = {"seeds_per_property": seeds}
    failures: dict[str, str] = {}

    def attempt(name: str, what: Callable[[], dict[str, Any]]) -> None:
        begun = time.monotonic()
        try:
            figures[name] = what()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the proof is about
            failures[name] = f"{type(error).__name__}: {error}"[:2000]
        print(f"{name} ({time.monotonic() - begun:.0f} s): {failures.get(name) or figures[name]}", flush=True)

    for name, play in plays(seed).items():
        attempt(name, play)
    attempt("virtual time", lambda: hold(VIRTUAL, seed, seeds))
    return Outcome(figures | {"failures": failures}, not failures)


def plays(seed: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Everything that is played on real processes, at length."""
    played: dict[str, Callable[[], dict[str, Any]]] = {
        "two of three killed at once": lambda: _played(lambda folder: die_together(folder, 3, 2)),
        "three of five killed at once": lambda: _played(lambda folder: die_together(folder, 5, 3)),
        "rolling restart on SQLite": lambda: _played(lambda folder: rolling_restart(folder, 4, ROUNDS)),
        "rolling restart on PostgreSQL": lambda: _served(
            Postgres, lambda folder, engine: rolling_restart(folder, 3, ROUNDS, state=None, table=engine.fresh())
        ),
        "faults on SQLite": lambda: _played(lambda folder: many_faults(folder, *FAULTS["SQLite"], seed)),
    }
    for name, server in (("PostgreSQL", Postgres), ("etcd", Etcd)):
        played[f"faults on {name}"] = lambda name=name, server=server: _served(  # type: ignore[misc]
            server, lambda folder, engine: many_faults(folder, *FAULTS[name], seed, state=None, table=engine.fresh())
        )
        played[f"{name} killed for {AWAY_FOR:.0f} s under load"] = lambda server=server: _served(  # type: ignore[misc]
            server, lambda folder, engine: table_away(folder, engine, AWAY_FOR, state=None, table=engine.fresh())
        )
    return played


def _played(play: Callable[[Path], Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = asyncio.run(play(Path(folder)))
    return figures


def _served(server: Callable[[], Any], play: Callable[[Path, Any], Any]) -> dict[str, Any]:
    with server() as engine:
        return _played(lambda folder: play(folder, engine))

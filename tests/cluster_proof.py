"""The proof of the cluster: what real processes do when they are killed, stopped and cut off, and then its properties in virtual time.

make proof cluster [SEED=7]                        docs/proofs/cluster.json: what happened to whom and what came of it; some 45 minutes
python -m tests.proof cluster --seeds 300          a rehearsal: fewer seeds than it takes, and a fifth of the plays; it counts for nothing

What is played stands in tests/cluster, and is played in small in every run of the tests. A play that fails says what failed, and
the others are played all the same.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from tests.cluster.country import AGREED_WITHIN
from tests.cluster.plays import die_together, many_faults, table_away
from tests.cluster.rolling import rolling_restart
from tests.proof import Outcome, proof
from tests.properties import said
from tests.servers import Etcd, Postgres, missing_etcd, missing_postgres
from tests.simulated import NotHeld, hold
from tests.simulation.test_cluster_model import Commands

VIRTUAL = tuple(f"tests.simulation.test_cluster_{what}" for what in ("fences", "groups", "entities"))
"""Where the properties of the cluster are; each of them holds the nodes to what is promised of the members, too."""

SEEDS = 10_000
"""Of each property. Whoever asks for fewer rehearses."""

REHEARSAL = 0.2
"""How much of the plays a rehearsal has."""

AWAY_FOR = 30.0
"""Seconds for which the engine of the table is gone."""

ROUNDS = 3
"""How often each of four nodes is restarted, one after the other, on SQLite; and each of three on PostgreSQL."""

FAULTS = {"SQLite": (5, 100), "PostgreSQL": (4, 60), "etcd": (3, 40)}
"""How many nodes, and how many faults happen to them, on which table."""

PROGRAMS = 300
"""That the model and a cluster follow."""


@proof("cluster", seeds=SEEDS)
def cluster(seed: int, seeds: int) -> Outcome:
    """Every play ends as it should, the state machine follows its model, and the properties hold for so many seeds each."""
    assert not missing_postgres(), missing_postgres()
    assert not missing_etcd(), missing_etcd()
    share = 1.0 if seeds >= SEEDS else REHEARSAL
    begun_all = time.monotonic()
    figures: dict[str, Any] = {"seeds_per_property": seeds}
    failures: dict[str, str] = {}

    def attempt(name: str, what: Callable[[], dict[str, Any]]) -> None:
        begun = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            figures[name] = what()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the proof is about
            failures[name] = said(error, 2000)
            if isinstance(error, NotHeld):
                figures[name] = error.figures
            print("".join(traceback.format_exception(error)), flush=True)
        print(f"{name} ({time.monotonic() - begun:.0f} s): {failures.get(name) or figures[name]}", flush=True)

    for name, play in plays(seed, share).items():
        attempt(name, play)
    attempt("the state machine against the model", lambda: _follow(seed, int(PROGRAMS * share)))
    attempt("virtual time", lambda: hold(VIRTUAL, seed, seeds))
    attempt("promises", lambda: promises(figures, failures))
    figures["minutes"] = round((time.monotonic() - begun_all) / 60)
    return Outcome(figures | {"failures": failures}, not failures)


def promises(figures: dict[str, Any], failures: dict[str, str]) -> dict[str, Any]:
    """What the plays and the properties say together. Raises AssertionError if something took longer than is promised."""
    played = [each for name, each in figures.items() if isinstance(each, dict) and name != "virtual time"]
    virtual = figures["virtual time"]
    summed = {
        "accepted_writers_of_one_fence_at_most": 1,
        "accepted_writes": {
            "processes": sum(each.get("accepted_writes", 0) for each in played),
            "virtual_time": virtual["accepted_writes"],
        },
        "seconds_of_quiet_until_all_see_an_owner_at_most": virtual["seconds_of_quiet_until_all_see_a_living_owner"],
        "seconds_of_quiet_until_groups_agree_at_most": virtual["seconds_of_quiet_until_all_see_the_same_groups"],
        "seconds_until_processes_agree_on_names_and_groups_at_most": max(
            each["seconds_until_all_agreed"]["most"] for each in played if "seconds_until_all_agreed" in each
        ),
        "ghosts": 0,
        "faults_on_processes": sum(each.get("faults", 0) for each in played),
        "died_while_the_table_was_away": sum(each.get("died", 0) for each in played if "away_for" in each),
        "names_lost_while_the_table_was_away": sum(each.get("names_lost", 0) for each in played),
    }
    assert not failures, "one writer for each fence, and no ghost: this is said of what has failed above"
    late = {what: value for what, value in summed.items() if what.startswith("seconds_") and value > AGREED_WITHIN}
    assert not late, f"promised are {AGREED_WITHIN} s: {late}"
    return summed


def _follow(seed: int, programs: int) -> dict[str, Any]:
    hypothesis.seed(seed)(Commands)
    logging.disable(logging.CRITICAL)
    limits = hypothesis.settings(
        Commands.TestCase.settings, max_examples=programs, derandomize=False, database=None, print_blob=True
    )
    try:
        run_state_machine_as_test(Commands, settings=limits)
    finally:
        logging.disable(logging.NOTSET)
    return {"programs": programs}


def plays(seed: int, share: float = 1.0) -> dict[str, Callable[[], dict[str, Any]]]:
    """Everything that is played on real processes, at length, or a share of it."""
    rounds, away_for = max(1, round(ROUNDS * share)), AWAY_FOR * share
    faults = {table: (nodes, int(count * share)) for table, (nodes, count) in FAULTS.items()}
    played: dict[str, Callable[[], dict[str, Any]]] = {
        "two of three killed at once": lambda: _played(lambda folder: die_together(folder, 3, 2)),
        "three of five killed at once": lambda: _played(lambda folder: die_together(folder, 5, 3)),
        "rolling restart on SQLite": lambda: _played(lambda folder: rolling_restart(folder, 4, rounds)),
        "rolling restart on PostgreSQL": lambda: _served(
            Postgres, lambda folder, engine: rolling_restart(folder, 3, rounds, state=None, table=engine.fresh())
        ),
        "faults on SQLite": lambda: _played(lambda folder: many_faults(folder, *faults["SQLite"], seed)),
    }
    for name, server in (("PostgreSQL", Postgres), ("etcd", Etcd)):
        played[f"faults on {name}"] = lambda name=name, server=server: _served(  # type: ignore[misc]
            server, lambda folder, engine: many_faults(folder, *faults[name], seed, state=None, table=engine.fresh())
        )
        played[f"{name} killed for {away_for:.0f} s under load"] = lambda server=server: _served(  # type: ignore[misc]
            server, lambda folder, engine: table_away(folder, engine, away_for, state=None, table=engine.fresh())
        )
    return played


def _played(play: Callable[[Path], Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = asyncio.run(play(Path(folder)))
    return figures


def _served(server: Callable[[], Any], play: Callable[[Path, Any], Any]) -> dict[str, Any]:
    with server() as engine:
        return _played(lambda folder: play(folder, engine))

"""The proof of the wire: its properties in virtual time, and then real processes, sockets and network namespaces.

make proof wire [SEED=7]        docs/proofs/wire.json: what was sent and what came of it, of each play; about 20 minutes

What is played stands in tests/wire, and is played for seconds in every run of the tests.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fuzz import fuzz
from tests.proof import Outcome, proof
from tests.simulated import hold
from tests.wire.cuts import cut_under_load
from tests.wire.deaths import blocked, killed_again_and_again, stopped
from tests.wire.namespaces import missing
from tests.wire.networks import (
    nobody_reaches_the_table,
    one_is_declared_dead,
    packets_are_lost,
    the_link_is_down_for_a_while,
    the_link_is_thin,
)
from tests.wire.payloads import GROWTH, file_to_file
from tests.wire.slow import slow_actor, slow_network
from tests.wire.strangers import JOINS_WITHIN, at_the_door

VIRTUAL = ("tests.simulation.test_links",)
"""Where the properties of the wire are."""

LATENCY = 2.0
"""Times as long as before that the slowest hundredth of calls beside a slow consumer may take; and MARGIN more."""

MARGIN = 5.0
"""Milliseconds, on a machine that others use too."""

Play = Callable[[Path], Coroutine[Any, Any, dict[str, Any]]]


def plays(seed: int) -> dict[str, Play]:
    """Everything that is played on real processes, at length."""
    strangers = {"noise": 5_000, "claims": 2_000, "idle": 10_000, "frames": 1_000_000}
    refused = dict.fromkeys(("no mechanism", "unknown key", "wrong server key", "revoked key"), 900)
    guarded = {**refused, "noise": 1_000, "claims": 500, "trusted key, broken frames": 1_000_000}
    return {
        "cut every 50 ms": lambda folder: cut_under_load(folder, 10_000_000, within=600.0),
        "10 % of packets lost each way": lambda folder: packets_are_lost(folder, 2_000_000, 10, within=300.0),
        "link down 4 s": lambda folder: the_link_is_down_for_a_while(folder, 4.0),
        "link down 60 s, patient nodes": lambda folder: the_link_is_down_for_a_while(folder, 60.0),
        "link down 60 s": lambda folder: one_is_declared_dead(folder, False, 60.0),
        "link down 60 s, and the table away": lambda folder: nobody_reaches_the_table(folder, 60.0),
        "one-way partition": lambda folder: one_is_declared_dead(folder, True, 10.0),
        "100 Mbit/s": lambda folder: the_link_is_thin(folder, 200, 100),
        "kill -9 of the receiver": lambda folder: killed_again_and_again(folder, 100, seed),
        "SIGSTOP 20 s": lambda folder: stopped(folder, 20.0),
        "a blocked loop": blocked,
        "1 GB through a slow network": lambda folder: slow_network(folder, 1_000, 25),
        "a slow actor": lambda folder: slow_actor(folder, 100_000),
        "strangers to a node with keys": lambda folder: at_the_door(folder, guarded, seed, keys=True),
        "1 GiB as a payload": _film,
        "strangers": lambda folder: at_the_door(folder, strangers, seed),
    }


@proof("wire", seeds=10_000)
def wire(seed: int, seeds: int) -> Outcome:
    """The properties hold for so many seeds each, and every play ends as it should."""
    assert not missing(), missing()
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
        attempt(name, lambda play=play: _played(play))  # type: ignore[misc]
    attempt("1 M fuzzed frames, in one process", lambda: _fuzzed(seed))
    attempt("virtual time", lambda: hold(VIRTUAL, seed, seeds))
    return Outcome(figures | {"failures": failures}, not failures)


async def _film(folder: Path) -> dict[str, Any]:
    figures = await file_to_file(folder, 1 << 30, within=300.0)
    assert max(figures["here_grew_mib"], figures["there_grew_mib"]) < GROWTH, figures
    return figures


def _played(play: Play) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(play(Path(folder)))
    for what in figures.values():
        if isinstance(what, dict) and "friend_joined_within" in what:
            assert what["friend_joined_within"] < JOINS_WITHIN, figures
    if beside := figures.get("calls_beside_it_ms"):
        assert beside["meanwhile"]["p99"] < LATENCY * beside["before"]["p99"] + MARGIN, figures
    return figures


def _fuzzed(seed: int) -> dict[str, Any]:
    found = asyncio.run(fuzz(1_000_000, seed))
    assert not found.escaped, found.escaped[:5]
    assert found.grown < 50, str(found)
    return asdict(found) | {"escaped": 0}

"""The proofs of the gateway: what no client may miss, what no attacker may do, and an hour with twelve thousand connections.

make proof gateway [SEED=7]                        docs/proofs/gateway.json; some two hours
make proof soak                                    docs/proofs/soak.json; an hour
python -m tests.proof gateway --seeds 100          a rehearsal: fewer seeds, and a twentieth of the siege; it counts for nothing
python -m tests.proof soak --seeds 2               two minutes of it; the same
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from tests.proof import Outcome, proof
from tests.properties import ROOT, said
from tests.simulated import NotHeld, hold
from tests.simulation.siege import STEPS, besiege
from tests.simulation.test_cluster_presence import ten_thousand
from tests.soak import soak as soaked
from understudy.simulation import Simulation

VIRTUAL = tuple(
    f"tests.simulation.test_{what}"
    for what in ("gateway_resume", "gateway_auth", "cluster_presence", "rooms", "client")
)
"""Where the properties of the gateway are."""

IN_FULL = (
    "test_no_gap_is_silent_though_one_gateway_after_the_other_is_killed",
    "test_neither_ghosts_nor_missing_after_churn_and_partitions",
)
"""Those that are a little of what the proof plays in full, once."""

SEEDS = 10_000
"""Of each property. Whoever asks for fewer rehearses."""

REHEARSAL = 0.05
"""How much of the siege a rehearsal has."""

AT_THE_PORT = ("tests/test_gateway_attacks.py", "tests/test_gateway_slow.py", "tests/test_framing.py")
"""What real sockets are for."""

MINUTES = 60
IDLE, ACTIVE = 10_000, 2_000

GROWS = 1.0
"""Percent in an hour: less than this is none."""


@proof("gateway", seeds=SEEDS)
def gateway(seed: int, seeds: int) -> Outcome:
    """No gap is silent though gateways die, no ghost stays, attackers are cut, and the properties hold for so many seeds each."""
    share = 1.0 if seeds >= SEEDS else REHEARSAL
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

    attempt("gateways killed", lambda: besiege(seed, clients=int(1_000 * share), kills=int(100 * share), rate=500.0))
    attempt("churn and partitions", lambda: churned(seed, int(10_000 * share), max(1, int(20 * share))))
    attempt("attacks", attacked)
    attempt("virtual time", lambda: hold(VIRTUAL, seed, seeds, IN_FULL))
    return Outcome(figures | {"failures": failures}, not failures)


def churned(seed: int, joins_and_leaves: int, partitions: int) -> dict[str, Any]:
    """Presence while people come and go, and gateways lose each other: nobody is a ghost or missing once it was quiet."""
    simulation = Simulation(seed, max_steps=STEPS)
    simulation.run(partial(ten_thousand, simulation, joins_and_leaves=joins_and_leaves, partitions=partitions))
    return {"joins_and_leaves": joins_and_leaves, "partitions": partitions, "ghosts": 0, "missing": 0}


def attacked() -> dict[str, Any]:
    """The tests at the real port: they are at their full length in every run."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *AT_THE_PORT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return {what: int(count) for count, what in re.findall(r"(\d+) (passed|skipped)", done.stdout)}


@proof("soak", seeds=MINUTES, counted="minutes")
def soak(_seed: int, minutes: int) -> Outcome:
    """Nothing is lost, nobody is cut, and the memory does not grow."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(soaked(idle=IDLE, active=ACTIVE, seconds=60.0 * minutes))
    sound = not (figures["lost"] or figures["twice"] or figures["cut"])
    return Outcome(figures, sound and figures["memory_percent_an_hour"] < GROWS)

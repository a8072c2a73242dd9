"""The proof of the kernel: races of real threads a hundred thousand times each, the model at length, and nothing left of a
million actors.

    make proof kernel          docs/proofs/kernel.json: the figures of each race, of the model, and what was left
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import hypothesis
import uvloop
from hypothesis.stateful import run_state_machine_as_test

from tests import races
from tests.leftovers import BATCH, Left
from tests.proof import Outcome, proof
from tests.races import ThreadEcho
from tests.simulation.test_kernel_model import Kernel

Race = Callable[[int], Coroutine[Any, Any, dict[str, int]]]

RACES: dict[str, Race] = {
    "ask against stop": races.ask_against_stop,
    "ask against exit": partial(races.ask_against_stop, end="exit"),
    "ask against kill": partial(races.ask_against_stop, end="kill"),
    "call from another loop against kill": races.call_against_end,
    "cancel against fire": races.cancel_against_fire,
    "cancel from another thread against fire": races.foreign_cancel_against_fire,
    "two threads against one asynchronous handler": races.wakers_against_an_async_handler,
}

THREADS: dict[str, Race] = {
    "ask against the stop of a thread actor": partial(races.ask_against_stop, kind=ThreadEcho),
    "links and monitors against ends": races.watch_against_end,
    "thread actors that ask each other": races.asks_across,
}
"""A round of these takes threads or loops of its own: a tenth of the rounds."""


@proof("kernel", seeds=100_000, counted="rounds")
def kernel(seed: int, rounds: int) -> Outcome:
    """Every race ends as promised, the model holds, and nothing is left of ten actors a round."""
    logging.disable(logging.CRITICAL)
    figures: dict[str, Any] = {"rounds": rounds}
    failures: dict[str, str] = {}

    def attempt(name: str, what: Callable[[], Any]) -> None:
        try:
            figures[name] = what()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the proof is about
            failures[name] = f"{type(error).__name__}: {error}"[:2000]
        print(f"{name}: {failures.get(name) or figures[name]}", flush=True)

    def run(race: Race, count: int) -> dict[str, int]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(race(count))

    def model() -> dict[str, int]:
        examples = rounds // 20
        hypothesis.seed(seed)(Kernel)
        limits = hypothesis.settings(Kernel.TestCase.settings, max_examples=examples, derandomize=False, database=None)
        run_state_machine_as_test(Kernel, settings=limits)
        return {"programs": examples}

    def remains() -> dict[str, int]:
        command = [sys.executable, "-m", "tests.leftovers", str(10 * rounds)]
        left = Left(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        assert left.blocks < BATCH / 10, left
        counted = dataclasses.asdict(left)
        assert not any(count > 0 for name, count in counted.items() if name not in ("blocks", "cycles")), left
        return {"came_and_went": 10 * rounds, **counted}

    for name, race in RACES.items():
        attempt(name, partial(run, race, rounds))
    for name, race in THREADS.items():
        attempt(name, partial(run, race, rounds // 10))
    attempt("commands that follow the model", model)
    attempt("left of all actors", remains)
    return Outcome(figures | {"failures": failures}, not failures)

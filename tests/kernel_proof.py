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
from typing import Any, NamedTuple

import hypothesis
import uvloop
from hypothesis.stateful import run_state_machine_as_test

from tests import races, timer_races
from tests.handicap import nervous_threads
from tests.leftovers import BATCH, Left
from tests.proof import Outcome, proof
from tests.races import ThreadEcho
from tests.simulation.test_kernel_model import Kernel

OFTEN = 0.1
"""The part of its rounds that each side of a race has to win: what hardly ever meets proves nothing."""


class Race(NamedTuple):
    """`sides`: the figures that say how often either was first. `share`: of a proof's rounds."""

    run: Callable[[int], Coroutine[Any, Any, dict[str, int]]]
    sides: tuple[str, str]
    share: float = 1.0

    def well_matched(self, figures: dict[str, int]) -> bool:
        """Whether each side has won often enough."""
        won = [figures.get(side, 0) for side in self.sides]
        return min(won) >= OFTEN * sum(won)


ANSWERED = ("answered", "died")
TIMERS = ("fired", "cancelled")

RACES: dict[str, Race] = {
    "ask against stop": Race(races.ask_against_stop, ANSWERED),
    "ask against exit": Race(partial(races.ask_against_stop, end="exit"), ANSWERED),
    "ask against kill": Race(partial(races.ask_against_stop, end="kill"), ANSWERED),
    "call from another loop against kill": Race(races.call_against_end, ANSWERED),
    "cancel against fire": Race(timer_races.cancel_against_fire, TIMERS),
    "cancel from another thread against fire": Race(timer_races.foreign_cancel_against_fire, TIMERS),
    "two threads against one asynchronous handler": Race(races.wakers_against_an_async_handler, ("awake", "asleep")),
    # A round of these takes threads or loops of its own.
    "ask against the stop of a thread actor": Race(partial(races.ask_against_stop, kind=ThreadEcho), ANSWERED, 0.1),
    "links and monitors against ends": Race(races.watch_against_end, ("in time", "too late"), 0.1),
    "thread actors that ask each other": Race(races.asks_across, ("first", "second"), 0.1),
}


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

    def run(race: Race) -> dict[str, int]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, nervous_threads():
            counted = runner.run(race.run(int(rounds * race.share)))
        assert race.well_matched(counted), f"one side won almost always: {counted}"
        return counted

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
        attempt(name, partial(run, race))
    attempt("commands that follow the model", model)
    attempt("left of all actors", remains)
    return Outcome(figures | {"failures": failures}, not failures)

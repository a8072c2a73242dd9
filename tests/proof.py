"""Proofs: what takes too long for every test run, and is written down when it was done.

    make proof simulation [SEED=7]        python -m tests.proof simulation --seed 7
    every proof writes docs/proofs/<name>.json: {name, seed, python, date, figures, passed}

A proof is a function of a seed that returns its figures and whether it holds; `@proof("name")` registers it. It runs in
a process with a fixed hash seed. `tests/test_proofs.py` checks that each registered proof was done and has passed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import inspect
import json
import logging
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from understudy.simulation import Simulation

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "proofs"

PROCESSES = 2

SEEDS = 10_000
"""Seeds of each property."""

FRESH = 100
"""Processes that run the same seed, each started anew."""

CHUNK = 250
"""Seeds that a process takes at a time."""


class Outcome(NamedTuple):
    """What a proof found: `figures` are for people, as JSON."""

    figures: dict[str, Any]
    passed: bool


Proof: TypeAlias = Callable[[int, int], Outcome]
"""From a base seed and the number of seeds, where that means something to it."""

PROOFS: dict[str, Proof] = {}


def proof(name: str) -> Callable[[Proof], Proof]:
    """Register a proof under the name that `make proof` takes."""

    def register(function: Proof) -> Proof:
        PROOFS[name] = function
        return function

    return register


# --- the simulation ---


class Property(NamedTuple):
    """A simulated test, by the address of its function."""

    module: str
    name: str

    def function(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)


class Chunk(NamedTuple):
    """What became of some seeds of one property."""

    failures: list[tuple[int, str]]
    virtual: float
    real: float
    steps: int


def properties() -> list[Property]:
    """Every test of tests/simulation that is marked to run with many seeds and needs nothing but a simulation."""
    found: list[Property] = []
    for file in sorted((ROOT / "tests" / "simulation").glob("test_*.py")):
        module = importlib.import_module(f"tests.simulation.{file.stem}")
        for name, function in vars(module).items():
            mark = _mark(function)
            if mark is not None and mark.args[0] > 1 and set(inspect.signature(function).parameters) <= {"simulation"}:
                found.append(Property(module.__name__, name))
    return found


def seed_of(base: int, number: int) -> int:
    """The number-th seed that pytest runs under UNDERSTUDY_SEED=base."""
    return int.from_bytes(hashlib.sha256(f"{base}:{number}".encode()).digest()[:4], "big")


def run(what: Property, seed: int) -> Simulation:
    """Run one property with one seed. Raises what it raises."""
    function = what.function()
    mark = _mark(function)
    options = {name: value for name, value in mark.kwargs.items() if name != "twice"} if mark is not None else {}
    simulation = Simulation(seed, **options)
    arguments = {"simulation": simulation} if "simulation" in inspect.signature(function).parameters else {}
    if inspect.iscoroutinefunction(function):
        simulation.run(partial(function, **arguments))
    else:
        function(**arguments)
    return simulation


def run_chunk(what: Property, seeds: list[int]) -> Chunk:
    """Run one property with many seeds."""
    logging.disable(logging.CRITICAL)
    failures: list[tuple[int, str]] = []
    began, virtual, steps = time.perf_counter(), 0.0, 0
    for seed in seeds:
        try:
            simulation = run(what, seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the proof is about
            failures.append((seed, f"{type(error).__name__}: {error}"[:500]))
        else:
            virtual += simulation.time
            steps += simulation.loop.steps
    return Chunk(failures, virtual, time.perf_counter() - began, steps)


def digest(base: int) -> str:
    """One digest over a run of every property."""
    logging.disable(logging.CRITICAL)
    digests = [run(what, seed_of(base, number)).trace.digest for number, what in enumerate(properties())]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@proof("simulation")
def simulation(seed: int, count: int) -> Outcome:
    """Every property holds for all seeds, and a seed is the same run in every process."""
    everything = properties()
    failures: dict[Property, list[tuple[int, str]]] = {what: [] for what in everything}
    virtual, real, steps, done = 0.0, 0.0, 0, Counter[Property]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        jobs = {
            pool.submit(
                run_chunk, what, [seed_of(seed, number) for number in range(start, min(start + CHUNK, count))]
            ): what
            for what in everything
            for start in range(0, count, CHUNK)
        }
        for job in as_completed(jobs):
            what, chunk = jobs[job], job.result()
            failures[what] += chunk.failures
            virtual, real, steps = virtual + chunk.virtual, real + chunk.real, steps + chunk.steps
            done[what] += 1
            if done[what] * CHUNK >= count:
                print(f"{what.name}: {count - len(failures[what])} of {count} seeds", flush=True)
            for failing, error in chunk.failures:
                file = what.module.replace(".", "/")
                print(f"  PYTHONHASHSEED=0 pytest {file}.py::{what.name} --seed {failing}\n  {error}", flush=True)
        same = Counter(pool.map(_fresh_digest, [seed] * FRESH))
    print(f"the same digest in {max(same.values())} of {FRESH} fresh processes", flush=True)
    figures = {
        "properties": len(everything),
        "seeds_per_property": count,
        "failing_seeds": {what.name: [each for each, _ in failed] for what, failed in failures.items() if failed},
        "virtual_seconds": round(virtual),
        "virtual_seconds_per_second_and_process": round(virtual / real),
        "steps_per_second_and_process": round(steps / real),
        "fresh_processes": FRESH,
        "fresh_processes_with_the_same_digest": max(same.values()),
    }
    return Outcome(figures, not any(failures.values()) and len(same) == 1)


def _fresh_digest(seed: int) -> str:
    command = [sys.executable, "-m", "tests.proof", "--digest", "--seed", str(seed)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _mark(function: object) -> pytest.Mark | None:
    marks: list[pytest.Mark] = getattr(function, "pytestmark", [])
    return next((mark for mark in marks if mark.name == "seeds" and mark.args), None)


# --- the command ---


@contextlib.contextmanager
def _written(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """The record of a proof, written also if it breaks off: an old one must not stand for a new one."""
    record = {
        "name": name,
        "seed": seed,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "figures": {},
        "passed": False,
    }
    try:
        yield record
    finally:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def main() -> int:
    """Run one proof and write down what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description="Do a proof and write it down.")
    parser.add_argument("name", nargs="?", choices=sorted(PROOFS), help="which one")
    parser.add_argument("--seed", type=int, default=None, help="the base seed; by default a new one")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many are derived from it for each property")
    parser.add_argument("--digest", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONHASHSEED": "0"})
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    if options.digest:
        print(digest(seed))
        return 0
    if options.name is None:
        parser.error(f"which proof? There are: {', '.join(sorted(PROOFS))}")
    print(f"{options.name}: base seed {seed}", flush=True)
    with _written(options.name, seed) as record:
        record["figures"], record["passed"] = PROOFS[options.name](seed, options.seeds)
    print(json.dumps(record, indent=2))
    return 0 if record["passed"] else 1


if __name__ == "__main__":
    # As a module of its own name: what other processes are sent must be found there.
    from tests.proof import main as run_it

    sys.exit(run_it())

"""The proof of the simulation: every property holds for thousands of seeds, and a seed is the same run in every process."""

from __future__ import annotations

import gc
import hashlib
import logging
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, NamedTuple

from tests import measured
from tests.limited import HANGS, Hangs, limited
from tests.measured import Measured
from tests.proof import PROCESSES, Outcome, proof
from tests.properties import ROOT, Property, properties, run, said, seed_of

FRESH = 100
"""Processes that run the same seed, each started anew."""

CHUNK = 250
"""Seeds that a process takes at a time."""


class Chunk(NamedTuple):
    """What became of some seeds of one property. `cpu`: seconds."""

    failures: list[tuple[int, str]]
    virtual: float
    real: float
    cpu: float
    steps: int
    measured: Measured


class NotHeld(AssertionError):
    """Some seeds failed; `figures`: of all of them."""

    def __init__(self, figures: dict[str, Any]) -> None:
        super().__init__(
            f"failing seeds: {figures['failing_seeds']}, chunks that broke off: {figures['chunks_broken_off']}"
        )
        self.figures = figures


def run_chunk(what: Property, seeds: list[int], limit: float = HANGS) -> Chunk:
    """Run one property with many seeds, none of which may take longer than `limit` seconds."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    measured.take()
    failures: list[tuple[int, str]] = []
    began, worked, virtual, steps = time.perf_counter(), time.process_time(), 0.0, 0
    for seed in seeds:
        try:
            with limited(limit):
                simulation = run(what, seed)
        except (Exception, Hangs) as error:  # noqa: BLE001 - whatever it is, it is what the proof is about
            failures.append((seed, said(error)))
        else:
            virtual += simulation.time
            steps += simulation.loop.steps
    real, cpu = time.perf_counter() - began, time.process_time() - worked
    return Chunk(failures, virtual, real, cpu, steps, measured.take())


def digest(base: int) -> str:
    """One digest over a run of every property."""
    logging.disable(logging.CRITICAL)
    digests = [run(what, seed_of(base, number)).trace.digest for number, what in enumerate(properties())]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def hold(modules: Collection[str], seed: int, count: int, but: Collection[str] = ()) -> dict[str, Any]:
    """Run every property of those modules, but for those named, with so many seeds, on all processes; the figures.

    Raises NotHeld if one fails.
    """
    everything = [what for what in properties() if what.module in modules and what.name not in but]
    assert {what.module for what in everything} == set(modules), "a module has no properties"
    failures: dict[str, list[int]] = {}
    broken = Counter[str]()
    virtual, cpu, found = 0.0, dict.fromkeys((what.name for what in everything), 0.0), Measured()
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {
            pool.submit(run_chunk, what, [seed_of(seed, at) for at in range(start, min(start + CHUNK, count))]): what
            for start in range(0, count, CHUNK)
            for what in everything
        }
        for done, job in enumerate(as_completed(jobs), start=1):
            what = jobs[job]
            try:
                chunk = job.result()
            except Exception as error:  # noqa: BLE001 - the results of the other chunks are not lost for it
                broken[f"{what.name}: {type(error).__name__}: {error}"] += 1
                continue
            virtual += chunk.virtual
            cpu[what.name] += chunk.cpu
            found += chunk.measured
            for failing, message in chunk.failures:
                failures.setdefault(what.name, []).append(failing)
                print(f"  PYTHONHASHSEED=0 pytest {what.test} --seed {failing}\n  {message}", flush=True)
            if not done % 10:
                print(f"  {done} of {len(jobs)} chunks of {CHUNK} seeds", flush=True)
    figures = {
        "properties": list(cpu),
        "seeds_per_property": count,
        "failing_seeds": failures,
        "chunks_broken_off": broken,
        "virtual_seconds": round(virtual),
        "milliseconds_of_cpu_per_seed": {name: round(1e3 * seconds / count, 1) for name, seconds in cpu.items()},
        **found.figures(),
    }
    if failures or broken:
        raise NotHeld(figures)
    return figures


@proof("simulation", seeds=10_000)
def simulation(seed: int, count: int) -> Outcome:
    """Every property holds for all seeds, and a seed is the same run in every process."""
    everything = properties(whole_clusters=False)
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
                print(f"  PYTHONHASHSEED=0 pytest {what.test} --seed {failing}\n  {error}", flush=True)
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
    command = [sys.executable, "-m", "tests.simulated", str(seed)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    print(digest(int(sys.argv[1])))

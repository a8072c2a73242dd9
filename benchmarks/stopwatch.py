"""What every program of the comparison does alike: it measures one case, and prints one line of JSON.

    python -m benchmarks.programs.with_pykka call --scale 0.1   ->   {"value": 21.3, "cpu": 19.8, "note": ""}

`value` is in the case's unit (`benchmarks/cases.py`), `cpu` is the processor time of the whole process in microseconds
for each operation. Both are medians of some rounds inside the process, after a short one to warm up. `--scale` makes
fewer operations of it. Only the standard library: it runs in other frameworks' environments, too.
"""

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

ROUNDS = 3
"""Rounds inside a process, after the one to warm up."""

BATCH = 20
"""Calls between two looks at the clock, which costs about as much as the fastest call: a latency is a batch's mean."""

PAGE = 4096


class Sample(NamedTuple):
    """One figure: in the case's unit, in microseconds of processor time for each operation, and a remark."""

    value: float
    cpu: float
    note: str = ""


class Case(NamedTuple):
    """How a framework does one case: `measure(size)`, again and again unless it is done `once`."""

    measure: Callable[[int], Sample]
    size: int
    once: bool = False


class Watch:
    """Runs from when it is made: the clock, and the processor time of all threads."""

    def __init__(self) -> None:
        self.cpu = time.process_time()
        self.began = time.perf_counter()

    def rate(self, count: int) -> Sample:
        """So many operations since then, in operations a second."""
        seconds = time.perf_counter() - self.began
        return Sample(count / seconds, (time.process_time() - self.cpu) / count * 1e6)

    def median(self, seconds: list[float], count: int) -> Sample:
        """The median of some latencies, in microseconds, out of `count` operations since then."""
        return Sample(statistics.median(seconds) * 1e6, (time.process_time() - self.cpu) / count * 1e6)


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE


def settled() -> int:
    """Resident bytes after a full collection."""
    gc.collect()
    return resident()


def main(cases: dict[str, Case]) -> None:
    """The program: measure one case, print the median of its rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=sorted(cases))
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    case: Case = cases[options.case]
    size = max(1, int(case.size * options.scale))
    if case.once:
        samples = [case.measure(size)]
    else:
        case.measure(max(1, size // 10))
        samples = [case.measure(size) for _ in range(ROUNDS)]
    middle = Sample(
        statistics.median(sample.value for sample in samples),
        statistics.median(sample.cpu for sample in samples),
        samples[0].note,
    )
    print(json.dumps(middle._asdict()), flush=True)
    os._exit(0)  # some frameworks leave thousands of threads, or a loop that never ends

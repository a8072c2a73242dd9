"""The cases of `python -m benchmarks.link`, each peer's in a program of its own.

    python -m benchmarks.wire.with_osbrain tell 0.2      the case, and how much of the usual amount

Each starts its other process itself and prints one line of JSON: row -> figure, as benchmarks/link.py names the rows.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

PAYLOAD = bytes(85)
"""Makes a message of about 100 bytes on the wire."""

MEBIBYTE = 1 << 20


def arguments() -> tuple[str, float]:
    """The case, and the scale."""
    return sys.argv[1], float(sys.argv[2])


def latencies(row: str, seconds: list[float]) -> dict[str, float]:
    """The rows of a case that measures single calls: microseconds."""
    ordered = sorted(seconds)
    return {
        f"{row} p50": statistics.median(ordered) * 1e6,
        f"{row} p99": ordered[len(ordered) * 99 // 100] * 1e6,
    }


def timed(call: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` blocking calls, after some that nobody counts."""
    for _ in range(count // 10):
        call()
    taken: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return taken


def say(figures: dict[str, float]) -> None:
    """The one line."""
    print(json.dumps(figures), flush=True)

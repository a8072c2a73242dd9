"""A handicap: what the faster side of a race waits, so that either side wins about as often and both meet now and then.

with nervous_threads():
    handicap.spin()               the faster side waits
    ... the race ...
    handicap.learn(won)           longer if it won all the same, shorter if it lost
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

STEP = 1.1
"""By how much it is longer or shorter after a round."""

LEAST, MOST = 1e-8, 0.005
"""Seconds. The least is none at all."""

NERVOUS = 1e-6
"""Seconds that a thread runs before another one may have its turn: a few lines."""


@contextmanager
def nervous_threads() -> Iterator[None]:
    """Threads are interrupted at almost every line, where they would run for 5 ms."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(NERVOUS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class Handicap:
    """`seconds`: about how long it is at first. Each wait is drawn anew, from none to twice that."""

    def __init__(self, seconds: float = 1e-5) -> None:
        self.seconds = seconds

    def spin(self, part: float = 1.0) -> None:
        """Wait in a thread, without letting go of it: all of the handicap, or a part."""
        until = self._until(part)
        while time.perf_counter() < until:
            pass

    async def breathe(self) -> None:
        """Wait on a loop, which goes on meanwhile."""
        until = self._until()
        while time.perf_counter() < until:  # noqa: ASYNC110 - the loop's turns are what it waits for
            await asyncio.sleep(0)

    def learn(self, won: bool) -> None:
        """Whether the side that waited has won."""
        self.seconds = min(self.seconds * STEP, MOST) if won else max(self.seconds / STEP, LEAST)

    def _until(self, part: float = 1.0) -> float:
        return time.perf_counter() + random.random() * 2 * self.seconds * part

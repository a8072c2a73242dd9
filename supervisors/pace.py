"""Pace: what a supervisor does with thousands of children in one go leaves the loop its turn every few milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SLICE = 0.003
"""Seconds of work between two turns of the loop: as long as a turn of the scheduler."""


class Pace:
    """One go of work. `clock` is the loop's: where that is virtual, work takes no time, and nobody gives way."""

    __slots__ = ("_clock", "_end")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + SLICE

    def is_over(self) -> bool:
        """Whether it is time to let the loop have its turn."""
        return self._clock() >= self._end

    async def keep(self) -> None:
        """Let the loop have its turn if it is time for that."""
        if self.is_over():
            await asyncio.sleep(0)
            self._end = self._clock() + SLICE

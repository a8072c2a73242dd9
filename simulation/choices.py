"""The seed's decisions. Each purpose draws from a stream of its own, so that one more draw here shifts nothing there."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

BIASED = 0.8
"""How often a run with a bent follows it. The rest is drawn evenly, so that nothing starves for ever."""


class Choices:
    """The schedule's own draws, `index` above all: which of the ready ones is next.

    A run has a bent, drawn once: evenly, mostly the one that waits longest (close to what really happens, with a few
    surprises), or mostly the one that came last (which leaves somebody waiting very long). Each finds its own bugs.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"{seed}:schedule")
        self.draw: Callable[[], float] = self._random.random
        self._bent = int(self.draw() * 4)  # 0, 1: even; 2: the oldest; 3: the newest

    def index(self, count: int) -> int:
        """One of `count` ready things that stand in order of age."""
        if self._bent < 2 or self.draw() >= BIASED:
            return int(self.draw() * count)
        return 0 if self._bent == 2 else count - 1

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.draw() < probability

    def one_of(self, options: Sequence[T]) -> T:
        """One of them, evenly."""
        return options[int(self.draw() * len(options))]

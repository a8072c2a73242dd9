"""What properties measure besides holding, added up over many seeds: for the figures of a proof.

most(what, value)       the largest of all values        total(what, count)      the sum of all counts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Measured:
    """The figures of some runs; `+=` those of others."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = {}
        self.totals: Counter[str] = Counter()

    def most(self, what: str, value: float) -> None:
        """Keep the largest value of it."""
        self.largest[what] = max(value, self.largest.get(what, value))

    def total(self, what: str, count: int) -> None:
        """Add to the count of it."""
        self.totals[what] += count

    def __iadd__(self, other: Measured) -> Measured:
        for what, value in other.largest.items():
            self.most(what, value)
        self.totals += other.totals
        return self

    def figures(self) -> Mapping[str, float]:
        """All of them, for people."""
        return {what: round(value, 2) for what, value in self.largest.items()} | self.totals


_measured = Measured()


def take() -> Measured:
    """What was measured since the last time, in this process."""
    taken = Measured()
    taken += _measured
    _measured.largest.clear()
    _measured.totals.clear()
    return taken


def most(what: str, value: float) -> None:
    """See Measured. Properties are functions of a simulation alone: there is nobody to hand it to them."""
    _measured.most(what, value)


def total(what: str, count: int) -> None:
    """See Measured."""
    _measured.total(what, count)

"""How long to wait before a child is started again: longer each time, with some chance in it, anew after a healthy time.

    child ends ── 0.1 s ──> fails ── 0.2 s ──> fails ── 0.4 s ──> ... ── 30 s ──> runs for a minute: the next wait is 0.1 s

OTP never waits. A child with a backoff is counted all the same: each attempt is one restart of its supervisor's intensity.
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.supervisors.checks import checked_seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: `first` before the first attempt, `factor` times as many before each further one, `most` at most.

    `jitter` is the part of each wait that chance may add or take, so that those that fell together do not rise together.
    A child that has run for `healthy` seconds begins anew at `first`.
    """

    first: float = 0.1
    most: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    healthy: float = 60.0

    def __post_init__(self) -> None:
        checked_seconds("Backoff.first", self.first)
        checked_seconds("Backoff.most", self.most)
        checked_seconds("Backoff.healthy", self.healthy, zero=True, endless=True)
        for field, value, least, limit in (("factor", self.factor, 1.0, 100.0), ("jitter", self.jitter, 0.0, 1.0)):
            if not isinstance(value, int | float) or isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"Backoff.{field} is a number from {least} to {limit}, not {value!r}")
            if not least <= value <= limit:
                raise ValueError(f"Backoff.{field} is a number from {least} to {limit}, not {value!r}")
        if self.most < self.first:
            raise ValueError(f"Backoff.most is no less than Backoff.first ({self.first}), not {self.most!r}")

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds before the `attempt`-th attempt in a row, from 1. `chance` is a draw from 0 to 1."""
        try:
            wait = self.first * self.factor ** (attempt - 1)
        except OverflowError:
            wait = self.most
        return min(wait, self.most) * (1.0 + self.jitter * (2.0 * chance - 1.0))

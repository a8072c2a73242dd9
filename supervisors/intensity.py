"""How often a supervisor may start children again before it gives up: one window for all its children, sliding.

    period                ├────────────────────────┤
    attempts    x      x      x        x           x  <- now: the fourth within the period; with intensity 3, one too many

Each attempt counts once, however many siblings are started with it, and so does each that fails. OTP counts in whole
seconds, which makes its window up to a second longer; here it is exact, both ends included.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from understudy.actors import ExitReason, Shutdown
from understudy.supervisors.checks import checked_count, checked_seconds

TOO_MANY = "too many restarts"
"""How the reason of a supervisor that gave up begins, wherever it is read."""


@dataclass(slots=True)
class Intensity:
    """At most `limit` restarts within `period` seconds. `restarts` are the times of those in the window, the oldest first."""

    limit: int = 1
    period: float = 5.0
    restarts: deque[float] = field(default_factory=deque[float])

    def __post_init__(self) -> None:
        checked_count("Supervisor.intensity", self.limit, 0)
        checked_seconds("Supervisor.period", self.period, endless=True)

    def add(self, now: float) -> bool:
        """Count an attempt. True: that is one too many."""
        restarts, period = self.restarts, self.period
        while restarts and now - restarts[0] > period:
            restarts.popleft()
        restarts.append(now)
        return len(restarts) > self.limit


def too_many(child: str, reason: ExitReason | None) -> Shutdown:
    """Why a supervisor gives up."""
    return Shutdown(f"{TOO_MANY}, the last one of {child!r}: {reason}")


def gave_up(reason: ExitReason) -> bool:
    """Whether whoever ended so is a supervisor that gave up."""
    return isinstance(reason, Shutdown) and reason.detail.startswith(TOO_MANY)

"""What a system takes from the outside besides its event loop: randomness, identifiers and the calendar.

Durations and deadlines are not here: they are the loop's `time()`, `call_later` and `call_at`. One of the few modules
that may touch `time` and `random` directly; a simulation hands in a world of its own.
"""

from __future__ import annotations

import random as real_random
import time as real_time
from collections.abc import Callable
from dataclasses import dataclass, field


def _wall() -> float:
    return real_time.time()  # looked up at each call, so that a simulation can step in


@dataclass(frozen=True, slots=True)
class World:
    """`random` draws everything that is drawn; `wall()` is the calendar, in Unix seconds, and never measures a duration."""

    random: real_random.Random = field(default_factory=real_random.SystemRandom)
    wall: Callable[[], float] = _wall

    def token(self) -> str:
        """An identifier of 16 hexadecimal digits (64 bits)."""
        return f"{self.random.getrandbits(64):016x}"

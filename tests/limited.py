"""A limit for what may never suspend: it is interrupted from within its own process, which nobody has to kill.

with limited(60.0):     SIGALRM ──▶ Hangs, again and again until the block is left ──▶ Hangs, whoever has caught it meanwhile
    ...                 not left after three times as long: the process says where all its threads are, and ends itself
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANGS = 60.0
"""Seconds of real time after which a single seed counts as hanging. One takes some milliseconds."""


class Hangs(KeyboardInterrupt):
    """It was not over in time. No task and no callback keeps a KeyboardInterrupt for itself."""


@contextmanager
def limited(seconds: float = HANGS) -> Iterator[None]:
    """Raise Hangs in the block if it takes longer. For the main thread; does not nest."""
    rung = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        raise Hangs(f"this seed was not over after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 4)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
    if rung:
        raise Hangs(f"this seed was not over after {seconds:.0f} s, and caught what told it so")

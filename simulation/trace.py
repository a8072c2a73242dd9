"""The trace of a run: every choice and every event with its virtual time, and one SHA-256 over all of it.

Two runs with the same digest did the same. A trace keeps its last events to show what led to a failure; with
`keep=None` it keeps them all, and `difference` names the first one in which two runs part.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque

TAIL = 40
"""Events that are kept unless told otherwise."""


class Trace:
    """Nothing in an event may differ between two processes: no addresses, no real time, no order of a set."""

    def __init__(self, keep: int | None = TAIL) -> None:
        self.count = 0
        self.events: deque[str] = deque(maxlen=keep)
        self._sha = hashlib.sha256()
        self._sealed = False

    def add(self, now: float, event: str) -> None:
        """Note an event at `now` virtual seconds."""
        if self._sealed:
            return
        line = f"{now!r} {event}"
        self.count += 1
        self.events.append(line)
        self._sha.update(line.encode("utf-8", "backslashreplace"))
        self._sha.update(b"\n")

    def seal(self) -> None:
        """The run is over: what comes while it is cleared away counts no more."""
        self._sealed = True

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        return self._sha.hexdigest()

    def difference(self, other: Trace) -> str | None:
        """Where two complete traces (`keep=None`) first differ, as text; None if they are the same."""
        if self.digest == other.digest:
            return None
        before = "nothing"
        pairs = itertools.zip_longest(self.events, other.events, fillvalue="(the run is over)")
        for number, (mine, theirs) in enumerate(pairs, start=1):
            if mine != theirs:
                return f"event {number}, after [{before}]: one run has [{mine}], the other has [{theirs}]"
            before = mine
        return "the runs differ in events that were not kept"

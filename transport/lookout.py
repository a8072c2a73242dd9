"""The lookout: whoever has just said something looks for the answer, instead of sleeping until it comes.

    said ──▶ answered within WATCH the time before? ── no ──▶ the loop sleeps until the socket wakes it
                                    │ yes
                                    ▼
             everybody else has the processor ──▶ look at the socket ──▶ a pass of the loop ──▶ again, WATCH long at most

To wake a sleeping thread takes longer than all else that a call to another node needs (docs/performance.md). A node that
only sends, only receives, or is answered late never looks: it would heat the room for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import sched_yield
from time import monotonic  # noqa: TID251 - real sockets only; the loop's clock may count in milliseconds

WATCH = 0.0003
"""Seconds. An answer that takes longer is not worth the processor time of looking for it."""


class Lookout:
    """`look` handles what has come, if anything has. One per node, on its loop's thread."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._said: float | None = None  # when, if nothing has come since
        self._pays = False
        self._looking = False

    def said(self) -> None:
        """Something was sent that may be answered."""
        if self._said is None:
            self._said = monotonic()
        if self._pays and not self._looking:
            self._looking = True
            self._loop.call_soon(self._again)

    def heard(self) -> None:
        """A frame came."""
        if self._said is not None:
            self._pays = monotonic() - self._said < WATCH
            self._said = None

    def _again(self) -> None:
        if self._said is None:
            self._looking = False
        elif monotonic() - self._said > WATCH:
            self._looking = self._pays = False
        else:
            sched_yield()
            self._look()
            self._loop.call_soon(self._again)

"""When calls have waited long enough: one timer of the loop for the deadlines of all of them.

The loop is asked to ring for the earliest deadline only. A call that is answered is forgotten, and the timer left alone: when
it rings, the earliest call that is still open is looked up and the loop asked again. So a call costs two dictionary
operations instead of a timer made and cancelled. Buckets by time keep that look short, however many calls are open.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.actors.pending import Pending

PER_SECOND = 200
"""Buckets in a second."""


class Expiries:
    """The open calls of one loop, by when they are due."""

    __slots__ = ("_buckets", "_context", "_loop", "_next", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._buckets: dict[int, dict[Pending, None]] = {}
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Pending) -> None:
        """Have `call.time_is_up()` called once its deadline has passed, unless it is forgotten before."""
        deadline = call.deadline
        if deadline == math.inf:
            return
        if deadline < self._next:
            self._ask(deadline)
        number = int(deadline * PER_SECOND)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
        bucket[call] = None

    def forget(self, call: Pending) -> None:
        """It waits no more."""
        number = int(call.deadline * PER_SECOND) if call.deadline != math.inf else 0
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.pop(call, None)
            if not bucket:
                del self._buckets[number]

    def close(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._next = math.inf
        self._buckets.clear()

    def _ask(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = deadline
        self._timer = self._loop.call_at(deadline, self._ring, context=self._context)

    def _ring(self) -> None:
        self._timer = None
        self._next = math.inf
        now = self._loop.time()
        for number in sorted(self._buckets):
            bucket = self._buckets[number]
            if number <= now * PER_SECOND:
                for call in [call for call in bucket if call.deadline <= now]:
                    del bucket[call]
                    call.time_is_up()
            if not bucket:
                del self._buckets[number]
            elif self._next == math.inf:
                self._ask(min(call.deadline for call in bucket))

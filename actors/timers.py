"""Timers: messages that an actor sends itself later. They end with their actor.

A cancelled timer surely does not arrive: its mailbox entry carries the timer, and the flag is looked at when the entry
is taken out, not only when it is put in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from understudy.actors.envelope import Envelope

if TYPE_CHECKING:
    from understudy.actors.cell import Cell


class Timer:
    """A pending `send_after` or `send_every`. A periodic one keeps its rate: ticks do not drift with slow handlers."""

    __slots__ = ("_cell", "_due", "_handle", "_interval", "_message", "active")

    def __init__(self, cell: Cell[Any], delay: float, message: Any, interval: float | None) -> None:
        self._cell = cell
        self._message = message
        self._interval = interval
        self._handle: asyncio.TimerHandle | None = None
        self.active = True
        self._due = cell.scheduler.loop.time() + delay
        cell.on_loop(self._arm)

    def cancel(self) -> None:
        """After this returns the message is not delivered any more, even if it waits in the mailbox already."""
        self.active = False
        self._cell.on_loop(self._disarm)

    def _arm(self) -> None:
        if self.active and self._cell.keep_timer(self):
            self._handle = self._cell.scheduler.loop.call_at(self._due, self._fire)

    def _disarm(self) -> None:
        self.active = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._cell.drop_timer(self)

    def _fire(self) -> None:
        if self._interval is None:
            self._handle = None
            self._cell.drop_timer(self)
        else:
            loop = self._cell.scheduler.loop
            missed = max(0.0, (loop.time() - self._due) // self._interval)
            self._due += self._interval * (missed + 1)  # after a stall: one tick now, the next one in step again
            self._handle = loop.call_at(self._due, self._fire)
        self._cell.tell(Envelope(self._message, ticket=self))

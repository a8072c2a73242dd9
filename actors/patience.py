"""The receive timeout: a message to an actor that has had nothing to do for too long.

    handled ── last = now ──┐
    timer due ──> is last + seconds over? ── no ──> due again then
                                          └─ yes ─> ReceiveTimeout, and from its end the time runs anew

There is one timer, however many messages come: they only note the time. Who has no receive timeout pays nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from understudy.actors.envelope import Envelope
from understudy.actors.message import message
from understudy.actors.signals import Order

if TYPE_CHECKING:
    from understudy.actors.cell import Cell


@message("understudy.receive_timeout")
class ReceiveTimeout:
    """Nothing was handled for `seconds`, the time given to `self.receive_timeout`."""

    seconds: float


class Patience(Order):
    """A receive timeout from its setting to the next one: what it puts into the mailbox, and the ticket of that."""

    __slots__ = ("_cell", "_handle", "_last", "_waits", "active", "seconds")

    def __init__(self, cell: Cell[Any], seconds: float) -> None:
        self._cell = cell
        self.seconds = seconds
        self.active = True
        self._last = cell.scheduler.loop.time()
        self._waits = False
        self._handle: asyncio.TimerHandle | None = None
        cell.on_loop(self._arm, self._last + seconds)
        if cell.task is not None and not cell.threaded:  # the handler that sets it was not seen to begin
            self._begun()

    def wrap(self, receive: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Note when a message has been handled. For `Cell.surrounded`."""

        def handle(message: Any) -> Any:
            try:
                result = receive(message)
            finally:
                self._note()
            if result.__class__ is CoroutineType and not self._waits:
                self._begun()
            return result

        return handle

    def _begun(self) -> None:
        # Whether it takes time, and which task it then has, is known when this step of the loop is over.
        self._waits = True
        self._cell.scheduler.loop.call_soon(self._see_out, context=self._cell.scheduler.neutral_context())

    def _note(self) -> None:
        bonds = self._cell.bonds
        if bonds is not None and bonds.patience is not None:  # perhaps another one, which that very handler has set
            bonds.patience._last = self._cell.scheduler.loop.time()

    def cancel(self) -> None:
        """It is over; what waits in the mailbox of it is void."""
        self.active = False
        self._cell.on_loop(self._disarm)

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> Any:
        due = self._last + self.seconds
        now = cell.scheduler.loop.time()
        if now < due:  # something was put first, or came just before it
            cell.handled -= 1
            cell.on_loop(self._arm, due)
            return None
        cell.on_loop(self._arm, now + self.seconds)
        entry.message = ReceiveTimeout(self.seconds)
        return (cell.receive or cell.behave())(entry.message)

    # --- on the loop ---

    def _arm(self, due: float) -> None:
        self._disarm()
        if self.active:
            self._handle = self._cell.scheduler.loop.call_at(due, self._due)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _due(self) -> None:
        self._handle = None
        cell = self._cell
        now = cell.scheduler.loop.time()
        if self._waits or cell.task is not None or cell.mailbox or cell.at_work() is not None:
            self._arm(now + self.seconds)
        elif now < self._last + self.seconds:
            self._arm(self._last + self.seconds)
        else:
            cell.tell(Envelope(self, ticket=self))

    def _see_out(self) -> None:
        """An asynchronous handler is under way: the time runs from its end."""
        task = self._cell.task
        if task is not None:
            task.add_done_callback(self._rested, context=self._cell.scheduler.neutral_context())
        else:
            self._rested(task)

    def _rested(self, _: object) -> None:
        self._waits = False
        self._note()

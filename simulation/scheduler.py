"""The kernel's scheduler under a seed: which ready actor is next, how long its turn is, hand-off or queue.

It changes no rule: each of these orders is one that some machine, some day, may show.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from understudy.actors import Cell, Envelope
from understudy.actors.deadlines import Seat
from understudy.actors.on_the_spot import SLICE, OnTheSpot
from understudy.actors.pending import Pending
from understudy.actors.scheduler import Scheduler
from understudy.actors.standby import Standbys

if TYPE_CHECKING:
    from understudy.actors import ActorSystem
    from understudy.simulation.loop import SimulatedLoop

TURNS = (1, 1, 2, 5, 20)
"""Turns that a tick may give before the loop has its own."""

STRIDES = (1, 1, 2, 8, 64)
"""Messages that an actor may handle in one turn."""

CREDITS = (0, 1, 3, 8)
"""Hand-offs that a caller may have before the loop has its turn."""


class SimulatedSeat(Seat):
    """Where the kernel notes which actor's plain handler runs: what that schedules is of the actor's own origin."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._cell: Cell[Any] | None = None

    @property
    def cell(self) -> Cell[Any] | None:
        """The actor; None between two turns."""
        return self._cell

    @cell.setter
    def cell(self, cell: Cell[Any] | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._cell = cell
        self._loop.origin = cell if cell is not None else self._loop.runs


class ReadyActors(deque[Cell[Any]]):
    """The ready queue, out of which the seed picks. Seems empty once the tick's turns are used up."""

    def __init__(self, scheduler: SimulatedScheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.turns = math.inf

    def __bool__(self) -> bool:
        return len(self) > 0 and self.turns > 0

    def popleft(self) -> Cell[Any]:
        """The cell whose turn it is."""
        self.turns -= 1
        index = self._scheduler.loop.choices.index(len(self)) if len(self) > 1 else 0
        cell = self[index]
        del self[index]
        self._scheduler.note("turn", cell, cell.mailbox[0] if cell.mailbox else None)
        return cell


class SimulatedStandbys(Standbys):
    """What an asynchronous handler schedules is of its actor's own origin."""

    def begin(self, cell: Cell[Any], item: Any, handler: Any) -> None:
        """See Standbys."""
        super().begin(cell, item, handler)
        if cell.task is not None:
            cast("Any", cell.task).origin = cell


class SimulatedSpot(OnTheSpot):
    """Hand-off or queue, and when a caller breathes: as the seed says."""

    _scheduler: SimulatedScheduler

    def hand_off(self, cell: Cell[Any], message: Any, timeout: float) -> Any:
        """Sometimes the call has to queue like a tell, as if the callee had been busy."""
        if self._scheduler.loop.choices.chance(0.5):
            self._scheduler.note("hand-off", cell, message)
            return super().hand_off(cell, message, timeout)
        pending = Pending(cell, timeout)
        entry = pending.envelope(message)
        pending.hold_up(entry)
        try:
            cell.tell(entry)
        except BaseException:
            pending.let_go()
            raise
        return pending

    def turn_now(self, cell: Cell[Any]) -> None:
        """See OnTheSpot. Sometimes the caller waits for a tick after all."""
        if self._scheduler.loop.choices.chance(0.5):
            self._scheduler.note("turn", cell, cell.mailbox[0] if cell.mailbox else None)
            super().turn_now(cell)

    def bring_in(self, deliver: Callable[..., object], *arguments: Any) -> None:
        """See OnTheSpot. Sometimes who was woken waits for a tick after all."""
        if self._scheduler.loop.choices.chance(0.5):
            super().bring_in(deliver, *arguments)
        else:
            deliver(*arguments)

    def must_breathe(self) -> bool:
        """See OnTheSpot. No time passes here in a slice, so the loop has its turn every few hand-offs."""
        self.credit = self._scheduler.loop.choices.one_of(CREDITS)
        return True


class SimulatedScheduler(Scheduler):
    """Made by an `ActorSystem` on a simulated loop."""

    loop: SimulatedLoop

    def __init__(self, system: ActorSystem, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(system, loop)
        self.ready = self._seeded = ReadyActors(self)
        self.standbys = SimulatedStandbys(self)
        self.spot = SimulatedSpot(self)

    def _tick(self) -> None:
        self._due = False
        choices = self.loop.choices
        self._seeded.turns = choices.one_of(TURNS)
        self._stride = choices.one_of(STRIDES)
        self.now = self.loop.time()
        self.slice_end = self.now + SLICE
        self._ticking = True
        try:
            while self._scratch.run(self._run):
                self._scratch = self._base.copy()
        finally:
            self._inside = self._ticking = False
            self._seat.cell = None
            self._seeded.turns = math.inf
            if self.alarm.raised:
                self.alarm.tick_ended()
            if self.ready or self.intake:
                self._be_due()
            else:
                self.asleep = True

    def note(self, what: str, cell: Cell[Any], entry: Any) -> None:
        """A line in the trace: which actor gets which message."""
        message = entry.message if entry.__class__ is Envelope else entry
        self.loop.trace.add(
            self.loop.time(),
            f"{what} {self.system.name} {cell.kind.__qualname__} {cell.id} {type(message).__qualname__}",
        )

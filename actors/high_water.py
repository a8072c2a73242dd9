"""The high-water alarm: a mailbox that is long and grows. Raised once, and again only after it has been half as long.

    class Archive(Actor):
        high_water = 100_000                   # math.inf: never

    system.hooks.subscribe(HighWater, lambda alarm: print(alarm.ref, alarm.length))

Nothing is counted per message. A mailbox is looked at where a backlog shows anyway: at the end of a turn that leaves one,
when an asynchronous handler begins, when a thread takes a message. What piles up behind an actor that does none of this (one
handler never ends, somebody has suspended it) is found by the watchdog, which looks at those every second.
"""

from __future__ import annotations

import logging
import threading  # noqa: TID251 - the watchdog's thread raises it, too
from typing import TYPE_CHECKING, Any

from understudy.actors.message import message
from understudy.actors.ref import ActorRef

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

logger = logging.getLogger("understudy.actors")

HIGH_WATER = 10_000
"""Messages in a mailbox that are worth a warning, unless the actor's class says otherwise."""


@message("understudy.high_water")
class HighWater:
    """`length` messages wait for `ref`, more than its class's `high_water`."""

    ref: ActorRef[Any]
    length: int
    high_water: float


class Alarm:
    """The alarms of one scheduler. `raised`: those whose mailbox has not gone down since."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.count = 0
        self._lock = threading.Lock()
        self.raised: set[Cell[Any]] = set()

    def look(self, cell: Cell[Any]) -> None:
        """A backlog is longer than its actor's `high_water`. From any thread."""
        if cell not in self.raised:
            self._scheduler.signal(self.sound, (cell, len(cell.mailbox or ())))

    def look_around(self, *, stands: bool) -> None:
        """Look at those who take no messages, and would not see it themselves. For the watchdog, in its thread.

        `stands`: the loop does. Whoever holds it is looked at, and those that wait for it; and it cannot say so itself.
        """
        scheduler = self._scheduler
        cells: list[Cell[Any]] = [*scheduler.standbys.waiting.copy(), *scheduler.threads.copy()]
        if stands:
            cells += scheduler.ready.copy()
            holder = scheduler.runs()
            if holder is not None and holder.scheduler is scheduler:
                cells.append(holder)
        for cell in cells:
            length = len(cell.mailbox or ())
            if length > cell.kind.high_water and cell not in self.raised:
                if stands:
                    self.sound(cell, length)
                else:
                    self.look(cell)

    def tick_ended(self) -> None:
        """Forget the alarms of mailboxes that have gone down by half, and of the dead."""
        for cell in tuple(self.raised):
            if cell.reason is not None or len(cell.mailbox or ()) <= cell.kind.high_water / 2:
                self.raised.discard(cell)

    def sound(self, cell: Cell[Any], length: int) -> None:
        """Raise it. On the loop, or in the watchdog's thread while the loop stands."""
        with self._lock:
            if cell in self.raised or cell.reason is not None:
                return
            self.raised.add(cell)
            self.count += 1
        logger.warning(
            "%s messages wait for %r: it is slower than those who send (`high_water` is %s; `mailbox = Bounded(...)` bounds it)",
            f"{length:,}",
            cell,
            f"{cell.kind.high_water:,}",
        )
        hooks = self._scheduler.system.hooks
        if hooks.wants(HighWater):
            hooks.emit(HighWater(cell, length, cell.kind.high_water))

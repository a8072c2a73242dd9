"""Deaths that nobody attended: of actors without parent, link or monitor. Reported, so that no failure passes unseen.

    system.hooks.subscribe(UnseenDeath, lambda death: page_somebody(f"{death.ref} is gone: {death.reason}"))

Whoever supervises, links or watches an actor, or waits for its `ended()`, learns of its end in that way, and there is no
second report. An orderly end (`Normal`, `Shutdown`) and what ends with its system are none of this either.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from understudy.actors.failure_rule import logged
from understudy.actors.limiter import Limiter
from understudy.actors.message import message
from understudy.actors.reasons import ExitReason, Failure
from understudy.actors.ref import ActorRef
from understudy.actors.sketch import masked

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

logger = logging.getLogger("understudy.actors")

BURST = 5
"""Lines in the log about actors of one class that ended in one way, before they are held back."""

EVERY = 5.0
"""Seconds to one more such line."""


@message("understudy.unseen_death")
class UnseenDeath:
    """An actor failed or was killed, and nobody was there to be told. `cls` is its class's name."""

    ref: ActorRef[Any]
    cls: str
    name: str | None
    reason: ExitReason


class Deaths:
    """The unattended deaths of one system. `count` is all of them; the log has those that are not the same again and again."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.count = 0
        self._scheduler = scheduler
        self._limiter: Limiter[tuple[type, type]] = Limiter(BURST, EVERY)

    def note(self, cell: Cell[Any], reason: ExitReason) -> None:
        """Report one. For the kernel."""
        self.count += 1
        hooks = self._scheduler.system.hooks
        if hooks.wants(UnseenDeath):
            hooks.emit(UnseenDeath(cell, cell.kind.__name__, cell.name, reason))
        if logged(cell, reason):
            return
        left_out = self._limiter.admit((cell.kind, type(reason)), self._scheduler.loop.time())
        if left_out is not None:
            more = f" ({left_out} more like it were not reported)" if left_out else ""
            level = logging.ERROR if isinstance(reason, Failure) else logging.WARNING  # a kill was somebody's decision
            logger.log(
                level, "%r ended, and nobody supervises, links or watches it: %s%s", cell, masked(str(reason)), more
            )

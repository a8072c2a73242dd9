"""How a system ends: its top-level actors one after the other, the last one started first, each with its children.

    dismiss the last one ──> gone? the one before it ──> ... the first ──> the pool's threads ──> nobody is left
                              └── not in its time: killed, with all its family

Whoever was started first may be used by those that came later, so nobody's end is begun before those have ended. That must not
give one that hangs the time of all the others: while somebody waits behind it, an actor has three quarters of what is left. Its
own `stop_timeout`, of 5 seconds, comes before that in the 10 seconds that a shutdown has unless told otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

from understudy.actors.reasons import Shutdown
from understudy.actors.watchdog import watchdog

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.system import ActorSystem

logger = logging.getLogger("understudy.actors")

SHARE = 0.75
"""Of the time that is left, what one actor may take while others wait behind it."""

POOL_LEAST = 0.1
"""Seconds that the pool's threads have in any case: those with nothing to do need a moment to leave."""


class Closing:
    """One shutdown, for all who ask for it. It goes on when they are cancelled."""

    def __init__(self, system: ActorSystem, deadline: float) -> None:
        loop = system.loop
        self._system = system
        self._end = loop.time() + deadline
        self._sooner: asyncio.Future[None] = loop.create_future()
        self.task = loop.create_task(self._close(), context=system.scheduler.neutral_context())

    def hasten(self, deadline: float) -> None:
        """Somebody wants it to be over in so many seconds. The earliest end of all that were asked for counts."""
        loop = self._system.loop
        end = loop.time() + deadline
        if end < self._end:
            self._end = end
            sooner, self._sooner = self._sooner, loop.create_future()
            sooner.set_result(None)

    async def _close(self) -> None:
        system, scheduler = self._system, self._system.scheduler
        top = system._top
        for cell in reversed(tuple(top)):
            cell.on_loop(scheduler.mortician.dismiss, cell, Shutdown("the system shuts down"))
            if cell not in top:
                if scheduler.spot.must_breathe():
                    await scheduler.spot.breathe()
                continue
            gone = top[cell] = system.loop.create_future()
            await self._in_time(gone, SHARE if len(top) > 1 else 1.0)
            if not gone.done():
                logger.error("%r did not end in its time while the system shuts down: killed", cell)
                for one in reversed(_family(cell)):
                    one.kill()
                await gone
        if system._pool is not None:
            await self._in_time(system._pool.close(), 1.0, POOL_LEAST)
            system._pool.abandon()
        system.crashes.tell_the_rest()
        watchdog.forget(scheduler)
        system.dead_letters.tell_the_rest()
        scheduler.close()
        await scheduler.stand_down()

    async def _in_time(self, over: asyncio.Future[None], share: float, least: float = 0.0) -> None:
        """Wait until it is over, or that share of the time that is left has passed."""
        clock = self._system.loop.time
        began = clock()
        while not over.done():
            due = max(began + (self._end - began) * share, began + least)
            left = due - clock()
            patience = max(0.0, left) if left < math.inf else None
            await asyncio.wait((over, self._sooner), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if left <= 0.0:
                return


def _family(cell: Cell[Any]) -> list[Cell[Any]]:
    """An actor and all its descendants, parents first."""
    family = [cell]
    for one in family:
        family.extend(one.bonds.children if one.bonds is not None else ())
    return family

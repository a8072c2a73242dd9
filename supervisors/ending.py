"""How a supervisor ends its children: each by its shutdown spec, watched by a monitor, so that none can hang it.

    seconds          exit(Shutdown()) ── time is up ──> kill()
    "infinity"       exit(Shutdown())
    "brutal_kill"    kill()
    moved            stop() instead of exit(): behind what waits in its mailbox

A link would not do: a child may have undone it. After a kill the family of the child is waited for as well: whoever is
started next finds their names free.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from understudy.actors import Cell, ExitReason, Shutdown
from understudy.actors.waiting import last_of
from understudy.supervisors.elsewhere import Watch
from understudy.supervisors.pace import Pace
from understudy.supervisors.place import Place

logger = logging.getLogger("understudy.supervisors")


async def end(
    places: Sequence[Place], supervisor: Cell[Any], pace: Pace, gently: bool = False
) -> tuple[ExitReason, ...]:
    """End the children of these places, all at once, and wait for them. Returns how they ended, in the same order.

    `gently`: within its shutdown time a child handles what waits in its mailbox, before it ends.
    """
    clock = supervisor.scheduler.loop.time
    begun = clock()
    watches = {place.id: Watch(place.handle, supervisor) for place in places if not isinstance(place.handle, Cell)}
    for place in places:
        await pace.keep()
        if place.child.patience == "brutal_kill":
            place.handle.kill()
        elif gently:
            place.handle.stop()
        else:
            place.handle._exit(supervisor, Shutdown())
    # While one is waited for, the others end as well: in order of their times, each is killed when its own is up.
    for place in sorted(places, key=_seconds) if len(places) > 1 else places:
        await pace.keep()
        ref, patience = place.handle, place.child.patience
        if place.id in watches:
            await watches[place.id].see_out(begun + _seconds(place), killed=patience == "brutal_kill")
        elif patience == "brutal_kill":
            await last_of(ref)
        elif patience == "infinity":
            await ref.ended()
        else:
            try:
                await ref.ended(max(0.0, begun + float(patience) - clock()))
            except TimeoutError:
                logger.error("%r did not end within its shutdown time of %s s: killed", ref, patience)
                ref.kill()
                await last_of(ref)
    return tuple([watches[place.id].reason if place.id in watches else await place.handle.ended() for place in places])


def _seconds(place: Place) -> float:
    patience = place.child.patience
    return {"brutal_kill": 0.0, "infinity": math.inf}[patience] if isinstance(patience, str) else patience

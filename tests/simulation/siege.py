"""Gateways are killed one after the other while a hall speaks to a crowd of clients: what the proof of the gateway plays in full."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from tests.simulation.crowd import Crowd, House
from understudy.simulation import Simulation

KILL_EVERY = 0.25
"""Seconds between two kills. A killed gateway is back within half a second."""

LOG_SECONDS = 1.0
"""What the hall keeps for those who come back: some of them are away for longer."""

STEPS = 1_000_000_000


def besiege(seed: int, *, clients: int = 1_000, kills: int = 100, rate: float = 500.0) -> dict[str, Any]:
    """One `siege` in virtual time."""
    simulation = Simulation(seed, max_steps=STEPS)
    return simulation.run(lambda: siege(simulation, clients=clients, kills=kills, rate=rate))


async def siege(simulation: Simulation, *, clients: int, kills: int, rate: float, gateways: int = 8) -> dict[str, Any]:
    """Kill `kills` times one of the `gateways` while the hall says `rate` lines a second to `clients` clients.

    AssertionError if one of them has a gap, hears something twice or out of order, or does not come back. Returns what
    happened to them, all together.
    """
    async with House(simulation) as cluster:
        crowd = cluster.crowd = Crowd(
            simulation,
            cluster,
            guests=clients,
            gateways=[f"gate-{number}" for number in range(1, gateways + 1)],
            homes=["attic"],
            log_events=round(LOG_SECONDS * rate),
            every=1 / rate,
            latency=0.02,
            quiet=8.0,
            limit=256 * 1024,
            room=64 * 1024,
            habits=("listen",),
        )
        await crowd.begin()
        crowd.until = math.inf
        killed, *_ = await asyncio.gather(_kill(crowd, kills), *(guest.live() for guest in crowd.guests))
        crowd.check()
        counts = crowd.counts()
        return {
            "clients": clients,
            "kills": killed,
            "lines_said": len(crowd.ledger.lines[crowd.ledger.epoch]),
            "lines_heard": counts["lines"],
            "of_them_recovered": counts["missed"],
            "came_back_with_everything": counts["recovered"],
            "came_back_with_a_snapshot": counts["resynced"],
            "silent_gaps": 0,
        }


async def _kill(crowd: Crowd, kills: int) -> int:
    await asyncio.sleep(2.0)
    restarts: list[asyncio.Future[Any]] = []
    while len(restarts) < kills:
        await asyncio.sleep(KILL_EVERY)
        if running := [name for name in crowd.gateways if name in crowd.cluster.running()]:
            restarts.append(asyncio.ensure_future(crowd.cluster.restart(crowd.random.choice(running))))
        await asyncio.sleep(0)
    crowd.ledger.over = True
    crowd.until = crowd.simulation.time
    await asyncio.gather(*restarts)
    return len(restarts)

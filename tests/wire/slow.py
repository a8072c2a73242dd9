"""A consumer is slower than its sender: the sender is told and stays small, and nobody else pays for it.

here ══ much more than passes ══▶ proxy that lets little through ──▶ there
  └──── calls ──────────────────────────────────────────────────────▶ beside       as quick as before
here ══ more than is handled ═══════════════════════════════════════▶ there: an actor whose mailbox is bounded
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.processes import running
from tests.wire.cast import Cast, Player, Stream
from tests.wire.player import SLOW_CAPACITY
from understudy.actors.dead_letters import OVERLOADED

SIZE = 10_000
GROWTH = 64 * 1024 * 1024
"""Bytes by which nobody may grow."""

PAUSE = 0.002
"""Seconds between two calls whose latency is measured."""


async def slow_network(folder: Path, megabytes: int, megabytes_per_second: float) -> dict[str, Any]:
    """Offer so much through a proxy that lets so little pass."""
    options = {"bytes_per_second": megabytes_per_second * 1e6}
    async with running("tests.wire.proxy", json.dumps(options)) as proxy, Cast(folder) as cast:
        there = await cast.enter("there", behind=await proxy.line())
        await proxy.say(there.door)
        here, beside = await cast.enter("here"), await cast.enter("beside")
        await here.sees(there, beside)
        seconds = megabytes / megabytes_per_second / 3
        quiet = await _latency(here, beside, seconds)
        grown = {player.name: player.growth() for player in (here, there, beside)}
        begun = time.monotonic()
        stream = await cast.stream(here, there, SIZE, megabytes * 1_000_000 // SIZE)
        busy = await _latency(here, beside, seconds)
        while_it_flowed = stream.entry.came * SIZE < megabytes * 1_000_000
        account = await stream.sent(within=10 * megabytes / megabytes_per_second)
        total = await stream.settled(within=60.0)
        took = time.monotonic() - begun
        growth = {name: how() for name, how in grown.items()}
        assert total.came == total.sent, total
        assert account.waited > 0, "the sender was never told that nothing more fits"
        assert max(growth.values()) < GROWTH, growth
        assert while_it_flowed, "the calls came too late to meet the load"
        return {
            "megabytes": megabytes,
            "megabytes_per_second": round(megabytes / took, 1),
            "overloaded": account.waited,
            "grown_by_megabytes": {name: round(size / 1e6, 1) for name, size in growth.items()},
            "calls_beside_it_ms": {"before": quiet, "meanwhile": busy},
        }


async def slow_actor(folder: Path, messages: int) -> dict[str, Any]:
    """Send so many, as fast as they go, to an actor that handles a thousand a second at most and lets a hundred wait."""
    async with Cast(folder) as cast:
        there, here = await cast.enter("there"), await cast.enter("here")
        await here.sees(there)
        grown = {player.name: player.growth() for player in (here, there)}
        stream = await cast.stream(here, there, SIZE, messages, actor="slow")
        longest = 0
        sending = asyncio.create_task(stream.sent(within=60.0))
        while not sending.done() or await there.ask("waiting", "slow"):
            longest = max(longest, await there.ask("waiting", "slow"))
            await asyncio.sleep(0.002)
        account = await sending
        handled, refused = await _accounted(stream, there, account.sent)
        growth = {name: how() for name, how in grown.items()}
        assert longest <= SLOW_CAPACITY, longest
        assert max(growth.values()) < GROWTH, growth
        return {
            "messages": messages,
            "handled": handled,
            "dead_letters_of_the_receiver": refused,
            "longest_mailbox": longest,
            "grown_by_megabytes": {name: round(size / 1e6, 1) for name, size in growth.items()},
        }


async def _accounted(stream: Stream, there: Player, sent: int) -> tuple[int, int]:
    """Messages that were handled, and dead letters over there, as soon as all of them are one or the other."""
    async with asyncio.timeout(20.0):
        while True:
            entry = stream.entry
            assert (entry.again, entry.stale) == (0, 0), entry
            handled, refused = entry.came - entry.missing, (await there.ask("letters")).get(OVERLOADED, 0)
            if handled + refused == sent:
                return handled, refused
            await asyncio.sleep(0.02)


async def _latency(here: Player, beside: Player, seconds: float) -> dict[str, float]:
    took: dict[str, float] = await here.ask("latency", f"sink@{beside.name}", seconds, PAUSE, within=seconds + 60.0)
    return took

"""A node is killed, stopped, or blocked, under load: the equation holds for each pair of lives, and nobody waits for ever.

here ══ a stream, open calls, a monitor ══▶ there ── kill -9 ── there again, at the same address ── kill -9 ── …
                                                  ── SIGSTOP ── declared dead ── SIGCONT: a zombie
                                                  ── a handler that blocks
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

from tests.wire.cast import Cast, Player
from tests.wire.ledger import Balance

SEEN_WITHIN = 5.0
"""Seconds until a node that does not answer is declared dead, promised (docs/membership.md)."""

BLOCKED_AFTER = 10.0
"""Seconds for which a node may not answer while its connection stands: its loop is held, and its process there."""

PADDING = 80
CALLS = 5
"""That are open in each round."""


async def killed_again_and_again(folder: Path, rounds: int, seed: int, within: float = SEEN_WITHIN) -> dict[str, Any]:
    """Kill the receiver in the middle of a stream and start it again under its name, at its address, so often; each death is
    known there within so many seconds."""
    dice = random.Random(seed)
    total, waits = Balance(), list[float]()
    calls, monitors, stale = 0, 0, 0
    async with Cast(folder) as cast:
        here = await cast.enter("here")
        there = await cast.enter("there")
        door = there.address
        for _ in range(rounds):
            await here.sees(there)
            await here.ask("attend", f"sink@{there.name}", CALLS)
            streams = [await cast.stream(here, there, PADDING), await cast.stream(here, there, 10_000)]
            await streams[0].flows(dice.randrange(1, 20_000))
            begun = time.monotonic()
            there.kill()
            before, there = there, await cast.enter("there", listen=door)
            when, _ = await here.loses(before, within=within)
            waits.append(when - begun)
            for stream in streams:
                await stream.sent(30.0)
                balanced = await stream.settled()
                total += balanced
            ends = await here.ask("attended")
            assert ends == {"calls": ["NodeDown"] * CALLS, "monitors": ["NoConnection"]}, ends
            calls, monitors = calls + CALLS, monitors + 1
            stale += there.stale() + before.stale()
            assert stale == 0, f"{stale} messages for another life were accepted"
    return {
        "kills": rounds,
        **vars(total),
        "calls_ended": calls,
        "monitors_fired_once": monitors,
        "stale_accepted": stale,
        "longest_until_told_and_started_again": round(max(waits), 2),
    }


async def stopped(folder: Path, seconds: float) -> dict[str, Any]:
    """SIGSTOP a node that sends and receives, for so long at least: it is declared dead, and whatever it says then is refused."""
    async with Cast(folder) as cast:
        here, there = await cast.enter("here"), await cast.enter("there")
        await here.sees(there)
        await there.sees(here)
        await here.ask("attend", f"sink@{there.name}", CALLS)
        forth, back = await cast.stream(here, there, PADDING), await cast.stream(there, here, PADDING)
        await forth.flows()
        await back.flows()
        with there.paused():
            begun = time.monotonic()
            when, _ = await here.loses(there, within=30.0)
            came = back.entry.came
            await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))  # as long as was asked for: 0 in a test
        why = await _died(there)
        await forth.sent(30.0)
        await back.sent(30.0)
        total = await forth.settled() + await back.settled()
        ends = await here.ask("attended")
        assert ends == {"calls": ["NodeDown"] * CALLS, "monitors": ["NoConnection"]}, ends
        assert back.entry.came == came, "a zombie was heard"
        return {
            "seen_after": round(when - begun, 2),
            "stopped_for": round(max(seconds, when - begun), 1),
            "its_last_words": why,
            **vars(total),
            "of_a_zombie_accepted": back.entry.came - came,
        }


async def blocked(folder: Path, after: float = BLOCKED_AFTER, late: float = 2.0) -> dict[str, Any]:
    """A handler holds its node's loop for longer than that may live with: it is named, and the node is declared dead.

    `after`: seconds for which it may, as the nodes are told; `late`: how much longer it may live, on this machine.
    """
    released = folder / "released"
    async with Cast(folder) as cast:
        here, there = await cast.enter("here", blocked_after=after), await cast.enter("there", blocked_after=after)
        await here.sees(there)
        stream = await cast.stream(here, there, PADDING)
        await stream.flows()
        begun = time.monotonic()
        await there.ask("block", str(released), 2 * (after + late))
        when, _ = await here.loses(there, within=after + late)
        released.touch()
        why = await _died(there)
        warned = [(at, line) for at, line in await there.ask("warnings") if "Blocker" in line and "Block" in line]
        assert warned, "nobody was told which handler held the loop"
        await stream.sent(30.0)
        assert after - 1.0 < when - begun < after + late, "seen too soon, or too late"
        return {
            "seen_after": round(when - begun, 2),
            "handler_named_after": round(warned[0][0] - begun, 2),
            "warning": warned[0][1],
            "its_last_words": why,
            **vars(await stream.settled()),
        }


async def _died(player: Player) -> str:
    """Why its node ended by itself."""
    async with asyncio.timeout(20.0):
        why = await asyncio.shield(player.ended)
    assert "declared this node dead" in why, why
    return why

"""A proxy cuts the connection every 50 ms under load: nothing is lost, doubled or reordered.

Player "here" ── DEALER ──▶ proxy ──▶ ROUTER of Player "there"
                 ◀── acknowledgements ──┘
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.processes import running
from tests.wire.cast import Cast

EVERY = 0.05
PADDING = 80
"""Makes an item of about 100 bytes."""

PATIENT = 60
"""Probes that may be missed: on a busy machine none may get through for a while."""


async def cut_under_load(folder: Path, messages: int, within: float) -> dict[str, Any]:
    """Send so many messages through it; what came of them, how many cuts there were, and messages a second."""
    async with running("tests.wire.proxy", json.dumps({"cut_every": EVERY})) as proxy, Cast(folder) as cast:
        there = await cast.enter("there", behind=await proxy.line(), probe_misses=PATIENT)
        here = await cast.enter("here", probe_misses=PATIENT)
        await here.sees(there)
        loop = asyncio.get_running_loop()
        await proxy.say(there.door)
        begun = loop.time()
        stream = await cast.stream(here, there, PADDING, messages, actor="counter")
        account = await stream.sent(within)
        balanced = await stream.settled()
        took = loop.time() - begun
        assert balanced.came == balanced.sent == messages, balanced
        assert await proxy.ended() == 0
        return {
            "messages": messages,
            "lost_doubled_or_reordered": 0,
            **json.loads(proxy.output),
            "outbox_full": account.waited,
            "messages_per_second": round(messages / took),
        }

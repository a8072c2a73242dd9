"""Strangers at the door of a node: nothing of theirs is delivered, the node lives and stays small, and a friend comes in meanwhile.

stranger (a process of its own) ── noise, silence, claims, broken frames ──▶ ROUTER of Player "inn" ◀── Player "friend"
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.processes import running
from tests.wire.cast import Cast
from understudy.transport import KeyFolder
from understudy.transport.keys import new_pair

GROWTH = 64 * 1024 * 1024
"""Bytes by which the node may grow for each kind of stranger."""

JOINS_WITHIN = 2.0
"""Seconds that a friend takes to join and be answered, whoever else is at the door. Not measured by the tests of every day."""


async def at_the_door(folder: Path, counts: dict[str, int], seed: int, *, keys: bool = False) -> dict[str, Any]:
    """Each kind of stranger so often, and a friend who joins while they are there. `keys`: the node has some, and its friends."""
    found: dict[str, Any] = {}
    node: dict[str, Any] = {"keys": str(folder / "keys")} if keys else {}
    async with Cast(folder) as cast:
        inn = await cast.enter("inn", **node)
        mechanisms = _mechanisms(KeyFolder(folder / "keys")) if keys else {}
        for kind, count in counts.items():
            grown = inn.growth()
            options = {"kind": kind, "address": inn.address, "count": count, "seed": seed}
            if kind in mechanisms:
                options |= {"kind": "frames"} | mechanisms[kind]
            did = ""
            async with running("tests.wire.stranger", json.dumps(options)) as stranger:
                assert await stranger.line(30.0) == "begun"
                if kind == "idle":
                    did = await stranger.line(90.0)
                friend = await cast.enter(f"friend-{len(found)}", **node)
                joined = await friend.ask("joined", "sink@inn")
                if kind != "idle":
                    did = await stranger.line(900.0)
                stream = await cast.stream(friend, inn, 80, 1_000)
                await stream.sent(30.0)
                assert (await stream.settled()).came == 1_000
                await friend.leave()
                assert await stranger.ended() == 0
            growth = grown()
            assert growth < GROWTH, f"{kind} made the node grow by {growth / 1e6:.0f} MB"
            found[kind] = {
                "did": did,
                "friend_joined_within": round(joined, 2),
                "grown_by_megabytes": round(growth / 1e6, 1),
            }
        assert not inn.ended.done()
        delivered = inn.everything() - 1_000 * len(counts)
        assert delivered == 0, f"{delivered} messages of strangers were delivered"
        return {**found, "delivered": delivered, "dead_letters": await inn.ask("letters")}


def _mechanisms(folder: KeyFolder) -> dict[str, dict[str, Any]]:
    """How frames come to the door of a node with keys: under which key, and to which one."""
    server, other = folder.held().own["inn"][0].public, new_pair().public
    trusted, revoked = new_pair(), new_pair()
    folder.trust("mallory", trusted.public)
    folder.trust("gone", revoked.public)
    folder.revoke("gone")
    return {
        "no mechanism": {},
        "unknown key": {"server": server, "pair": new_pair()},
        "wrong server key": {"server": other, "pair": trusted},
        "revoked key": {"server": server, "pair": revoked},
        "trusted key, broken frames": {"server": server, "pair": trusted},
    }

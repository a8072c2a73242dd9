"""A rolling restart of processes: each drains, leaves, ends and is started again, one after the other, under load.

All nodes call rooms, a singleton and whoever has a registered name, and one that stays tells the rooms and the singleton besides.
What was answered has been kept; what was told is kept once, by rooms in the order told; no call to a room or the singleton fails. A plain
actor that is registered ends with its node, so a call that is under way to it then may fail: its name goes to another at once.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.cluster.country import DESK, FACES, SUN, Country

ROOMS = tuple(f"room/{key}" for key in ("lobby", "kitchen", "cellar", "attic"))

HANDED_OVER = (SUN, *ROOMS)

CLIENT = "client"
"""The one that stays."""

AGREED_WITHIN = 30.0
"""Seconds until all see who has come back, on a machine that others use too."""

KEPT_WITHIN = 15.0
"""Seconds until what was told last is kept, too: more than it may wait for whom it is for."""


async def rolling_restart(folder: Path, nodes: int = 4, rounds: int = 1, **node: Any) -> dict[str, Any]:
    """So many nodes are restarted, all of them so many times."""
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    async with Country(folder, probes=1.0, **node) as country:
        await country.enter(*names)
        await country.join(CLIENT)
        client = country.citizens[CLIENT]
        await client.ask("gather", FACES)
        await country.agree(AGREED_WITHIN)
        for citizen in country.citizens.values():
            await citizen.ask("work", [*HANDED_OVER, DESK])
        await client.ask("tell", HANDED_OVER)
        left: list[float] = []
        for name in names * rounds:  # what is left behind: the name of a plain actor, which nobody can hand over
            report = await country.leave(name)
            behind = [line for lines in report["left"].values() for line in lines if f"the name {DESK!r}" not in line]
            assert (behind, report["trouble"]) == ([], ""), f"{name} left something behind: {report}"
            left.append(report["seconds"])
            await country.enter(name)
            await country.agree(AGREED_WITHIN)
            await country.citizens[name].ask("work", [*HANDED_OVER, DESK])
        told = await client.ask("told")
        await _kept(country, told)
        answers = _checked(country)
        took = sorted(float(seconds) for *_, seconds in answers)
        return {
            "nodes": nodes,
            "restarts": len(left),
            "seconds_until_left": {"median": _median(left), "most": round(max(left), 2)},
            "calls_answered": len(answers),
            "seconds_until_answered": {"median": _median(took), "most": round(took[-1], 2)},
            "calls_to_a_registered_actor_that_failed": len(country.ledger("failed")),
            "messages_told": sum(told.values()),
            "lost": 0,
            "accepted_writes": country.written(),
        }


async def _kept(country: Country, told: dict[str, int]) -> None:
    """Wait until everything told is kept: once, by rooms in the order told."""
    end = time.monotonic() + KEPT_WITHIN
    while True:
        kept: dict[str, list[int]] = {title: [] for title in told}
        for title, who, number in country.ledger("kept"):
            if who == "told":
                kept[title].append(int(number))
        kept[SUN].sort()
        wrong = [title for title, count in told.items() if kept[title] != list(range(count))]
        if not wrong:
            return
        assert time.monotonic() < end, "; ".join(
            f"of {told[title]} told to {title} came {kept[title]}" for title in wrong
        )
        await asyncio.sleep(0.1)


def _checked(country: Country) -> list[list[str]]:
    """The calls that were answered: what each was about has been kept, once. None failed that was to somebody handed over."""
    answered = country.ledger("answered")  # before what is kept: calls go on
    kept = [tuple(line) for line in country.ledger("kept")]
    known = set(kept)
    assert len(known) == len(kept), "something was kept twice"
    lost = [line for line in answered if tuple(line[:3]) not in known]
    assert not lost, f"answered, and not kept: {lost}"
    failed = [line for line in country.ledger("failed") if line[0] in HANDED_OVER]
    assert not failed, f"calls failed: {failed}"
    return answered


def _median(seconds: list[float]) -> float:
    return round(sorted(seconds)[len(seconds) // 2], 2)

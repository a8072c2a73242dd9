"""What happens to a country: its citizens are killed, stopped and cut off, several at once; the engine of its table is away.

Whatever it was, within ten seconds of quiet everybody sees the same again, and no fence had two writers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.country import AGREED_WITHIN, ANSWERS_WITHIN, TITLES, Country
from tests.wire.cast import Gone

KINDS = ("kill", "kill", "stop", "cut", "hide")

AT_ONCE = 3
"""Faults that one round has at most."""

STOPPED_FOR = (0.2, 4.0)
"""Seconds for which a process, or a proxy, stands still: some live through it, some are declared dead."""

PAUSE = 0.05
"""Seconds between 200 messages of a stream: a load, and no link so full that it takes no call."""


class Engine(Protocol):
    """A server that has the table."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


async def many_faults(
    folder: Path, nodes: int, count: int, seed: int, within: float = AGREED_WITHIN, **node: Any
) -> dict[str, Any]:
    """So many faults, in rounds; each round ends when everybody agrees, within so many seconds of quiet."""
    dice = random.Random(seed)
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    kinds = dict.fromkeys(KINDS, 0)
    agreed: list[float] = []
    async with Country(folder, proxies=True, **node) as country:
        await country.enter(*names)
        await country.agree(30.0)
        while sum(kinds.values()) < count:
            struck = dice.sample(names, dice.randint(1, min(AT_ONCE, nodes - 1)))
            blows = [(name, dice.choice(KINDS), dice.uniform(0, 1), dice.uniform(*STOPPED_FOR)) for name in struck]
            for _, kind, _, _ in blows:
                kinds[kind] += 1
            await asyncio.gather(*(_strike(country, *blow) for blow in blows))
            agreed.append(await country.agree(within))
        return {
            "nodes": nodes,
            "faults": sum(kinds.values()),
            "kinds": kinds,
            "rounds": len(agreed),
            "seconds_until_all_agreed": {"median": _median(agreed), "most": round(max(agreed), 2)},
            "accepted_writes": country.written(),
        }


async def _strike(country: Country, name: str, kind: str, wait: float, lasts: float) -> None:
    await asyncio.sleep(wait)
    citizen = country.citizens[name]
    match kind:
        case "kill":
            country.end(name)
            await country.enter(name)
        case "stop":
            with citizen.paused():
                await asyncio.sleep(lasts)
        case "cut":
            await country.proxies[name].say("cut")
        case _:
            country.proxies[name].signal(signal.SIGSTOP)
            await asyncio.sleep(lasts)
            country.proxies[name].signal(signal.SIGCONT)


async def die_together(folder: Path, nodes: int, dead: int, **node: Any) -> dict[str, Any]:
    """So many of so many are killed in one moment, the owners of names among them."""
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    async with Country(folder, probes=1.0, **node) as country:
        await country.enter(*names)
        await country.agree(30.0)
        owners = [(await country.citizens[names[0]].ask("owner", title))[0] for title in TITLES]
        doomed = list(dict.fromkeys((*owners, *names)))[:dead]
        for name in doomed:
            country.end(name)
        took = await country.agree(30.0)
        return {"nodes": nodes, "died": dead, "all_agreed_after": round(took, 2), "accepted_writes": country.written()}


async def table_away(folder: Path, engine: Engine, seconds: float, **node: Any) -> dict[str, Any]:
    """The engine of the table is killed under load, for so long: nobody dies, no name is lost, calls go on; then joins do."""
    async with Country(folder, probes=1.0, **node) as country:
        await country.enter("a", "b", "c")
        await country.agree(30.0)
        before = {title: await country.citizens["a"].ask("whoever", title, ANSWERS_WITHIN) for title in TITLES}
        lives = {name: citizen.life for name, citizen in country.citizens.items()}
        streams = [
            await country._cast.stream(country.citizens[one], country.citizens[other], 80, pause=PAUSE)
            for one, other in (("a", "b"), ("b", "c"), ("c", "a"))
        ]
        usual = await _calls(country, before, 1.0)
        engine.kill()
        begun = time.monotonic()
        joining = asyncio.create_task(_joined(country, "d"))
        meanwhile = await _calls(country, before, seconds)
        assert all(not citizen.ended.done() for citizen in country.citizens.values()), "somebody ended"
        assert not joining.done(), "somebody joined without a table"
        came = 0
        for stream in streams:
            await stream.stop()
            came += (await stream.settled()).came
        engine.start()
        back = time.monotonic()
        await asyncio.wait_for(joining, 30.0)
        joined = time.monotonic() - back
        await country.agree(30.0)
        assert {name: country.citizens[name].life for name in lives} == lives, "somebody was started again"
        for title in TITLES:
            now = await country.citizens["d"].ask("whoever", title, ANSWERS_WITHIN)
            assert now == before[title], f"{title} was lost: it was {before[title]}, and is {now}"
        return {
            "away_for": round(back - begun, 1),
            "calls_meanwhile": len(meanwhile),
            "median_ms_of_a_call": {"before": _milliseconds(usual), "meanwhile": _milliseconds(meanwhile)},
            "names_lost": 0,
            "died": 0,
            "messages_meanwhile": came,
            "joined_after": round(joined, 2),
            "accepted_writes": country.written(),
        }


async def _calls(country: Country, owners: dict[str, Any], seconds: float) -> list[float]:
    """Have every citizen call whoever has each name, who is as before, for so long; what each call took."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for citizen in tuple(country.citizens.values()):
            for title, owner in owners.items():
                begun = time.monotonic()
                answer = await citizen.ask("whoever", title, ANSWERS_WITHIN)
                took.append(time.monotonic() - begun)
                assert answer == owner, f"{title} was {owner}, and {citizen.name} reaches {answer}"
        await asyncio.sleep(0.05)
    return took


async def _joined(country: Country, name: str) -> None:
    """Join, again and again until it works, as an init system starts what could not start."""
    while True:
        with contextlib.suppress(AssertionError, Gone):
            return await country.enter(name)
        await asyncio.sleep(1.0)


def _median(seconds: list[float]) -> float:
    return round(sorted(seconds)[len(seconds) // 2], 2)


def _milliseconds(seconds: list[float]) -> float:
    return round(1e3 * sorted(seconds)[len(seconds) // 2], 2)

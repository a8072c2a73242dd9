"""Citizens in processes of their own, proxies in front of them, and what has to be so when nothing goes wrong for a while.

citizen a ◀── proxy ──┐           every citizen is a candidate for SUN, would like to have DESK, runs rooms, and has
citizen b ◀── proxy ──┼── all     two faces in the crowd; whoever owns a name writes under its fence
citizen c ◀── proxy ──┘
     │          └── cut: its connections break; stopped: nobody reaches it any more
     └── killed, stopped, started again by the country as by an init system
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from tests.processes import Process, running
from tests.wire.cast import Cast, Gone, Player

SUN = "sun"
DESK = "desk"
LOBBY = "room/lobby"
TITLES = (SUN, DESK, LOBBY)
FACES = 2

AGREED_WITHIN = 10.0
"""Seconds of quiet after which everybody sees the same: promised."""

PROBES = 0.5
"""Seconds between two probes: a fault takes half as long as usual, so that more of them fit into a minute."""

AT_MOST = 60.0
"""Seconds that may go by until there is quiet: a node that has ended itself is started again first."""

ANSWERS_WITHIN = 5.0
"""Seconds that a call may take."""


class Country:
    """`node`: what each Node is started with, its table for one. `probes`: seconds between two of them."""

    def __init__(self, folder: Path, *, probes: float = PROBES, proxies: bool = False, **node: Any) -> None:
        self.folder = folder
        self.citizens: dict[str, Player] = {}
        self.proxies: dict[str, Process] = {}
        self._node = {"probe_interval": probes} | node
        self._behind = proxies
        self._fronts: dict[str, str] = {}
        self._doors: dict[str, str] = {}
        self._stirred = 0.0
        self._cast = Cast(folder, "tests.cluster.citizen")
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._cast)
        return self

    async def __aexit__(self, *end: Any) -> None:
        await self._open.aclose()

    # --- who is there ---

    async def enter(self, *names: str) -> None:
        """Start those nodes, or their next lives, and have them take part."""
        await asyncio.gather(*map(self._enter, names))

    async def join(self, *names: str) -> None:
        """Start those nodes, and have them do nothing."""
        await asyncio.gather(*map(self._join, names))

    async def _enter(self, name: str) -> None:
        citizen = await self._join(name)
        await citizen.ask("candidate", SUN)
        await citizen.ask("take", DESK)
        await citizen.ask("host")
        await citizen.ask("gather", FACES)
        self._stirred = time.monotonic()

    async def _join(self, name: str) -> Player:
        node = dict(self._node)
        if self._behind and name not in self.proxies:
            proxy = self.proxies[name] = await self._open.enter_async_context(running("tests.wire.proxy", "{}"))
            self._fronts[name] = await proxy.line(30.0)
        if name in self._doors:
            node["listen"] = self._doors[name]
        citizen = await self._cast.enter(name, behind=self._fronts.get(name), **node)
        if self._behind and name not in self._doors:
            self._doors[name] = citizen.door
            await self.proxies[name].say(citizen.door)
        self.citizens[name] = citizen
        return citizen

    async def leave(self, name: str) -> dict[str, Any]:
        """Have a node drain, leave and end; its report."""
        citizen = self.citizens.pop(name)
        report: dict[str, Any] = await citizen.ask("depart", within=60.0)
        await citizen.leave()
        return report

    def end(self, name: str) -> None:
        """kill -9, and nobody starts it again."""
        self.citizens.pop(name).kill()

    async def revive(self) -> None:
        """Start again who ended itself, since the others had declared it dead."""
        over = [name for name, citizen in self.citizens.items() if citizen.ended.done()]
        for name in over:
            self.end(name)
        await self.enter(*over)

    # --- what is so ---

    async def agree(self, within: float = AGREED_WITHIN) -> float:
        """Wait until everybody sees the same; how many seconds that took. What is still in the way after `within` is raised.

        It counts from now, or from the last start of somebody who had ended itself: before that there was no quiet.
        """
        begun = time.monotonic()
        while why := await self.disagreement():
            quiet = max(begun, self._stirred)
            assert time.monotonic() < min(quiet + within, begun + AT_MOST), f"{time.monotonic() - quiet:.1f} s: {why}"
            await asyncio.sleep(0.05)
        return time.monotonic() - max(begun, self._stirred)

    async def disagreement(self) -> str:
        """What is in the way of everybody's seeing the same; "" if nothing is."""
        try:
            return await self._disagreement()
        except Gone as gone:
            await self.revive()
            return f"{gone} has ended"

    async def _disagreement(self) -> str:
        await self.revive()
        citizens = list(self.citizens.values())
        lives = {(citizen.name, citizen.life) for citizen in citizens}
        faces = dict.fromkeys(sorted(self.citizens), FACES)
        for citizen, crowd in zip(citizens, await _all(citizen.ask("crowd") for citizen in citizens), strict=True):
            if crowd != faces:
                return f"{citizen.name} sees in the crowd {crowd}, not {faces}: {await citizen.ask('standings')}"
        for title in TITLES:
            asked = await _all(citizen.ask("whoever", title, ANSWERS_WITHIN) for citizen in citizens)
            seen = await _all(citizen.ask("owner", title) for citizen in citizens)
            if len({json.dumps(each) for each in (*asked, *seen)}) > 2 or isinstance(asked[0], str) or seen[0] is None:
                return f"{title} is answered for by {asked}, and the nodes see {seen}"
            node, life, _, fence, _ = asked[0]
            if seen[0] != [node, life, fence] or (node, life) not in lives:
                return f"{title} is {asked[0]}, the nodes see {seen[0]}, and there are {lives}"
        return ""

    def written(self) -> int:
        """How many writes were accepted. Raises AssertionError if two owners wrote under one fence, or if fences fell."""
        writers: dict[tuple[str, str], list[str]] = {}
        lines = self.ledger("accepted")
        for title, fence, *who in lines:
            assert writers.setdefault((title, fence), who) == who, f"two wrote {title} under {fence}: {who}, {writers}"
        fell = self.ledger("fell")
        assert not fell, f"the table took a write under a lower fence after one under a higher: {fell}"
        return len(lines)

    def ledger(self, name: str) -> list[list[str]]:
        """The words of each line that citizens have written there, in order."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def _all(asked: Any) -> list[Any]:
    answers: list[Coroutine[Any, Any, Any]] = list(asked)
    return await asyncio.gather(*answers)

"""A virtual membership table: one table in memory, and for each node a handle that is slow, fails, or cannot reach it.

    table = VirtualTable(seed)          table.slow(0.1, 0.5)      seconds that each request takes, at least and at most
    table.handle("a")                   table.fail(0.3)           that part of all requests raises TableUnavailable
    table.handle("b")                   table.fail(1.0, "a")      an outage, for one node
                                        table.mend()              all is well

Half of the commits and guarded writes that fail have taken effect all the same: what a writer learns from a failure is nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from understudy.transport import Change, Expect, MemoryTable, Snapshot, TableUnavailable, Versions

R = TypeVar("R")

GIVEN_UP = 50
"""So few names that were given up are remembered that readers come too late for some."""


class VirtualTable:
    """The table itself. `note` gets a line for each request."""

    def __init__(self, seed: int = 0, note: Callable[[str], None] = lambda line: None) -> None:
        self.rows = MemoryTable(given_up=GIVEN_UP)
        self.note = note
        self.random = random.Random(f"{seed}:table")
        self._delay = (0.0, 0.0)
        self._failing: dict[str | None, float] = {}

    def handle(self, node: str = "") -> TableHandle:
        """The table as that node sees it: a `MembershipTable`."""
        return TableHandle(self, node)

    def slow(self, least: float, most: float) -> None:
        """Let every request take between `least` and `most` seconds; 0, 0: no time."""
        if not 0 <= least <= most:
            raise ValueError(
                f"a request takes from 0 seconds up, and at most no less than at least; not {least}, {most}"
            )
        self.note(f"table slow {least} {most}")
        self._delay = (least, most)

    def fail(self, probability: float, node: str | None = None) -> None:
        """Let that part of all requests fail, those of one node or everybody's; 1: an outage, 0: none."""
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability goes from 0 to 1; not {probability}")
        self.note(f"table fails {probability} {node or '*'}")
        self._failing[node] = probability

    def mend(self) -> None:
        """Let every request succeed at once."""
        self._delay = (0.0, 0.0)
        self._failing.clear()

    def fails(self, node: str) -> bool:
        """Whether a request of that node fails now."""
        probability = max(self._failing.get(node, 0.0), self._failing.get(None, 0.0))
        return probability > 0 and self.random.random() < probability

    async def wait(self) -> None:
        """The time that a request takes."""
        least, most = self._delay
        if most:
            await asyncio.sleep(least + (most - least) * self.random.random())


class TableHandle:
    """One node's `MembershipTable`."""

    def __init__(self, table: VirtualTable, node: str) -> None:
        self._table = table
        self._node = node
        self._closed = False

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        return await self._look(lambda: self._table.rows.read(since))

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        versions = await self._change("commit", lambda: self._table.rows.commit(expect, change))
        self._table.note(f"{self._node} commits {versions}")
        return versions

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """See MembershipTable."""
        await self._change("guarded write", lambda: self._table.rows.guarded_write(name, fence, key, value))
        self._table.note(f"{self._node} writes {key} of {name} under {fence}")

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        """See MembershipTable."""
        return await self._look(lambda: self._table.rows.guarded_read(name, key))

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable. While requests fail, none come."""
        self._check_open()
        async for versions in self._table.rows.hints():
            if not self._table.fails(self._node):
                yield versions

    async def close(self) -> None:
        """See MembershipTable. The rows stay."""
        self._closed = True

    def cut(self) -> None:
        """Its node was killed."""
        self._closed = True

    async def _look(self, read: Callable[[], Awaitable[R]]) -> R:
        self._check_open()
        await self._table.wait()
        if self._table.fails(self._node):
            raise self._failure("read")
        found = await read()
        await self._table.wait()
        return found

    async def _change(self, what: str, write: Callable[[], Awaitable[R]]) -> R:
        self._check_open()
        await self._table.wait()
        fails = self._table.fails(self._node)
        if fails and self._table.random.random() < 0.5:
            raise self._failure(what)
        result = await write()
        await self._table.wait()
        if fails:
            raise self._failure(what)
        return result

    def _check_open(self) -> None:
        if self._closed:
            raise TableUnavailable("this handle of the virtual membership table is closed")

    def _failure(self, what: str) -> TableUnavailable:
        self._table.note(f"{self._node} {what} fails")
        return TableUnavailable(
            f"the virtual membership table fails a {what} of {self._node or 'a node'}, as it was told to"
        )

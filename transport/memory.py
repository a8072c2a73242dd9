"""The membership table as plain data in one process: for tests, for simulation, for nodes that share an interpreter.

What the other tables must do is most quickly read here. It belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from understudy.transport.commits import settle
from understudy.transport.guard import check_fence, check_write
from understudy.transport.table import Change, Expect, Snapshot, Versions, check
from understudy.transport.view import GIVEN_UP, View


class MemoryTable:
    """A table that lives as long as the object. Hand the same one to every node that should see the others.

    `given_up`: how many names that were given up it remembers at least, for readers that saw them owned.
    """

    def __init__(self, given_up: int = GIVEN_UP) -> None:
        self.rows = View(given_up)
        self._guarded: dict[tuple[str, str], tuple[int, bytes]] = {}  # (name, key) -> (fence, value)
        self._moved: set[asyncio.Event] = set()

    def __str__(self) -> str:
        return "a table in the memory of one process"

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        return self.rows.since(since)

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        check(expect, change)
        settled = settle(self.rows.versions, self.rows.names, [(expect, change)])
        members = tuple(row for _, row in settled.members.values())
        self.rows.update(Snapshot(settled.versions, members, tuple(settled.names.values())))
        if members or settled.names:
            for event in self._moved:
                event.set()
        return settled.results[0]

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """See MembershipTable."""
        check_write((name, fence, key, value))
        seen, _ = self._guarded.get((name, key), (0, b""))
        check_fence(name, fence, self.rows.name(name), seen)
        self._guarded[name, key] = fence, value

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        """See MembershipTable."""
        _, value = self._guarded.get((name, key), (0, None))
        return value

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable."""
        moved = asyncio.Event()
        moved.set()
        self._moved.add(moved)
        try:
            while True:
                await moved.wait()
                moved.clear()
                yield self.rows.versions
        finally:
            self._moved.discard(moved)

    async def close(self) -> None:
        """See MembershipTable. Other nodes go on using the object."""

"""The membership table as plain data in one process: for tests, for simulation, for nodes that share an interpreter.

What the other tables must do is most quickly read here. It belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from understudy.transport.table import Change, Expect, Member, Name, Snapshot, Versions, check, written

R = TypeVar("R")


class MemoryTable:
    """A table that lives as long as the object. Hand the same one to every node that should see the others."""

    def __init__(self) -> None:
        self._versions = Versions()
        self._members: dict[str, tuple[int, Member]] = {}  # node -> (version of its last change, row)
        self._names: dict[str, tuple[int, Name]] = {}
        self._moved: set[asyncio.Event] = set()

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        now = self._versions
        if since is None or since.members > now.members or since.names > now.names:
            since = Versions()
        return Snapshot(now, _after(since.members, self._members), _after(since.names, self._names))

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        check(expect, change)
        now = self._versions
        if expect.members is not None and expect.members != now.members:
            return None
        if any(version != self._name(name).version for name, version in expect.names.items()):
            return None
        after = Versions(now.members + bool(change.members), now.names + bool(change.names))
        self._members |= {row.node: (after.members, row) for row in change.members}
        self._names |= {row.name: (after.names, written(self._name(row.name), row)) for row in change.names}
        self._versions = after
        for event in self._moved:
            event.set()
        return after

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable."""
        moved = asyncio.Event()
        moved.set()
        self._moved.add(moved)
        try:
            while True:
                await moved.wait()
                moved.clear()
                yield self._versions
        finally:
            self._moved.discard(moved)

    async def close(self) -> None:
        """See MembershipTable. Other nodes go on using the object."""

    def _name(self, name: str) -> Name:
        return self._names[name][1] if name in self._names else Name(name)


def _after(version: int, rows: dict[str, tuple[int, R]]) -> tuple[R, ...]:
    changed = sorted((row for row in rows.values() if row[0] > version), key=lambda row: row[0])
    return tuple(row for _, row in changed)

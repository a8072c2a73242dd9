"""Who owns a name, seen from the table: a record of all that it ever said, and owners that write under their fence.

The record is the judge: of each fence one writer was accepted, the one whom the table's own rows name as its owner, and
no older fence was accepted after a newer one.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import NamedTuple

from tests import measured
from understudy.transport import Change, Expect, MemoryTable, Name, Versions


class Write(NamedTuple):
    """One that the table has accepted, with the row of its name at that moment."""

    title: str
    fence: int
    writer: str
    row: Name | None


class Record(MemoryTable):
    """A table in memory that remembers every row of a name that it ever had, and every guarded write that it took."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Name]] = defaultdict(list)
        self.writes: list[Write] = []
        self.mistakes: list[str] = []
        """What owners did that none may do."""
        self._seen = Versions()

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        versions = await super().commit(expect, change)
        if versions is not None and change.names:
            for row in (await self.read(self._seen)).names:
                self.history[row.name].append(row)
            self._seen = versions
        return versions

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """See MembershipTable."""
        await super().guarded_write(name, fence, key, value)
        row = (await self.read()).name(name)
        self.writes.append(Write(name, fence, value.decode(), row))

    def check(self) -> None:
        """One accepted writer for each fence, by the table's own rows; fences that only grow; no owner that went on without its name."""
        assert not self.mistakes, self.mistakes
        writers: dict[tuple[str, int], str] = {}
        newest: dict[str, int] = {}
        for title, fence, writer, row in self.writes:
            assert row is not None, f"{title} was written by {writer}, when nobody had it"
            assert fence == row.fence, f"{title} was written under {fence} by {writer}, when it had {row}"
            assert writer.startswith(f"{row.node} {row.incarnation} "), f"{writer} wrote {title}, when it had {row}"
            assert writers.setdefault((title, fence), writer) == writer, f"two writers of {title} under {fence}"
            assert fence >= newest.get(title, 0), f"{title} was written under {fence} after {newest[title]}"
            newest[title] = fence
        measured.total("accepted_writes", len(self.writes))
        measured.total("fences_written_under", len(writers))
        for title, rows in self.history.items():
            for before, after in itertools.pairwise(rows):
                same = (before.node, before.incarnation) == (after.node, after.incarnation)
                assert after.fence >= before.fence, f"the fence of {title} shrank: {before}, {after}"
                assert same or not after.node or after.fence > before.fence, f"the fence of {title} did not grow"

"""Deletes the rows of names whose owner is gone and for which nobody asks: a table keeps what somebody has, and no more.

    owner is no active member ── a minute, by our own clock ──▶ we give the name up, in a commit that expects its row and the
                                                                members as we read them
    somebody claims it at the same moment ──▶ one of the two wins; a claim that lost reads again, and takes what is free now

A sweeper does to a name what any claim of it does: it takes it from an owner that is dead in the very table that it writes. So
it never takes one from the living, and several at once are merely wasteful. The oldest member sweeps; each younger one waits that
much longer, and so has its turn when the older ones do not do it. The next owner's fence is higher than every one before, since
fences come from one counter of all names; a guarded write of the last owner is refused as soon as the row is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from understudy.transport.membership import Membership
from understudy.transport.names import TOGETHER, WAVE, Names
from understudy.transport.suspicion import Key
from understudy.transport.table import Change, Commit, Expect, MembershipTable, Name, TableError

log = logging.getLogger("understudy.names")

SLICE = 1000
"""Names that are looked at before the loop has its turn: a millisecond at most."""

PAUSE = 1.0
"""Seconds between two waves of commits: a hundred thousand names are gone in two minutes, and nobody notices."""

LEAST = 0.1
"""Seconds between two rounds, at least."""


class Sweeper:
    """Of one node; on its loop. `after`: seconds for which an owner must be gone before its names are deleted; `random`: of its
    world, from 0 to 1."""

    def __init__(
        self, table: MembershipTable, membership: Membership, names: Names, random: Callable[[], float], after: float
    ) -> None:
        self._table = table
        self._membership = membership
        self._names = names
        self._random = random
        self._after = after
        self._gone: dict[Key, float] = {}  # owners of names that are no active members, and since when we know
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._task = asyncio.create_task(self._work())
        self._task.add_done_callback(_worked)

    def end(self) -> None:
        """This node is out of the cluster."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(max(LEAST, self._after / 4) * (1 + self._random() / 4))
            with suppress(TableError):  # another time
                await self._sweep(await self._look())

    async def _look(self) -> list[str]:
        """The names whose owner has been gone for long enough."""
        now, patience = asyncio.get_running_loop().time(), self._after * (1 + self._older())
        gone: dict[Key, float] = {}
        found: list[str] = []
        rows = self._names.rows()
        for start in range(0, len(rows), SLICE):
            for row in rows[start : start + SLICE]:
                if self._is_abandoned(row):
                    owner = row.node, row.incarnation
                    if now - gone.setdefault(owner, self._gone.get(owner, now)) >= patience:
                        found.append(row.name)
            await asyncio.sleep(0)
        self._gone = gone
        return found

    async def _sweep(self, found: list[str]) -> None:
        """Commits of a wave at once, then a pause. What was not as expected is left to the next round. Raises TableError."""
        me = self._membership.me
        for start in range(0, len(found), WAVE):
            if self._membership.trouble or not self._membership.is_active(*me.key):
                return
            rows = map(self._names.row, found[start : start + WAVE])
            wave = [row for row in rows if row is not None and self._is_abandoned(row)]
            parts = [wave[at : at + TOGETHER] for at in range(0, len(wave), TOGETHER)]
            results = await asyncio.gather(*(self._table.commit(*self._given_up(part)) for part in parts))
            swept = sum(len(part) for part, result in zip(parts, results) if result is not None)
            if swept:
                log.info("%s has deleted %d names whose owners are gone, such as %r", me.node, swept, wave[0].name)
            await asyncio.sleep(PAUSE)

    def _given_up(self, rows: list[Name]) -> Commit:
        expect = Expect(self._membership.version, {row.name: row.version for row in rows})
        return expect, Change(names=tuple(Name(row.name) for row in rows))

    def _is_abandoned(self, row: Name) -> bool:
        return not self._membership.is_active(row.node, row.incarnation)

    def _older(self) -> int:
        """How many members have been there for longer than this node."""
        age = self._membership.me.incarnation, self._membership.me.node
        return sum((row.incarnation, row.node) < age for row in self._membership.members() if row.status == "active")


def _worked(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "the sweeper of the names failed", "exception": error})

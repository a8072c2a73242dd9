"""Who owns which name in the cluster: what the table says, and this node's own claims to it.

    claim(name)   ──┐  clerk: commits of all that waits, then one reading   ┌──▶ our row, with its fence
    release(name) ──┴▶ ─────────────── table ───────────────────────────────┴──▶ None: somebody living has it

    free            nobody ever had it, it was given up, or its owner is no active member: dead, left, or started again
    ours            as long as this life of the node is a member; then on_lost(name, fence), and others may have it

A name is taken from a dead owner only by a commit that expects the members' version in which that owner is dead: of two
claims one wins, whatever each of them had read. A fence is higher than every earlier owner's. While the table cannot be
reached nothing changes hands: a claim fails, and what was given up is written as soon as the table is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from understudy.actors import Draining
from understudy.actors.names import checked_name
from understudy.transport.commits import version_of
from understudy.transport.membership import Membership
from understudy.transport.table import (
    Change,
    Commit,
    Expect,
    MembershipTable,
    Name,
    Snapshot,
    TableError,
    TableUnavailable,
)

log = logging.getLogger("understudy.names")

WAVE = 1024
"""Names that are written between two readings."""

TOGETHER = 64
"""Names in one commit: of those that never met anybody else's claim."""

TRY_AGAIN = 1.0
"""Seconds between two tries to give up what could not be given up because the table cannot be reached."""

Lost: TypeAlias = Callable[[str, int], None]


class Names:
    """Of one node; used on its loop only."""

    def __init__(self, table: MembershipTable, membership: Membership) -> None:
        self.draining = False
        """True: no new names are taken here."""
        self._table = table
        self._membership = membership
        self._rows: dict[str, Name] = {}
        self._held: dict[str, int] = {}  # ours, and their fences
        self._holders: dict[str, object] = {}  # by whom they were claimed
        self._claims: dict[str, Claim] = {}
        self._given_up: dict[str, list[asyncio.Future[None]]] = {}
        self._met: set[str] = set()  # written together with a name for which somebody else was faster
        self._looks: list[asyncio.Future[None]] = []
        self._watched: dict[str, list[Watched]] = {}
        self._lost: list[Lost] = []
        self._moved: list[Callable[[set[str] | None], None]] = []
        self._wake = asyncio.Event()
        self._clerk: asyncio.Task[None] | None = None
        self._over = ""
        membership.on_change = self._changed

    # --- ours ---

    async def claim(self, name: str, by: object = None) -> Name | None:
        """Take the name for this node if nobody living has it: its row, with its fence. Our own row if we have it already;
        None if somebody living has it. `by`: who wants it here; what somebody else here has is not theirs.

        Raises TableError if the table does not say, and Draining; ValueError for what cannot be a name. Whoever gives up
        waiting has no name: what the table may have written all the same is given up again.
        """
        checked_name(name, "a cluster-wide")
        self._check_reachable(f"claim {name!r}")
        while (other := self._claims.get(name)) is not None and other.by is not by:
            await other.over.wait()
            self._check_reachable(f"claim {name!r}")
        if name in self._held:
            return self._rows[name] if self._holders[name] is by else None
        if self.draining:
            raise Draining(
                f"cannot claim {name!r}: the node {self._membership.me.node!r} drains, and takes no new names"
            )
        claim = self._claims.setdefault(name, Claim(by))
        future: asyncio.Future[Name | None] = asyncio.get_running_loop().create_future()
        claim.waiting.append(future)
        self._stir()
        try:
            row = await future
        except asyncio.CancelledError:
            if len(claim.waiting) == 1 and not future.cancelled() and self._holders.get(name, self) is by:
                self.give_up(name)  # it was had at this very moment, and nobody is there to know it
            raise
        if row is not None and (
            self._held.get(name) != row.fence or self._holders[name] is not by
        ):  # lost again before whoever waits had its turn
            self._check_reachable(f"claim {name!r}")
            return None
        return row

    async def release(self, name: str) -> None:
        """Give the name up, if it is ours; others see it at once.

        Raises TableError if the table cannot be told now: it is given up as soon as the table is back.
        """
        if name not in self._held:
            return
        self.give_up(name)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given_up[name].append(future)
        await future

    def give_up(self, name: str) -> None:
        """Release the name without waiting: whoever claims it from now on gets another fence. The table is told as soon as it
        can be."""
        if self._held.pop(name, None) is not None:
            del self._holders[name]
            self._given_up.setdefault(name, [])
            self._stir()

    def mine(self) -> list[Name]:
        """The names that this node has, each with its fence."""
        return [self._rows[name] for name in self._held]

    def fence(self, name: str) -> int:
        """The fence under which this node has the name; 0 if it has not."""
        return self._held.get(name, 0)

    def on_lost(self, callback: Lost) -> None:
        """Call `callback(name, fence)` when a name is ours no longer without our having given it up. It must not raise."""
        self._lost.append(callback)

    def on_moved(self, callback: Callable[[set[str] | None], None]) -> None:
        """Call `callback(names)` after each reading in which they have changed; None: any may have another owner now."""
        self._moved.append(callback)

    # --- everybody's ---

    def owner(self, name: str) -> Name | None:
        """The row of its living owner, as last read; None if it has none."""
        row = self._rows.get(name)
        return row if row is not None and row.node and self._membership.is_active(row.node, row.incarnation) else None

    def row(self, name: str) -> Name | None:
        """What the table has under that name, as last read: its owner may be dead."""
        return self._rows.get(name)

    def rows(self) -> list[Name]:
        """All that the table has, as last read."""
        return list(self._rows.values())

    def count(self) -> int:
        """How many names have a living owner, as last read."""
        return sum(self.owner(name) is not None for name in self._rows)

    def moved(self, name: str) -> asyncio.Future[None]:
        """To be awaited: done when what `owner(name)` says changes from what it says now: another owner or fence, or none."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watched = Watched(future, self.owner(name))
        self._watched.setdefault(name, []).append(watched)
        future.add_done_callback(lambda _: self._watched_enough(name, watched))
        return future

    def _watched_enough(self, name: str, watched: Watched) -> None:
        watching = self._watched.get(name, [])
        if watched in watching:
            watching.remove(watched)
        if not watching:
            self._watched.pop(name, None)

    async def look(self) -> None:
        """Wait until the table has been read once more, beginning now. Raises TableError."""
        self._check_reachable("read the names")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looks.append(future)
        self._stir()
        await future

    # --- the node's side ---

    def start(self) -> None:
        """Begin to take and give up names."""
        self._clerk = asyncio.create_task(self._work())
        self._clerk.add_done_callback(_worked)

    def end(self, why: str) -> None:
        """This node is out of the cluster: whatever it had is lost, at once."""
        if self._over:
            return
        self._over = why
        for name in tuple(self._held):
            self._lose(name)
        if self._clerk is not None:
            self._clerk.cancel()
        error = TableUnavailable(f"the node {self._membership.me.node!r} is out of the cluster: {why}")
        self._fail(error)
        for futures in self._given_up.values():
            _settle(futures)
        self._given_up.clear()
        for watching in self._watched.values():
            for watched in watching:
                _settle([watched.future])

    # --- the clerk ---

    def _check_reachable(self, what: str) -> None:
        if self._over:
            raise TableUnavailable(
                f"cannot {what}: the node {self._membership.me.node!r} is out of the cluster: {self._over}"
            )

    def _stir(self) -> None:
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._claims or self._given_up or self._looks:
                try:
                    await self._turn()
                except TableError as error:
                    self._fail(error)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TRY_AGAIN):
                            await self._wake.wait()
                    self._wake.clear()

    async def _turn(self) -> None:
        """Write what there is to write, and read once; whoever waits is answered out of that alone."""
        for name in [name for name, claim in self._claims.items() if all(each.done() for each in claim.waiting)]:
            self._drop(name)  # nobody waits any more
        looks, self._looks = self._looks, []
        looking = list(self._claims.values())
        try:
            await self._be_a_member()
            await self._write()
            await self._membership.refresh()
        except TableError:
            self._looks += looks
            raise
        for claim in looking:
            claim.looked = True
        _settle(looks)
        self._answer()

    async def _be_a_member(self) -> None:
        """What a node claims before its own row stands is nobody's to all who read: it would be claimed again without end."""
        me = self._membership.me
        if self._claims and not self._membership.is_active(*me.key):
            await self._membership.refresh()
            if not self._membership.is_active(*me.key):
                raise TableUnavailable(f"the node {me.node!r} is no member yet: it can claim no name")

    async def _write(self) -> None:
        """Names go into few commits, since each has its price. Where one of them was faster than we were all of that commit
        try again, each in a commit of its own: a name that many want keeps no others waiting."""
        commits = self._to_write()
        results = await asyncio.gather(*(self._table.commit(*commit) for commit in commits), return_exceptions=True)
        for (_, change), result in zip(commits, results):
            if isinstance(result, BaseException):
                raise result
            if result is None:
                self._met.update(row.name for row in change.names)

    def _to_write(self) -> list[Commit]:
        me = self._membership.me
        given_up = [name for name in self._given_up if self._is_mine(self._rows.get(name))]
        wanted = [name for name in self._claims if name not in self._given_up and self.owner(name) is None]
        wave = [*(Name(name) for name in given_up), *(Name(name, *me.key) for name in wanted)][:WAVE]
        apart = [[row] for row in wave if row.name in self._met]
        rest = [row for row in wave if row.name not in self._met]
        parts = apart + [rest[start : start + TOGETHER] for start in range(0, len(rest), TOGETHER)]
        self._met.clear()
        return [(self._expect(part), Change(names=tuple(part))) for part in parts]

    def _expect(self, rows: list[Name]) -> Expect:
        """Each name as it was read; and where one is taken from somebody, the members among whom that one is not any more."""
        old = {row.name: self._rows.get(row.name) for row in rows}
        taken = any(row.node and (before := old[row.name]) is not None and before.node for row in rows)
        return Expect(self._membership.version if taken else None, {name: version_of(row) for name, row in old.items()})

    def _answer(self) -> None:
        """Tell those who wait what the last reading says."""
        for name in [name for name in self._given_up if not self._is_mine(self._rows.get(name))]:
            _settle(self._given_up.pop(name))
        for name, claim in tuple(self._claims.items()):
            if name in self._given_up:
                continue
            row = self.owner(name)
            if row is None or not (self._is_mine(row) or claim.looked):
                continue
            del self._claims[name]
            claim.over.set()
            if not self._is_mine(row):
                _settle(claim.waiting, None)
            elif _settle(claim.waiting, row):
                self._held[name] = row.fence
                self._holders[name] = claim.by
            elif name not in self._held:
                self._stray(name)

    def _fail(self, error: TableError) -> None:
        looks, self._looks = self._looks, []
        waiting: list[asyncio.Future[Any]] = [*looks]
        for futures in self._given_up.values():
            waiting += futures
        for name, claim in tuple(self._claims.items()):
            waiting += claim.waiting
            self._drop(name)
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        self._given_up = {name: [] for name in self._given_up}

    def _drop(self, name: str) -> None:
        """Its claim is over without an answer. It may have taken effect, and been read, all the same: then it is given up."""
        self._claims.pop(name).over.set()
        if name not in self._held and self._is_mine(self._rows.get(name)):
            self._stray(name)

    # --- what the table says ---

    def _changed(self, delta: Snapshot, complete: bool) -> None:
        """Membership has read the table. `complete`: not only what changed, but everything there is."""
        rows = {row.name: row for row in delta.names}
        if complete:
            self._rows = rows
        else:
            self._rows |= rows
        for name in [row.name for row in delta.names if not row.node]:  # given up: no row of the table's any more
            del self._rows[name]
        for name in tuple(self._held) if complete or delta.members else rows.keys() & self._held.keys():
            row = self._rows.get(name)
            if not self._is_mine(row) or row is None or row.fence != self._held[name]:
                log.warning("%s has lost the name %r: it is now %s", self._membership.me.node, name, row)
                self._lose(name)
        me = self._membership.me
        for name in [row.name for row in delta.names if row.incarnation == me.incarnation and row.node == me.node]:
            if name not in self._held and name not in self._claims and name not in self._given_up:
                self._stray(name)
        for name in tuple(self._watched) if complete or delta.members else rows.keys() & self._watched.keys():
            owner = self.owner(name)
            for watched in tuple(self._watched[name]):
                if _who(owner) != _who(watched.owner):
                    _settle([watched.future])
        if complete or delta.members or rows:
            for callback in self._moved:
                callback(None if complete or delta.members else set(rows))

    def _is_mine(self, row: Name | None) -> bool:
        me = self._membership.me
        return row is not None and (row.node, row.incarnation) == me.key

    def _stray(self, name: str) -> None:
        """It is ours and nobody wants it any more, as when a commit took effect whose answer was lost."""
        self._given_up.setdefault(name, [])
        self._stir()

    def _lose(self, name: str) -> None:
        fence = self._held.pop(name)
        del self._holders[name]
        for callback in self._lost:
            callback(name, fence)


class Claim:
    """Who waits for one name here. `by`: for whom; `looked`: the table has been read since; `over`: it was answered."""

    __slots__ = ("by", "looked", "over", "waiting")

    def __init__(self, by: object) -> None:
        self.by = by
        self.over = asyncio.Event()
        self.waiting: list[asyncio.Future[Name | None]] = []
        self.looked = False


class Watched:
    """Who waits for one name to move, and who had it then."""

    __slots__ = ("future", "owner")

    def __init__(self, future: asyncio.Future[None], owner: Name | None) -> None:
        self.future = future
        self.owner = owner


def _who(row: Name | None) -> tuple[str, int, int] | None:
    return (row.node, row.incarnation, row.fence) if row is not None else None


def _settle(futures: list[asyncio.Future[None]] | list[asyncio.Future[Name | None]], value: Name | None = None) -> bool:
    """Answer all who wait still; whether anybody did."""
    waiting = [future for future in futures if not future.done()]
    for future in waiting:
        future.set_result(value)  # type: ignore[arg-type]
    return bool(waiting)


def _worked(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "the clerk of the names failed", "exception": error})

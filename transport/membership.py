"""Keeps one node in the membership table and tells it who else is there: joins, probes, votes, follows, leaves.

    claim ── row written by compare-and-swap ──▶ join ──▶ leave: row says "left"
                                                  │
      every second      probe every other member directly; suspicion.judge says what to vote ──▶ commit
                        whoever is silent ──▶ on_silent(member, why); answers again ──▶ on_answering(member)
      on a hint, or 5 s read what changed in the table ──▶ on_up(member), on_dead(node, incarnation, reason)
      our own row       dead, or another incarnation's ──▶ on_own_death(reason), and nothing more

A node of the same name that starts again replaces the old row at once, unless a live process answers at the old
address: then the newcomer is refused. While the table cannot be reached, nobody is declared dead, members stay as they
were last read, and `trouble` says why; it is tried again every round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

from understudy.actors import NameTaken, UnderstudyError
from understudy.actors.limiter import Limiter
from understudy.transport.standing import Standing, explain
from understudy.transport.suspicion import Key, Rules, Watch, is_silent, judge, observe
from understudy.transport.table import Change, Expect, Member, MembershipTable, Snapshot, TableError
from understudy.transport.view import View

log = logging.getLogger("understudy.membership")

SILENT = "it does not answer"
"""Why a node is unreachable that cannot be connected to, or whose process stands still."""

BLOCKED = "its connection stands, but something holds its loop"
"""Why a node is unreachable whose network threads answer and whose actors do not."""

Probe: TypeAlias = Callable[[Member], Awaitable[bool]]

REPLACED = "it ended, and a new process took its place"
"""Why a life of a node is over whose successor is there."""

POLL = 5.0
"""Seconds after which the table is read even if no hint came."""

FAILED_EVERY = 60.0
"""Seconds between two lines in the log about probes of one node that fail here, before anything is asked."""

LEAVE_WITHIN = 1.0
"""Seconds that an orderly stop spends on saying so; a table that takes longer learns it from the others' votes."""


class Membership:
    """One node's part in the cluster. All of it runs on the loop that called `join`.

    `me`: this node's row; `claim` returns it as written, perhaps with a higher incarnation.
    `probe(member)`: a question to the actor layer of that very incarnation at its address, and its answer. True if it
        came. It should give up early when nobody listens there; it is cancelled when its time is up
        (3/4 of the interval; 3/2 when it asks whether our own name is taken). What it raises is no answer; what is no
        UnderstudyError is reported.
    `on_up(member)`: a member other than this node is there; before its `on_dead`. Also those that were there before us.
    `on_dead(node, incarnation, reason)`: it was declared dead, replaced or left. That incarnation never comes back.
    `on_past(node, incarnation, reason)`: it was over before this node could meet it.
    `on_row(row)`: what the table says of another node has changed; before all that follows from it.
    `on_own_death(reason)`: the cluster goes on without this node: end it at once. Called once, and the last call.
    `stands(member)`: whether a connection to that very incarnation stands, though it may not answer.
    `on_silent(member, why)`: it answers no probes: suspected here, and no more than that; then its `on_dead`, or
        `on_answering(member)`. Needs no table.
    `healthy()`: this node's own check, awaited before it accuses more than half of the others.

    Callbacks are plain functions and must not raise; one that does ends the node through `on_own_death`.
    """

    def __init__(
        self,
        table: MembershipTable,
        me: Member,
        *,
        probe: Probe,
        on_up: Callable[[Member], None],
        on_dead: Callable[[str, int, str], None],
        on_own_death: Callable[[str], None],
        on_past: Callable[[str, int, str], None] = lambda node, incarnation, reason: None,
        on_row: Callable[[Member], None] = lambda row: None,
        on_silent: Callable[[Member, str], None] = lambda member, why: None,
        on_answering: Callable[[Member], None] = lambda member: None,
        stands: Callable[[Member], bool] = lambda member: False,
        healthy: Callable[[], Awaitable[bool]] | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.me = me
        self.trouble = ""
        """Why the table cannot be reached at present; "" if it can."""
        self.held = ""
        """Why this node does not vote at present; "" if it would."""
        self.on_change: Callable[[Snapshot, bool], None] = lambda delta, complete: None
        """Told of each reading: what changed in the table since the last, or (True) everything there is."""
        self._table = table
        self._probe = probe
        self._on_up = on_up
        self._on_dead = on_dead
        self._on_own_death = on_own_death
        self._on_past = on_past
        self._on_row = on_row
        self._on_silent = on_silent
        self._on_answering = on_answering
        self._stands = stands
        self._healthy = healthy
        self._rules = rules or Rules()
        self._failed: Limiter[str] = Limiter(1, FAILED_EVERY)
        self._watch = Watch()
        self._view = View()  # of the members; names.py keeps the names
        self._present: dict[str, Member] = {}
        self._silent: dict[Key, Member] = {}
        self._gone: dict[str, int] = {}  # node -> the last incarnation that is known to be over
        self._reading = asyncio.Lock()
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False

    # --- the node's side ---

    async def claim(self) -> Member:
        """Write this node's row: the name is ours from now on, and others may speak to us.

        Raises NameTaken if a live process has this node's name, TableError if the table cannot be written.
        """
        await self._write_my_row()
        return self.me

    async def join(self) -> None:
        """Meet the members that are there, and take part from now on. Raises what `claim` does."""
        await self.refresh()
        if self._ended:
            raise NameTaken(f"the node name {self.me.node!r} was taken over by another process while this one joined")
        for part in (self._rounds(), self._follow(), self._listen()):
            task = asyncio.create_task(part)
            task.add_done_callback(self._part_ended)
            self._tasks.append(task)
        log.debug("%s joined at %s, incarnation %d", self.me.node, self.me.address, self.me.incarnation)

    async def publish(self, **changes: Any) -> None:
        """Say something else of this node from now on: its `curve_key`, that it is `draining`. Raises TableError."""
        self.me = replace(self.me, **changes)
        await self._rewrite(*self.me.key, **changes)

    async def expel(self, node: str, incarnation: int, reason: str) -> bool:
        """Declare that life of a node dead without asking the others; False if it was over already.

        TableUnavailable: whether it is dead is unknown.
        """
        return await self._rewrite(node, incarnation, status="dead", suspicions=(), reason=reason)

    async def leave(self) -> None:
        """Say that this node is gone, in order. A table that cannot be reached is no obstacle. Twice is fine."""
        was_in = not self._ended
        await self._end()
        if was_in:
            with suppress(TableError, TimeoutError):
                async with asyncio.timeout(LEAVE_WITHIN):
                    await self._say_left()

    def explain(self) -> list[Standing]:
        """How each member stands with this node, and what comes next; those that are over, too."""
        return explain(self._watch, self._view.members.values(), self.me.key, self._rules)

    def members(self) -> list[Member]:
        """Every row as last read, this node's included: the active, and the last incarnation of those that are not."""
        return sorted(self._view.members.values(), key=lambda row: row.node)

    @property
    def version(self) -> int:
        """The members' version, as last read."""
        return self._view.versions.members

    def is_active(self, node: str, incarnation: int) -> bool:
        """Whether that life of a node is a member, as last read."""
        row = self._view.member(node)
        return row is not None and row.incarnation == incarnation and row.status == "active"

    def hello(self, node: str, incarnation: int) -> None:
        """Somebody who proved to be this incarnation of `node` spoke to us: an older one is over, at once.

        This needs no table, so a restarted node is met even while the table is away.
        """
        if self._ended:
            return
        known = self._present.get(node)
        if known is not None and known.incarnation < incarnation:
            self._down(known, REPLACED)
        if known is None or known.incarnation < incarnation:
            self._moved.set()

    def condemned(self, by: str) -> None:
        """`by`, a member, has told us that to it this life of ours is over, and it had that from the table.

        A node that reads the table over a link to the node that serves it would never hear of its death otherwise:
        that node does not talk to the dead.
        """
        if not self._ended and self._tasks:
            self._die(f"the others declared this node dead: {by} said so")

    # --- joining and leaving ---

    async def _write_my_row(self) -> None:
        while True:
            snapshot = await self._table.read()
            old = snapshot.member(self.me.node)
            if old is not None:
                if old.status == "active" and self._is_mine(old):
                    return  # the commit whose answer was lost took effect
                if old.incarnation >= self.me.incarnation:
                    self.me = replace(self.me, incarnation=old.incarnation + 1)  # the clock ran backwards
                # Nobody else can be alive at an address that this node listens at itself.
                elsewhere = old.status == "active" and old.address != self.me.address
                if elsewhere and await self._answers(old, self._rules.claim_within):
                    raise NameTaken(
                        f"the node name {old.node!r} is taken: a live process (pid {old.pid}) answers for it at "
                        f"{old.address}; stop that one, or give this node another name"
                    )
            if await self._table.commit(Expect(members=snapshot.versions.members), Change(members=(self.me,))):
                return

    def _is_mine(self, row: Member) -> bool:
        me = self.me
        return (row.incarnation, row.address, row.pid) == (me.incarnation, me.address, me.pid)

    async def _say_left(self) -> None:
        await self._rewrite(*self.me.key, status="left", suspicions=(), reason="it left")

    async def _rewrite(self, node: str, incarnation: int, **changes: Any) -> bool:
        """Change the row of an active member; one that is over stays as it is. Whether it was changed."""
        while True:
            await self.refresh()
            row = self._view.member(node)
            if row is None or row.incarnation != incarnation or row.status != "active":
                return False
            row = replace(row, **changes)
            if await self._table.commit(Expect(members=self._view.versions.members), Change(members=(row,))):
                return True

    async def _end(self) -> None:
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- probing and voting ---

    async def _rounds(self) -> None:
        """A round of probes every interval. Members are probed at the same time, so that a dead one delays nobody."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            started = loop.time()
            others = list(self._present.values())
            answers = await asyncio.gather(*(self._answers(row, self._rules.answer_within) for row in others))
            ended = loop.time()
            late = max(started - due, ended - started - self._rules.answer_within)
            seen = dict(zip((row.key for row in others), answers))
            standing = frozenset(row.key for row in others if self._stands(row))
            self._watch = observe(self._watch, seen, late, self._rules, standing)
            self._tell_silence(others, seen)
            await self._vote()
            due = max(started + self._rules.interval, loop.time())
            await asyncio.sleep(due - loop.time())

    def _tell_silence(self, probed: list[Member], answered: Mapping[Key, bool]) -> None:
        """Who has fallen silent, and who answers again. Of those that died or were replaced meanwhile others have told."""
        self._silent = {key: row for key, row in self._silent.items() if self._present.get(row.node) == row}
        for row in probed:
            if self._present.get(row.node) != row:
                continue
            if is_silent(self._watch, row.key, self._rules):
                if row.key not in self._silent:
                    self._silent[row.key] = row
                    self._on_silent(row, BLOCKED if row.key in self._watch.standing else SILENT)
            elif row.key in self._silent and answered[row.key]:
                del self._silent[row.key]
                self._on_answering(row)

    async def _answers(self, member: Member, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                return await self._probe(member)
        except (TimeoutError, UnderstudyError):
            pass
        except Exception as error:
            if self._failed.admit(member.node, asyncio.get_running_loop().time()) is not None:
                log.error("%s cannot ask %s for a sign of life: %s", self.me.node, member.node, error, exc_info=error)
        return False

    async def _vote(self) -> None:
        """Write what there is to write, against a fresh reading of the table. A lost race means that it moved: again."""
        try:
            while (await self._judged())[1] and not self._ended:
                await self.refresh()
                version, rows = await self._judged()
                if not rows or self._ended:
                    return
                await self._table.commit(Expect(members=version), Change(members=rows))
                await self.refresh()
        except TableError as error:
            self._table_failed(error)

    async def _judged(self) -> tuple[int, tuple[Member, ...]]:
        """The rows to write, and the members' version that they were judged by: the table may be read while we look whether this
        node is healthy, and a row written over what came then would undo it, the next life of a node for one."""
        now, version = asyncio.get_running_loop().time(), self.version
        judgement = judge(self._watch, self._view.members.values(), self.me.key, now, self._rules)
        self._watch = judgement.watch
        self.held = judgement.held
        if judgement.check and judgement.rows and self._healthy is not None and not await self._healthy():
            self.held = "it suspects more than half of the others, but it is not healthy itself"
            return version, ()
        return version, judgement.rows

    # --- following the table ---

    async def _listen(self) -> None:
        async for _ in self._table.hints():
            self._moved.set()

    async def _follow(self) -> None:
        while True:
            self._moved.clear()
            try:
                await self.refresh()
            except TableError as error:
                self._table_failed(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._moved.wait()

    async def refresh(self) -> None:
        """Read what changed and tell the node. One at a time, so that news are told in the order of the table. Raises TableError."""
        async with self._reading:
            delta = await self._table.read(self._view.versions)
            self._view.update(replace(delta, names=()))
            if self.trouble:
                log.info("%s reaches the membership table again", self.me.node)
                self.trouble = ""
                # What kept us from the table may have kept us from the others: they have their probes to miss once more.
                self._watch = replace(self._watch, misses={}, overwhelmed_since=None)
            for row in delta.members:
                self._told(row)
            self.on_change(delta, delta.whole)
            if delta.whole and delta.member(self.me.node) is None and not self._ended:
                # Somebody deleted the table and began a new one, in which this node does not stand yet.
                await self._write_my_row()

    def _told(self, row: Member) -> None:
        if self._ended:
            return
        if row.node == self.me.node:
            if row.incarnation > self.me.incarnation:
                self._die(f"another process took the node name {row.node!r} over (pid {row.pid} at {row.address})")
            elif row.key == self.me.key and row.status == "dead":
                self._die(f"the others declared this node dead: {row.reason}")
            return
        self._on_row(row)
        if row.incarnation <= self._gone.get(row.node, -1):
            return
        known = self._present.get(row.node)
        if known is not None and known.incarnation < row.incarnation:
            self._down(known, REPLACED)
            known = None
        if row.status == "active":
            self._present[row.node] = row
            if known is None:
                self._on_up(row)
        elif known is not None:
            self._down(known, row.reason or row.status)
        else:
            self._gone[row.node] = row.incarnation
            self._on_past(row.node, row.incarnation, row.reason or row.status)

    def _down(self, member: Member, reason: str) -> None:
        del self._present[member.node]
        self._gone[member.node] = member.incarnation
        self._on_dead(member.node, member.incarnation, reason)

    # --- when something is wrong ---

    def _table_failed(self, error: TableError) -> None:
        if not self.trouble:
            log.warning(
                "%s cannot reach the membership table; nobody is declared dead meanwhile: %s", self.me.node, error
            )
        self.trouble = str(error)

    def _die(self, reason: str) -> None:
        self._ended = True
        for task in self._tasks:
            task.cancel()
        log.error("%s stops: %s", self.me.node, reason)
        self._on_own_death(reason)

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._ended:
            asyncio.get_running_loop().call_exception_handler({"message": "membership failed", "exception": error})
            self._die(f"its membership failed: {type(error).__name__}: {error}")

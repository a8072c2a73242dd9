"""The membership table of one node, served over its link to nodes that share no file with it.

    RemoteTable on engine-2 ── ReadTable, CommitTable, ... ──▶ TableServer, the actor "table" on stage ──▶ file

Requests are answered side by side: commits that came together become one transaction, and a reading is as long as what
changed, in pages that fit into frames. While the serving node is away, the nodes that use its table go on as they are:
their calls fail with TableUnavailable, nobody is declared dead by them, and they catch up when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    CallError,
    Later,
    NoProc,
    Overloaded,
    Refused,
    Request,
    message,
)
from understudy.transport.guard import Fenced, check_write
from understudy.transport.table import (
    Change,
    Expect,
    Member,
    MembershipTable,
    Name,
    Snapshot,
    TableError,
    TableUnavailable,
    Versions,
    check,
)
from understudy.transport.view import View

R = TypeVar("R")

TABLE = "table"
"""The name of the serving actor on its node."""


PAGE = 250
"""Names in one answer, or a few more: those that one commit changed are not torn apart."""


@message("membership.page")
class Page:
    """A part of a reading: all that changed up to its versions. `more`: ask again, since these."""

    snapshot: Snapshot
    more: bool = False


@message("membership.read")
class ReadTable(Request[Page]):
    """What changed after `since`; None: everything."""

    since: Versions | None = None


@message("membership.commit")
class CommitTable(Request[Versions | None]):
    """Compare and swap; None: lost the race."""

    expect: Expect
    change: Change


@message("membership.intruder")
class Intruder:
    """Whoever wrote is not the owner: what `Fenced` says."""

    owner: Name | None
    text: str


@message("membership.guarded_write")
class WriteGuarded(Request[Intruder | None]):
    """See `MembershipTable.guarded_write`; None: written."""

    name: str
    fence: int
    key: str
    value: bytes


@message("membership.guarded_read")
class ReadGuarded(Request[bytes | None]):
    """See `MembershipTable.guarded_read`."""

    name: str
    key: str


@message("membership.where")
class TableVersions(Request[Versions]):
    """How far the table has come."""


class TableServer(Actor):
    """Answers for `table`, which belongs to whoever opened it. Started under the name "table".

    A table that fails refuses the request with its reason; the server lives.
    """

    def __init__(self, table: MembershipTable) -> None:
        super().__init__()
        self._table = table
        self._view = View()
        self._reading = asyncio.Lock()

    def on_receive(self, message: object) -> object:
        match message:
            case ReadTable(None | Versions() as since):
                return self._later(self._page(since))
            case CommitTable(Expect() as expect, Change() as change):
                return self._later(self._table.commit(expect, change))
            case WriteGuarded(str() as name, int() as fence, str() as key, bytes() as value):
                return self._later(self._write(name, fence, key, value))
            case ReadGuarded(str() as name, str() as key):
                return self._later(self._table.guarded_read(name, key))
            case TableVersions():
                return self._later(self._versions())
            case _:
                return self.unhandled(message)

    def _later(self, answer: Awaitable[Any]) -> Later:
        later = Later()
        self.run(self._answer(later, answer))
        return later

    async def _answer(self, later: Later, answer: Awaitable[Any]) -> None:
        try:
            later.set(await answer)
        except (TableError, ValueError) as error:
            later.fail(Refused(str(error)))

    async def _page(self, since: Versions | None) -> Page:
        await self._catch_up()
        snapshot = self._view.since(since)
        if len(snapshot.names) <= PAGE:
            return Page(snapshot)
        names = sorted(snapshot.names, key=lambda row: row.version) if snapshot.whole else snapshot.names
        last = names[PAGE - 1].version
        part = tuple(row for row in names if row.version <= last)
        return Page(replace(snapshot, names=part, versions=replace(snapshot.versions, names=last)), more=True)

    async def _versions(self) -> Versions:
        await self._catch_up()
        return self._view.versions

    async def _catch_up(self) -> None:
        async with self._reading:
            self._view.update(await self._table.read(self._view.versions))

    async def _write(self, name: str, fence: int, key: str, value: bytes) -> Intruder | None:
        try:
            await self._table.guarded_write(name, fence, key, value)
        except Fenced as error:
            return Intruder(error.owner, str(error))
        return None


class RemoteTable:
    """The table that the actor `server` serves: a reference that finds it again after its node's restart."""

    def __init__(self, server: ActorRef[TableServer], *, timeout: float = 2.0, poll: float = 1.0) -> None:
        """`timeout`: seconds for each request; `poll`: seconds between two looks of `hints`."""
        self._server = server
        self._timeout = timeout
        self._poll = poll
        self._closed = False

    def __str__(self) -> str:
        return f"the one that {self._server!r} serves"

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        reading = _Reading()
        while True:
            page = await self._call(ReadTable(since))
            reading.add(page.snapshot)
            if not page.more:
                return reading.result
            since = page.snapshot.versions

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        check(expect, change)
        return await self._call(CommitTable(expect, change))

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """See MembershipTable."""
        check_write((name, fence, key, value))
        intruder = await self._call(WriteGuarded(name, fence, key, value))
        if intruder is not None:
            raise Fenced(name, fence, intruder.owner, intruder.text)

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        """See MembershipTable."""
        return await self._call(ReadGuarded(name, key))

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable. Found by asking, every `poll` seconds."""
        seen: Versions | None = None
        while not self._closed:
            with suppress(TableError):
                now = await self._call(TableVersions())
                if now != seen:
                    seen = now
                    yield now
            await asyncio.sleep(self._poll)

    async def close(self) -> None:
        """See MembershipTable."""
        self._closed = True

    async def _call(self, request: Request[R]) -> R:
        if self._closed:
            raise TableUnavailable("the served membership table is closed here")
        try:
            return await self._server.call(request, timeout=self._timeout)
        except Refused as error:
            raise TableUnavailable(f"the node that serves the membership table cannot use it: {error}") from error
        except (CallError, Overloaded) as error:
            if isinstance(error, ActorDied) and isinstance(error.reason, NoProc):
                raise TableUnavailable(
                    "the node asked for its membership table has none: it is just starting, or it uses that of another "
                    "node itself; then join that one"
                ) from error
            raise TableUnavailable(f"the node that serves the membership table does not answer: {error}") from error


class _Reading:
    """One snapshot, made of pages that follow one another."""

    def __init__(self) -> None:
        self._versions = Versions()
        self._members: dict[str, Member] = {}
        self._names: dict[str, Name] = {}
        self._whole = False

    def add(self, page: Snapshot) -> None:
        if page.whole:  # the first, or the table forgot meanwhile what lies between two
            self._members.clear()
            self._names.clear()
            self._whole = True
        self._versions = page.versions
        for member in page.members:
            self._members.pop(member.node, None)
            self._members[member.node] = member
        for name in page.names:
            self._names.pop(name.name, None)
            self._names[name.name] = name

    @property
    def result(self) -> Snapshot:
        names = (row for row in self._names.values() if row.node or not self._whole)
        return Snapshot(self._versions, tuple(self._members.values()), tuple(names), self._whole)

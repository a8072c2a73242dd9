"""The membership table of one node, served over its link to nodes that share no file with it.

    RemoteTable on engine-2 ── ReadTable, CommitTable, ... ──▶ TableServer, the actor "table" on stage ──▶ file

Requests are answered side by side: commits that came together become one transaction, and a reading is as long as what
changed, in pages that fit into frames. While the serving node is away, the nodes that use its table go on as they are:
their calls fail with TableUnavailable, nobody is declared dead by them, and they catch up when it is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
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

READINGS = 16
"""Readings of several pages that are kept until they are fetched. One that is not is made again from where it was."""


@message("membership.page")
class Page:
    """A part of a reading: all that changed up to its versions. `rest`: ask again for what is left of it; 0: nothing."""

    snapshot: Snapshot
    rest: int = 0


@message("membership.read")
class ReadTable(Request[Page]):
    """What changed after `since`; None: everything. `rest`: which reading it goes on, if the server still has it."""

    since: Versions | None = None
    rest: int = 0


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
        self._readings: dict[int, tuple[Versions, deque[Name]]] = {}  # what is left of each, and where it leads

    def on_receive(self, message: object) -> object:
        match message:
            case ReadTable(None | Versions() as since, int() as rest):
                return self._later(self._page(since, rest))
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

    async def _page(self, since: Versions | None, rest: int) -> Page:
        """A reading is looked up once, and cut into pages: a hundred thousand names have hundreds."""
        if (left := self._readings.pop(rest, None)) is not None:
            versions, names = left
            return self._cut(Snapshot(versions), names)
        await self._catch_up()
        reading = self._view.since(since)
        names = deque(sorted(reading.names, key=lambda row: row.version))
        return self._cut(replace(reading, names=()), names)

    def _cut(self, head: Snapshot, names: deque[Name]) -> Page:
        """The next page, and what is left kept."""
        page = [names.popleft() for _ in range(min(PAGE, len(names)))]
        while names and names[0].version == page[-1].version:
            page.append(names.popleft())
        if not names:
            return Page(replace(head, names=tuple(page)))
        number = 1 + self.system.world.random.getrandbits(62)
        self._readings[number] = head.versions, names
        if len(self._readings) > READINGS:
            del self._readings[next(iter(self._readings))]
        versions = replace(head.versions, names=page[-1].version)
        return Page(replace(head, names=tuple(page), versions=versions), number)

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
        reading, rest = _Reading(), 0
        while True:
            page = await self._call(ReadTable(since, rest))
            reading.add(page.snapshot)
            since, rest = page.snapshot.versions, page.rest
            if not rest:
                return reading.result

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

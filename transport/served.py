"""The membership table of one node, served over its link to nodes that share no file with it.

    RemoteTable on engine-2 ── ReadTable, CommitTable, TableVersions ──▶ TableServer, the actor "table" on stage ──▶ file

While the serving node is away, the nodes that use its table go on as they are: their calls fail with TableUnavailable,
nobody is declared dead by them, and they catch up when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

from understudy.actors import Actor, ActorDied, ActorRef, CallError, NoProc, Overloaded, Refused, Request, message
from understudy.transport.table import (
    Change,
    Expect,
    MembershipTable,
    Snapshot,
    TableError,
    TableUnavailable,
    Versions,
    check,
)

R = TypeVar("R")

TABLE = "table"
"""The name of the serving actor on its node."""


@message("membership.read")
class ReadTable(Request[Snapshot]):
    """What changed after `since`; None: everything."""

    since: Versions | None = None


@message("membership.commit")
class CommitTable(Request[Versions | None]):
    """Compare and swap; None: lost the race."""

    expect: Expect
    change: Change


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
        self._seen = Versions()

    async def on_receive(self, message: object) -> object:
        try:
            match message:
                case ReadTable(None | Versions() as since):
                    return await self._table.read(since)
                case CommitTable(Expect() as expect, Change() as change):
                    return await self._table.commit(expect, change)
                case TableVersions():
                    self._seen = (await self._table.read(self._seen)).versions
                    return self._seen
                case _:
                    return self.unhandled(message)
        except (TableError, ValueError) as error:
            raise Refused(str(error)) from error


class RemoteTable:
    """The table that the actor `server` serves: a reference that finds it again after its node's restart."""

    def __init__(self, server: ActorRef[TableServer], *, timeout: float = 2.0, poll: float = 1.0) -> None:
        """`timeout`: seconds for each request; `poll`: seconds between two looks of `hints`."""
        self._server = server
        self._timeout = timeout
        self._poll = poll
        self._closed = False

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        return await self._call(ReadTable(since))

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        check(expect, change)
        return await self._call(CommitTable(expect, change))

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

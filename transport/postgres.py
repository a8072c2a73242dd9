"""The membership table in PostgreSQL: for a cluster of several machines.

    understudy_version   one row: the layout, how far members and names have come; whoever commits locks it
    understudy_member    the rows, as JSON         understudy_name   the rows         understudy_guarded   values
    NOTIFY understudy ─────▶ hints

The commits that are under way in one process are one transaction, which takes two exchanges with the server: lock the
version, read the names; write, NOTIFY, COMMIT. The tables are made in the first schema of the search path, so several
clusters can share a database: `?options=-csearch_path%3Dmine`.

Requests go one after the other over two connections, one for readings, one for the rest; each `hints` has its own.
LISTEN and the settings of a session need a connection of one's own: not a pooler that lends it by the transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from understudy.transport.commits import Group, Settled, expected, settle
from understudy.transport.guard import Fenced, Write, check_fence, check_write
from understudy.transport.opening import without_password
from understudy.transport.postgres_session import Connection, Session
from understudy.transport.rows import member_read, member_text
from understudy.transport.table import (
    Change,
    Commit,
    Expect,
    Member,
    Name,
    Snapshot,
    TableError,
    TableUnusable,
    Versions,
    check,
)
from understudy.transport.view import GIVEN_UP, has_delta

LAYOUT = 1

SCHEMA: tuple[LiteralString, ...] = (
    # Two nodes that start at once both find nothing, and make it one after the other.
    "SELECT pg_advisory_xact_lock(hashtext('understudy schema'))",
    """CREATE TABLE IF NOT EXISTS understudy_version (
        one boolean PRIMARY KEY DEFAULT true CHECK (one), layout integer NOT NULL, members bigint NOT NULL,
        names bigint NOT NULL, forgotten bigint NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS understudy_member (
        node text COLLATE "C" PRIMARY KEY, changed bigint NOT NULL, row jsonb NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS understudy_name (
        name text COLLATE "C" PRIMARY KEY, node text NOT NULL, incarnation bigint NOT NULL, version bigint NOT NULL,
        fence bigint NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS understudy_name_version ON understudy_name (version, name)",
    "CREATE INDEX IF NOT EXISTS understudy_name_given_up ON understudy_name (version) WHERE node = ''",
    """CREATE TABLE IF NOT EXISTS understudy_guarded (
        name text COLLATE "C", key text COLLATE "C", fence bigint NOT NULL, value bytea NOT NULL, PRIMARY KEY (name, key))""",
)

BEGIN_AT_ZERO: LiteralString = "INSERT INTO understudy_version VALUES (true, %s, 0, 0, 0) ON CONFLICT DO NOTHING"
LOOK: LiteralString = "SELECT layout, members, names, forgotten FROM understudy_version"
MEMBERS: LiteralString = "SELECT row::text FROM understudy_member WHERE changed > %s ORDER BY changed"
NAMES: LiteralString = """SELECT name, node, incarnation, version, fence FROM understudy_name
    WHERE (version, name) > (%s, %s) ORDER BY version, name LIMIT %s"""
EXPECTED: LiteralString = (
    "SELECT name, node, incarnation, version, fence FROM understudy_name WHERE name = ANY(%s::text[])"
)
WRITE_MEMBERS: LiteralString = """INSERT INTO understudy_member SELECT * FROM unnest(%s::text[], %s::bigint[], %s::jsonb[])
    ON CONFLICT (node) DO UPDATE SET changed = EXCLUDED.changed, row = EXCLUDED.row"""
WRITE_NAMES: LiteralString = """INSERT INTO understudy_name
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (name) DO UPDATE SET node = EXCLUDED.node, incarnation = EXCLUDED.incarnation,
        version = EXCLUDED.version, fence = EXCLUDED.fence"""
# One statement: no claim can come between the look at the owner and the write.
WRITE_GUARDED: LiteralString = """WITH owner AS (
        SELECT 1 FROM understudy_name WHERE name = %(name)s AND fence = %(fence)s AND node <> '' FOR SHARE)
    INSERT INTO understudy_guarded AS stored SELECT %(name)s, %(key)s, %(fence)s, %(value)s FROM owner
    ON CONFLICT (name, key) DO UPDATE SET fence = EXCLUDED.fence, value = EXCLUDED.value
        WHERE stored.fence <= EXCLUDED.fence
    RETURNING true"""
GUARDED: LiteralString = "SELECT fence, value FROM understudy_guarded WHERE name = %s AND key = %s"
FORGET: LiteralString = """WITH old AS (
        SELECT version FROM understudy_name WHERE node = '' ORDER BY version DESC LIMIT 1 OFFSET %s),
    forgotten AS (DELETE FROM understudy_name USING old WHERE node = '' AND understudy_name.version <= old.version)
    UPDATE understudy_version SET forgotten = greatest(forgotten, old.version) FROM old"""

PAGE = 2000
"""Names that are read at once: what is read of them holds the loop for a few milliseconds."""

POLL = 5.0
"""Seconds between two looks at the versions when no notification came."""

AGAIN = 1.0
"""Seconds until hints try a server again that is away."""


class PostgresTable:
    """Made by `await PostgresTable.open(address)`; let go of by `await table.close()`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._reader = Session(address)
        self._writer = Session(address)
        self._closed = False
        self._released = GIVEN_UP  # names given up by us since we last looked how many are remembered
        self._commits: Group[Commit, Versions | None] = Group(
            lambda group: self._writer.run(lambda c: self._commit(c, group))
        )
        self._writes: Group[Write, None] = Group(
            lambda group: self._writer.run(lambda c: self._guarded_write(c, group))
        )

    @classmethod
    async def open(cls, address: str) -> PostgresTable:
        """The table in that database; it is made if it is not there.

        Raises TableUnusable when it can never be our table, TableUnavailable when it cannot be had now, ValueError for an
        address that libpq cannot read.
        """
        table = cls(address)
        try:
            await table._writer.run(table._prepare)
        except BaseException:
            await table.close()
            raise
        return table

    def __str__(self) -> str:
        return f"PostgreSQL at {without_password(self._address)}"

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        return await self._reader.run(lambda connection: self._read(connection, since))

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        check(expect, change)
        return await self._commits.add((expect, change))

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """See MembershipTable."""
        check_write((name, fence, key, value))
        await self._writes.add((name, fence, key, value))

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        """See MembershipTable."""

        async def read(connection: Connection) -> bytes | None:
            found = await (await connection.execute(GUARDED, (name, key), binary=True)).fetchone()
            return bytes(found[1]) if found is not None else None

        return await self._writer.run(read)

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable. Told by the server; besides, every 5 s the versions are looked at."""
        seen: Versions | None = None
        session = Session(self._address, lambda connection: connection.execute("LISTEN understudy"))
        try:
            while not self._closed:
                try:
                    now = await session.run(self._look)
                    if now != seen:
                        seen = now
                        yield now
                    await session.run(_notified, more=POLL)
                except TableError:
                    await asyncio.sleep(AGAIN)
        finally:
            await session.close()

    async def close(self) -> None:
        """See MembershipTable. Waits for what is under way; twice is fine."""
        self._closed = True
        await self._commits.finish()
        await self._writes.finish()
        await self._reader.close()
        await self._writer.close()

    # --- on a connection ---

    async def _prepare(self, connection: Connection) -> None:
        try:
            await self._look(connection)
        except errors.UndefinedTable:
            async with connection.transaction():
                for statement in SCHEMA:
                    await connection.execute(statement)
                await connection.execute(BEGIN_AT_ZERO, (LAYOUT,))
            await self._look(connection)

    async def _look(self, connection: Connection) -> Versions:
        return (await self._stand(await connection.execute(LOOK)))[0]

    async def _stand(self, cursor: psycopg.AsyncCursor[Any]) -> tuple[Versions, int]:
        """The versions, and up to which of the names given up may be missing."""
        row = await cursor.fetchone()
        label = self._writer.label
        if row is None:
            raise TableUnusable(
                f"the membership table {label} is empty: put understudy_version back, or drop all its tables"
            )
        layout, members, names, forgotten = row
        if layout != LAYOUT:
            raise TableUnusable(
                f"the membership table {label} is that of another version of Understudy (layout {layout}, this one reads "
                f"{LAYOUT}); run the same version on every node, or name another database or schema"
            )
        return Versions(members, names), forgotten

    async def _read(self, connection: Connection, since: Versions | None) -> Snapshot:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            after = since or Versions()
            async with connection.pipeline():
                looked = await connection.execute(LOOK)
                changed = await connection.execute(MEMBERS, (after.members,))
                page = await connection.execute(NAMES, (after.names, MAXIMUM, PAGE))
            now, forgotten = await self._stand(looked)
            whole = since is None or not has_delta(since, now, forgotten)
            if whole and after != Versions():
                changed = await connection.execute(MEMBERS, (0,))
                page = await connection.execute(NAMES, (0, MAXIMUM, PAGE))
            members: list[Member] = [member_read(text) for (text,) in await changed.fetchall()]
            names: list[Name] = []
            while rows := [Name(*columns) for columns in await page.fetchall()]:
                self._reader.goes_on()
                names += (row for row in rows if row.node or not whole)
                if len(rows) < PAGE:
                    break
                page = await connection.execute(NAMES, (rows[-1].version, rows[-1].name, PAGE))
            return Snapshot(now, tuple(members), tuple(names), whole=whole)

    async def _commit(self, connection: Connection, commits: Sequence[Commit]) -> list[Versions | None]:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            looked = await connection.execute(f"{LOOK} FOR UPDATE")
            stored = await connection.execute(EXPECTED, (expected(commits),))
        now, _ = await self._stand(looked)
        settled = settle(now, {columns[0]: Name(*columns) for columns in await stored.fetchall()}, commits)
        if settled.versions == now:
            await connection.execute("ROLLBACK")
        else:
            async with connection.pipeline():
                await self._write(connection, settled)
                await connection.execute("COMMIT")
        return settled.results

    async def _write(self, connection: Connection, settled: Settled) -> None:
        after = settled.versions
        await connection.execute("UPDATE understudy_version SET members = %s, names = %s", (after.members, after.names))
        if settled.members:
            members = [(row.node, changed, member_text(row)) for changed, row in settled.members.values()]
            await connection.execute(WRITE_MEMBERS, _columns(members))
        if settled.names:
            # In order, as guarded writes lock them: nobody waits in a circle.
            rows = sorted(settled.names.values(), key=lambda row: row.name)
            names = [(row.name, row.node, row.incarnation, row.version, row.fence) for row in rows]
            await connection.execute(WRITE_NAMES, _columns(names))
            self._released += sum(not row.node for row in rows)
            if self._released >= GIVEN_UP:
                self._released = 0
                await connection.execute(FORGET, (GIVEN_UP,))
        await connection.execute("NOTIFY understudy")

    async def _guarded_write(self, connection: Connection, writes: Sequence[Write]) -> list[Fenced | None]:
        # Written in the order of the names, answered in the order of the requests.
        order = sorted(range(len(writes)), key=lambda number: writes[number][0])
        cursors: dict[int, psycopg.AsyncCursor[Any]] = {}
        async with connection.pipeline():
            await connection.execute("BEGIN")
            for number in order:
                name, fence, key, value = writes[number]
                keys = {"name": name, "fence": fence, "key": key, "value": value}
                cursors[number] = await connection.execute(WRITE_GUARDED, keys)
            await connection.execute("COMMIT")
        results: list[Fenced | None] = []
        for number, (name, fence, key, _) in enumerate(writes):
            written = await cursors[number].fetchone() is not None
            results.append(None if written else await self._fenced(connection, name, fence, key))
        return results

    async def _fenced(self, connection: Connection, name: str, fence: int, key: str) -> Fenced:
        """Why a write was refused: by whom."""
        columns = await (await connection.execute(EXPECTED, ([name],))).fetchone()
        seen = await (await connection.execute(GUARDED, (name, key))).fetchone()
        try:
            check_fence(name, fence, Name(*columns) if columns else None, seen[0] if seen else 0)
        except Fenced as refused:
            return refused
        return Fenced(name, fence, None)


MAXIMUM = "\U0010ffff"
"""Sorts after every name."""


async def _notified(connection: Connection) -> None:
    async with aclosing(connection.notifies(timeout=POLL, stop_after=1)) as notifications:
        async for _ in notifications:
            pass


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows)]

"""The membership table as an SQLite file that the processes of one machine share. The default.

    event loop ──▶ one worker thread ──▶ connection ──▶ membership.db (+ -wal, -shm) ◀── other processes

All SQL runs in the worker thread, so a lock or a slow disk never stops the loop. The commits that are under way in one
process are one `BEGIN IMMEDIATE` transaction: SQLite lets one writer in at a time and the compare happens inside. WAL, so that readers and the writer do
not wait for each other; `synchronous=FULL`, since a vote that is forgotten in a power cut was never cast. The file says
that it is ours (`application_id`) and which layout it has (`user_version`). Not for a network file system: SQLite's
locks do not hold there; nodes on other machines reach the table through `served`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from understudy.transport.commits import Group, expected, settle
from understudy.transport.guard import Fenced, Write, check_fence, check_write
from understudy.transport.rows import member_read, member_text
from understudy.transport.table import (
    Change,
    Commit,
    Expect,
    Name,
    Snapshot,
    TableError,
    TableUnavailable,
    TableUnusable,
    Versions,
    check,
)
from understudy.transport.view import GIVEN_UP, has_delta

T = TypeVar("T")

APPLICATION_ID = 0x554E4453  # "UNDS"
FORMAT = 2

SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
    """CREATE TABLE version (
        id INTEGER PRIMARY KEY CHECK (id = 1), members INTEGER NOT NULL, names INTEGER NOT NULL,
        forgotten INTEGER NOT NULL  -- the names' version up to which those that were given up have no rows any more
    )""",
    "INSERT INTO version VALUES (1, 0, 0, 0)",
    "CREATE TABLE member (node TEXT PRIMARY KEY, row TEXT NOT NULL, changed INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE name (
        name TEXT PRIMARY KEY, node TEXT NOT NULL, incarnation INTEGER NOT NULL, version INTEGER NOT NULL,
        fence INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX name_version ON name (version)",
    "CREATE INDEX name_given_up ON name (version) WHERE node = ''",
    """CREATE TABLE guarded (
        name TEXT NOT NULL, key TEXT NOT NULL, fence INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key)
    )""",
)
# One statement, and so one moment: between two, another process may have made the tables.
WHOSE = """SELECT
    (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
    (SELECT count(*) FROM sqlite_master)"""

FOREIGN = {"SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_FORMAT"}
FORBIDDEN = {"SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"}
BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}


class SqliteTable:
    """Made by `await SqliteTable.open(path)`; let go of by `await table.close()`."""

    def __init__(self, path: Path, *, busy_timeout: float, poll: float) -> None:
        self.path = path
        self._busy_timeout = busy_timeout
        self._poll = poll
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="understudy-table")
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._closed = False
        self._released = GIVEN_UP  # names given up by us since we last looked how many are remembered
        self._commits: Group[Commit, Versions | None] = Group(lambda group: self._work(lambda: self._commit(group)))
        self._writes: Group[Write, None] = Group(lambda group: self._work(lambda: self._guarded_write(group)))

    @classmethod
    async def open(cls, path: Path, *, busy_timeout: float = 5.0, poll: float = 0.25) -> SqliteTable:
        """Open the table at `path`, and make it (with its folders) if there is none.

        `busy_timeout`: seconds to wait for another process's commit; `poll`: seconds between two looks of `hints` at
        the versions (about 50 µs each). Raises TableUnusable when the file can never be our table, TableUnavailable
        when it cannot be had now.
        """
        table = cls(path, busy_timeout=busy_timeout, poll=poll)
        loop = asyncio.get_running_loop()
        end = loop.time() + busy_timeout
        try:
            while True:
                try:
                    await table._work(table._open)
                except TableUnavailable:
                    # Two processes that make the same new file are told "locked" at once, without the busy timeout.
                    if loop.time() >= end:
                        raise
                    await asyncio.sleep(0.02)
                else:
                    return table
        except BaseException:
            await table.close()
            raise

    def __str__(self) -> str:
        return f"the SQLite file {self.path}"

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        return await self._work(lambda: self._read(since))

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
        return await self._work(lambda: self._guarded(name, key)[1])

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable. Other processes' commits are found by looking, every `poll` seconds."""
        seen: Versions | None = None
        while not self._closed:
            with suppress(TableError):
                now = await self._work(self._look)
                if now != seen:
                    seen = now
                    yield now
            await asyncio.sleep(self._poll)

    async def close(self) -> None:
        """See MembershipTable. Waits for what is under way; twice is fine."""
        if self._closed:
            return
        self._closed = True
        await self._commits.finish()
        await self._writes.finish()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    # --- what follows runs in the worker thread ---

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TableUnusable(
                f"the folder {self.path.parent} of the membership table cannot be made: {error.strerror}; "
                f"name a state folder that you may write"
            ) from error
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._inode = self.path.stat().st_ino

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self._is_new(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if self._is_new(connection):  # still: nobody else made it while we waited for the lock
                    for statement in SCHEMA:
                        connection.execute(statement)
        connection.execute("PRAGMA synchronous = FULL")

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is empty. TableUnusable when it belongs to somebody else; nothing of it was touched."""
        application, layout, tables = connection.execute(WHOSE).fetchone()
        if (application, layout) == (APPLICATION_ID, FORMAT):
            return False
        if application == APPLICATION_ID:
            raise TableUnusable(
                f"{self.path} is the membership table of another version of Understudy (layout {layout}, this one "
                f"reads {FORMAT}); run the same version on every node, or name another state folder"
            )
        if (application, layout, tables) == (0, 0, 0):
            return True
        raise TableUnusable(f"{self.path} is another program's database; name another state folder")

    def _read(self, since: Versions | None) -> Snapshot:
        connection = self._usable()
        connection.execute("BEGIN")
        with connection:
            now = self._look()
            (forgotten,) = connection.execute("SELECT forgotten FROM version").fetchone()
            whole = since is None or not has_delta(since, now, forgotten)
            after = Versions() if since is None or whole else since
            members = connection.execute("SELECT row FROM member WHERE changed > ? ORDER BY changed", (after.members,))
            names = connection.execute(
                "SELECT * FROM name WHERE version > ? AND (node <> '' OR NOT ?) ORDER BY version", (after.names, whole)
            )
            rows = tuple(member_read(text) for (text,) in members), tuple(Name(*columns) for columns in names)
            return Snapshot(now, *rows, whole=whole)

    def _commit(self, commits: Sequence[Commit]) -> list[Versions | None]:
        connection = self._usable()
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            now = self._look()
            stored = connection.execute(
                "SELECT * FROM name WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(expected(commits)),)
            )
            settled = settle(now, {columns[0]: Name(*columns) for columns in stored}, commits)
            if settled.versions == now:
                return settled.results
            connection.executemany(
                "INSERT OR REPLACE INTO member VALUES (?, ?, ?)",
                [(row.node, member_text(row), changed) for changed, row in settled.members.values()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO name VALUES (?, ?, ?, ?, ?)",
                [(row.name, row.node, row.incarnation, row.version, row.fence) for row in settled.names.values()],
            )
            after = settled.versions
            connection.execute("UPDATE version SET members = ?, names = ?", (after.members, after.names))
            self._released += sum(not row.node for row in settled.names.values())
            if self._released >= GIVEN_UP:
                self._forget(connection)
            return settled.results

    def _forget(self, connection: sqlite3.Connection) -> None:
        """Delete the rows of names that were given up long ago."""
        old = connection.execute(
            "SELECT version FROM name WHERE node = '' ORDER BY version DESC LIMIT 1 OFFSET ?", (GIVEN_UP,)
        ).fetchone()
        if old is not None:
            connection.execute("DELETE FROM name WHERE node = '' AND version <= ?", old)
            connection.execute("UPDATE version SET forgotten = max(forgotten, ?)", old)
        self._released = 0

    def _guarded_write(self, writes: Sequence[Write]) -> list[Fenced | None]:
        connection = self._usable()
        results: list[Fenced | None] = []
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            for name, fence, key, value in writes:
                columns = connection.execute("SELECT * FROM name WHERE name = ?", (name,)).fetchone()
                try:
                    check_fence(name, fence, Name(*columns) if columns else None, self._guarded(name, key)[0])
                except Fenced as refused:
                    results.append(refused)
                else:
                    row = (name, key, fence, value)
                    connection.execute("INSERT OR REPLACE INTO guarded VALUES (?, ?, ?, ?)", row)
                    results.append(None)
        return results

    def _guarded(self, name: str, key: str) -> tuple[int, bytes | None]:
        row = self._usable().execute("SELECT fence, value FROM guarded WHERE name = ? AND key = ?", (name, key))
        found: tuple[int, bytes] | None = row.fetchone()
        return found or (0, None)

    def _look(self) -> Versions:
        return Versions(*self._usable().execute("SELECT members, names FROM version").fetchone())

    def _usable(self) -> sqlite3.Connection:
        assert self._connection is not None
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = 0
        if inode != self._inode:  # SQLite would go on with the file that nobody else can find any more
            raise TableUnavailable(
                f"the membership table {self.path} was removed or replaced while in use; restart the nodes that use it"
            )
        return self._connection

    # --- and back ---

    async def _work(self, job: Callable[[], T]) -> T:
        if self._closed:
            raise TableUnavailable(f"the membership table {self.path} is closed here")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, job)
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> TableError:
        name: str = getattr(error, "sqlite_errorname", "")
        base = "_".join(name.split("_")[:2])
        if base in FOREIGN:
            return TableUnusable(f"{self.path} is no SQLite database ({error}); name another state folder")
        if base in FORBIDDEN:
            return TableUnusable(
                f"the membership table {self.path} cannot be written ({error}); name a state folder that you may write"
            )
        if base in BUSY:
            return TableUnavailable(
                f"the membership table {self.path} was locked by another process for {self._busy_timeout:g} s"
            )
        if base == "SQLITE_FULL":
            return TableUnavailable(f"no room for the membership table {self.path}: the disk is full; free some space")
        return TableUnavailable(f"the membership table {self.path} failed: {error} ({name or type(error).__name__})")

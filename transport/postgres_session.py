"""A connection to PostgreSQL that is made again when it is lost, and keeps nobody waiting for ever.

    run(job) ──▶ connected? else connect ──▶ job(connection) ──▶ what it returns
                                              ├── failed: the connection is closed, and with it the transaction
                                              └── no end within 5 s: the socket is shut, which ends it

A job that is called off is not asked to stop: PostgreSQL could take as long to hear that as to do it, and a server that
stands still hears nothing. Whether it took effect is unknown, as with every connection that breaks.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from understudy.transport.opening import without_password
from understudy.transport.table import TableError, TableUnavailable, TableUnusable

T = TypeVar("T")

ANSWER_WITHIN = 5.0
"""Seconds that a request may take, the connection included."""

DEFAULTS = {
    "application_name": "understudy",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""What the address may say otherwise. A server whose machine is gone is found out without a word from it."""

SETTINGS = """SELECT
    set_config('idle_in_transaction_session_timeout', '2s', false), set_config('lock_timeout', '4s', false),
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', false) END"""
"""A process that is stopped in the middle of a commit gives its lock back after two seconds. A vote that is forgotten in
a power cut was never cast: whatever the database's default, a commit is on the disk, and where there are synchronous
replicas on theirs, before it counts."""

REFUSED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "no encryption",
)
"""Words of a server that will not let us in however often we ask. It gives no code with them."""

Connection = psycopg.AsyncConnection[Any]


class Session:
    """`prepare` is run on each new connection."""

    def __init__(self, address: str, prepare: Callable[[Connection], Awaitable[object]] | None = None) -> None:
        self.label = without_password(address)
        try:
            self._parameters: dict[str, Any] = DEFAULTS | {
                key: value for key, value in conninfo_to_dict(address).items() if value is not None
            }
        except psycopg.ProgrammingError:  # its text would quote the password
            raise ValueError(
                f"{self.label!r} is no address of a PostgreSQL database: libpq cannot read it; it looks like "
                f"postgresql://user:password@host:5432/database?option=value, with %XX for what has a meaning of its own"
            ) from None
        self._prepare = prepare
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._went_on = 0.0

    async def run(self, job: Callable[[Connection], Awaitable[T]], more: float = 0.0) -> T:
        """What `job` returns for the connection; one at a time. `more`: seconds that it may take besides. Raises TableError."""
        within = ANSWER_WITHIN + more
        async with self._lock:
            if self._closed:
                raise TableUnavailable(f"the membership table {self.label} is closed here")
            self.goes_on()
            task = asyncio.ensure_future(self._do(job))
            try:
                while not task.done() and (left := self._went_on + within - self._now()) > 0:
                    await asyncio.wait([task], timeout=left)
            except asyncio.CancelledError:
                await self._give_up(task)
                raise
            if not task.done():
                await self._give_up(task)
                raise TableUnavailable(f"the membership table {self.label} did not answer within {within:g} s")
            try:
                return task.result()
            except (psycopg.Error, OSError) as error:
                raise explained(error, self.label) from error

    def goes_on(self) -> None:
        """Said by a long job that has had an answer: `within` counts from here."""
        self._went_on = self._now()

    async def close(self) -> None:
        """Close the connection, when what is under way has ended."""
        self._closed = True
        async with self._lock:
            await self._drop()

    async def _do(self, job: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            if self._connection is not None and self._prepare is None and _is_over(self._connection):
                await self._drop()
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)
                await self._connection.execute(SETTINGS)
                if self._prepare is not None:
                    await self._prepare(self._connection)
            return await job(self._connection)
        except BaseException:
            await self._drop()
            raise

    async def _give_up(self, task: asyncio.Future[Any]) -> None:
        if self._connection is None:
            task.cancel()
        else:
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at: what became of it is unknown, whatever it says

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _is_over(connection: Connection) -> bool:
    """Whether the server has ended a connection that was idle: it has nothing else to say unasked."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def explained(error: psycopg.Error | OSError, label: str) -> TableError:
    """What went wrong, and what to do about it."""
    table, said = f"the membership table {label}", " ".join(str(error).split())
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None and any(word in said for word in REFUSED):
        return TableUnusable(f"{table} does not let us in: {said}; correct the address, or what the server allows")
    match error:
        case errors.InsufficientPrivilege():
            return TableUnusable(
                f"{table} cannot be made or used by this user: {said}; grant it CREATE on the schema, or set another one in "
                f"the address: ?options=-csearch_path%3Dmine"
            )
        case errors.InvalidSchemaName():
            return TableUnusable(f"{table} has no schema to be in: {said}; create the one that search_path names")
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.DatatypeMismatch():
            return TableUnusable(
                f"{table} is not as we left it: {said}; put its tables understudy_* back, or restart the nodes with another database"
            )
        case errors.DiskFull():
            return TableUnavailable(f"no room for {table}: its disk is full; free some space")
        case errors.LockNotAvailable() | errors.DeadlockDetected():
            return TableUnavailable(f"{table} was locked by another session: {said}")
        case errors.ReadOnlySqlTransaction():
            return TableUnavailable(
                f"{table} is read only, as a standby is: {said}; name all servers in the address and add "
                f"?target_session_attrs=read-write"
            )
        case _:
            return TableUnavailable(
                f"{table} cannot be reached or does not work for now: {said or type(error).__name__}"
            )

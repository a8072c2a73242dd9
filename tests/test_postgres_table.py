"""What is particular to the table in PostgreSQL: servers that are away, refuse, stand still, or are not as they should be."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from tests.servers import Postgres, missing_postgres
from understudy.transport import postgres as module
from understudy.transport import postgres_session as session
from understudy.transport.opening import open_table
from understudy.transport.postgres import PostgresTable
from understudy.transport.table import (
    Change,
    Expect,
    Member,
    Name,
    TableError,
    TableUnavailable,
    TableUnusable,
    Versions,
)

ROW = Member("engine-1", 1, "tcp://127.0.0.1:4001")


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server that the test may end."""
    if why := missing_postgres():
        pytest.skip(why)
    with Postgres() as server:
        yield server


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[PostgresTable]:
    table = await PostgresTable.open(address)
    yield table
    await table.close()


async def claim(table: PostgresTable, name: str) -> Versions | None:
    return await table.commit(Expect(names={name: 0}), Change(names=(Name(name, "stage", 1),)))


async def until_back(table: PostgresTable) -> Versions:
    while True:
        try:
            return (await table.read()).versions
        except TableUnavailable:
            await asyncio.sleep(0.01)


async def test_a_killed_server_is_unavailable_and_what_was_committed_is_there_when_it_is_back(own: Postgres) -> None:
    async with opened(own.fresh()) as table:
        done = await table.commit(Expect(members=0), Change(members=(ROW,)))
        own.kill()
        for call in (table.read(), claim(table, "lobby"), table.guarded_read("lobby", "x")):
            with pytest.raises(TableUnavailable, match="cannot be reached or does not work for now"):
                await call
        await asyncio.to_thread(own.start)
        assert await until_back(table) == done
        assert await claim(table, "lobby") is not None


async def test_hints_go_on_when_a_server_is_back(own: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.01)
    async with opened(own.fresh()) as table:
        hints = table.hints()
        assert await anext(hints) == Versions()
        coming = asyncio.ensure_future(anext(hints))
        own.stop()
        await asyncio.to_thread(own.start)
        await until_back(table)
        now = await claim(table, "lobby")
        assert await coming == now
        await hints.aclose()  # type: ignore[attr-defined]


async def test_a_server_that_stands_still_is_unavailable_in_time_and_the_table_goes_on_with_it(
    own: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANSWER_WITHIN", 1.0)
    async with opened(own.fresh()) as table:
        await claim(table, "lobby")
        own.pause()
        for call in (table.read(), claim(table, "runs"), table.read()):
            with pytest.raises(TableUnavailable, match="did not answer within 1 s"):
                await call
        own.resume()
        await until_back(table)
        assert await claim(table, "stage") is not None


async def test_a_request_that_is_called_off_hangs_nobody(own: Postgres) -> None:
    async with opened(own.fresh()) as table:
        await claim(table, "lobby")
        own.pause()
        reading = asyncio.ensure_future(table.read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        own.resume()
        assert (await table.read()).name("lobby") is not None


async def test_connections_that_the_server_ends_are_made_again(postgres: Postgres) -> None:
    address = postgres.fresh()
    async with opened(address) as table:
        await table.read()
        postgres.do(
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{address.rpartition('/')[2]}'"
        )
        assert await claim(table, "lobby") is not None
        assert (await table.read()).name("lobby") is not None


async def test_a_process_that_is_stopped_in_the_middle_of_a_commit_holds_up_the_others_for_two_seconds_at_most(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "'idle_in_transaction_session_timeout', '2s'" in session.SETTINGS
    monkeypatch.setattr(session, "SETTINGS", session.SETTINGS.replace("2s", "100ms"))
    async with opened(postgres.fresh()) as table, opened(table._address) as stopped:

        async def begin(connection: session.Connection) -> None:
            await connection.execute("BEGIN")
            await connection.execute(f"{module.LOOK} FOR UPDATE")

        await stopped._writer.run(begin)
        assert await claim(table, "lobby") is not None
        late = Change(names=(Name("lobby", "engine-1", 1),))
        assert await stopped.commit(Expect(names={"lobby": 0}), late) is None


async def test_a_table_that_another_session_locks_is_unavailable(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SETTINGS", session.SETTINGS.replace("4s", "50ms"))
    async with opened(postgres.fresh()) as table:
        async with await psycopg.AsyncConnection.connect(table._address) as other:
            await other.execute("LOCK TABLE understudy_version")
            with pytest.raises(TableUnavailable, match="was locked by another session"):
                await claim(table, "lobby")
        assert await claim(table, "lobby") is not None


async def test_a_full_disk_fails_the_commit_with_the_remedy_and_the_table_goes_on(postgres: Postgres) -> None:
    """The server itself says so: a trigger has its error code."""
    async with opened(postgres.fresh()) as table:
        database = table._address.rpartition("/")[2]
        full = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END"
        postgres.do(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${full}$$", database)
        postgres.do("CREATE TRIGGER full_disk BEFORE INSERT ON understudy_name EXECUTE FUNCTION full_disk()", database)
        with pytest.raises(TableUnavailable, match="its disk is full; free some space"):
            await claim(table, "lobby")
        assert (await table.read()).versions == Versions()
        postgres.do("DROP TRIGGER full_disk ON understudy_name", database)
        assert await claim(table, "lobby") == Versions(0, 1)


async def test_a_standby_is_told_from_the_primary(postgres: Postgres) -> None:
    async with opened(postgres.fresh()) as table:
        database = table._address.rpartition("/")[2]
        postgres.do(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        async with opened(table._address) as standby:
            with pytest.raises(TableUnavailable, match=r"read only, as a standby is.*target_session_attrs=read-write"):
                await claim(standby, "lobby")
        assert (await table.read()).versions == Versions()


async def test_whoever_is_not_let_in_hears_why_and_sees_no_password(postgres: Postgres) -> None:
    for address, why in (
        (postgres.url(password="wrong"), "password authentication failed"),
        (postgres.url(user="nobody-here", password="wrong"), "password authentication failed"),
        (postgres.url("no_such_database"), "does not exist"),
    ):
        with pytest.raises(TableUnusable, match=f"does not let us in: .*{why}.*correct the address") as refused:
            await open_table(address)
        assert "wrong" not in str(refused.value)


async def test_a_user_without_rights_is_told_what_to_grant(postgres: Postgres) -> None:
    address = postgres.fresh()
    database = address.rpartition("/")[2]
    postgres.do("DROP ROLE IF EXISTS guest")
    postgres.do("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = postgres.url(database, user="guest", password="guest")
    with pytest.raises(TableUnusable, match="grant it CREATE on the schema"):
        await open_table(guest)
    with pytest.raises(TableUnusable, match="create the one that search_path names"):
        await open_table(guest + "?options=-csearch_path%3Dmine")
    postgres.do("CREATE SCHEMA mine AUTHORIZATION guest", database)
    async with opened(guest + "?options=-csearch_path%3Dmine") as mine, opened(address) as other:
        await claim(mine, "lobby")
        assert (await other.read()).versions == Versions()


async def test_the_table_of_another_version_and_one_that_was_taken_away_are_refused(postgres: Postgres) -> None:
    async with opened(postgres.fresh()) as table:
        database = table._address.rpartition("/")[2]
        postgres.do("UPDATE understudy_version SET layout = 99", database)
        with pytest.raises(TableUnusable, match=r"another version of Understudy \(layout 99, this one reads 1\)"):
            await open_table(table._address)
        for call in (table.read(), claim(table, "lobby")):
            with pytest.raises(TableUnusable, match="layout 99"):
                await call
        postgres.do("UPDATE understudy_version SET layout = 1", database)
        assert await claim(table, "lobby") is not None
        postgres.do("ALTER TABLE understudy_name RENAME TO elsewhere", database)
        with pytest.raises(TableUnusable, match=r"is not as we left it.*understudy_name.*put its tables"):
            await table.read()
        postgres.do("ALTER TABLE elsewhere RENAME TO understudy_name", database)
        assert (await table.read()).name("lobby") is not None


async def test_many_nodes_make_the_same_new_table_at_once(postgres: Postgres) -> None:
    address = postgres.fresh()
    tables = await asyncio.gather(*(PostgresTable.open(address) for _ in range(8)))
    claims = await asyncio.gather(*(claim(table, "lobby") for table in tables))
    assert len([versions for versions in claims if versions is not None]) == 1
    for table in tables:
        await table.close()


async def test_commits_wait_for_the_disk_whatever_the_databases_default(postgres: Postgres) -> None:
    address = postgres.fresh()
    postgres.do(f"ALTER DATABASE {address.rpartition('/')[2]} SET synchronous_commit = off")
    async with opened(address) as table:

        async def setting(connection: session.Connection) -> object:
            return (await (await connection.execute("SHOW synchronous_commit")).fetchone())[0]  # type: ignore[index]

        assert await table._writer.run(setting) == "on"


async def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    for address in (
        "postgresql://me:hush@[::1/x",
        "postgresql://me:hush@host/x?no_such_option=1",
        "mysql://me:hush@x/y",
    ):
        with pytest.raises((ValueError, TableError), match="is no address of a") as refused:
            await open_table(address)
        assert "hush" not in str(refused.value)

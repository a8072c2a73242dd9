"""What is particular to the table that a node serves: a server that is away, and requests that are not as they should be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from understudy.actors import ActorRef, ActorSystem, Refused
from understudy.transport.memory import MemoryTable
from understudy.transport.served import PAGE, READINGS, CommitTable, Page, ReadTable, RemoteTable, TableServer
from understudy.transport.table import (
    NAMES_LIMIT,
    Change,
    Expect,
    Member,
    Name,
    Snapshot,
    TableUnavailable,
    Versions,
)
from understudy.transport.view import View

ROW = Member("engine-1", 1, "tcp://127.0.0.1:4001")


class Failing(MemoryTable):
    async def read(self, since: Versions | None = None) -> Snapshot:
        raise TableUnavailable("the disk is full")


@asynccontextmanager
async def serving(table: MemoryTable) -> AsyncIterator[tuple[ActorSystem, ActorRef[TableServer]]]:
    async with ActorSystem("stage") as system:
        yield system, await system.spawn(TableServer, table, name="table")


async def test_a_table_that_fails_there_is_unavailable_here_with_its_reason_and_the_server_lives() -> None:
    async with serving(Failing()) as (_, server):
        with pytest.raises(TableUnavailable, match="cannot use it: the disk is full"):
            await RemoteTable(server).read()
        assert server.is_alive()


async def test_a_server_that_is_not_there_makes_the_table_unavailable_and_its_return_available() -> None:
    async with serving(MemoryTable()) as (system, server):
        remote = RemoteTable(system.ref("table"))
        assert await remote.commit(Expect(members=0), Change(members=(ROW,))) == Versions(1, 0)
        server.kill()
        with pytest.raises(TableUnavailable, match="has none: it is just starting"):
            await remote.read()
        await system.spawn(TableServer, MemoryTable(), name="table")
        assert (await remote.read()).versions == Versions(0, 0)


async def test_hints_are_silent_while_the_server_is_away_and_go_on_when_it_is_back() -> None:
    async with serving(MemoryTable()) as (system, server):
        hints = RemoteTable(system.ref("table"), poll=0.001).hints()
        assert await anext(hints) == Versions(0, 0)
        server.kill()
        await server.ended()
        another = MemoryTable()
        await another.commit(Expect(members=0), Change(members=(ROW,)))
        await system.spawn(TableServer, another, name="table")
        assert await anext(hints) == Versions(1, 0)
        await hints.aclose()  # type: ignore[attr-defined]


async def test_requests_that_make_no_sense_are_refused_and_the_server_lives() -> None:
    async with serving(MemoryTable()) as (_, server):
        wrong = [
            "a table?",
            ReadTable("everything"),  # type: ignore[arg-type]
            CommitTable(Expect(members=0), Change(members=({"node": "engine-1"},))),  # type: ignore[arg-type]
            CommitTable(Expect(), Change(members=(ROW,))),
            CommitTable({"members": 0}, Change(members=(ROW,))),  # type: ignore[arg-type]
        ]
        for request in wrong:
            with pytest.raises(Refused):
                await server.call(request)
        assert (await RemoteTable(server).read()).versions == Versions(0, 0)


async def with_names(count: int) -> MemoryTable:
    """A table in which the stage has so many names."""
    table = MemoryTable()
    for start in range(0, count, NAMES_LIMIT):
        names = [f"room/{number}" for number in range(start, min(start + NAMES_LIMIT, count))]
        change = Change(names=tuple(Name(name, "stage", 1) for name in names))
        assert await table.commit(Expect(names=dict.fromkeys(names, 0)), change)
    return table


async def test_a_reading_of_many_pages_is_looked_up_once_and_is_the_table_of_that_moment() -> None:
    table = await with_names(3 * PAGE)
    before = (await table.read()).names
    async with serving(table) as (_, server):
        view = View()
        page: Page = await server.call(ReadTable())
        view.update(page.snapshot)
        last = before[-1]
        await table.commit(Expect(names={last.name: last.version}), Change(names=(Name(last.name),)))
        while page.rest:
            page = await server.call(ReadTable(page.snapshot.versions, page.rest))
            view.update(page.snapshot)
        assert set(view.names.values()) == set(before)
        view.update((await server.call(ReadTable(view.versions))).snapshot)
        assert set(view.names.values()) == set((await table.read()).names)
        assert len(view.names) == len(before) - 1


async def test_a_reading_that_the_server_has_no_longer_goes_on_from_where_it_was() -> None:
    table = await with_names(3 * PAGE)
    async with serving(table) as (_, server):
        view = View()
        page: Page = await server.call(ReadTable())
        view.update(page.snapshot)
        first = (await table.read()).names[0]
        await table.commit(Expect(names={first.name: first.version}), Change(names=(Name(first.name),)))
        for _ in range(READINGS):
            assert (await server.call(ReadTable())).rest
        while page.rest:
            page = await server.call(ReadTable(page.snapshot.versions, page.rest))
            view.update(page.snapshot)
        assert set(view.names.values()) == set((await table.read()).names)
        assert len(view.names) == 3 * PAGE - 1

"""What every membership table promises, checked on each of them through two handles, as two nodes would hold it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from understudy.actors import ActorSystem
from understudy.simulation import VirtualTable
from understudy.transport.memory import MemoryTable
from understudy.transport.served import RemoteTable, TableServer
from understudy.transport.sqlite import SqliteTable
from understudy.transport.table import Change, Expect, Member, MembershipTable, Name, Suspicion, TableError, Versions

Pair: TypeAlias = tuple[MembershipTable, MembershipTable]
Tables: TypeAlias = Callable[[], AbstractAsyncContextManager[Pair]]

ENGINE = Member(
    "engine-1",
    1_700_000_000_000,
    "tcp://127.0.0.1:4001",
    roles=("engine",),
    pid=4242,
    tags=("gpu",),
    capacity=9,
    draining=True,
)
STAGE = Member("stage", 1_700_000_000_001, "tcp://127.0.0.1:4002", curve_key="k" * 40, roles=("stage",))


@asynccontextmanager
async def in_memory(_folder: Path) -> AsyncIterator[Pair]:
    table = MemoryTable()
    yield table, table


@asynccontextmanager
async def virtual(_folder: Path) -> AsyncIterator[Pair]:
    table = VirtualTable()
    table.slow(0.0, 0.002)
    yield table.handle("a"), table.handle("b")


@asynccontextmanager
async def in_sqlite(folder: Path) -> AsyncIterator[Pair]:
    one = await SqliteTable.open(folder / "membership.db", poll=0.01)
    other = await SqliteTable.open(folder / "membership.db", poll=0.01)
    yield one, other
    await one.close()
    await other.close()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Pair]:
    """One node opened the file; the other asks the actor that serves it."""
    async with in_sqlite(folder) as (table, _), ActorSystem("stage") as system:
        yield table, RemoteTable(await system.spawn(TableServer, table, name="table"), poll=0.01)


@pytest.fixture(params=[in_memory, virtual, in_sqlite, served])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    return lambda: request.param(tmp_path)


def at_members(version: int) -> Expect:
    return Expect(members=version)


async def test_a_new_table_is_empty_and_at_version_zero(tables: Tables) -> None:
    async with tables() as (one, other):
        for table in (one, other):
            snapshot = await table.read()
            assert (snapshot.versions, snapshot.members, snapshot.names) == (Versions(0, 0), (), ())


async def test_what_one_node_commits_the_other_reads_unchanged(tables: Tables) -> None:
    async with tables() as (one, other):
        accused = replace(
            ENGINE, suspicions=(Suspicion("stage", 7), Suspicion("engine-2", 8)), reason="ohne Antwort: 幕"
        )
        assert await one.commit(at_members(0), Change(members=(accused, STAGE))) == Versions(1, 0)
        snapshot = await other.read()
        assert snapshot.versions == Versions(1, 0)
        assert sorted(snapshot.members, key=lambda row: row.node) == [accused, STAGE]
        assert snapshot.member("stage") == STAGE
        assert snapshot.member("nobody") is None


async def test_of_two_commits_that_expect_the_same_version_the_first_wins_and_the_second_changes_nothing(
    tables: Tables,
) -> None:
    async with tables() as (one, other):
        assert await one.commit(at_members(0), Change(members=(ENGINE,))) == Versions(1, 0)
        assert await other.commit(at_members(0), Change(members=(STAGE,))) is None
        assert await other.read() == await one.read()
        assert (await other.read()).members == (ENGINE,)


async def test_of_many_commits_at_once_exactly_one_wins_each_version(tables: Tables) -> None:
    async with tables() as pair:
        for version in range(5):
            rows = [replace(ENGINE, node=f"engine-{number}") for number in range(8)]
            commits = [
                pair[number % 2].commit(at_members(version), Change(members=(row,))) for number, row in enumerate(rows)
            ]
            results = await asyncio.gather(*commits)
            assert [result for result in results if result is not None] == [Versions(version + 1, 0)]


async def test_a_newer_incarnation_takes_the_row_of_its_node(tables: Tables) -> None:
    async with tables() as (one, other):
        await one.commit(at_members(0), Change(members=(ENGINE,)))
        newer = replace(ENGINE, incarnation=ENGINE.incarnation + 1)
        assert await other.commit(at_members(1), Change(members=(newer,))) == Versions(2, 0)
        assert (await one.read()).members == (newer,)


async def test_a_reader_gets_only_what_changed_since_the_versions_it_names(tables: Tables) -> None:
    async with tables() as (one, other):
        await one.commit(
            Expect(members=0, names={"lobby": 0}), Change(members=(ENGINE,), names=(Name("lobby", "stage", 1),))
        )
        first = await other.read()
        assert (await other.read(first.versions)).members == ()
        assert (await other.read(first.versions)).names == ()

        await one.commit(at_members(1), Change(members=(STAGE,)))
        delta = await other.read(first.versions)
        assert (delta.members, delta.names) == ((STAGE,), ())
        assert {row.node for row in first.updated(delta).members} == {"engine-1", "stage"}
        assert first.updated(delta).versions == Versions(2, 1)

        await one.commit(Expect(names={"runs": 0}), Change(names=(Name("runs", "stage", 1),)))
        assert [row.name for row in (await other.read(delta.versions)).names] == ["runs"]


async def test_rows_come_in_the_order_of_their_changes(tables: Tables) -> None:
    async with tables() as (one, other):
        for version, node in enumerate(["c", "a", "b", "c"]):
            await one.commit(
                Expect(members=version, names={node: version // 3}),
                Change(members=(replace(ENGINE, node=node),), names=(Name(node, "stage", 1),)),
            )
        snapshot = await other.read()
        assert [row.node for row in snapshot.members] == ["a", "b", "c"]
        assert [row.name for row in snapshot.names] == ["a", "b", "c"]


async def test_a_reader_ahead_of_the_table_gets_all_of_it(tables: Tables) -> None:
    """It read another table then: one that was deleted and made anew."""
    async with tables() as (one, _):
        await one.commit(at_members(0), Change(members=(ENGINE,)))
        assert (await one.read(Versions(9, 0))).members == (ENGINE,)
        assert (await one.read(Versions(0, 9))).members == (ENGINE,)


async def test_every_name_has_a_version_of_its_own(tables: Tables) -> None:
    async with tables() as (one, other):
        assert await one.commit(Expect(names={"a": 0}), Change(names=(Name("a", "stage", 1),))) == Versions(0, 1)
        assert await other.commit(Expect(names={"b": 0}), Change(names=(Name("b", "engine-1", 2),))) == Versions(0, 2)
        assert await other.commit(Expect(names={"a": 0}), Change(names=(Name("a", "engine-1", 2),))) is None
        taken = (await other.read()).name("a")
        assert taken is not None
        assert (taken.node, taken.version) == ("stage", 1)


async def test_a_fence_grows_with_every_owner_and_stays_while_the_owner_stays(tables: Tables) -> None:
    async with tables() as (one, other):

        async def claim(table: MembershipTable, version: int, node: str, incarnation: int) -> Name:
            row = Name("singleton", node, incarnation)
            assert await table.commit(Expect(names={"singleton": version}), Change(names=(row,))) is not None
            stored = (await one.read()).name("singleton")
            assert stored is not None
            assert (stored.node, stored.incarnation, stored.version) == (node, incarnation, version + 1)
            return stored

        first = await claim(one, 0, "stage", 1)
        same = await claim(other, 1, "stage", 1)
        assert same.fence == first.fence
        restarted = await claim(other, 2, "stage", 2)
        released = await claim(one, 3, "", 0)
        again = await claim(one, 4, "stage", 2)
        fences = [first.fence, restarted.fence, released.fence, again.fence]
        assert fences == sorted(set(fences))
        assert fences[0] > 0


async def test_a_commit_of_several_rows_happens_wholly_or_not_at_all(tables: Tables) -> None:
    async with tables() as (one, other):
        await one.commit(Expect(names={"taken": 0}), Change(names=(Name("taken", "stage", 1),)))
        change = Change(members=(ENGINE,), names=(Name("free", "engine-1", 1), Name("taken", "engine-1", 1)))
        assert await other.commit(Expect(members=0, names={"free": 0, "taken": 0}), change) is None
        snapshot = await one.read()
        assert snapshot.members == ()
        assert [row.name for row in snapshot.names] == ["taken"]
        assert await other.commit(Expect(members=0, names={"free": 0, "taken": 1}), change) == Versions(1, 2)


async def test_what_is_expected_without_being_changed_is_a_condition(tables: Tables) -> None:
    async with tables() as (one, other):
        await one.commit(at_members(0), Change(members=(ENGINE,)))
        claim = Change(names=(Name("lobby", "stage", 1),))
        assert await other.commit(Expect(members=0, names={"lobby": 0}), claim) is None
        assert await other.commit(Expect(members=1, names={"lobby": 0}), claim) == Versions(1, 1)
        assert await other.commit(Expect(members=1, names={"lobby": 0}), Change(members=(STAGE,))) is None


@pytest.mark.parametrize(
    ("expect", "change"),
    [
        (Expect(), Change(members=(ENGINE,))),
        (Expect(members=0), Change(names=(Name("lobby", "stage", 1),))),
        (Expect(members=0), Change(members=(ENGINE, ENGINE))),
        (Expect(members=0), Change(members=(replace(ENGINE, node=""),))),
        (Expect(members=0), Change(members=(replace(ENGINE, status="asleep"),))),  # type: ignore[arg-type]
        (Expect(members=0), Change(members=(replace(ENGINE, pid="12"),))),  # type: ignore[arg-type]
        (Expect(members=0), Change(members=(replace(ENGINE, suspicions=("stage",)),))),  # type: ignore[arg-type]
        (Expect(members=0), Change(members=(replace(ENGINE, incarnation=2**63),))),
        (Expect(members=0), Change(members=(replace(ENGINE, tags=("gpu", 1)),))),  # type: ignore[arg-type]
        (Expect(members=0), Change(members=(replace(ENGINE, capacity=-1),))),
        (Expect(members=0), Change(members=(replace(ENGINE, draining=1),))),  # type: ignore[arg-type]
        (Expect(members=0), Change(members=("engine-1",))),  # type: ignore[arg-type]
        (Expect(names={"lobby": 0}), Change(names=(Name("lobby", "stage", "1"),))),  # type: ignore[arg-type]
    ],
)
async def test_a_commit_that_no_table_may_accept_is_refused_and_changes_nothing(
    tables: Tables, expect: Expect, change: Change
) -> None:
    async with tables() as (one, other):
        with pytest.raises(ValueError, match=r"must|needs|once"):
            await one.commit(expect, change)
        assert (await other.read()).versions == Versions(0, 0)


async def test_hints_tell_where_the_table_is_and_each_time_that_another_moves_it(tables: Tables) -> None:
    async with tables() as (one, other):
        hints = other.hints()
        assert await anext(hints) == Versions(0, 0)
        await one.commit(at_members(0), Change(members=(ENGINE,)))
        assert await anext(hints) == Versions(1, 0)
        await one.commit(Expect(names={"a": 0}), Change(names=(Name("a", "stage", 1),)))
        assert await anext(hints) == Versions(1, 1)
        await hints.aclose()  # type: ignore[attr-defined]


async def test_a_closed_handle_says_so_and_closing_twice_is_fine(tables: Tables) -> None:
    async with tables() as (one, other):
        await other.close()
        await other.close()
        await one.commit(at_members(0), Change(members=(ENGINE,)))
        if other is not one:
            with pytest.raises(TableError, match="closed"):
                await other.read()

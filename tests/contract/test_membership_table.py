"""What every membership table promises, checked on each of them through two handles, as two nodes would hold it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.servers import Etcd, Postgres
from understudy.actors import ActorSystem
from understudy.simulation import VirtualTable
from understudy.simulation.table import GIVEN_UP as VIRTUAL_GIVEN_UP
from understudy.simulation.table import TableHandle
from understudy.transport import etcd, postgres, sqlite
from understudy.transport.guard import VALUE_LIMIT, Fenced
from understudy.transport.memory import MemoryTable
from understudy.transport.opening import open_table
from understudy.transport.served import RemoteTable, TableServer
from understudy.transport.sqlite import SqliteTable
from understudy.transport.table import (
    NAMES_LIMIT,
    Change,
    Expect,
    Member,
    MembershipTable,
    Name,
    Snapshot,
    Suspicion,
    TableError,
    Versions,
)
from understudy.transport.view import View

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


@asynccontextmanager
async def at(address: str) -> AsyncIterator[Pair]:
    """Two handles of a table on a server."""
    one, other = await open_table(address), await open_table(address)
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture(params=["in memory", "virtual", "in SQLite", "served", "in PostgreSQL", "in etcd"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    match request.param:
        case "in memory":
            return lambda: in_memory(tmp_path)
        case "virtual":
            return lambda: virtual(tmp_path)
        case "in SQLite":
            return lambda: in_sqlite(tmp_path)
        case "served":
            return lambda: served(tmp_path)
        case "in PostgreSQL":
            server: Postgres = request.getfixturevalue("postgres")
            return lambda: at(server.fresh())
        case _:
            another: Etcd = request.getfixturevalue("etcd")
            return lambda: at(another.fresh())


def at_members(versions: Versions) -> Expect:
    return Expect(members=versions.members)


async def done(commit: Awaitable[Versions | None]) -> Versions:
    """The versions after a commit that must succeed."""
    versions = await commit
    assert versions is not None
    return versions


async def claim(table: MembershipTable, name: str, node: str, incarnation: int = 1, version: int = 0) -> int:
    """Take a name, which must succeed; the version of its row."""
    change = Change(names=(Name(name, node, incarnation),))
    return (await done(table.commit(Expect(names={name: version}), change))).names


NEW = Versions()
FEW = 8
"""Names given up that are remembered, where a test is about forgetting."""


async def test_a_new_table_is_empty_and_at_version_zero(tables: Tables) -> None:
    async with tables() as (one, other):
        for table in (one, other):
            assert await table.read() == Snapshot(NEW, whole=True)


async def test_what_one_node_commits_the_other_reads_unchanged(tables: Tables) -> None:
    async with tables() as (one, other):
        accused = replace(
            ENGINE, suspicions=(Suspicion("stage", 7), Suspicion("engine-2", 8)), reason="ohne Antwort: 幕"
        )
        versions = await done(one.commit(at_members(NEW), Change(members=(accused, STAGE))))
        snapshot = await other.read()
        assert (snapshot.versions, snapshot.whole) == (versions, True)
        assert sorted(snapshot.members, key=lambda row: row.node) == [accused, STAGE]
        assert snapshot.member("stage") == STAGE
        assert snapshot.member("nobody") is None


async def test_each_commit_moves_the_version_of_what_it_writes_and_no_other(tables: Tables) -> None:
    async with tables() as (one, other):
        first = await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        assert (first.members > 0, first.names) == (True, 0)
        second = await done(other.commit(Expect(names={"lobby": 0}), Change(names=(Name("lobby", "stage", 1),))))
        assert (second.members, second.names > 0) == (first.members, True)
        third = await done(one.commit(at_members(second), Change(members=(STAGE,))))
        assert (third.members > second.members, third.names) == (True, second.names)
        assert await one.commit(at_members(third), Change()) == third
        assert (await other.read()).versions == third


async def test_of_two_commits_that_expect_the_same_version_the_first_wins_and_the_second_changes_nothing(
    tables: Tables,
) -> None:
    async with tables() as (one, other):
        await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        assert await other.commit(at_members(NEW), Change(members=(STAGE,))) is None
        assert await other.read() == await one.read()
        assert (await other.read()).members == (ENGINE,)


async def test_of_many_commits_at_once_exactly_one_wins_each_version(tables: Tables) -> None:
    async with tables() as pair:
        now = NEW
        for _ in range(5):
            rows = [replace(ENGINE, node=f"engine-{number}") for number in range(8)]
            commits = [
                pair[number % 2].commit(at_members(now), Change(members=(row,))) for number, row in enumerate(rows)
            ]
            (now,) = [result for result in await asyncio.gather(*commits) if result is not None]
            assert (await pair[0].read()).versions == now


async def test_of_many_claims_at_once_each_is_accepted_or_refused_on_its_own(tables: Tables) -> None:
    async with tables() as pair:
        claims = [(f"room/{number % 40}", f"node-{number}") for number in range(120)]
        results = await asyncio.gather(
            *(
                pair[number % 2].commit(Expect(names={name: 0}), Change(names=(Name(name, node, 1),)))
                for number, (name, node) in enumerate(claims)
            )
        )
        won = [(claim, result) for claim, result in zip(claims, results) if result is not None]
        snapshot = await pair[1].read()
        rows = {row.name: row for row in snapshot.names}
        assert len(won) == len(rows) == 40
        for (name, node), versions in won:
            assert (rows[name].node, rows[name].version, rows[name].fence) == (node, versions.names, versions.names)
        assert snapshot.versions.names == max(row.version for row in snapshot.names)


async def test_a_newer_incarnation_takes_the_row_of_its_node(tables: Tables) -> None:
    async with tables() as (one, other):
        first = await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        newer = replace(ENGINE, incarnation=ENGINE.incarnation + 1)
        await done(other.commit(at_members(first), Change(members=(newer,))))
        assert (await one.read()).members == (newer,)


async def test_a_reader_gets_only_what_changed_since_the_versions_it_names(tables: Tables) -> None:
    async with tables() as (one, other):
        change = Change(members=(ENGINE,), names=(Name("lobby", "stage", 1),))
        await done(one.commit(Expect(members=0, names={"lobby": 0}), change))
        first = await other.read()
        assert await other.read(first.versions) == Snapshot(first.versions)

        second = await done(one.commit(at_members(first.versions), Change(members=(STAGE,))))
        delta = await other.read(first.versions)
        assert delta == Snapshot(second, members=(STAGE,))

        await claim(one, "runs", "stage")
        assert [row.name for row in (await other.read(delta.versions)).names] == ["runs"]
        assert {row.name for row in (await other.read(NEW)).names} == {"runs", "lobby"}


async def test_rows_come_in_the_order_of_their_changes(tables: Tables) -> None:
    async with tables() as (one, other):
        now, written = NEW, {"a": 0, "b": 0, "c": 0}
        for node in ["c", "a", "b", "c"]:
            change = Change(members=(replace(ENGINE, node=node),), names=(Name(node, "stage", 1),))
            now = await done(one.commit(Expect(now.members, {node: written[node]}), change))
            written[node] = now.names
        for snapshot in (await other.read(), await other.read(NEW)):
            assert [row.node for row in snapshot.members] == ["a", "b", "c"]
            assert [row.name for row in snapshot.names] == ["a", "b", "c"]


async def test_a_reader_ahead_of_the_table_gets_all_of_it_and_is_told_that_it_is_all(tables: Tables) -> None:
    """It read another table then: one that was deleted and made anew."""
    async with tables() as (one, _):
        await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        for ahead in (Versions(9_999_999, 0), Versions(0, 9_999_999)):
            snapshot = await one.read(ahead)
            assert (snapshot.members, snapshot.whole) == ((ENGINE,), True)


async def test_every_name_has_a_version_of_its_own(tables: Tables) -> None:
    async with tables() as (one, other):
        first = await claim(one, "a", "stage")
        second = await claim(other, "b", "engine-1")
        assert await other.commit(Expect(names={"a": 0}), Change(names=(Name("a", "engine-1", 2),))) is None
        assert await other.commit(Expect(names={"a": second}), Change(names=(Name("a", "engine-1", 2),))) is None
        taken = (await other.read()).name("a")
        assert taken == Name("a", "stage", 1, version=first, fence=first)


async def test_a_fence_grows_with_every_owner_and_stays_while_the_owner_stays(tables: Tables) -> None:
    async with tables() as (one, other):

        async def take(table: MembershipTable, version: int, node: str, incarnation: int) -> Name:
            written = await claim(table, "singleton", node, incarnation, version)
            stored = (await one.read()).name("singleton")
            assert stored is not None
            assert (stored.node, stored.incarnation, stored.version) == (node, incarnation, written)
            return stored

        first = await take(one, 0, "stage", 1)
        same = await take(other, first.version, "stage", 1)
        assert (same.fence, same.version > first.version) == (first.fence, True)
        restarted = await take(other, same.version, "stage", 2)
        released = await claim(one, "singleton", "", 0, restarted.version)
        again = await take(one, 0, "stage", 2)
        assert 0 < first.fence < restarted.fence < released < again.fence


async def test_a_name_given_up_is_told_once_and_then_is_no_row(tables: Tables) -> None:
    async with tables() as (one, other):
        taken = await claim(one, "lobby", "stage")
        await claim(one, "runs", "stage")
        before = (await other.read()).versions
        released = await claim(one, "lobby", "", 0, taken)
        delta = await other.read(before)
        assert delta == Snapshot(delta.versions, names=(replace(delta.names[0], name="lobby", node=""),))
        assert delta.versions.names == delta.names[0].version == released
        whole = await other.read()
        assert ([row.name for row in whole.names], whole.versions) == (["runs"], delta.versions)
        assert (await other.read(delta.versions)).names == ()


async def test_whoever_takes_a_name_that_was_given_up_expects_none(tables: Tables) -> None:
    async with tables() as (one, other):
        released = await claim(one, "lobby", "", 0, await claim(one, "lobby", "stage"))
        late = Change(names=(Name("lobby", "engine-1", 1),))
        assert await other.commit(Expect(names={"lobby": released}), late) is None
        assert await claim(other, "lobby", "engine-1") > released
        assert await one.commit(Expect(names={"lobby": 0}), late) is None
        view = View()
        view.update(await one.read(Versions(0, released - 1)))
        assert view.names["lobby"].node == "engine-1"


async def test_a_commit_of_several_rows_happens_wholly_or_not_at_all(tables: Tables) -> None:
    async with tables() as (one, other):
        taken = await claim(one, "taken", "stage")
        change = Change(members=(ENGINE,), names=(Name("free", "engine-1", 1), Name("taken", "engine-1", 1)))
        assert await other.commit(Expect(members=0, names={"free": 0, "taken": 0}), change) is None
        snapshot = await one.read()
        assert snapshot.members == ()
        assert [row.name for row in snapshot.names] == ["taken"]
        await done(other.commit(Expect(members=0, names={"free": 0, "taken": taken}), change))
        assert {row.node for row in (await one.read()).names} == {"engine-1"}


async def test_as_many_names_as_one_commit_may_touch_are_one_commit(tables: Tables) -> None:
    async with tables() as (one, other):
        names = [f"room/{number}" for number in range(NAMES_LIMIT)]
        change = Change(members=(ENGINE, STAGE), names=tuple(Name(name, "stage", 1) for name in names))
        versions = await done(one.commit(Expect(0, dict.fromkeys(names, 0)), change))
        assert {(row.version, row.fence) for row in (await other.read()).names} == {(versions.names, versions.names)}


async def test_what_is_expected_without_being_changed_is_a_condition(tables: Tables) -> None:
    async with tables() as (one, other):
        now = await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        lobby = Change(names=(Name("lobby", "stage", 1),))
        assert await other.commit(Expect(members=0, names={"lobby": 0}), lobby) is None
        await done(other.commit(Expect(members=now.members, names={"lobby": 0}), lobby))
        assert await other.commit(Expect(members=now.members, names={"lobby": 0}), Change(members=(STAGE,))) is None


async def test_thousands_of_names_are_read_whole_and_by_what_changed(tables: Tables) -> None:
    async with tables() as (one, other):
        parts = [[f"room/{part}/{number}" for number in range(NAMES_LIMIT)] for part in range(25)]

        async def change(node: str, versions: dict[str, int], names: list[str]) -> Versions:
            rows = tuple(Name(name, node, 1) for name in names)
            return await done(one.commit(Expect(names={name: versions[name] for name in names}), Change(names=rows)))

        everything = dict.fromkeys((name for part in parts for name in part), 0)
        await asyncio.gather(*(change("stage", everything, part) for part in parts))
        whole = await other.read()
        assert whole.whole
        assert {row.name for row in whole.names} == everything.keys()

        view = View()
        view.update(whole)
        held = {row.name: row.version for row in whole.names}
        await asyncio.gather(*(change("engine-1", held, part) for part in parts[:12]))
        await asyncio.gather(*(change("", held, part) for part in parts[12:24]))
        view.update(await other.read(view.versions))
        assert {row.name for row in view.names.values() if row.node == "engine-1"} == {n for p in parts[:12] for n in p}
        assert {row.name for row in view.names.values() if row.node == "stage"} == set(parts[24])
        assert view.versions == (await one.read()).versions


async def test_names_given_up_long_ago_are_forgotten_and_who_comes_too_late_for_them_is_told_everything(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the table does not grow with every name that ever was, and fences grow all the same."""
    for module in (sqlite, postgres, etcd):
        monkeypatch.setattr(module, "GIVEN_UP", FEW)
    async with tables() as (one, other):
        if isinstance(one, MemoryTable):
            one.rows = View(FEW)
        late, view = View(), View()
        kept = await claim(one, "kept", "stage")
        fence = await claim(one, "room/0", "stage")
        late.update(await other.read())
        assert set(late.names) == {"kept", "room/0"}
        fences = [await claim(one, "room/0", "", 0, fence)]
        few = VIRTUAL_GIVEN_UP if isinstance(one, TableHandle) else FEW
        for number in range(1, 4 * few):
            fences.append(await claim(one, f"room/{number}", "stage"))
            fences.append(await claim(one, f"room/{number}", "", 0, fences[-1]))
            if number % 5 == 0:
                view.update(await other.read(view.versions))

        delta = await other.read(late.versions)
        assert delta.whole or isinstance(other, RemoteTable)  # whose server remembers more than its table
        late.update(delta)
        view.update(await other.read(view.versions))
        assert set(late.names) == set(view.names) == {"kept"}
        assert late.name("kept") == Name("kept", "stage", 1, version=kept, fence=kept)
        last = await other.read(Versions(0, fences[-2 * FEW]))
        assert ({row.node for row in last.names}, last.whole) == ({""}, False)
        again = await claim(other, "room/0", "engine-1")
        assert [*fences, again] == sorted({*fences, again})


async def test_a_guarded_value_is_written_by_the_owner_and_read_by_everybody(tables: Tables) -> None:
    async with tables() as (one, other):
        assert await other.guarded_read("lobby", "topic") is None
        fence = await claim(one, "lobby", "stage")
        await one.guarded_write("lobby", fence, "topic", b"\x00old")
        await one.guarded_write("lobby", fence, "topic", b"\xffnew")
        await one.guarded_write("lobby", fence, "other", b"")
        assert await other.guarded_read("lobby", "topic") == b"\xffnew"
        assert await other.guarded_read("lobby", "other") == b""
        assert await other.guarded_read("lob", "bytopic") is None


async def test_the_write_of_an_owner_who_no_longer_is_one_is_refused_and_says_by_whom(tables: Tables) -> None:
    async with tables() as (one, other):
        old = await claim(one, "lobby", "stage")
        await one.guarded_write("lobby", old, "topic", b"ours")
        new = await claim(other, "lobby", "engine-1", version=old)
        with pytest.raises(
            Fenced, match=f"the fence {old} of .*'lobby'.* 'engine-1' has it, with the fence {new}"
        ) as late:
            await one.guarded_write("lobby", old, "topic", b"a zombie's")
        assert (late.value.name, late.value.fence) == ("lobby", old)
        assert late.value.owner == Name("lobby", "engine-1", 1, version=new, fence=new)
        assert await other.guarded_read("lobby", "topic") == b"ours"
        await other.guarded_write("lobby", new, "topic", b"theirs")

        await claim(other, "lobby", "", 0, new)
        for fence in (old, new, new + 100, 0):
            with pytest.raises(Fenced, match="nobody has it now") as nobody:
                await one.guarded_write("lobby", fence, "topic", b"a zombie's")
            assert nobody.value.owner is None
        assert await one.guarded_read("lobby", "topic") == b"theirs"


async def test_names_of_the_dead_are_given_up_by_another_and_neither_their_fences_nor_their_values_are_lost(
    tables: Tables,
) -> None:
    async with tables() as (one, other):
        names = [f"room/{number}" for number in range(NAMES_LIMIT)]
        alive = await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        taken = Change(names=tuple(Name(name, *ENGINE.key) for name in names))
        old = (await done(one.commit(Expect(names=dict.fromkeys(names, 0)), taken))).names
        await one.guarded_write("room/7", old, "topic", b"ours")
        dead = await done(one.commit(at_members(alive), Change(members=(replace(ENGINE, status="dead"),))))
        view = View()
        view.update(await other.read())

        given_up = Change(names=tuple(Name(name) for name in names))
        assert await other.commit(Expect(alive.members, dict.fromkeys(names, old)), given_up) is None
        again = await claim(one, "room/8", "stage", version=old)
        assert await other.commit(Expect(dead.members, dict.fromkeys(names, old)), given_up) is None
        now = await done(other.commit(Expect(dead.members, dict.fromkeys(names, old) | {"room/8": again}), given_up))
        view.update(await one.read(view.versions))
        assert (view.names, (await one.read()).names) == ({}, ())

        with pytest.raises(Fenced, match="nobody has it now"):
            await one.guarded_write("room/7", old, "topic", b"a zombie's")
        new = await claim(one, "room/7", "stage")
        assert new > now.names > old
        with pytest.raises(Fenced, match="'stage' has it"):
            await one.guarded_write("room/7", old, "topic", b"a zombie's")
        assert await one.guarded_read("room/7", "topic") == b"ours"
        await one.guarded_write("room/7", new, "topic", b"theirs")


async def test_an_owner_who_writes_its_row_again_keeps_its_fence_and_its_right_to_write(tables: Tables) -> None:
    async with tables() as (one, _):
        fence = await claim(one, "lobby", "stage")
        assert await claim(one, "lobby", "stage", version=fence) > fence
        await one.guarded_write("lobby", fence, "topic", b"still ours")


async def test_of_writes_and_claims_at_once_none_is_accepted_under_a_fence_of_the_past(tables: Tables) -> None:
    async with tables() as pair:
        name = "lobby"
        history: list[int] = []  # the fences as they came into force

        async def owner(number: int) -> None:
            table = pair[number % 2]
            for _ in range(6):
                row = (await table.read()).name(name)
                versions = await table.commit(
                    Expect(names={name: row.version if row is not None else 0}),
                    Change(names=(Name(name, f"node-{number}", 1),)),
                )
                if versions is not None:
                    history.append(versions.names)
                    with suppress(Fenced):
                        for _ in range(3):
                            await table.guarded_write(name, versions.names, "last", str(versions.names).encode())
                            last = int(await table.guarded_read(name, "last") or 0)
                            assert last >= versions.names

        await asyncio.gather(*(owner(number) for number in range(4)))
        assert len(set(history)) == len(history)
        assert int(await pair[0].guarded_read(name, "last") or 0) <= max(history)


@pytest.mark.parametrize("value", [bytes(VALUE_LIMIT), "text", bytes(VALUE_LIMIT + 1)])
async def test_a_guarded_value_has_half_a_mebibyte_at_most(tables: Tables, value: bytes) -> None:
    async with tables() as (one, other):
        fence = await claim(one, "lobby", "stage")
        if len(value) == VALUE_LIMIT:
            await other.guarded_write("lobby", fence, "blob", value)
            assert await one.guarded_read("lobby", "blob") == value
        else:
            with pytest.raises((ValueError, TypeError), match=r"is bytes|524,288 bytes at most"):
                await one.guarded_write("lobby", fence, "blob", value)
            for key in ("a\0b", "x" * 501):
                with pytest.raises(ValueError, match="key of a guarded value must"):
                    await one.guarded_write("lobby", fence, key, b"")


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
        (Expect(members=0), Change(members=(replace(ENGINE, reason="a\0b"),))),
        (Expect(names={"\ud800": 0}), Change()),
        (Expect(names={"x" * 501: 0}), Change(names=(Name("x" * 501, "stage", 1),))),
        (Expect(names={str(number): 0 for number in range(NAMES_LIMIT + 1)}), Change()),
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
        assert await anext(hints) == NEW
        now = await done(one.commit(at_members(NEW), Change(members=(ENGINE,))))
        assert await anext(hints) == now
        version = await claim(one, "a", "stage")
        assert await anext(hints) == replace(now, names=version)
        await hints.aclose()  # type: ignore[attr-defined]


async def test_a_closed_handle_says_so_and_closing_twice_is_fine(tables: Tables) -> None:
    async with tables() as (one, other):
        await other.close()
        await other.close()
        await one.commit(at_members(NEW), Change(members=(ENGINE,)))
        if other is not one:
            for call in (other.read(), other.commit(at_members(NEW), Change()), other.guarded_read("lobby", "topic")):
                with pytest.raises(TableError, match="closed"):
                    await call

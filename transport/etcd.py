"""The membership table in etcd: for a cluster of several machines that has one already, such as Kubernetes'.

    PREFIX/version/members, /version/names   written with every commit that changes members, or names: hints watch them
    PREFIX/member/NODE     the row           PREFIX/name/NAME     the row of a name that somebody has
    PREFIX/gone/NAME       it was given up   PREFIX/forgotten     up to where such notes may be missing
    PREFIX/guarded/NAME/KEY    a value and its fence            PREFIX/layout

etcd counts its own revisions, and says for each key at which it was written last: these are our versions and fences. So
a name's row is compared with nothing but itself, and claims of different names never meet. A commit is one transaction;
those that are under way together, and touch different names, share one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress

from understudy.transport.commits import Group
from understudy.transport.etcd_client import (
    Answer,
    Compacted,
    EtcdClient,
    Operation,
    Row,
    delete,
    is_at,
    look,
    look_under,
    put,
    together,
)
from understudy.transport.guard import Fenced, Write, check_fence, check_write
from understudy.transport.rows import member_read, member_text
from understudy.transport.table import (
    NAMES_LIMIT,
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

LAYOUT = "1"

NESTED = 20
"""Operations in a transaction inside another one: 128 less those of the outer one may be there."""

PAGE = 2000
"""Rows that are read at once: what is read of them holds the loop for a few milliseconds."""

POLL = 5.0
"""Seconds between two looks at the versions when the watch is silent."""

AGAIN = 1.0
"""Seconds until hints try a server again that is away."""

WRITTEN_BYTES = 900_000
"""Of values in one request: an etcd takes 1.5 MiB, and base64 makes four bytes of three."""

READINGS = 3
"""How often a reading is begun that etcd's compaction overtakes."""

TRIES = 20
"""How often a guarded write is tried whose name or value changes between the look and the write."""


class EtcdTable:
    """Made by `await EtcdTable.open(address)`; let go of by `await table.close()`."""

    def __init__(self, address: str) -> None:
        self._client = EtcdClient(address)
        self._prefix = self._client.prefix or "understudy"
        self._closed = False
        self._released = GIVEN_UP  # names given up by us since we last looked how many are remembered
        self._commits: Group[Commit, Versions | None] = Group(self._write)
        self._writes: Group[Write, None] = Group(self._guard)

    @classmethod
    async def open(cls, address: str) -> EtcdTable:
        """The table there; it is made if it is not.

        Raises TableUnusable when it can never be our table, TableUnavailable when it cannot be had now, ValueError for an
        address that is none.
        """
        table = cls(address)
        try:
            layout = table._key("layout")
            made = await table._client.txn([is_at(layout, 0)], [put(layout, LAYOUT)], [look(layout)])
            if not made.succeeded:
                table._check_layout(made.found[0])
        except BaseException:
            await table.close()
            raise
        return table

    def __str__(self) -> str:
        return f"etcd at {self._client.label}"

    async def read(self, since: Versions | None = None) -> Snapshot:
        """See MembershipTable."""
        for _ in range(READINGS - 1):
            with suppress(Compacted):
                return await self._read(since)
        return await self._read(since)

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """See MembershipTable."""
        check(expect, change)
        self._client.check_open()
        return await self._commits.add((expect, change))

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """See MembershipTable."""
        check_write((name, fence, key, value))
        self._client.check_open()
        await self._writes.add((name, fence, key, value))

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        """See MembershipTable."""
        (values,) = (await self._client.txn((), [look(self._key("guarded/", f"{name}\0{key}"))])).found
        return _guarded(values)[1]

    async def hints(self) -> AsyncIterator[Versions]:
        """See MembershipTable. A watch; besides, every 5 s the versions are looked at."""
        seen: Versions | None = None
        while not self._closed:
            try:
                async with aclosing(self._client.watch(self._key("version/"), POLL)) as changes:
                    async for heard in changes:
                        members, names = (await self._client.txn((), self._look_at_versions())).found
                        now = Versions(_revision(members), _revision(names))
                        if now != seen:
                            seen = now
                            yield now
                            if not heard:
                                break  # the watch does not tell us: its connection is dead, and nobody knows
            except TableError:
                await asyncio.sleep(AGAIN)

    async def close(self) -> None:
        """See MembershipTable. Waits for what is under way; twice is fine."""
        self._closed = True
        await self._commits.finish()
        await self._writes.finish()
        await self._client.close()

    # --- keys ---

    def _key(self, kind: str, rest: str = "") -> str:
        return f"{self._prefix}/{kind}{rest}"

    def _look_at_versions(self) -> list[Operation]:
        return [look(self._key("version/members")), look(self._key("version/names"))]

    def _name(self, row: Row) -> Name:
        kind, _, name = row.key.removeprefix(self._prefix + "/").partition("/")
        if kind == "gone":
            return Name(name, version=row.revision, fence=row.revision)
        node, incarnation, fence = json.loads(row.value)
        return Name(name, node, incarnation, row.revision, fence or row.revision)

    def _check_layout(self, rows: list[Row]) -> None:
        if rows and rows[0].value.decode() != LAYOUT:
            raise TableUnusable(
                f"the membership table {self._client.label} is that of another version of Understudy (layout "
                f"{rows[0].value.decode()}, this one reads {LAYOUT}); run the same version on every node, or name another prefix"
            )

    # --- reading ---

    async def _read(self, since: Versions | None) -> Snapshot:
        after = since or Versions()
        answer = await self._client.txn(
            (),
            [
                look(self._key("layout")),
                look(self._key("forgotten")),
                *self._look_at_versions(),
                look_under(self._key("member/"), minModRevision=after.members + 1),
                *(self._changed(kind, after.names + 1) for kind in ("name/", "gone/") if since is not None),
            ],
        )
        layout, forgotten, members_at, names_at, member_rows, *name_rows = answer.found
        self._check_layout(layout)
        now = Versions(_revision(members_at), _revision(names_at))
        oldest = int(forgotten[0].value) if forgotten else 0
        whole = since is None or not has_delta(since, now, oldest)
        if whole:
            name_rows = [await self._all_names(answer.revision)]
            if after != Versions():
                found = await self._client.txn((), [look_under(self._key("member/"), revision=answer.revision)])
                member_rows = found.found[0]
        else:
            name_rows = [
                await self._rest(kind, rows, answer.revision) for kind, rows in zip(("name/", "gone/"), name_rows)
            ]
        members = [member_read(row.value.decode()) for row in sorted(member_rows, key=lambda row: row.revision)]
        names: dict[str, Name] = {}
        for name in sorted((self._name(row) for rows in name_rows for row in rows), key=lambda name: name.version):
            names.pop(name.name, None)
            names[name.name] = name
        return Snapshot(now, tuple(members), tuple(names.values()), whole=whole)

    def _changed(self, kind: str, since: int, revision: int = 0) -> Operation:
        return look_under(
            self._key(kind), minModRevision=since, limit=PAGE, sortOrder="ASCEND", sortTarget="MOD", revision=revision
        )

    async def _rest(self, kind: str, rows: list[Row], revision: int) -> list[Row]:
        """What changed, from its first page on. Keys that changed together may come twice."""
        page = rows
        while len(page) == PAGE:
            (page,) = (await self._client.txn((), [self._changed(kind, page[-1].revision, revision)])).found
            rows = rows + page
        return rows

    async def _all_names(self, revision: int) -> list[Row]:
        rows: list[Row] = []
        start, end = self._key("name/"), self._key("name0")
        while True:
            found = await self._client.txn((), [look(start, range_end=end, limit=PAGE, revision=revision)])
            rows += found.found[0]
            if len(found.found[0]) < PAGE:
                return rows
            start = rows[-1].key + "\0"

    # --- writing ---

    async def _write(self, commits: Sequence[Commit]) -> list[Versions | None]:
        """Commits that touch the same names go one after the other, the rest in as few transactions as may be."""
        results: dict[int, Versions | None] = {}
        waiting = list(range(len(commits)))
        while waiting:
            batches = _batches(commits, waiting)
            for done in await asyncio.gather(*(self._transact(commits, batch) for batch in batches)):
                results |= done
            waiting = [number for number in waiting if number not in results]
        if self._released >= GIVEN_UP:
            await self._forget()
        return [results[number] for number in range(len(commits))]

    async def _transact(self, commits: Sequence[Commit], batch: list[int]) -> dict[int, Versions | None]:
        """What became of those whose fate is known: of all, or of those that lost."""
        expects = [commits[number][0] for number in batch]
        changes = [commits[number][1] for number in batch]
        names = {name: version for expect in expects for name, version in expect.names.items()}
        members = {expect.members for expect in expects if expect.members is not None}
        at_members = self._key("version/members")
        compares = [is_at(self._key("name/", name), version) for name, version in names.items()]
        compares += [is_at(at_members, version) for version in members]
        writes = await self._operations(changes, names)
        # These at the top: etcd asks its quota only about what it finds there.
        moved = [put(at_members, b"")] if any(change.members for change in changes) else []
        moved += [put(self._key("version/names"), b"")] if any(change.names for change in changes) else []
        seen = [look(self._key("name/", name), keysOnly=True) for name in names]
        answer = await self._client.txn(
            compares,
            [*together(writes, NESTED), *moved, *self._look_at_versions()],
            [look(at_members), *together(seen, NESTED)],
        )
        if answer.succeeded:
            now = Versions(*(_revision(rows) for rows in answer.found))
            self._released += sum(not row.node for change in changes for row in change.names)
            return dict.fromkeys(batch, now)
        there = dict(zip(names, map(_revision, answer.found[1:])))
        return {number: None for number in batch if _has_lost(commits[number][0], _revision(answer.found[0]), there)}

    async def _operations(self, changes: list[Change], expected: dict[str, int]) -> list[Operation]:
        members = [row for change in changes for row in change.members]
        names = [row for change in changes for row in change.names]
        # Who has it already keeps the fence; the compare makes sure that it is that row still.
        held = [self._key("name/", row.name) for row in names if row.node and expected[row.name]]
        found = (
            await self._client.txn((), together([look(key) for key in held], NESTED)) if held else Answer(True, 0, [])
        )
        owners = {owner.name: owner for rows in found.found for owner in map(self._name, rows)}
        writes = [put(self._key("member/", row.node), member_text(row)) for row in members]
        for row in names:
            if row.node:
                old = owners.get(row.name)
                same = old is not None and (old.node, old.incarnation) == (row.node, row.incarnation)
                fence = old.fence if old is not None and same else 0  # 0: the revision of this very write
                writes.append(put(self._key("name/", row.name), json.dumps([row.node, row.incarnation, fence])))
            else:
                writes += [delete(self._key("name/", row.name)), put(self._key("gone/", row.name), b"")]
        return writes

    async def _guard(self, writes: Sequence[Write]) -> list[Fenced | None]:
        results: list[Fenced | None] = []
        while part := _that_fit(writes[len(results) :]):
            results += await self._guard_together(part)
        return results

    async def _guard_together(self, writes: Sequence[Write]) -> list[Fenced | None]:
        """Write those whose fences are in force, if nothing of theirs changes between the look and the write; else look again."""
        rows = list(dict.fromkeys(self._key("name/", name) for name, _, _, _ in writes))
        places = [self._key("guarded/", f"{name}\0{key}") for name, _, key, _ in writes]
        for _ in range(TRIES):
            looks = [look(row) for row in rows] + [look(place) for place in places]
            found = (await self._client.txn((), together(looks, NESTED))).found
            seen = dict(zip((*rows, *places), found))
            owners = {owner.name: owner for row in rows for owner in map(self._name, seen[row])}
            results = [
                _refused(write, owners.get(write[0]), _guarded(seen[place])[0]) for write, place in zip(writes, places)
            ]
            puts = [
                put(place, fence.to_bytes(8) + value)
                for (_, fence, _, value), place, result in zip(writes, places, results)
                if result is None
            ]
            as_seen = [is_at(key, _revision(there)) for key, there in seen.items()]
            if not puts or (await self._client.txn(as_seen, puts)).succeeded:
                return results
        raise TableUnavailable(
            f"names or their values change all the time in the membership table {self._client.label}: {TRIES} tries were too late"
        )

    async def _forget(self) -> None:
        """Delete the oldest notes about names that were given up."""
        (notes,) = (
            await self._client.txn(
                (), [look_under(self._key("gone/"), keysOnly=True, sortOrder="DESCEND", sortTarget="MOD")]
            )
        ).found
        self._released = 0
        if old := notes[GIVEN_UP:]:
            await self._client.txn((), [put(self._key("forgotten"), str(old[0].revision))])
            for start in range(0, len(old), NAMES_LIMIT):
                part = old[start : start + NAMES_LIMIT]
                # Those that were given up once more meanwhile stay, and what stands beside them until the next time.
                await self._client.txn(
                    [is_at(row.key, row.revision) for row in part], [delete(row.key) for row in part]
                )


def _batches(commits: Sequence[Commit], waiting: list[int]) -> list[list[int]]:
    """Commits that may be one transaction each: no two of all of them touch the same name, one changes members."""
    batches: list[list[int]] = [[]]
    touched: set[str] = set()
    room, members, version = NAMES_LIMIT, False, None
    for number in waiting:
        expect, change = commits[number]
        if touched & expect.names.keys() or (change.members and members):
            continue
        if len(expect.names) > room or (expect.members is not None and version not in (None, expect.members)):
            batches.append([])
            room, version = NAMES_LIMIT, None
        batches[-1].append(number)
        touched |= expect.names.keys()
        room -= len(expect.names)
        members = members or bool(change.members)
        version = expect.members if expect.members is not None else version
    return [batch for batch in batches if batch]


def _that_fit(writes: Sequence[Write]) -> list[Write]:
    """The first ones that fit into a transaction: not too many, not too long, no value twice."""
    part: list[Write] = []
    keys: set[tuple[str, str]] = set()
    room = WRITTEN_BYTES
    for write in writes:
        name, _, key, value = write
        room -= len(value)
        if (part and room < 0) or (name, key) in keys or len(part) == NAMES_LIMIT // 2:
            break
        keys.add((name, key))
        part.append(write)
    return part


def _refused(write: Write, owner: Name | None, seen: int) -> Fenced | None:
    name, fence, _, _ = write
    try:
        check_fence(name, fence, owner, seen)
    except Fenced as refused:
        return refused
    return None


def _has_lost(expect: Expect, members: int, names: dict[str, int]) -> bool:
    return expect.members not in (None, members) or any(
        names[name] != version for name, version in expect.names.items()
    )


def _revision(rows: list[Row]) -> int:
    return rows[0].revision if rows else 0


def _guarded(rows: list[Row]) -> tuple[int, bytes | None]:
    return (int.from_bytes(rows[0].value[:8]), rows[0].value[8:]) if rows else (0, None)

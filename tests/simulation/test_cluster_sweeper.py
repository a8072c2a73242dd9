"""Names whose owner is gone and for which nobody asks are deleted; none that somebody has, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import pytest

from tests.simulation.realm import Realm
from understudy.actors import Draining
from understudy.simulation import Cluster, Simulation
from understudy.simulation.table import TableHandle
from understudy.transport import Change, Expect, Fenced, Name, Node, TableError, Versions
from understudy.transport.names import TOGETHER

MANY = 2_500
"""Names of one node: more than a wave."""


class Attic(Realm):
    """Every life of a node takes names that nobody else wants, and one now and then that all want."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.held: dict[tuple[str, int], dict[str, Name]] = {}
        self.calm = False

    async def inhabit(self, node: Node) -> None:
        self.held[node.name, node.incarnation] = {}
        node.names.on_lost(lambda name, fence: self.lost(node, name))
        self.does(self.hoard(node))

    def lost(self, node: Node, name: str) -> None:
        if not node.put_out and node._stopping is None:
            self._failed.append(AssertionError(f"{node.name} lives, and has lost {name}"))

    async def hoard(self, node: Node) -> None:
        held = self.held[node.name, node.incarnation]
        for number in itertools.count():
            await asyncio.sleep(self.simulation.delay(0.05, 1.0, "hoards"))
            if self.calm:
                return
            name = f"{node.name}/{node.incarnation}/{number}"
            if self.simulation.chance(0.3, "common"):
                name = f"common/{self.simulation.random.randrange(20)}"
            with suppress(TableError, Draining):
                row = await node.names.claim(name)
                if row is not None:
                    held[name] = row
                    if self.simulation.chance(0.2, "gives up"):
                        del held[name]
                        await node.names.release(name)

    async def check(self) -> None:
        """The table has what the living have, and everybody has read that."""
        living = {node.name: node for node in self.survivors()}
        had = {row.name: row for node in living.values() for row in self.held[node.name, node.incarnation].values()}
        rows = {row.name: row for row in (await self.record.read()).names}
        left = [rows[name] for name in rows.keys() - had.keys()]
        assert rows == had, f"{left} are left, {had.keys() - rows.keys()} are lost"
        for node in living.values():
            assert {row.name: row for row in node.names.rows()} == rows, f"{node.name} has not read what was deleted"


@pytest.mark.seeds(50)
async def test_whatever_happens_the_names_of_the_gone_are_deleted_and_none_of_the_living(
    simulation: Simulation,
) -> None:
    async with Attic(simulation) as realm:
        await realm.trouble()
        await asyncio.sleep(2.0)
        realm.calm = True
        await realm.quiet()
        realm.record.check()
        await realm.check()


def rows_of(cluster: Cluster, node: str) -> list[Name]:
    return [row for row in cluster.table.rows.rows.names.values() if row.node == node]


async def take(cluster: Cluster, node: Node, count: int) -> None:
    async def take() -> None:
        await asyncio.gather(*(node.names.claim(f"{node.name}/{number}") for number in range(count)))

    await cluster.run(node.name, take())


async def test_the_names_of_the_dead_are_deleted_after_a_minute_in_small_commits_by_one_node(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    sweepers = set[str]()
    commit = TableHandle.commit

    async def counted(self: TableHandle, expect: Expect, change: Change) -> Versions | None:
        if change.names and not change.names[0].node:
            sizes.append(len(change.names))
            sweepers.add(self._node)
        return await commit(self, expect, change)

    async with Cluster(simulation) as cluster:
        for name in "abcd":
            await cluster.start(name)
        await cluster.met()
        b = cluster.node("b")
        await take(cluster, b, MANY)
        await take(cluster, cluster.node("c"), 10)
        kept = rows_of(cluster, "c")
        monkeypatch.setattr(TableHandle, "commit", counted)
        cluster.crash("b")
        await asyncio.sleep(60)
        assert len(rows_of(cluster, "b")) == MANY
        while len(rows_of(cluster, "b")) == MANY:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.1)
        d = cluster.node("d")
        late = await cluster.run("d", d.names.claim(rows_of(cluster, "b")[-1].name))  # its wave is still to come
        await asyncio.sleep(30)
        assert rows_of(cluster, "b") == []
        assert rows_of(cluster, "c") == kept
        assert [late] == rows_of(cluster, "d") == d.names.mine()
        assert (sum(sizes), max(sizes), sweepers) == (MANY - 1, TOGETHER, {"a"})
        assert all(cluster.node(name).names.row("b/0") is None for name in "acd")


async def test_who_takes_a_name_after_it_was_deleted_has_a_higher_fence_and_its_last_owner_writes_no_more(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation, sweep_after=1.0) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        table = cluster.table.rows
        old = await cluster.run("b", b.names.claim("ledger"))
        assert old is not None
        await table.guarded_write("ledger", old.fence, "balance", b"42")
        cluster.pause("b")
        await asyncio.sleep(20)
        assert table.rows.name("ledger") is None
        with pytest.raises(Fenced, match="nobody has it now"):
            await table.guarded_write("ledger", old.fence, "balance", b"a zombie's")
        new = await cluster.run("a", a.names.claim("ledger"))
        assert new is not None
        assert new.fence > old.fence
        with pytest.raises(Fenced, match="'a' has it"):
            await table.guarded_write("ledger", old.fence, "balance", b"a zombie's")
        assert await table.guarded_read("ledger", "balance") == b"42"


async def test_nothing_is_deleted_while_the_table_is_away_and_another_does_it_when_the_oldest_cannot(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation, sweep_after=5.0) as cluster:
        for name in "abc":
            await cluster.start(name)
        await cluster.met()
        await take(cluster, cluster.node("c"), 10)
        cluster.crash("c")
        await asyncio.sleep(6)
        cluster.table.fail(1.0)
        await asyncio.sleep(60)
        assert len(rows_of(cluster, "c")) == 10
        cluster.table.mend()
        cluster.table.fail(1.0, "a")
        await asyncio.sleep(30)
        assert rows_of(cluster, "c") == []
        assert all(row.status == "active" for row in cluster.node("b").members() if row.node != "c")

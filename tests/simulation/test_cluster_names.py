"""Who has which name, whatever happens to nodes, network and table."""

from __future__ import annotations

import asyncio

import pytest

from understudy.actors import Draining
from understudy.simulation import Cluster, Simulation
from understudy.simulation.table import TableHandle
from understudy.transport import Change, Expect, TableUnavailable, Versions


async def test_one_of_many_claims_wins_and_everybody_sees_who(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        nodes = [await cluster.start(name) for name in "abc"]
        await cluster.met()
        rows = await asyncio.gather(*(cluster.run(node.name, node.names.claim("leader")) for node in nodes))
        [row] = [row for row in rows if row is not None]
        assert row.fence == 1
        for node in nodes:
            await node.names.look()
            assert node.names.owner("leader") == row
        assert await cluster.node(row.node).names.claim("leader") == row
        assert cluster.node(row.node).names.mine() == [row]


async def test_what_is_given_up_is_anybodys_and_its_fence_grows(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        first = await cluster.run("a", a.names.claim("leader"))
        assert first is not None
        assert await cluster.run("b", b.names.claim("leader")) is None
        moved = b.names.moved("leader")
        await cluster.run("a", a.names.release("leader"))
        await moved
        assert b.names.owner("leader") is None
        second = await cluster.run("b", b.names.claim("leader"))
        assert second is not None
        assert second.fence > first.fence
        assert a.names.mine() == []


async def test_a_name_of_the_dead_the_gone_and_the_restarted_is_free_at_once(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        for end in ("crash", "stop", "restart"):
            b = await cluster.start("b") if end == "crash" else await cluster.restart("b")
            await cluster.met()
            theirs = await cluster.run("b", b.names.claim("leader"))
            assert theirs is not None
            assert await cluster.run("a", a.names.claim("leader")) is None
            moved = a.names.moved("leader")
            if end == "crash":
                cluster.crash("b")
            elif end == "stop":
                await cluster.stop("b")
            else:
                await cluster.restart("b")
            await moved
            ours = await cluster.run("a", a.names.claim("leader"))
            assert ours is not None
            assert ours.fence > theirs.fence
            await cluster.run("a", a.names.release("leader"))


async def test_a_name_is_taken_from_the_dead_only_while_the_table_says_that_they_are(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        await cluster.run("b", b.names.claim("leader"))
        expected: list[Expect] = []
        rows = cluster.table.rows
        commit = rows.commit

        async def seen(expect: Expect, change: Change) -> Versions | None:
            if change.names:
                expected.append(expect)
            return await commit(expect, change)

        monkeypatch.setattr(rows, "commit", seen)
        await cluster.run("a", a.names.claim("free"))
        moved = a.names.moved("leader")
        cluster.crash("b")
        await moved
        await cluster.run("a", a.names.claim("leader"))
        assert [expect.members for expect in expected] == [None, (await rows.read()).versions.members]


async def test_a_name_that_somebody_else_takes_first_keeps_no_other_waiting(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        wanted = [f"{kind} {number}" for number in range(8) for kind in ("contested", "quiet")]
        tries: dict[str, int] = dict.fromkeys(wanted, 0)
        rows = cluster.table.rows
        commit = rows.commit

        async def rival(expect: Expect, change: Change) -> Versions | None:
            """Always a moment earlier, with one name at a time."""
            ours = [row.name for row in change.names if row.node == "a"]
            for name in ours:
                tries[name] += 1
            first = next((name for name in ours if name[0] == "c" and name not in taken), "")
            if first:
                taken.add(first)
                assert await cluster.run("b", b.names.claim(first))
            return await commit(expect, change)

        taken: set[str] = set()
        monkeypatch.setattr(rows, "commit", rival)
        cluster.table.slow(0.1, 0.1)  # all but the first come together
        claims = asyncio.gather(*(a.names.claim(name) for name in wanted))
        got = dict(zip(wanted, await claims))
        assert [name for name in wanted if got[name]] == [name for name in wanted if name[0] == "q"]
        assert max(tries.values()) == 2


async def test_who_is_declared_dead_loses_its_names_before_it_says_anything_more(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        for name in "abc":
            await cluster.start(name)
        await cluster.met()
        a = cluster.node("a")
        lost: list[tuple[str, int]] = []
        a.names.on_lost(lambda name, fence: lost.append((name, fence)))
        row = await cluster.run("a", a.names.claim("leader"))
        assert row is not None
        cluster.network.isolate("a")
        await a.ended()
        assert lost == [("leader", row.fence)]
        assert a.names.mine() == []
        with pytest.raises(TableUnavailable, match="out of the cluster"):
            await a.names.claim("leader")


async def test_nothing_changes_hands_while_the_table_is_away(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()
        await cluster.run("a", a.names.claim("kept"))
        await cluster.run("a", a.names.claim("given up"))
        cluster.table.fail(1.0)
        with pytest.raises(TableUnavailable):
            await cluster.run("a", a.names.claim("wanted"))
        with pytest.raises(TableUnavailable):
            await cluster.run("a", a.names.release("given up"))
        cluster.crash("b")
        await asyncio.sleep(30)
        assert [row.name for row in a.names.mine()] == ["kept"]
        cluster.table.mend()
        moved = a.names.moved("given up")
        await moved
        assert a.names.owner("given up") is None
        await a.names.look()
        assert a.names.owner("wanted") is None
        assert b is not a


async def test_a_node_that_drains_takes_no_names_and_keeps_its_own(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        row = await cluster.run("a", a.names.claim("ours"))
        a.names.draining = True
        assert await cluster.run("a", a.names.claim("ours")) == row
        with pytest.raises(Draining):
            await cluster.run("a", a.names.claim("another"))


async def test_a_name_is_had_by_one_on_its_node_too(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        one, other = object(), object()
        wanted = (one, other, one, other, None)
        rows = await asyncio.gather(*(cluster.run("a", a.names.claim("leader", by)) for by in wanted))
        [(has, row)] = {(by, row) for by, row in zip(wanted, rows) if row is not None}  # whoever came first
        assert rows == [row if by is has else None for by in wanted]
        late = other if has is one else one
        assert await cluster.run("a", a.names.claim("leader", has)) == row
        assert await cluster.run("a", a.names.claim("leader", late)) is None
        a.names.give_up("leader")
        next_row = await cluster.run("a", a.names.claim("leader", late))
        assert next_row is not None
        assert next_row.fence > row.fence


async def test_who_waits_behind_a_claim_that_fails_claims_the_name_itself(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        a = await cluster.start("a")
        cluster.table.slow(0.5, 0.5)
        first = asyncio.ensure_future(cluster.run("a", a.names.claim("leader", "one")))
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(cluster.run("a", a.names.claim("leader", "other")))
        await asyncio.sleep(0.1)
        first.cancel()
        row = await second
        assert row is not None
        assert a.names.fence("leader") == row.fence


async def test_a_node_that_is_no_member_yet_is_refused_a_name_instead_of_claiming_it_without_end(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Cluster(simulation) as cluster:
        node = await cluster.start("a")
        with monkeypatch.context() as early:
            early.setattr(node._membership, "is_active", lambda *life: False)  # others may ask its host that soon
            with pytest.raises(TableUnavailable, match="no member yet"):
                await node.names.claim("desk")
        row = await node.names.claim("desk")
        assert row is not None
        assert (await cluster.table.rows.read()).versions.names == 1


async def test_a_claim_that_failed_though_the_table_took_it_is_given_up_also_when_it_was_read_before_it_failed(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = TableHandle.commit
    async with Cluster(simulation) as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await cluster.met()

        async def answer_lost(self: TableHandle, expect: Expect, change: Change) -> Versions | None:
            await commit(self, expect, change)
            while a.names.row("leader") is None:  # noqa: ASYNC110 - virtual time makes looking cheap
                await asyncio.sleep(0.01)
            raise TableUnavailable("the answer was lost")

        monkeypatch.setattr(TableHandle, "commit", answer_lost)
        with pytest.raises(TableUnavailable, match="the answer was lost"):
            await cluster.run("a", a.names.claim("leader"))
        monkeypatch.setattr(TableHandle, "commit", commit)
        await asyncio.sleep(2.0)
        assert await cluster.run("b", b.names.claim("leader")) is not None

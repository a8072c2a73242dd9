"""What an operator is told of a fence: it is done, it is not, or nobody knows. In virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.in_cluster import in_cluster
from understudy.desk import ABSENT, REFUSED, Desk
from understudy.simulation import Cluster
from understudy.transport import Change, Expect, Node, TableUnavailable, Versions


async def fence(cluster: Cluster) -> dict[str, Any]:
    """The last line of what "good" answers who wants "bad" dead."""
    good, incarnation = cluster.node("good"), cluster.node("bad").incarnation

    async def asked() -> list[dict[str, Any]]:
        request = {"ask": "fence", "node": "bad", "incarnation": incarnation, "reason": "its disk is on fire"}
        return [line async for line in Desk(good).answer(request)]

    return (await cluster.run("good", asked()))[-1]


async def status_of_bad(node: Node) -> str:
    await node.membership.refresh()
    return next(row.status for row in node.members() if row.node == "bad")


@in_cluster("good", "bad")
async def test_a_fence_that_the_table_took_is_done_and_a_second_one_is_refused(cluster: Cluster) -> None:
    assert (await fence(cluster))["result"]["node"] == "bad"
    assert await status_of_bad(cluster.node("good")) == "dead"
    assert (await fence(cluster))["code"] == ABSENT


@in_cluster("good", "bad")
async def test_a_fence_whose_node_has_gone_by_itself_meanwhile_is_not_said_to_be_done(cluster: Cluster) -> None:
    good = cluster.node("good")
    commit = good.table.commit

    async def overtaken(expect: Expect, change: Change) -> Versions | None:
        (row,) = change.members
        await commit(expect, Change(members=(replace(row, status="left", reason="it left"),)))
        return await commit(expect, change)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(good.table, "commit", overtaken)
        answer = await fence(cluster)
    assert (answer["code"], "no member any more" in answer["error"]) == (REFUSED, True)
    assert await status_of_bad(good) == "left"


@in_cluster("good", "bad")
async def test_a_fence_that_the_table_may_have_taken_before_it_went_away_is_said_to_be_unknown(
    cluster: Cluster,
) -> None:
    """As it did here."""
    good = cluster.node("good")
    commit = good.table.commit

    async def lost(expect: Expect, change: Change) -> Versions | None:
        await commit(expect, change)
        raise TableUnavailable("the connection is lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(good.table, "commit", lost)
        answer = await fence(cluster)
    assert answer["code"] == ABSENT
    assert "whether bad is dead is unknown" in answer["error"]
    assert "the connection is lost" in answer["error"]
    assert await status_of_bad(good) == "dead"


@in_cluster("good", "bad")
async def test_nobody_is_fenced_by_a_node_that_does_not_reach_the_table(cluster: Cluster) -> None:
    good = cluster.node("good")
    cluster.table.fail(1.0, "good")
    async with asyncio.timeout(30.0):
        while not good.trouble:  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.1)
    answer = await fence(cluster)
    assert (answer["code"], "nobody can be declared dead" in answer["error"]) == (ABSENT, True)
    cluster.mend()
    assert await status_of_bad(good) == "active"

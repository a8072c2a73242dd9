"""Two real processes that speak different versions of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.processes import running
from tests.sides import Add, Total
from understudy.actors import ActorRef, NodeDown
from understudy.cluster import look_around
from understudy.transport import Node


def there(node: Node, *names: str) -> bool:
    return {member.node for member in node.members() if member.status == "active"} == {"here", *names}


async def test_an_older_and_a_newer_process_speak_what_both_know_and_one_that_shares_nothing_is_refused(
    tmp_path: Path,
) -> None:
    program = "tests.node_program"
    async with (
        Node("here", state=tmp_path) as here,
        running(program, "newer", str(tmp_path), "1", "2") as newer,
        running(program, "foreign", str(tmp_path), "2", "3") as foreign,
    ):
        assert await newer.line()
        assert await foreign.line()
        await eventually(lambda: there(here, "newer", "foreign"))
        counter: ActorRef[Any] = here.ref("counter@newer")
        counter.tell(Add(3))
        assert await counter.call(Total()) == 3
        with pytest.raises(NodeDown, match="expected protocol versions 2 to 3, got version 1"):
            await here.ref("counter@foreign").call(Total())
        assert there(here, "newer", "foreign")


async def test_status_says_that_a_node_of_another_version_refuses_this_one_and_stays_a_member(tmp_path: Path) -> None:
    async with (
        Node("here", state=tmp_path) as here,
        running("tests.node_program", "foreign", str(tmp_path), "2", "3") as it,
    ):
        assert await it.line()
        await eventually(lambda: there(here, "foreign"))
        with pytest.raises(NodeDown):
            await here.ref("counter@foreign").call(Total())
        seen = next(row for row in (await look_around(here))["members"] if row["node"] == "foreign")
        assert (seen["state"], seen["cause"]) == ("unreachable", "version")
        assert "update the older of the two" in seen["why"]
        assert seen["next"] == "it stays a member: it answers probes, and nothing else passes"

"""What the citizens write down is enough to convict a table: here it takes a late write, and it is noticed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cluster.citizen import Ledgers, Owner
from tests.cluster.country import SUN, Country
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node


@pytest.mark.parametrize("late", [False, True])
def test_a_write_under_a_lower_fence_than_the_owner_has_written_under_is_noticed(tmp_path: Path, late: bool) -> None:
    simulation = Simulation(7)

    async def begin(node: Node) -> None:
        await node.singleton(SUN, Owner, SUN, node, Ledgers(tmp_path))

    async def play() -> None:
        async with Cluster(simulation) as cluster:
            node = await cluster.start("a", begin)
            await asyncio.sleep(2.0)
            if late:
                cluster.table.rows._guarded[SUN, "seat"] = 0, b"0 somebody else"
            await asyncio.sleep(2.0)
            assert node.names.owner(SUN) is not None

    simulation.run(play)
    country = Country(tmp_path)
    if late:
        with pytest.raises(AssertionError, match="under a lower fence"):
            country.written()
    else:
        assert country.written() > 10

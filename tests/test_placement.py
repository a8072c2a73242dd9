"""Where actors are placed: by role, tags and free capacity. In virtual time."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.emigrants import Emigrant, Say
from tests.in_cluster import in_cluster_of
from understudy.actors import NoRoom
from understudy.simulation import Cluster


@in_cluster_of
async def in_cluster(cluster: Cluster) -> None:
    """A stage, two engines with room for three each, and one of them with a gpu."""
    await cluster.start("stage", roles=("stage",))
    await cluster.start("engine-1", roles=("engine",), capacity=3)
    await cluster.start("engine-2", roles=("engine",), tags=("gpu", "big"), capacity=3)


@in_cluster
async def test_the_node_with_the_most_free_capacity_is_chosen_and_a_full_one_is_not(cluster: Cluster) -> None:
    stage = cluster.node("stage")
    where = Counter[str]()
    for _ in range(6):
        ref = await stage.spawn_on(Emigrant, role="engine")
        where[await ref.call(Say("where"))] += 1
        assert abs(where["engine-1"] - where["engine-2"]) <= 1, "each goes to whoever has more room"
    with pytest.raises(NoRoom) as full:
        await stage.spawn_on(Emigrant, role="engine")
    assert full.value.lacks == {
        "stage": "has the role stage",
        "engine-1": "is full (3 of 3)",
        "engine-2": "is full (3 of 3)",
    }
    assert "the role 'engine'" in str(full.value)
    assert "engine-1 is full (3 of 3)" in str(full.value)

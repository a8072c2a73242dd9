"""Where actors are placed: by role, tags and free capacity. In virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.emigrants import Emigrant, Say
from understudy.actors import NoRoom
from understudy.simulation import Cluster, Simulation


def in_cluster(test: Callable[[Cluster], Awaitable[None]]) -> Callable[[], None]:
    """Run the test in a simulated cluster: a stage, two engines with room for three each, and one of them with a gpu."""

    def run() -> None:
        simulation = Simulation(7)

        async def main() -> None:
            async with Cluster(simulation) as cluster:
                await cluster.start("stage", roles=("stage",))
                await cluster.start("engine-1", roles=("engine",), capacity=3)
                await cluster.start("engine-2", roles=("engine",), tags=("gpu", "big"), capacity=3)
                await cluster.met()
                await test(cluster)

        simulation.run(main)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


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

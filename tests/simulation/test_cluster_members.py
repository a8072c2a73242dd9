"""Five nodes and everything that may happen to them: who lives agrees on who lives, within ten seconds of quiet."""

from __future__ import annotations

import pytest

from tests.simulation.realm import Realm
from understudy.simulation import Simulation


@pytest.mark.seeds(300)
async def test_five_nodes_agree_on_who_lives_within_ten_seconds_of_quiet(simulation: Simulation) -> None:
    async with Realm(simulation) as realm:
        await realm.trouble()
        await realm.quiet()

"""The counters of a node that is killed go on elsewhere, and have lost nothing that was acknowledged."""

from __future__ import annotations

from tests.processes import running

COUNTED = "counted: {'apples': 11, 'pears': 22, 'plums': 33, 'figs': 44, 'limes': 55, 'kiwis': 66}"


async def test_the_counters_of_a_killed_node_go_on_where_they_were_on_the_other() -> None:
    async with running("understudy.examples.counters") as program:
        assert await program.ended(60.0) == 0
    first, killed, again, home, apples = program.output.splitlines()
    victim = killed.split()[0]
    assert killed.startswith(f"{victim} is killed, with apples")
    assert (first, again) == (COUNTED, COUNTED)
    assert home == "all on: " + {"left": "right", "right": "left"}[victim]
    assert apples == "apples: 111"

"""See deaths.py. `make proof wire` kills a hundred times, stops for 20 s, and is strict about how soon each is seen."""

from pathlib import Path

from tests.wire.deaths import blocked, killed_again_and_again, stopped


async def test_whenever_a_receiver_is_killed_the_equation_holds_for_each_of_its_lives(tmp_path: Path) -> None:
    figures = await killed_again_and_again(tmp_path, 3, seed=1, within=30.0)
    assert figures["unknown"] > 0
    assert figures["stale_accepted"] == 0


async def test_a_node_that_was_stopped_is_declared_dead_and_nothing_that_it_says_then_is_heard(tmp_path: Path) -> None:
    await stopped(tmp_path, seconds=0.0)


async def test_a_handler_that_blocks_its_node_is_named_and_the_node_is_declared_dead(tmp_path: Path) -> None:
    figures = await blocked(tmp_path, after=6.0, late=30.0)
    assert figures["handler_named_after"] < figures["seen_after"]

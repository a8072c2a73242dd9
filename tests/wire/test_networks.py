"""See networks.py. `make proof wire` does it with more messages, and links that are down for a minute."""

from pathlib import Path

import pytest

from tests.wire.namespaces import missing
from tests.wire.networks import (
    nobody_reaches_the_table,
    one_is_declared_dead,
    packets_are_lost,
    the_link_is_down_for_a_while,
    the_link_is_thin,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


async def test_over_a_wire_that_loses_every_tenth_packet_everything_arrives(tmp_path: Path) -> None:
    await packets_are_lost(tmp_path, 50_000, percent=10, within=40.0)


async def test_over_a_thin_wire_everything_arrives_and_nobody_is_taken_for_dead(tmp_path: Path) -> None:
    await the_link_is_thin(tmp_path, megabytes=20, megabits=100)


async def test_what_waits_for_a_wire_that_is_down_for_a_while_arrives_when_it_is_up(tmp_path: Path) -> None:
    await the_link_is_down_for_a_while(tmp_path, seconds=2.0)


@pytest.mark.parametrize("one_way", [False, True], ids=["down", "one way"])
async def test_when_a_wire_is_down_for_longer_than_a_life_every_message_is_a_dead_letter_or_arrived(
    tmp_path: Path, one_way: bool
) -> None:
    await one_is_declared_dead(tmp_path, one_way, seconds=0.0)


async def test_while_nobody_reaches_the_table_nobody_dies_and_everything_arrives_in_the_end(tmp_path: Path) -> None:
    await nobody_reaches_the_table(tmp_path, seconds=9.0)

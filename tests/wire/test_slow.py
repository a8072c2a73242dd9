"""See slow.py. `make proof wire` offers a gigabyte."""

from pathlib import Path

from tests.wire.slow import slow_actor, slow_network


async def test_a_sender_that_is_faster_than_its_network_is_told_and_stays_small_and_everything_arrives(
    tmp_path: Path,
) -> None:
    await slow_network(tmp_path, megabytes=100, megabytes_per_second=40)


async def test_no_more_wait_in_a_mailbox_than_it_holds_and_what_is_over_is_a_dead_letter_there(tmp_path: Path) -> None:
    figures = await slow_actor(tmp_path, 10_000)
    assert figures["dead_letters_of_the_receiver"] > 0

"""See cuts.py. `make proof wire` does it with 10 million messages."""

from pathlib import Path

from tests.wire.cuts import cut_under_load


async def test_a_link_that_is_cut_every_fifty_milliseconds_loses_doubles_and_reorders_nothing(tmp_path: Path) -> None:
    figures = await cut_under_load(tmp_path, 200_000, within=50.0)
    assert figures["cuts"] >= 3

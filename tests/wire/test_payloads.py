"""A quarter of a GiB here; a whole one in `make proof wire`."""

from pathlib import Path

from tests.wire.payloads import GROWTH, file_to_file

MIB = 1024 * 1024


async def test_a_large_file_arrives_whole_in_little_memory_and_small_calls_pass_it(tmp_path: Path) -> None:
    figures = await file_to_file(tmp_path, 256 * MIB + 7, within=50.0)
    assert figures["here_grew_mib"] < GROWTH
    assert figures["there_grew_mib"] < GROWTH
    assert figures["calls_beside"] >= 20
    assert figures["call_p50_us_beside"] < 50_000  # the file takes far longer

"""The example counts, crashes, and counts again."""

from __future__ import annotations

from tests.processes import running


async def test_the_counter_comes_back_after_its_crash() -> None:
    async with running("understudy.examples.counter") as program:
        assert await program.ended() == 0
    first, crash, restart, again = program.output.splitlines()
    assert first == "the counter says 7"
    assert crash.startswith("it crashed: TypeError")
    assert restart == "its supervisor has restarted it 1 time; it is running"
    assert again == "the counter says 0"

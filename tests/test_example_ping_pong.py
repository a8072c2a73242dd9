"""The example plays its rally, between two processes."""

from __future__ import annotations

import re

from tests.processes import running


async def test_the_ball_goes_back_and_forth_between_two_processes() -> None:
    async with running("understudy.examples.ping_pong") as game:
        assert await game.ended() == 0
    hits = re.findall(r"(ping|pong): hit (\d+) arrived in process (\d+)", game.output)
    assert sorted(int(number) for _, number, _ in hits) == list(range(1, 11))
    assert {name for name, number, _ in hits if int(number) % 2} == {"ping"}
    assert len({process for _, _, process in hits}) == 2

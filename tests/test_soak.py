"""The soak in small; an hour of it is `make proof soak`."""

import asyncio

import pytest

from tests import soak as soaking
from tests.soak import Client, Tally, slope, soak


async def test_nobody_among_hundreds_misses_a_line_and_nobody_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for what, less in {"SPEAKS_EVERY": 2.0, "HEARTBEAT": 2.0}.items():
        monkeypatch.setattr(soaking, what, less)
    found = await soak(idle=300, active=100, seconds=5.0, look_every=1.0)
    assert found["lines_said"] >= 100
    assert found["lines_heard"] == found["lines_said"] * 20
    assert (found["lost"], found["twice"], found["cut"]) == (0, 0, 0)


async def test_a_line_that_is_missing_or_comes_twice_is_counted() -> None:
    tally = Tally()
    client = Client(1, "hall:0", tally)
    client._upgraded = True
    for number in (1, 2, 4, 4):
        text = b'[null,null,"hall:0","line",{"who":7,"n":%d,"at":0}]' % number
        client.data_received(b"\x81%c" % len(text) + text)
    assert (tally.heard, tally.lost, tally.twice) == (4, 1, 1)
    other = Client(7, "hall:0", tally)
    other.spoken = 6
    assert client.missing([other]) == 2
    for one in (client, other):
        one.ready.set_result(None)
    await asyncio.sleep(0)


def test_the_slope_is_in_percent_of_the_memory_an_hour() -> None:
    assert slope([(60.0 * minute, 1_000_000 + 100 * minute) for minute in range(60)]) == pytest.approx(0.6, abs=0.01)

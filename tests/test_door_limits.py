"""What a peer or a stranger can make a node keep, or write down, has a bound."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.fuzz import Wiretap
from tests.sides import Side
from understudy.transport.door import SESSIONS_LIMIT
from understudy.transport.frames import HELLO, NEWEST, OLDEST, PARTS_LIMIT, Hello, Peer, Stale, decode
from understudy.transport.links import UNMET_LIMIT
from understudy.transport.schema import Unreadable


async def test_references_to_nodes_that_nobody_has_seen_are_kept_up_to_a_limit_and_known_ones_still_resolve() -> None:
    side = Side("a", network=Wiretap({}, []))
    known = side.links.present(Peer("known", 1), "tcp://127.0.0.1:2000")
    for number in range(UNMET_LIMIT):
        side.links.resolve([f"n{number}", 1, 1])
    with pytest.raises(Unreadable, match="one too many"):
        side.links.resolve(["another", 1, 1])
    assert side.links.resolve(["n1", 1, 7]) is not None
    assert side.links.resolve(["known", 1, 7]).link is known  # type: ignore[attr-defined]
    assert side.links.present(Peer("new", 1), "tcp://127.0.0.1:2001").lost is None
    await side.close(0.0)


@pytest.mark.parametrize(
    "parts", [["n" * 201, 1, 1], ["n", -1, 1], ["n", 1, -1], ["n", 2**64, 1], ["n" * 201, "name"], ["n"], 5, [1, 2, 3]]
)
async def test_what_is_no_reference_is_refused(parts: Any) -> None:
    side = Side("a", network=Wiretap({}, []))
    with pytest.raises(Unreadable, match="no reference"):
        side.links.resolve(parts)
    await side.close(0.0)


async def test_references_to_a_life_that_is_over_share_one_link() -> None:
    side = Side("a", network=Wiretap({}, []))
    refs = [side.links.resolve(["a", 0, number]) for number in range(1, 1_000)]
    assert len({id(ref.link) for ref in refs}) == 1  # type: ignore[attr-defined]
    assert refs[0].is_alive() is False
    await side.close(0.0)


async def test_one_life_of_a_node_has_so_many_sessions_and_is_told_when_it_wants_more() -> None:
    answers: list[bytes] = []
    network = Wiretap({}, [])
    side = Side("a", network=network)
    network.back[b"path"] = answers.append
    network.carry = lambda to, frame: to(frame)  # type: ignore[method-assign]
    for session in range(SESSIONS_LIMIT + 1):
        hello = Hello(OLDEST, NEWEST, session, Peer("b", 1), "tcp://127.0.0.1:2000", side.links.me)
        side.links.door.heard(b"path", hello.encode())
    *_, last = answers
    stale = decode(last)
    assert isinstance(stale, Stale)
    assert "sessions at most" in stale.detail
    assert len(side.links.door._visitors) == SESSIONS_LIMIT
    network.back.clear()
    await side.close(0.0)


async def test_a_flood_of_nonsense_is_counted_and_leaves_a_few_lines_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    side = Side("a", network=Wiretap({}, []))
    with caplog.at_level(logging.ERROR, "understudy.transport"):
        for _ in range(10_000):
            side.links.door.heard(b"path", b"nonsense")
    assert side.links.unreadable == 10_000
    assert 1 <= len(caplog.records) < 40
    await side.close(0.0)


def test_a_control_frame_larger_than_any_of_ours_is_refused_unread() -> None:
    with pytest.raises(Unreadable, match="has 16,384 bytes at most"):
        decode(bytes((HELLO,)) + b"\x90" * PARTS_LIMIT)

"""What status says of a member that does not answer, and what comes next, with the figures by which votes are cast."""

from dataclasses import replace

import pytest

from understudy.cluster import foretell
from understudy.transport.standing import Standing, explain
from understudy.transport.suspicion import Rules, Watch, judge
from understudy.transport.table import Member, Suspicion

ROWS = tuple(Member(name, 1, f"tcp://127.0.0.1:{number}") for number, name in enumerate("abcd", 1))
ME = ("a", 1)


def standing(misses: int, *voters: str, connected: bool = False, rows: tuple[Member, ...] = ROWS) -> Standing:
    """How "d" stands with "a"."""
    votes = tuple(Suspicion(name, 1) for name in voters)
    rows = tuple(replace(row, suspicions=votes) if row.node == "d" else row for row in rows)
    watch = Watch({("d", 1): misses}, frozenset({("d", 1)}) if connected else frozenset())
    return next(each for each in explain(watch, rows, ME, Rules()) if each.member.node == "d")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (standing(0), ""),
        (standing(1), "accused by this node in 2 s unless it answers; 2 votes are needed to declare it dead"),
        (standing(1, "b"), "declared dead in 2 s unless it answers: accused by b, one more vote is needed"),
        (
            standing(4, connected=True),
            "accused by this node in 6 s unless it answers; 2 votes are needed to declare it dead",
        ),
        (
            standing(3, "a"),
            "declared dead as soon as one more node accuses it, and cleared when it answers: accused by a",
        ),
        (standing(3, "a", "b"), "declared dead now: accused by a and b"),
        (standing(0, "b"), "nothing: it answers this node; accused by b, one more vote is needed"),
        (
            standing(1, rows=(ROWS[0], ROWS[3])),
            "declared dead in 2 s unless it answers: one vote is needed, this node's",
        ),
    ],
)
def test_what_comes_next_is_said_with_its_time_and_with_whose_votes(seen: Standing, said: str) -> None:
    assert foretell(seen, "", "") == said


def test_a_vote_that_is_held_back_and_a_table_that_is_away_are_said_instead() -> None:
    assert foretell(standing(3), "it is accused itself", "") == "this node does not accuse it yet: it is accused itself"
    assert "nobody is declared dead" in foretell(standing(3, "b"), "", "the disk is full")


@pytest.mark.parametrize("connected", [False, True])
def test_a_node_is_accused_in_the_very_round_that_was_foretold(connected: bool) -> None:
    """The words are the arithmetic of the votes, read forwards."""
    for misses in range(1, 15):
        due = standing(misses, connected=connected).due
        assert due is not None
        watch = Watch({("d", 1): misses}, frozenset({("d", 1)}) if connected else frozenset())
        accused = any(row.node == "d" and row.suspicions for row in judge(watch, ROWS, ME, 0.0, Rules()).rows)
        assert accused == (due == 0.0), misses

"""Who is in which group elsewhere, as plain data: what one end says of its groups makes the other end's roster the same."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from understudy.transport.roster import Roster, Unsaid
from understudy.transport.schema import Unreadable

GROUPS = ("kitchen", "garden", "attic")


def say(unsaid: Unsaid[int], roster: Roster, most: int) -> int:
    """Let the other end hear a slice; returns how many changes it was."""
    slices = unsaid.take(most)
    for group, joined, members in slices:
        assert members
        assert (roster.join if joined else roster.part)(group, members) == members, "only what is new is said"
    return sum(len(members) for _, _, members in slices)


def read(roster: Roster) -> dict[str, set[int]]:
    return {group: set(roster.ids(group)) for group in roster}


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happens_between_two_slices_the_other_end_comes_to_know_who_is_in(seed: int) -> None:
    random = Random(seed)
    here: dict[str, dict[int, None]] = {group: dict.fromkeys(range(random.randrange(5))) for group in GROUPS}
    unsaid, roster = Unsaid[int](), Roster()
    unsaid.begin({group: tuple(members) for group, members in here.items()})
    for _ in range(200):
        group, member = random.choice(GROUPS), random.randrange(10)
        if member in here[group]:
            del here[group][member]
            unsaid.change(group, member, joined=False)
        else:
            here[group][member] = None
            unsaid.change(group, member, joined=True)
        if random.random() < 0.3:
            most = random.randrange(1, 5)
            assert say(unsaid, roster, most) <= most
    while unsaid:
        assert say(unsaid, roster, 3)
    assert read(roster) == {group: set(members) for group, members in here.items() if members}
    assert list(roster) == [group for group in roster if roster.count(group)]


def test_what_is_undone_before_it_was_said_is_never_said() -> None:
    unsaid = Unsaid[int]()
    unsaid.begin({"party": (1, 2), "empty": ()})
    for _ in range(1_000):
        for member in (2, 3):
            unsaid.change("party", member, joined=member == 3)
            unsaid.change("party", member, joined=member == 2)
    assert unsaid.take(10) == [("party", True, [1, 2])]
    assert not unsaid
    unsaid.change("party", 1, joined=False)
    unsaid.change("party", 1, joined=True)
    assert not unsaid
    assert unsaid.take(10) == []


def test_members_come_in_slices_in_the_order_in_which_they_joined() -> None:
    unsaid = Unsaid[int]()
    unsaid.begin({"party": tuple(range(10))})
    assert [members for _, _, members in (*unsaid.take(4), *unsaid.take(4), *unsaid.take(4))] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_a_roster_takes_what_it_knows_already_and_what_it_never_heard_of() -> None:
    roster = Roster()
    assert roster.join("party", [3, 1, 3]) == [3, 1]
    assert roster.join("party", [1, 2]) == [2]
    assert roster.ids("party") == (3, 1, 2)
    assert roster.part("party", [1, 1, 7]) == [1]
    assert roster.part("funeral", [1]) == []
    assert (roster.has("party", 3), roster.has("party", 1), roster.count("party")) == (True, False, 2)
    assert roster.part("party", [3, 2]) == [3, 2]
    assert list(roster) == []
    assert roster.join("funeral", [5]) == [5]
    assert roster.clear() == {"funeral": (5,)}
    assert list(roster) == []


@pytest.mark.parametrize(
    ("group", "ids"),
    [("", [1]), ("x" * 256, [1]), ("a@b", [1]), (7, [1]), (None, [1]), (["a"], [1])]
    + [("party", [each]) for each in (-1, 1 << 64, "1", None, 1.0, True, [1])],
)
def test_what_is_no_member_of_no_group_is_refused_and_changes_nothing(group: Any, ids: list[Any]) -> None:
    roster = Roster()
    roster.join("party", [1])
    for merge in (roster.join, roster.part):
        with pytest.raises(Unreadable):
            merge(group, [1, *ids])
    assert read(roster) == {"party": {1}}

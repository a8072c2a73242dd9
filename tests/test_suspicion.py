"""The rules of suspicion on whole clusters of pure data: who dies, who must not, and that it is always decided in the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.transport.suspicion import (
    Judgement,
    Key,
    Rules,
    Watch,
    active,
    ballot,
    is_condemned,
    judge,
    needed,
    observe,
    votes,
)
from understudy.transport.table import Member, Suspicion

RULES = Rules(interval=1.0, misses=3)

patiently = settings(deadline=None)  # a busy machine is no counterexample


def member(number: int, *accusers: int, status: str = "active") -> Member:
    suspicions = tuple(Suspicion(f"n{accuser}", 1) for accuser in accusers)
    return Member(f"n{number}", 1, f"tcp://127.0.0.1:{number}", status=status, suspicions=suspicions)  # type: ignore[arg-type]


def key(number: int) -> Key:
    return f"n{number}", 1


@dataclass
class Cluster:
    """Nodes that probe, judge and write in turn, each once a round at a phase of its own. `reach(a, b)`: a's probe finds b."""

    size: int
    reach: Callable[[int, int], bool]
    phases: list[float]
    members: dict[str, Member] = field(default_factory=dict)
    watches: dict[int, Watch] = field(default_factory=dict)
    crashed: set[int] = field(default_factory=set)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.members = self.members or {f"n{number}": member(number) for number in range(self.size)}

    def running(self) -> set[int]:
        """A process runs until it crashes or is declared dead, which it reads before it writes."""
        return {n for n in range(self.size) if n not in self.crashed and self.members[f"n{n}"].status == "active"}

    def answers(self, number: int) -> Mapping[Key, bool]:
        others = active(self.members.values()) - {key(number)}
        return {
            other: int(other[0][1:]) in self.running() and self.reach(number, int(other[0][1:])) for other in others
        }

    def turn(self, number: int) -> Judgement:
        watch = observe(self.watches.get(number, Watch()), self.answers(number), 0.0, RULES)
        judgement = judge(watch, self.members.values(), key(number), self.now, RULES)
        self.watches[number] = judgement.watch
        self.members |= {row.node: row for row in judgement.rows}
        return judgement

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            start = self.now
            for phase, number in sorted((phase, number) for number, phase in enumerate(self.phases)):
                self.now = start + phase
                if number in self.running():
                    self.turn(number)
            self.now = start + RULES.interval


def clusters(least: int, most: int) -> st.SearchStrategy[list[float]]:
    """The phases of a cluster's nodes."""
    return st.lists(st.floats(0, 0.99), min_size=least, max_size=most, unique=True)


# --- what the promises rest on ---


@patiently
@given(clusters(2, 7), st.data())
def test_whoever_crashes_together_is_declared_dead_and_nobody_else(phases: list[float], data: st.DataObject) -> None:
    """One of two, two of three, three of five, all but one of seven."""
    crashed = data.draw(st.sets(st.integers(0, len(phases) - 1), max_size=len(phases) - 1))
    cluster = Cluster(len(phases), lambda a, b: True, phases, crashed=crashed)
    cluster.run(7)
    assert {n for n in range(cluster.size) if cluster.members[f"n{n}"].status == "dead"} == crashed


@patiently
@given(clusters(2, 7), st.data())
def test_a_single_crash_is_declared_within_four_seconds_of_probing(phases: list[float], data: st.DataObject) -> None:
    crashed = {data.draw(st.integers(0, len(phases) - 1))}
    cluster = Cluster(len(phases), lambda a, b: True, phases, crashed=crashed)
    cluster.run(4 if len(phases) != 2 else 3)
    assert len(active(cluster.members.values())) == len(phases) - 1


@patiently
@given(clusters(2, 6), st.data())
def test_votes_of_those_who_then_crashed_neither_kill_nor_block_the_living(
    phases: list[float], data: st.DataObject
) -> None:
    size = len(phases)
    crashed = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size - 1))
    stale = {
        f"n{n}": member(n, *data.draw(st.sets(st.sampled_from(sorted(crashed)), max_size=1 if size > 2 else 0)) - {n})
        for n in range(size)
    }
    cluster = Cluster(size, lambda a, b: True, phases, members=stale, crashed=crashed)
    cluster.run(20)
    assert {n for n in range(size) if cluster.members[f"n{n}"].status == "dead"} == crashed


@patiently
@given(clusters(3, 7), st.data())
def test_a_node_cut_off_from_all_the_others_dies_alone_even_if_it_reaches_the_table(
    phases: list[float], data: st.DataObject
) -> None:
    alone = data.draw(st.integers(0, len(phases) - 1))
    cluster = Cluster(len(phases), lambda a, b: alone not in (a, b), phases)
    cluster.run(20)
    assert [n for n in range(cluster.size) if cluster.members[f"n{n}"].status == "dead"] == [alone]


@patiently
@given(clusters(2, 7), st.data())
def test_of_two_halves_that_are_cut_apart_exactly_one_lives(phases: list[float], data: st.DataObject) -> None:
    size = len(phases)
    left = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size - 1))
    cluster = Cluster(size, lambda a, b: (a in left) == (b in left), phases)
    cluster.run(30)
    assert cluster.running() in (left, set(range(size)) - left)


@patiently
@given(clusters(3, 6), st.data())
def test_whatever_links_are_broken_somebody_lives_and_whom_all_reach_lives(
    phases: list[float], data: st.DataObject
) -> None:
    size = len(phases)
    pairs = [(a, b) for a in range(size) for b in range(a)]
    broken = data.draw(st.sets(st.sampled_from(pairs)))
    cluster = Cluster(size, lambda a, b: (max(a, b), min(a, b)) not in broken, phases)
    cluster.run(30)
    assert cluster.running()
    assert {n for n in range(size) if not any(n in pair for pair in broken)} <= cluster.running()


@patiently
@given(clusters(3, 6))
def test_one_broken_link_kills_nobody(phases: list[float]) -> None:
    """Both ends are accused once, by each other or one by the other; the rest reach both."""
    cluster = Cluster(len(phases), lambda a, b: {a, b} != {0, 1}, phases)
    cluster.run(30)
    assert len(cluster.running()) == len(phases)


@patiently
@given(clusters(2, 5), st.integers(1, 2))
def test_a_vote_is_withdrawn_when_the_suspect_answers_again(phases: list[float], rounds: int) -> None:
    reachable = False
    cluster = Cluster(len(phases) + 2, lambda a, b: reachable or {a, b} != {0, 1}, [*phases, 0.995, 0.999])
    cluster.run(3 + rounds)
    assert sum(len(row.suspicions) for row in cluster.members.values()) == 1
    reachable = True
    cluster.run(1)
    assert all(row.suspicions == () for row in cluster.members.values())


# --- single rules ---


def test_of_two_nodes_one_vote_suffices_and_of_more_two_are_needed() -> None:
    for size in range(2, 8):
        members = [member(n) for n in range(size)]
        assert needed(members, members[0]) == (1 if size == 2 else 2)


def test_a_node_without_others_has_nobody_to_judge() -> None:
    alone = member(0)
    assert judge(Watch(), [alone], alone.key, 0.0, RULES).rows == ()
    assert not is_condemned([alone], alone)


def test_votes_of_the_dead_of_the_gone_and_of_older_incarnations_are_void() -> None:
    suspect = replace(member(0, 1, 2, 3), suspicions=(Suspicion("n1", 1), Suspicion("n2", 1), Suspicion("n3", 1)))
    members = [
        suspect,
        member(1, status="dead"),
        member(2, status="left"),
        replace(member(3), incarnation=2),
        member(4),
    ]
    assert votes(members, suspect) == frozenset()
    assert not is_condemned(members, suspect)


def test_whoever_votes_last_writes_the_death_and_names_the_voters() -> None:
    rows = ballot([member(0), member(1), member(2, 0)], key(1), frozenset({key(2)}))
    assert [(row.node, row.status, row.reason) for row in rows] == [("n2", "dead", "did not answer n0 and n1")]


def test_the_dead_and_those_who_left_stay_as_they_are() -> None:
    members = [member(0), member(1, status="dead"), member(2, 0, status="left")]
    assert ballot(members, key(0), frozenset({key(1), key(2)})) == ()


@pytest.mark.parametrize(("late", "counted"), [(0.0, 1), (0.9, 1), (1.1, 0), (60.0, 0)])
def test_a_pause_of_our_own_accuses_nobody(late: float, counted: int) -> None:
    watch = observe(Watch({key(1): 2}), {key(1): False}, late, RULES)
    assert watch.misses.get(key(1), 0) == (3 if counted else 0)


def test_an_answer_forgives_earlier_misses_and_a_member_no_longer_probed_is_forgotten() -> None:
    watch = observe(Watch({key(1): 2, key(2): 2}), {key(1): True}, 0.0, RULES)
    assert watch.misses == {key(1): 0}


def test_who_suspects_more_than_half_waits_for_the_majority_and_then_checks_itself() -> None:
    members = [member(n) for n in range(3)]
    watch = Watch({key(1): 3, key(2): 3})
    first = judge(watch, members, key(0), 10.0, RULES)
    assert "more than half" in first.held
    assert first.rows == ()
    later = judge(first.watch, members, key(0), 12.0, RULES)
    assert later.check
    assert {row.node: row.status for row in later.rows} == {"n1": "dead", "n2": "dead"}


def test_of_two_nodes_there_is_no_majority_to_wait_for_but_a_check_to_pass() -> None:
    judgement = judge(Watch({key(1): 3}), [member(0), member(1)], key(0), 0.0, RULES)
    assert judgement.check
    assert [row.status for row in judgement.rows] == ["dead"]


def test_the_accused_leaves_the_vote_to_those_it_still_reaches() -> None:
    members = [member(0, 1), member(1), member(2), member(3)]
    held = judge(Watch({key(1): 3}), members, key(0), 0.0, RULES)
    assert "accused" in held.held
    for patient in (0.0, 5.9, 6.1, 600.0):
        assert judge(held.watch, members, key(0), patient, RULES).rows == ()


def test_the_accused_votes_after_its_patience_when_nobody_else_could() -> None:
    members = [member(0, 1), member(1), member(2)]
    watch = Watch({key(1): 3, key(2): 3})
    start = judge(watch, members, key(0), 0.0, RULES)
    assert judge(start.watch, members, key(0), 5.9, RULES).rows == ()
    rows = judge(start.watch, members, key(0), 6.0, RULES).rows
    assert {row.node: row.status for row in rows} == {"n1": "dead", "n2": "dead"}

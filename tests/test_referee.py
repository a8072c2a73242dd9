"""Trees of supervisors behave as Erlang's do: random scenarios end the same on both (see tests/referee).

`UNDERSTUDY_SEED=7` takes scenarios of another seed, for which there must be an Erlang.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planted import copy_of_the_tree
from tests.referee import erlang, recorded
from tests.referee.cases import CASES
from tests.referee.generator import scenario, scenarios
from tests.referee.logs import beside, normal
from tests.referee.match import differences, erlang_logs, our_log, smallest
from tests.referee.planted import DEVIATIONS, NOTHING, Deviation, find
from tests.referee.scenario import Branch, Scenario, Step, Worker, flat
from tests.referee.shrink import smaller

needs_erlang = pytest.mark.skipif(not erlang.installed(), reason="there is no Erlang here: apt-get install erlang-base")


def test_random_trees_end_as_in_erlang() -> None:
    seed = int(os.environ.get("UNDERSTUDY_SEED", recorded.SEED))
    taken = recorded.every_run() if seed == recorded.SEED else list(scenarios(seed, recorded.COUNT))
    assert len(taken) >= 300
    theirs = recorded.read() if seed == recorded.SEED else erlang_logs(taken, erlang.logs)
    found = list(differences(taken, theirs))
    if found:
        shown = min(found, key=lambda difference: len(str(difference)))
        if erlang.installed():
            shown = smallest(shown, erlang.logs)
        pytest.fail(f"{len(found)} of {len(taken)} scenarios of seed {seed} differ; one of them, made small:\n{shown}")


@needs_erlang
def test_what_is_recorded_is_what_erlang_does() -> None:
    taken = recorded.every_run()
    for each, now, then in zip(taken, erlang_logs(taken, erlang.logs), recorded.read()):
        assert now == then, (
            f"OTP {erlang.release()}; {recorded.AGAIN}\n{each}\n{beside(then, now, ('recorded', 'now'))}"
        )


def test_the_order_in_which_actors_take_turns_does_not_matter() -> None:
    for each in scenarios(1, 50):
        logs = [our_log(each._replace(name=f"{each.name}, order {order}")) for order in range(3)]
        assert logs[0] == logs[1] == logs[2], str(each)


# --- what is in the scenarios ---


def test_the_scenarios_have_every_kind_of_child_supervisor_step_and_start() -> None:
    taken = recorded.every_run()
    everybody = [node for each in taken for node in each.everybody]
    workers = [node for node in everybody if isinstance(node, Worker)]
    branches = [node for node in everybody if isinstance(node, Branch)]
    steps = [step for each in taken for step in flat(each.steps)]
    seen: dict[str, Counter[object]] = {
        "strategies": Counter((node.strategy, child.restart) for node in branches for child in node.children),
        "shutdowns": Counter(str(node.shutdown) for node in everybody),
        "endings": Counter(str(node.ending) for node in workers),
        "starts": Counter(str(start) for node in workers for start in node.starts),
        "auto": Counter((node.auto_shutdown, child.significant) for node in branches for child in node.children),
        "ends": Counter(step[2] for step in steps if step[0] == "end"),
        "requests": Counter(step[2] for step in steps if step[0] == "ask"),
    }
    expected = {"strategies": 12, "shutdowns": 6, "endings": 5, "starts": 5, "auto": 5, "ends": 6, "requests": 6}
    assert {what: len(counts) for what, counts in seen.items()} == expected, seen
    assert all(min(counts.values()) >= 10 for counts in seen.values()), seen


def test_what_matters_happens_in_the_scenarios() -> None:
    events = Counter[str]()
    for log in recorded.read():
        for line in log:
            _, what, *rest = line.split()
            events[" ".join([what, rest[-1]] if what in ("up", "down", "answer") else [what])] += 1
    assert {what: events[what] for what in WHAT_MATTERS if events[what] < WHAT_MATTERS[what]} == {}


WHAT_MATTERS = {
    "up ok": 3000,
    "up fail": 200,
    "up ignore": 20,
    "up slow4": 20,
    "up slow8": 20,
    "ready": 40,
    "down killed": 300,
    "down crash": 300,
    "down shutdown": 1000,
    "down shutdown:term": 50,
    "down normal": 100,
    "answer started": 500,
    "answer failed": 20,
    "answer exists": 5,
    "answer ignored": 2,
    "answer running": 50,
    "answer restarting": 2,
    "answer not_found": 50,
}
"""What happens at least so often."""


# --- the referee itself ---


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    with copy_of_the_tree(None) as folder:
        yield folder


def test_at_least_ten_deviations_are_planted() -> None:
    assert len({each.name for each in DEVIATIONS}) == len(DEVIATIONS) >= 10


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
def test_a_planted_deviation_is_found(deviation: Deviation, copy: Path) -> None:
    assert find(deviation, copy) is not None, f"no scenario shows that {deviation.name}"


def test_where_nothing_is_planted_nothing_is_found(copy: Path) -> None:
    assert find(NOTHING, copy) is None


def test_each_scenario_made_by_hand_has_a_name_of_its_own() -> None:
    assert len({each.name for each in CASES}) == len(CASES) >= 50


def test_a_scenario_is_made_of_its_name_alone() -> None:
    assert scenario("5/7") == scenario("5/7") == list(scenarios(5, 8))[7]
    assert scenario("5/7") != scenario("6/7")


def test_a_scenario_is_shrunk_to_what_matters() -> None:
    def crashes(candidate: Scenario) -> bool:
        """Somebody crashes who is there."""
        there = {node.id for node in candidate.everybody}
        return any(step[0] == "end" and step[2] == "crash" and step[1] in there for step in flat(candidate.steps))

    found = next(each for each in scenarios(3, 100) if crashes(each) and len(str(each)) > 1000)
    while smallest_yet := next((each for each in smaller(found) if crashes(each)), None):
        found = smallest_yet
    (step,) = (step for step in found.steps if step[0] != "wait")
    assert step[0] == "end"
    assert len(list(found.everybody)) <= 3


TREE = Branch("s", children=(Branch("d", strategy="dynamic", children=(Worker("w"),)), Worker("a")))


def normalised(*lines: str, steps: tuple[Step, ...] = ()) -> list[str]:
    return normal(lines, Scenario("by hand", TREE, steps))


def test_the_order_of_what_ends_is_compared_but_not_among_the_children_of_a_dynamic_supervisor() -> None:
    up = ("0 up s#1 top ok", "0 up d#1 s#1 ok", "0 up x#1 d#1 ok", "0 up y#1 d#1 ok", "0 up a#1 s#1 ok")
    x, y, a = (tuple(f"1 {what} {name}#1 shutdown" for what in ("stopping", "down")) for name in "xya")
    assert normalised(*up, *y, *x, *a) == normalised(*up, *x, *y, *a) == [*up, *x, *y, *a]
    assert normalised(*up, y[0], x[0], y[1], x[1], *a) == [*up, *x, *y, *a]
    assert normalised(*up, *a, *x, *y) == [*up, *a, *x, *y]
    assert normalised(*up, *x[::-1]) == [*up, *x[::-1]]


def test_what_becomes_of_the_children_of_a_killed_supervisor_is_not_compared_but_that_they_started() -> None:
    up = ("0 up s#1 top ok", "0 up d#1 s#1 ok", "0 up x#1 d#1 ok", "0 down d#1 killed")
    again = ("0 up d#2 s#1 ok", "0 up x#2 d#2 ok", "0 down x#2 crash")
    assert normalised(*up, "0 stopping x#1 killed", "0 down x#1 killed", *again) == [*up, *again]


def test_an_answer_counts_by_its_step_and_second() -> None:
    answer, other = "0 answer s which: a=running", "0 answer s count: specs=1"
    assert normalised("0 -- 1", answer, "0 down a#1 crash", other) == ["0 -- 1", "0 down a#1 crash", other, answer]
    assert normalised("0 -- 1", "0 -- 2", answer) != normalised("0 -- 1", answer, "0 -- 2")
    assert normalised(answer) != normalised(answer.replace("0 ", "1 ", 1))


def test_two_logs_are_shown_side_by_side_with_a_mark_where_they_part() -> None:
    shown = beside(["0 a", "0 b"], ["0 a", "0 c", "0 d"]).splitlines()
    assert [line.startswith("->") for line in shown] == [False, False, True, False]

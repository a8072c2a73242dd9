"""What a supervisor decides, without any actor: OTP's rules one by one, and what there is beyond OTP."""

from typing import Any

import pytest

from tests.supervised import Stage, stage, worker, workers
from understudy.actors import Actor, Normal, Shutdown
from understudy.supervisors import (
    Backoff,
    Child,
    ChildCounts,
    CountChildren,
    DeleteChild,
    RestartChild,
    StartAnother,
    StartChild,
    Supervisor,
    TerminateChild,
)
from understudy.supervisors.policy import Policy
from understudy.supervisors.steps import (
    Abort,
    Answer,
    Begin,
    Due,
    Finish,
    GiveUp,
    Hold,
    LeaveDown,
    Refuse,
    Retry,
    ShutDown,
)
from understudy.supervisors.tree import Tree


class Anybody(Actor):
    """May be started with anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


# --- OTP's rules, one by one (the marks are those of the runs on a real Erlang in the research) ---


@pytest.mark.parametrize(
    ("strategy", "done"),
    [
        ("one_for_one", ["+c"]),
        ("one_for_all", ["-d", "-b", "-a", "+a", "+b", "+c", "+d"]),
        ("rest_for_one", ["-d", "+c", "+d"]),
    ],
)
def test_a_strategy_ends_in_reverse_and_starts_in_order_those_it_is_for(strategy: str, done: list[str]) -> None:
    actors = stage(*workers("abcd"), strategy=strategy)
    assert actors.taken() == ["+a", "+b", "+c", "+d"]
    assert actors.end("c") is None
    assert actors.taken() == done
    assert actors.states() == dict.fromkeys("abcd", "running")
    actors.happens(Finish())
    assert actors.taken() == ["-d", "-c", "-b", "-a"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_temporary_siblings_of_a_group_are_ended_and_removed(strategy: str) -> None:
    actors = stage(worker("a"), worker("b"), worker("t", restart="temporary"), worker("c"), strategy=strategy)
    actors.taken()
    actors.end("b")
    before = ["-c", "-t", "-a", "+a", "+b", "+c"] if strategy == "one_for_all" else ["-c", "-t", "+b", "+c"]
    assert actors.taken() == before
    assert list(actors.states()) == ["a", "b", "c"]


def test_siblings_that_stood_still_are_started_with_their_group() -> None:
    children = [worker("a"), worker("done", restart="transient"), worker("b"), worker("stopped")]
    actors = stage(*children, strategy="one_for_all", intensity=5)
    actors.end("done", Normal())
    actors.happens(TerminateChild("stopped"))
    assert actors.states() == {"a": "running", "done": "stopped", "b": "running", "stopped": "stopped"}
    actors.taken()
    actors.end("b")
    assert actors.taken() == ["-a", "+a", "+done", "+b", "+stopped"]


def test_a_group_whose_start_fails_is_started_anew_from_its_first_one() -> None:
    actors = stage(*workers("abc"), strategy="one_for_all", intensity=5)
    actors.taken()
    actors.outcomes = ["up", "fails"]
    actors.end("c")
    assert actors.taken() == ["-b", "-a", "+a", "!b"]
    assert actors.states() == {"a": "running", "b": "restarting", "c": "stopped"}
    actors.due()
    assert actors.taken() == ["-a", "+a", "+b", "+c"]
    assert len(actors.tree.intensity.restarts) == 2, "one for the end, one for the attempt that failed"


def test_the_rest_whose_start_fails_is_started_anew_from_the_one_that_failed() -> None:
    actors = stage(*workers("abcd"), strategy="rest_for_one", intensity=5)
    actors.taken()
    actors.outcomes = ["up", "fails"]
    actors.end("b")
    assert actors.taken() == ["-d", "-c", "+b", "!c"]
    actors.due()
    assert actors.taken() == ["+c", "+d"]


def test_an_attempt_is_that_of_its_whole_group_whoever_else_was_to_be_tried_again() -> None:
    actors = stage(*workers("abc"), strategy="one_for_all", intensity=9)
    actors.outcomes = ["up", "fails", "fails"]
    actors.end("c")
    assert actors.states() == {"a": "running", "b": "restarting", "c": "stopped"}
    actors.end("a")
    assert actors.states() == {"a": "restarting", "b": "stopped", "c": "stopped"}
    assert actors.due() is None, "the one for b"
    actors.due()
    assert actors.states() == dict.fromkeys("abc", "running")
    assert len(actors.tree.intensity.restarts) == 3


def test_each_failed_attempt_counts_and_one_too_many_gives_up() -> None:
    actors = stage(worker("a"), worker("b"), intensity=3)
    actors.outcomes = ["fails"] * 9
    actors.end("a")
    for _ in range(2):
        assert isinstance(actors.due(), Retry)
    assert isinstance(actors.due(), GiveUp)
    assert actors.taken() == ["+a", "+b", "!a", "!a", "!a"], "three attempts, and no fourth"
    actors.over = None
    actors.happens(Finish())
    assert actors.taken() == ["-b"]


def test_intensity_zero_gives_up_at_the_first_end_and_touches_no_sibling_before() -> None:
    actors = stage(*workers("abc"), strategy="one_for_all", intensity=0)
    actors.taken()
    assert isinstance(actors.end("b"), GiveUp)
    assert actors.taken() == []


def test_a_start_that_fails_at_first_ends_the_others_in_reverse_and_is_not_tried_again() -> None:
    actors = stage(*workers("abcd"), outcomes=("up", "up", "fails"))
    assert isinstance(actors.over, Abort)
    assert actors.taken() == ["+a", "+b", "!c", "-b", "-a"]
    assert not actors.pending


@pytest.mark.parametrize(
    ("restart", "state"), [("permanent", "stopped"), ("transient", "stopped"), ("temporary", "gone")]
)
def test_one_that_ignores_its_start_keeps_its_spec_unless_it_is_temporary(restart: Any, state: str) -> None:
    actors = stage(worker("a"), worker("b", restart=restart), worker("c"), outcomes=("up", "ignores"))
    assert actors.taken() == ["+a", "?b", "+c"]
    assert actors.states().get("b", "gone") == state
    if state == "stopped":
        assert isinstance(actors.happens(RestartChild("b")), Answer)
        assert actors.states()["b"] == "running"


def test_one_that_ignores_its_restart_stands_still_and_the_others_of_its_group_go_on() -> None:
    actors = stage(*workers("abc"), strategy="one_for_all")
    actors.taken()
    actors.outcomes = ["up", "ignores"]
    actors.end("c")
    assert actors.taken() == ["-b", "-a", "+a", "?b", "+c"]
    assert actors.states() == {"a": "running", "b": "stopped", "c": "running"}


def test_any_significant_child_or_the_last_of_them_ends_the_supervisor() -> None:
    def significant(*names: str) -> list[Child]:
        return [worker(name, restart="transient", significant=name.isupper()) for name in names]

    any_of = stage(*significant("x", "A", "B"), auto_shutdown="any_significant")
    assert any_of.end("x", Normal()) is None
    assert isinstance(any_of.end("B", Normal()), ShutDown)
    all_of = stage(*significant("x", "A", "B"), auto_shutdown="all_significant", intensity=9)
    assert all_of.end("B", Normal()) is None
    assert all_of.end("A") is None, "it comes back"
    assert isinstance(all_of.end("A", Normal()), ShutDown)


def test_an_operator_who_ends_a_significant_child_does_not_end_the_supervisor() -> None:
    child = worker("a", restart="transient", significant=True)
    actors = stage(child, auto_shutdown="any_significant")
    assert actors.happens(TerminateChild("a")) == Answer(None)
    assert actors.states() == {"a": "stopped"}


def test_a_significant_child_that_is_being_restarted_is_not_over() -> None:
    children = [worker(name, restart="transient", significant=True) for name in "ab"]
    actors = stage(*children, auto_shutdown="all_significant", intensity=9)
    actors.outcomes = ["fails"]
    actors.end("a")
    assert actors.states()["a"] == "restarting"
    assert actors.end("b", Normal()) is None
    actors.outcomes = []
    actors.due()
    assert isinstance(actors.end("a", Normal()), ShutDown)


def test_a_dynamic_supervisor_forgets_whom_it_does_not_restart_and_ends_all_at_once() -> None:
    actors = stage(dynamic=True, intensity=9)
    for restart in ("permanent", "transient", "temporary"):
        assert isinstance(actors.happens(StartChild(worker("w", restart=restart))), Answer)
    assert list(actors.states()) == ["w-1", "w-2", "w-3"]
    actors.end("w-1")
    actors.end("w-2", Normal())
    actors.end("w-3")
    assert actors.states() == {"w-1": "running"}
    actors.happens(StartChild(worker("w")))
    actors.taken()
    actors.happens(Finish())
    assert actors.taken() == ["all", "-w-1", "-w-4"]


def test_another_of_a_template_has_its_arguments_after_the_templates_own() -> None:
    tree = Tree(Policy(dynamic=True), Child(Anybody, args=(1,), kwargs={"x": 1, "y": 2}, id="w"))
    actors = Stage(tree)
    actors.happens(StartAnother((2, 3), {"x": 4}))
    child = tree.places["w-1"].child
    assert (child.args, child.kwargs) == ((1, 2, 3), {"x": 4, "y": 2})
    assert isinstance(Stage(Tree(Policy(dynamic=True))).happens(StartAnother()), Refuse)


@pytest.mark.parametrize(
    ("another", "says"),
    [
        (StartAnother(3), "StartAnother.args is a tuple of arguments, not 3"),  # type: ignore[arg-type]
        (StartAnother("ann"), "StartAnother.args is a tuple of arguments, not 'ann'"),  # type: ignore[arg-type]
        (StartAnother((), 3), "StartAnother.kwargs maps names to arguments, not 3"),  # type: ignore[arg-type]
        (StartAnother((), {"x": 1}), "Child.kwargs does not fit Nobody, which takes no arguments"),
    ],
)
def test_another_that_cannot_be_meant_is_refused(another: StartAnother, says: str) -> None:
    actors = Stage(Tree(Policy(dynamic=True), worker("w")))
    refusal = actors.happens(another)
    assert isinstance(refusal, Refuse)
    assert says in refusal.why
    assert actors.states() == {}


def test_a_numbered_id_is_never_one_that_is_taken() -> None:
    actors = stage(worker("w-1"), worker("w-2"), dynamic=True)
    actors.happens(StartChild(worker("w")))
    assert list(actors.states()) == ["w-1", "w-2", "w-3"]


def test_what_an_operator_cannot_do_is_refused_with_the_state_that_is_in_the_way() -> None:
    actors = stage(worker("up"), worker("down"), worker("again"), intensity=9)
    actors.happens(TerminateChild("down"))
    actors.outcomes = ["fails"]
    actors.end("again")
    refused: list[tuple[Any, str]] = [
        (StartChild(worker("up")), "exists already and is running"),
        (StartChild(worker("down")), "exists already and is stopped"),
        (StartChild(worker("again")), "exists already and is restarting"),
        (RestartChild("up"), "is running"),
        (RestartChild("again"), "is restarting"),
        (DeleteChild("up"), "is running"),
        (DeleteChild("again"), "is restarting"),
        (TerminateChild("nobody"), "no child 'nobody'; there are: 'up', 'down', 'again'"),
    ]
    for request, why in refused:
        action = actors.happens(request)
        assert isinstance(action, Refuse)
        assert why in action.why
    counts = ChildCounts(specs=3, active=1, supervisors=0, workers=3, restarting=1, held=0)
    assert actors.happens(CountChildren()) == Answer(counts)


def test_a_refusal_names_twenty_children_at_most() -> None:
    actors = stage(*(worker(f"c{number}") for number in range(10_000)))
    action = actors.happens(TerminateChild("nobody"))
    assert isinstance(action, Refuse)
    assert action.why.startswith("no child 'nobody'; there are: 'c0', 'c1', ")
    assert action.why.endswith(", 'c19', and 9980 more")


def test_a_request_to_start_that_fails_leaves_nothing_behind() -> None:
    actors = stage(worker("a"))
    actors.happens(TerminateChild("a"))
    actors.outcomes = ["fails", "fails", "ignores"]
    assert isinstance(actors.happens(StartChild(worker("b"))), Refuse)
    assert isinstance(actors.happens(RestartChild("a")), Refuse)
    assert actors.states() == {"a": "stopped"}
    assert actors.happens(StartChild(worker("t", restart="temporary"))) == Answer(None)
    assert actors.states() == {"a": "stopped"}
    assert not actors.tree.intensity.restarts, "what an operator starts is no restart"


# --- beyond OTP ---


def test_a_backoff_is_counted_before_the_wait_and_grows_until_a_healthy_time() -> None:
    backoff = Backoff(first=1.0, healthy=10.0)
    actors = stage(worker("a", backoff=backoff), worker("b"), intensity=9, period=1000.0)
    waits: list[int] = []
    actors.outcomes = ["fails", "up"]
    for lived in (0.0, 9.0, 10.0):
        actors.now += lived
        retry = actors.end("a")
        while isinstance(retry, Retry):
            assert retry.place.backoff is backoff
            waits.append(retry.place.failures)
            actors.now += 1.0
            retry = actors.due()
    assert waits == [1, 2, 3, 1]
    assert len(actors.tree.intensity.restarts) == 4
    assert actors.states() == {"a": "running", "b": "running"}


def test_with_a_backoff_what_is_too_often_is_known_before_the_wait() -> None:
    actors = stage(worker("a", backoff=Backoff(first=1.0)), intensity=1)
    assert isinstance(actors.end("a"), Retry)
    actors.due()
    assert isinstance(actors.end("a"), GiveUp)


def test_the_backoff_of_a_supervisor_is_that_of_its_children_unless_they_say() -> None:
    own, common = Backoff(first=1.0), Backoff(first=2.0)
    actors = stage(worker("a", backoff=own), worker("b"), backoff=common, intensity=9)
    retries = [actors.end("a"), actors.end("b")]
    assert [retry.place.backoff for retry in retries if isinstance(retry, Retry)] == [own, common]


def test_an_attempt_that_was_called_off_does_not_come_early_for_the_next_one() -> None:
    actors = stage(worker("a", backoff=Backoff()), intensity=9)
    actors.end("a")
    actors.happens(TerminateChild("a"))
    actors.happens(RestartChild("a"))
    actors.end("a")
    first, second = actors.pending
    assert actors.happens(Due("a", first.attempt)) is None
    assert actors.states() == {"a": "restarting"}
    actors.happens(Due("a", second.attempt))
    assert actors.states() == {"a": "running"}


def test_without_a_backoff_whichever_comes_first_makes_the_next_attempt() -> None:
    actors = stage(*workers("ab"), strategy="one_for_all", intensity=9)
    actors.taken()
    actors.outcomes = ["up", "fails", "up", "fails"]
    actors.end("b")
    actors.end("a")
    assert actors.taken() == ["-a", "+a", "!b", "+a", "!b"]
    first, second = actors.pending
    actors.happens(Due("b", first.attempt))
    assert actors.states() == {"a": "running", "b": "running"}
    assert actors.happens(Due("b", second.attempt)) is None
    assert len(actors.tree.intensity.restarts) == 3


def test_a_degraded_supervisor_holds_one_down_and_goes_on_with_the_others() -> None:
    actors = stage(worker("bad"), worker("good"), intensity=1, degraded=True)
    actors.end("bad")
    assert isinstance(actors.end("bad"), Hold)
    assert actors.states() == {"bad": "held", "good": "running"}
    assert actors.end("good") is None, "its restarts are counted anew"
    assert actors.states() == {"bad": "held", "good": "running"}
    assert isinstance(actors.happens(RestartChild("bad")), Answer)
    assert actors.states() == {"bad": "running", "good": "running"}


@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
def test_a_significant_child_that_is_held_down_has_ended(auto_shutdown: str) -> None:
    children = [worker("bad", restart="transient", significant=True), worker("good")]
    actors = stage(*children, auto_shutdown=auto_shutdown, intensity=0, degraded=True)
    assert isinstance(actors.end("good"), Hold), "which was not significant"
    end = actors.end("bad")
    assert isinstance(end, ShutDown)
    assert str(end.reason.detail).startswith("auto shutdown, after 'bad' was held down")


def test_a_full_supervisor_takes_no_more_and_has_room_again_when_one_is_gone() -> None:
    actors = stage(worker("a"), worker("b", restart="temporary"), max_children=2)
    action = actors.happens(StartChild(worker("c")))
    assert isinstance(action, Refuse)
    assert "no room for 'c'" in action.why
    actors.end("b")
    assert isinstance(actors.happens(StartChild(worker("c"))), Answer)


def test_a_transient_supervisor_that_gave_up_is_left_down_and_that_is_said() -> None:
    below = Child(Supervisor, id="below", restart="transient")
    actors = stage(below, worker("a", restart="transient"))
    gave_up = Tree(Policy(intensity=0))
    other = Stage(gave_up)
    other.happens(Begin((worker("x"),)))
    action = other.end("x")
    assert isinstance(action, GiveUp)
    assert isinstance(actors.end("below", action.reason), LeaveDown)
    assert actors.end("a", action.reason) is None, "no supervisor"
    again = stage(below)
    assert again.end("below", Shutdown("an operator's")) is None
    temporary = stage(Child(Supervisor, id="below", restart="temporary"))
    assert temporary.end("below", action.reason) is None, "that is what temporary means"

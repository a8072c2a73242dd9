"""What a supervisor decides, for any children, any history of ends, failing starts and requests."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.supervised import ABNORMAL, REASONS, Stage, worker
from understudy.actors import Exit, Normal
from understudy.supervisors import (
    Backoff,
    Child,
    DeleteChild,
    RestartChild,
    StartChild,
    TerminateChild,
)
from understudy.supervisors.policy import Policy
from understudy.supervisors.steps import (
    Begin,
    Finish,
    GiveUp,
    Hold,
    Retry,
    ShutDown,
)
from understudy.supervisors.tree import Tree

NAMES = ("a", "b", "c", "d", "e")

restarts = st.sampled_from(["permanent", "transient", "temporary"])
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "dynamic"])
outcomes = st.lists(st.sampled_from(["up", "up", "up", "fails", "ignores"]), max_size=20)
scripts = st.lists(
    st.tuples(
        st.sampled_from(["end", "end", "end", "due", "due", "terminate", "revive", "delete", "add"]),
        st.integers(0, 9),
        st.sampled_from(REASONS),
        st.floats(0, 3, allow_nan=False),
    ),
    max_size=30,
)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    strategy = draw(strategies)
    policy: dict[str, Any] = {
        "strategy": "one_for_one" if strategy == "dynamic" else strategy,
        "dynamic": strategy == "dynamic",
        "intensity": draw(st.integers(0, 6)),
        "period": draw(st.sampled_from([0.5, 2.0, 10.0])),
        "auto_shutdown": draw(st.sampled_from(["any_significant", "all_significant"])),
        "backoff": draw(st.none() | st.just(Backoff())),
    }
    if policy["strategy"] == "one_for_one":
        policy["degraded"] = draw(st.booleans())
    return policy


@st.composite
def children(draw: st.DrawFn) -> list[Child]:
    made = []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        restart = draw(restarts)
        made.append(worker(name, restart=restart, significant=restart != "permanent" and draw(st.booleans())))
    return made


def run(policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]) -> tuple[Stage, list[Any]]:
    """Play a script. Returns the stage, and of each event: what it was, what was done and what it came to."""
    actors = Stage(Tree(Policy(**policy)), list(how))
    history: list[Any] = []

    def note(what: str, name: str | None, before: list[str], event: Any) -> None:
        action = event()
        history.append((what, name, before, actors.taken(), action, actors.now))
        actors.check()

    if policy["dynamic"]:
        note("begin", None, [], lambda: actors.happens(Begin(())))
        for child in specs:
            note("add", None, list(actors.tree.places), lambda child=child: actors.happens(StartChild(child)))
    else:
        note("begin", None, [], lambda: actors.happens(Begin(tuple(specs))))
    for what, number, reason, gap in script:
        if actors.over is not None:
            break
        actors.now += gap
        places = list(actors.tree.places)
        alive = sorted(actors.alive.values())
        name = places[number % len(places)] if places else "nobody"
        if what == "end" and alive:
            name = alive[number % len(alive)]
            note(what, name, places, lambda name=name, reason=reason: actors.end(name, reason))
        elif what == "due" and actors.pending:
            name = actors.pending[0].place.id
            note(what, name, places, actors.due)
        elif what == "terminate":
            note(what, name, places, lambda name=name: actors.happens(TerminateChild(name)))
        elif what == "revive":
            note(what, name, places, lambda name=name: actors.happens(RestartChild(name)))
        elif what == "delete":
            note(what, name, places, lambda name=name: actors.happens(DeleteChild(name)))
        elif what == "add":
            child = worker(f"new{number}")
            note(what, child.id, places, lambda child=child: actors.happens(StartChild(child)))
    return actors, history


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_children_are_ended_in_reverse_and_started_in_order(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    _, history = run(policy, specs, how, script)
    for what, _, before, done, _, _ in history:
        if what in ("end", "due"):
            ends = [before.index(entry[1:]) for entry in done if entry[0] == "-"]
            starts = [before.index(entry[1:]) for entry in done if entry[0] != "-"]
            assert ends == sorted(ends, reverse=True)
            assert starts == sorted(starts)
            assert [entry[0] == "-" for entry in done] == sorted((entry[0] == "-" for entry in done), reverse=True)


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_a_restart_touches_those_that_its_strategy_is_for_and_nobody_else(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    _, history = run(policy, specs, how, script)
    for what, name, before, done, _, _ in history:
        touched = {entry[1:] for entry in done}
        if what in ("end", "due") and policy["strategy"] == "one_for_one":
            assert touched <= {name}
        elif what in ("end", "due") and policy["strategy"] == "rest_for_one":
            assert touched <= set(before[before.index(name) :])
        elif what in ("terminate", "revive", "delete"):
            assert touched <= {name}


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_a_temporary_child_is_started_once_and_a_normal_end_brings_none_back_but_a_permanent(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    _, history = run(policy, specs, how, script)
    kinds = {child.id: child.restart for child in specs}
    kinds |= {f"{child.id}-{number}": child.restart for number, child in enumerate(specs, 1)}
    counted = Counter(entry for _, _, _, done, _, _ in history for entry in done if entry[0] != "-")
    for name, kind in kinds.items():
        if kind == "temporary":
            assert counted["+" + name] + counted["!" + name] + counted["?" + name] <= 1


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_it_gives_up_exactly_when_more_attempts_than_its_intensity_fell_into_one_period(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    actors, history = run(policy, specs, how, script)
    attempts: list[float] = []
    kinds = {place: child for child in specs for place in (child.id,)}
    for what, name, _, done, action, now in history:
        child = kinds.get(name) or kinds.get((name or "").rpartition("-")[0]) or worker("new")
        held = isinstance(action, Hold) or (isinstance(action, ShutDown) and action.place.state == "held")
        too_many = held or isinstance(action, GiveUp)
        # What counts: an end of one that comes back, and each new attempt after one that failed. With a backoff the next
        # attempt is counted as soon as the last one has failed, else when it is made.
        if policy["backoff"] is None:
            counts = (what == "end" and (too_many or bool(done))) or (what == "due" and (too_many or bool(done)))
            many = int(counts)
        else:
            failed = any(entry[0] == "!" for entry in done) and what in ("end", "due")
            many = int(what == "end" and (too_many or isinstance(action, Retry))) + int(failed)
        assert child is not None
        for _ in range(many):
            attempts = [at for at in attempts if now - at <= policy["period"]] + [now]
        if many:
            assert too_many == (len(attempts) > policy["intensity"])
        else:
            assert not too_many
        if held:
            attempts = []
    assert list(actors.tree.intensity.restarts) == attempts


@settings(deadline=None)
@given(st.permutations([*NAMES, "other"]), st.lists(st.booleans(), min_size=6, max_size=6), st.booleans())
def test_the_last_significant_child_that_ends_or_is_held_down_ends_its_supervisor_in_whatever_order(
    order: list[str], crashes: list[bool], dynamic: bool
) -> None:
    specs = [worker(name, restart="transient", significant=name != "other") for name in sorted(order)]
    policy = Policy(dynamic=dynamic, auto_shutdown="all_significant", degraded=True, intensity=0)
    actors = Stage(Tree(policy))
    actors.happens(Begin(()))
    for child in specs:
        actors.happens(StartChild(child))
    ids = {place.child.id: place.id for place in actors.tree.places.values()}
    left = set(NAMES)
    for name, crash in zip(order, crashes):
        left.discard(name)
        action = actors.end(ids[name], ABNORMAL if crash else Normal())
        if not left:
            assert isinstance(action, ShutDown)
            return
        assert isinstance(action, Hold) if crash else action is None


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_at_its_end_nobody_is_left_whatever_was_under_way(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    actors, _ = run(policy, specs, how, script)
    order = [place.id for place in actors.tree.places.values() if place.state == "running"]
    actors.over = None
    assert actors.happens(Finish()) is None
    assert not actors.alive
    done = [entry for entry in actors.taken() if entry != "all"]
    if policy["dynamic"]:
        assert sorted(done) == sorted("-" + name for name in order)
    else:
        assert done == ["-" + name for name in reversed(order)]


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_equal_histories_have_equal_ends(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    (first, before), (second, after) = run(policy, specs, how, script), run(policy, specs, how, script)
    assert [entry[3] for entry in before] == [entry[3] for entry in after]
    assert (first.states(), first.tree.intensity) == (second.states(), second.tree.intensity)


@settings(deadline=None)
@given(policies(), children(), outcomes, scripts)
def test_the_end_of_the_supervisor_may_come_in_the_midst_of_any_plan(
    policy: dict[str, Any], specs: list[Child], how: list[str], script: list[Any]
) -> None:
    actors, _ = run(policy, specs, how, script)
    if actors.over is not None or not actors.alive:
        return
    name = min(actors.alive.values())
    handle = next(handle for handle, one in actors.alive.items() if one == name)
    del actors.alive[handle]
    actors.tree.decide(Exit(handle, ABNORMAL), actors.now)  # type: ignore[arg-type]  # its first step is never done
    actors.happens(Finish())
    assert not actors.alive
    assert not actors.tree.running

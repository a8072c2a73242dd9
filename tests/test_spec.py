"""Declaring supervision: what cannot be meant is refused where it is declared, and the field is named."""

import functools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.actors import (
    Actor,
    ActorSystem,
    ExitReason,
    Failure,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    Shutdown,
    StartFailed,
    ThreadActor,
)
from understudy.supervisors import (
    Backoff,
    Child,
    DynamicSupervisor,
    OsProcess,
    PartitionedSupervisor,
    Router,
    StartAnother,
    Supervisor,
)
from understudy.supervisors.intensity import Intensity
from understudy.supervisors.policy import Policy
from understudy.supervisors.spec import WORKER_SHUTDOWN, Restart

REASONS: list[ExitReason] = [Normal(), Shutdown(), Shutdown("x"), Killed(), Failure("E", "m"), NoProc(), NoConnection()]
reasons = st.sampled_from(REASONS)
gaps = st.lists(st.floats(0, 20, allow_nan=False), max_size=40)


class Nobody(Actor):
    pass


class Named(Actor):
    def __init__(self, name: str, /, age: int = 0, *, short: bool = False) -> None:
        super().__init__()


class NamedThread(ThreadActor):
    def __init__(self, name: str) -> None:
        super().__init__()


class Anything(Actor):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cls": int}, "Child.cls is a subclass of Actor"),
        ({"cls": Nobody()}, "Child.cls is a subclass of Actor"),
        ({"args": [1]}, "Child.args is a tuple"),
        ({"args": "abc"}, "Child.args is a tuple"),
        ({"kwargs": 5}, "Child.kwargs maps names"),
        ({"kwargs": {1: 2}}, "Child.kwargs maps names"),
        ({"name": ""}, "Child.name: .* a text of 1 to 255"),
        ({"name": "x" * 256}, "Child.name: .* a text of 1 to 255"),
        ({"name": 5}, "Child.name is a text or None, not 5"),
        ({"id": 5}, "Child.id is a text"),
        ({"restart": "sometimes"}, "Child.restart is one of permanent, transient, temporary, not 'sometimes'"),
        ({"restart": ["permanent"]}, "Child.restart"),
        ({"shutdown": "soon"}, "Child.shutdown is a number of seconds from 0 up, 'brutal_kill' or 'infinity'"),
        ({"shutdown": -1.0}, "Child.shutdown"),
        ({"shutdown": math.nan}, "Child.shutdown"),
        ({"shutdown": math.inf}, "Child.shutdown"),
        ({"shutdown": True}, "Child.shutdown"),
        ({"start_timeout": 0.0}, "Child.start_timeout is a number of seconds above 0"),
        ({"start_timeout": "x"}, "Child.start_timeout"),
        ({"start_timeout": math.nan}, "Child.start_timeout"),
        ({"start_timeout": True}, "Child.start_timeout"),
        ({"start_timeout": None}, "Child.start_timeout"),
        ({"significant": 1, "restart": "transient"}, "Child.significant is True or False"),
        ({"significant": True}, "Child.significant is for transient and temporary children"),
        ({"backoff": 1.0}, "Child.backoff is a Backoff"),
        ({"role": 5}, "Child.role is what its node is for, a text or None, not 5"),
        ({"role": ""}, "Child.role: a role name is a text of 1 to 255"),
        ({"tags": "gpu"}, "Child.tags is a tuple of texts, not 'gpu'"),
        ({"node": "engine-1", "role": "engine"}, "has a node, 'engine-1', and what chooses one"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused_when_declared(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        Child(**{"cls": Nobody, **wrong})


@pytest.mark.parametrize(
    ("cls", "args", "kwargs", "says"),
    [
        (Nobody, (1,), {}, "Child.args does not fit Nobody, which takes no arguments: too many positional arguments"),
        (Nobody, (), {"x": 1}, "Child.kwargs does not fit Nobody, which takes no arguments: .*unexpected.*'x'"),
        (Named, (1, 2, 3), {}, "Child.args does not fit Named, which takes name, age, short: too many"),
        (Named, ("n",), {"sort": True}, "Child.kwargs does not fit Named, .*'sort'"),
        (Named, ("n", 1), {"age": 2}, "Child.kwargs does not fit Named, .*multiple values for argument 'age'"),
        (NamedThread, ("n", 1), {}, "Child.args does not fit NamedThread, which takes name: too many"),
        (Supervisor, (), {"strateg": "one_for_all"}, "Child.kwargs does not fit Supervisor, .*'strateg'"),
        (
            DynamicSupervisor,
            (),
            {"strategy": "one_for_all"},
            "Child.kwargs does not fit DynamicSupervisor, .*'strategy'",
        ),
        (OsProcess, ("sleep", "3"), {}, "Child.args does not fit OsProcess, which takes argv, .*: too many"),
    ],
)
def test_arguments_that_a_childs_class_does_not_take_are_refused_when_declared(
    cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any], says: str
) -> None:
    for _ in "once", "and when it is remembered":
        with pytest.raises(TypeError, match=says):
            Child(cls, args, kwargs)


def test_arguments_that_may_be_meant_are_accepted_when_declared() -> None:
    meant: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (Named, (), {}),  # the rest may come with StartAnother
        (Named, ("n", 1), {"short": True}),
        (Named, ("n",), {"age": 1}),
        (NamedThread, ("n",), {}),
        (NamedThread, (), {"name": "n"}),
        (Anything, (1, 2, 3), {"x": 4}),
        (Supervisor, ([Child(Nobody)],), {"strategy": "one_for_all"}),
        (OsProcess, (["sleep", "3"],), {"grace": 1.0}),
    ]
    for cls, args, kwargs in meant:
        Child(cls, args, kwargs)


def test_an_init_that_is_wrapped_is_taken_for_what_its_wrapper_takes() -> None:
    def injected(init: Any) -> Any:
        @functools.wraps(init)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, "injected", *args)

        return wrapper

    class Wrapped(Actor):
        @injected
        def __init__(self, store: str) -> None:
            super().__init__()

    Policy().check_all([Child(Wrapped), Child(Wrapped, kwargs={"more": 1}, id="more")], "a list of")


def test_an_argument_that_is_missing_is_found_before_any_child_is_started() -> None:
    says = "Child.args does not fit Named, which takes name, age, short: missing a required.*'name'"
    with pytest.raises(TypeError, match=says):
        Policy().check_all([Child(Nobody), Child(Named, kwargs={"age": 1})], "a list of")


async def test_a_template_may_lack_what_comes_with_each_of_its_children() -> None:
    async with ActorSystem() as system:
        people = await system.spawn(DynamicSupervisor, Child(Named, kwargs={"short": True}))
        assert await people.call(StartAnother(("ann",), {"age": 3}))


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"strategy": "one_for_luck"}, "Supervisor.strategy is one of one_for_one, one_for_all, rest_for_one"),
    ({"strategy": None}, "Supervisor.strategy"),
    ({"intensity": "x"}, "Supervisor.intensity is a whole number from 0 up, not 'x'"),
    ({"intensity": True}, "Supervisor.intensity"),
    ({"intensity": -1}, "Supervisor.intensity"),
    ({"intensity": 1.5}, "Supervisor.intensity"),
    ({"period": 0.0}, "Supervisor.period is a number of seconds above 0"),
    ({"period": -1}, "Supervisor.period"),
    ({"period": math.nan}, "Supervisor.period"),
    ({"period": "5"}, "Supervisor.period"),
    ({"period": True}, "Supervisor.period"),
    ({"auto_shutdown": "sometimes"}, "Supervisor.auto_shutdown is one of never, any_significant, all_significant"),
    ({"auto_shutdown": True}, "Supervisor.auto_shutdown"),
    ({"max_children": -1}, "Supervisor.max_children"),
    ({"max_children": "many"}, "Supervisor.max_children"),
    ({"degraded": "yes"}, "Supervisor.degraded is True or False"),
    ({"degraded": True, "strategy": "one_for_all"}, "Supervisor.degraded goes with one_for_one"),
    ({"backoff": 1.0}, "Supervisor.backoff is a Backoff"),
]


async def _later(self: Any) -> list[Child]:
    return []


async def _one_by_one(self: Any) -> Any:
    yield Child(Nobody)


@pytest.mark.parametrize(
    ("base", "wrong", "says"),
    [
        (Supervisor, {"children": [Child(Nobody)]}, r"Odd.children is a plain method .*say `def children\(self\)`"),
        (Supervisor, {"children": property(lambda _: [])}, "Odd.children is a plain method"),
        (Supervisor, {"children": _later}, "Odd.children is a plain method"),
        (Supervisor, {"children": _one_by_one}, "Odd.children is a plain method"),
        (Supervisor, {"trap_exit": False}, "Odd.trap_exit is True"),
        (DynamicSupervisor, {"children": lambda _: []}, "Odd.children: a DynamicSupervisor starts with none"),
        (DynamicSupervisor, {"children": [Child(Nobody)]}, "Odd.children: a DynamicSupervisor starts with none"),
        (PartitionedSupervisor, {"children": lambda _: []}, "Odd.children: .* are its partitions"),
        (PartitionedSupervisor, {"strategy": "one_for_all"}, "PartitionedSupervisor.strategy is one_for_one"),
        (PartitionedSupervisor, {"strategy": "rest_for_one"}, "PartitionedSupervisor.strategy is one_for_one"),
    ],
)
def test_a_class_that_would_not_be_the_supervisor_it_says_is_refused_where_it_is_declared(
    base: type[Any], wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        type("Odd", (base,), wrong)


@pytest.mark.parametrize("argv", ["sleep 3", b"sleep", [], [1], ["sleep", 3], 5, None, {"sleep": 3}])
async def test_what_is_no_program_with_its_arguments_is_refused(argv: Any) -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match=r"OsProcess.argv is a list of texts, a program and its arguments, not"):
            await system.spawn(Supervisor, [Child(OsProcess, args=(argv,))])


@pytest.mark.parametrize(("wrong", "says"), WRONG_FIELDS)
def test_a_supervisor_that_cannot_be_meant_is_refused_where_its_class_is_declared(
    wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        type("Odd", (Supervisor,), wrong)
    with pytest.raises((TypeError, ValueError), match=says):
        Policy(**wrong)


def test_a_dynamic_supervisor_has_no_order_and_a_template_that_fits_it() -> None:
    with pytest.raises(ValueError, match=r"DynamicSupervisor.strategy is one_for_one"):
        type("Odd", (DynamicSupervisor,), {"strategy": "one_for_all"})
    with pytest.raises(TypeError, match=r"Odd.template is a Child"):
        type("Odd", (DynamicSupervisor,), {"template": Nobody})
    with pytest.raises(ValueError, match=r"Child.significant of 'Nobody'"):
        type("Odd", (DynamicSupervisor,), {"template": Child(Nobody, restart="transient", significant=True)})


@pytest.mark.parametrize(
    ("children", "says"),
    [
        (None, r"returns a list of Child\(...\), not None"),
        (5, r"returns a list of Child\(...\), not 5"),
        ([Nobody], "returns a list of Child"),
        ("abc", "returns a list of Child"),
        ([Child(Nobody), Child(Nobody)], "two children have the id 'Nobody': give one another id"),
        ([Child(Nobody, restart="temporary", significant=True)], "Child.significant of 'Nobody' means nothing"),
        ([Child(Nobody, id=one) for one in "abc"], "Supervisor.max_children is 2, and there are 3"),
    ],
)
def test_a_list_of_children_that_cannot_be_meant_is_refused(children: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        Policy(max_children=2).check_all(children, "Zoo.children() returns a list of")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"first": 0.0}, "Backoff.first"),
        ({"first": "1"}, "Backoff.first"),
        ({"most": 0.05}, "Backoff.most is no less than Backoff.first"),
        ({"most": math.inf}, "Backoff.most"),
        ({"factor": 0.5}, "Backoff.factor"),
        ({"factor": math.nan}, "Backoff.factor"),
        ({"factor": "2"}, "Backoff.factor"),
        ({"jitter": 1.5}, "Backoff.jitter"),
        ({"jitter": True}, "Backoff.jitter"),
        ({"healthy": -1.0}, "Backoff.healthy"),
    ],
)
def test_a_backoff_that_cannot_be_meant_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        Backoff(**wrong)


def test_a_childs_id_is_its_name_or_its_class() -> None:
    assert Child(Nobody).id == "Nobody"
    assert Child(Nobody, name="n").id == "n"
    assert Child(Nobody, name="n", id="i").id == "i"


@pytest.mark.parametrize("cls", [Supervisor, DynamicSupervisor, PartitionedSupervisor, Router])
def test_what_has_children_of_its_own_has_as_long_as_it_takes(cls: Any) -> None:
    assert (Child(cls).kind, Child(cls).patience) == ("supervisor", "infinity")
    assert Child(cls, shutdown=1.0).patience == 1.0


@pytest.mark.parametrize("cls", [Nobody, OsProcess])
def test_a_worker_has_five_seconds(cls: Any) -> None:
    assert (Child(cls).kind, Child(cls).patience) == ("worker", WORKER_SHUTDOWN)


@settings(deadline=None)
@given(reasons)
def test_who_comes_back_depends_on_the_type_and_the_end(reason: ExitReason) -> None:
    normal = isinstance(reason, Normal | Shutdown)
    expected: dict[Restart, bool] = {"permanent": True, "transient": not normal, "temporary": False}
    assert {restart: Child(Nobody, restart=restart).comes_back(reason) for restart in expected} == expected


@settings(deadline=None)
@given(gaps, st.integers(0, 5), st.floats(0.1, 10))
def test_it_gives_up_exactly_when_more_than_the_limit_fell_into_one_period(
    of: list[float], limit: int, period: float
) -> None:
    intensity = Intensity(limit, period)
    now, history = 0.0, list[float]()
    for gap in of:
        now += gap
        history.append(now)
        assert intensity.add(now) == (sum(1 for at in history if now - at <= period) > limit)
        assert all(now - at <= period for at in intensity.restarts), "it remembers no more than the window"


def test_both_ends_of_the_window_count() -> None:
    intensity = Intensity(1, 5.0)
    assert not intensity.add(0.0)
    assert intensity.add(5.0)
    intensity = Intensity(1, 5.0)
    assert not intensity.add(0.0)
    assert not intensity.add(5.000001)


@settings(deadline=None)
@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1), st.floats(1, 10))
def test_a_backoff_grows_to_its_most_and_chance_moves_it_by_its_jitter_at_most(
    attempt: int, chance: float, jitter: float, factor: float
) -> None:
    backoff = Backoff(first=0.1, most=30.0, factor=factor, jitter=jitter)
    steady = Backoff(first=0.1, most=30.0, factor=factor, jitter=0.0)
    wait = steady.delay(attempt, chance)
    assert wait == pytest.approx(min(30.0, 0.1 * math.exp(min(100.0, (attempt - 1) * math.log(factor)))))
    assert wait * (1 - jitter) <= backoff.delay(attempt, chance) * (1 + 1e-9)
    assert backoff.delay(attempt, chance) <= wait * (1 + jitter) * (1 + 1e-9)

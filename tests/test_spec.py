"""What a supervisor decides, for any history of ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors import Actor, ExitReason, Failure, Killed, NoConnection, NoProc, Normal, Shutdown
from understudy.supervisors import Child, Intensity, Verdict, decide
from understudy.supervisors.spec import Restart, attempt

REASONS: list[ExitReason] = [Normal(), Shutdown(), Shutdown("x"), Killed(), Failure("E", "m"), NoProc(), NoConnection()]
reasons = st.sampled_from(REASONS)
restarts: st.SearchStrategy[Restart] = st.sampled_from(["permanent", "transient", "temporary"])
gaps = st.lists(st.floats(0, 20, allow_nan=False), max_size=40)


class Nobody(Actor):
    pass


def times(of: list[float]) -> list[float]:
    now, result = 0.0, []
    for gap in of:
        now += gap
        result.append(now)
    return result


@given(reasons, st.floats(0, 1e6))
def test_a_temporary_child_is_never_restarted_and_never_counted(reason: ExitReason, now: float) -> None:
    intensity = Intensity(0, 1.0)
    assert decide("temporary", reason, intensity, now) == (Verdict.FORGET, intensity)


@given(reasons, st.floats(0, 1e6))
def test_a_transient_child_is_restarted_only_after_an_abnormal_end(reason: ExitReason, now: float) -> None:
    verdict, after = decide("transient", reason, Intensity(1, 1.0), now)
    if isinstance(reason, Normal | Shutdown):
        assert (verdict, after.restarts) == (Verdict.KEEP, ())
    else:
        assert (verdict, after.restarts) == (Verdict.RESTART, (now,))


@given(reasons, st.floats(0, 1e6))
def test_a_permanent_child_is_always_restarted(reason: ExitReason, now: float) -> None:
    assert decide("permanent", reason, Intensity(1, 1.0), now)[0] is Verdict.RESTART


@given(gaps, st.integers(0, 5), st.floats(0.1, 10))
def test_it_gives_up_exactly_when_more_than_the_limit_fell_into_one_period(
    of: list[float], limit: int, period: float
) -> None:
    intensity = Intensity(limit, period)
    history: list[float] = []
    for now in times(of):
        history.append(now)
        verdict, intensity = attempt(intensity, now)
        within = sum(1 for at in history if now - at <= period)
        assert (verdict is Verdict.GIVE_UP) == (within > limit)
        if verdict is Verdict.GIVE_UP:
            return


@given(gaps, st.integers(0, 5), st.floats(0.1, 10))
def test_it_remembers_no_more_than_the_window(of: list[float], limit: int, period: float) -> None:
    intensity = Intensity(limit, period)
    for now in times(of):
        intensity = intensity.after(now)
        assert all(now - at <= period for at in intensity.restarts)


@given(restarts, reasons, st.integers(0, 3), st.floats(0, 100))
def test_deciding_changes_nothing_but_its_result(restart: Restart, reason: ExitReason, limit: int, now: float) -> None:
    before = Intensity(limit, 5.0, (0.0,))
    assert decide(restart, reason, before, now) == decide(restart, reason, before, now)
    assert before == Intensity(limit, 5.0, (0.0,))


def test_zero_intensity_gives_up_at_the_first_end() -> None:
    assert decide("permanent", Killed(), Intensity(0, 5.0), 0.0)[0] is Verdict.GIVE_UP


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cls": int}, "Child.cls"),
        ({"restart": "sometimes"}, "Child.restart"),
        ({"args": [1]}, "Child.args"),
        ({"shutdown": "soon"}, "Child.shutdown"),
        ({"shutdown": -1.0}, "Child.shutdown"),
        ({"start_timeout": 0.0}, "Child.start_timeout"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused_when_declared(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        Child(**{"cls": Nobody, **wrong})


@pytest.mark.parametrize(("limit", "period"), [(-1, 5.0), (1, 0.0), (1, -1.0)])
def test_an_intensity_that_cannot_be_meant_is_refused(limit: int, period: float) -> None:
    with pytest.raises(ValueError, match="restart intensity"):
        Intensity(limit, period)


def test_a_childs_id_is_its_name_or_its_class() -> None:
    assert Child(Nobody).id == "Nobody"
    assert Child(Nobody, name="n").id == "n"
    assert Child(Nobody, name="n", id="i").id == "i"

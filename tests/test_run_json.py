"""Runs as JSON: whatever a program yields or returns has a form that every client can read."""

import json
import math

from understudy.engine import RunInfo
from understudy.runs import frame_json, plain, run_json


def test_what_json_does_not_carry_gets_a_form_that_it_does() -> None:
    value = {"picture": b"\x00\xff", "mean": math.nan, "limits": [math.inf, -math.inf, 1.5], "deep": [{"n": None}]}
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "picture": "AP8=",
        "mean": None,
        "limits": [None, None, 1.5],
        "deep": [{"n": None}],
    }


def test_a_frame_is_an_object_whatever_the_program_yields() -> None:
    assert frame_json({"turn": 1}) == {"turn": 1}
    assert frame_json([1, math.nan]) == {"value": [1, None]}
    assert frame_json(b"\x00") == {"value": "AA=="}


def test_a_run_is_shown_with_its_id_first_and_all_that_is_known() -> None:
    shown = run_json(RunInfo("17", "arena", {"seed": 7}, "finished", result={"mean": math.nan}))
    assert next(iter(shown)) == "id"
    assert (shown["id"], shown["state"], shown["result"], shown["node"]) == ("17", "finished", {"mean": None}, None)

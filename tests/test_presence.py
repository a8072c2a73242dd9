"""Presence as pure state: who is there, and what changed, as Phoenix's clients need it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.gateway.presence import Entries, Presence


def refs(entries: Entries) -> dict[str, list[str]]:
    return {key: [meta["phx_ref"] for meta in entry["metas"]] for key, entry in entries.items()}


def test_a_newcomer_is_in_the_state_and_in_the_joins() -> None:
    presence = Presence("e")
    presence.track("tab 1", "ada", {"device": "phone"})
    assert presence.state() == {"ada": {"metas": [{"device": "phone", "phx_ref": "e.1"}]}}
    assert presence.take_diff() == {"joins": presence.state(), "leaves": {}}
    assert presence.take_diff() is None


def test_two_connections_under_one_key_are_one_person_with_two_metas() -> None:
    presence = Presence("e")
    presence.track("tab 1", "ada", {})
    presence.track("tab 2", "ada", {})
    assert refs(presence.state()) == {"ada": ["e.1", "e.2"]}
    presence.take_diff()
    presence.untrack("tab 1")
    assert refs(presence.state()) == {"ada": ["e.2"]}
    diff = presence.take_diff()
    assert diff is not None
    assert refs(diff["leaves"]) == {"ada": ["e.1"]}


def test_an_update_leaves_and_joins_in_one_diff_and_names_the_meta_before() -> None:
    presence = Presence("e")
    presence.track("tab", "ada", {"mood": "calm"})
    presence.take_diff()
    presence.update("tab", {"mood": "merry"})
    assert presence.take_diff() == {
        "joins": {"ada": {"metas": [{"mood": "merry", "phx_ref": "e.2", "phx_ref_prev": "e.1"}]}},
        "leaves": {"ada": {"metas": [{"mood": "calm", "phx_ref": "e.1"}]}},
    }


def test_who_came_and_went_between_two_diffs_is_in_neither() -> None:
    presence = Presence("e")
    presence.track("tab", "ada", {})
    presence.update("tab", {"mood": "merry"})
    presence.untrack("tab")
    assert presence.take_diff() is None
    assert presence.state() == {}


def test_untracking_a_stranger_changes_nothing_and_updating_one_is_an_error() -> None:
    presence = Presence("e")
    presence.untrack("nobody")
    assert presence.take_diff() is None
    with pytest.raises(KeyError, match="track it first"):
        presence.update("nobody", {})


@pytest.mark.parametrize(("key", "meta"), [("", {}), (None, {}), ("ada", {"phx_ref": "mine"})])
def test_keys_and_metas_that_clients_could_not_read_are_refused(key: Any, meta: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"presence key|phx_ref"):
        Presence("e").track("tab", key, meta)


steps = st.lists(
    st.tuples(st.sampled_from(["track", "untrack", "diff"]), st.integers(0, 3), st.sampled_from("abc")), max_size=60
)


@given(steps)
def test_a_client_that_applies_every_diff_has_the_state(steps: list[tuple[str, int, str]]) -> None:
    presence = Presence("e")
    seen: dict[str, dict[str, Any]] = {}

    def apply() -> None:
        diff = presence.take_diff() or {"joins": {}, "leaves": {}}
        for key, entry in diff["joins"].items():
            for meta in entry["metas"]:
                assert meta["phx_ref"] not in seen.setdefault(key, {})
                seen[key][meta["phx_ref"]] = meta
        for key, entry in diff["leaves"].items():
            for meta in entry["metas"]:
                del seen[key][meta["phx_ref"]]

    for step, owner, key in steps:
        match step:
            case "track":
                presence.track(owner, key, {"step": step})
            case "untrack":
                presence.untrack(owner)
            case _:
                apply()
    apply()
    assert {key: sorted(metas) for key, metas in seen.items() if metas} == {
        key: sorted(there) for key, there in refs(presence.state()).items()
    }

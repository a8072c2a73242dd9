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


def test_who_comes_back_within_the_grace_with_the_same_meta_was_seen_by_nobody_to_leave() -> None:
    presence = Presence("e")
    presence.track("old", "ada", {"mood": "calm"})
    presence.take_diff()
    presence.lost("old", 3.0)
    assert refs(presence.state()) == {"ada": ["e.1"]}
    assert presence.expire(2.9) == []
    assert presence.track("new", "ada", {"mood": "calm"}) == "old"
    assert presence.expire(9.0) == []
    assert presence.take_diff() is None
    assert refs(presence.state()) == {"ada": ["e.1"]}


def test_who_comes_back_with_another_meta_is_updated() -> None:
    presence = Presence("e")
    presence.track("old", "ada", {"mood": "calm"})
    presence.take_diff()
    presence.lost("old", 3.0)
    presence.track("new", "ada", {"mood": "merry"})
    diff = presence.take_diff()
    assert diff is not None
    assert diff["joins"]["ada"]["metas"] == [{"mood": "merry", "phx_ref": "e.2", "phx_ref_prev": "e.1"}]
    assert refs(diff["leaves"]) == {"ada": ["e.1"]}


def test_of_several_that_are_away_a_newcomer_has_the_place_of_its_like() -> None:
    presence = Presence("e")
    presence.track("1", "ada", {"device": "phone"})
    presence.track("2", "ada", {"device": "desk"})
    presence.take_diff()
    presence.lost("1", 3.0)
    presence.lost("2", 3.0)
    presence.track("3", "ada", {"device": "desk"})
    assert presence.due == 3.0
    assert presence.expire(3.0) == ["1"]
    assert presence.due is None
    diff = presence.take_diff()
    assert diff is not None
    assert (diff["joins"], refs(diff["leaves"])) == ({}, {"ada": ["e.1"]})


def test_who_does_not_come_back_is_gone_when_the_grace_is_over() -> None:
    presence = Presence("e")
    presence.track("tab", "ada", {})
    presence.take_diff()
    presence.lost("tab", 3.0)
    assert presence.expire(3.0) == ["tab"]
    assert presence.state() == {}
    diff = presence.take_diff()
    assert diff is not None
    assert refs(diff["leaves"]) == {"ada": ["e.1"]}


def test_who_is_hidden_comes_to_sight_again_or_not() -> None:
    presence = Presence("e")
    for owner in "123":
        presence.track(owner, f"person {owner}", {})
    presence.take_diff()
    for owner in "12":
        presence.hide(owner)
    presence.lost("3", 3.0)
    presence.hide("3")
    diff = presence.take_diff()
    assert diff is not None
    assert diff["leaves"].keys() == {"person 1", "person 2", "person 3"}
    presence.show("1")
    presence.show("3")
    presence.lost("2", 9.0)
    assert presence.state().keys() == {"person 1"}
    diff = presence.take_diff()
    assert diff is not None
    assert diff["joins"].keys() == {"person 1"}
    assert not diff["leaves"]


def test_of_two_that_may_be_one_the_newcomer_is_shown_and_the_other_when_it_is_there_after_all() -> None:
    presence = Presence("e")
    presence.track("old", "ada", {})
    presence.take_diff()
    assert presence.twins("ada", {}) == ["old"]
    assert presence.twins("ada", {"mood": "calm"}) == []
    presence.replace("old", "new", "ada", {})
    assert presence.take_diff() is None
    presence.show("old")
    assert len(presence) == 2
    assert refs(presence.state()) == {"ada": ["e.3", "e.1"]}
    presence.untrack("new")
    diff = presence.take_diff()
    assert diff is not None
    assert (refs(diff["joins"]), refs(diff["leaves"])) == ({"ada": ["e.3"]}, {"ada": ["e.1"]})


WHAT = ["track", "untrack", "lost", "expire", "hide", "show", "replace", "diff"]

steps = st.lists(
    st.tuples(st.sampled_from(WHAT), st.integers(0, 3), st.sampled_from("abc"), st.booleans()), max_size=60
)


@given(steps)
def test_a_client_that_applies_every_diff_has_the_state(steps: list[tuple[str, int, str, bool]]) -> None:
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

    for now, (step, owner, key, merry) in enumerate(steps):
        match step:
            case "track":
                presence.track(owner, key, {"merry": merry})
            case "untrack":
                presence.untrack(owner)
            case "lost":
                presence.lost(owner, now + 5)
            case "expire":
                presence.expire(now)
            case "hide":
                presence.hide(owner)
            case "show":
                presence.show(owner)
            case "replace":
                twins = presence.twins(key, {"merry": merry})
                if twins and owner not in presence:
                    presence.replace(twins[0], owner, key, {"merry": merry})
            case _:
                apply()
    apply()
    assert {key: sorted(metas) for key, metas in seen.items() if metas} == {
        key: sorted(there) for key, there in refs(presence.state()).items()
    }

"""A lull of the collector ends as it began, whoever has one beside it."""

from __future__ import annotations

import gc

import pytest

from understudy.transport import lull


def test_a_lull_that_begins_as_another_ends_leaves_the_collector_on(monkeypatch: pytest.MonkeyPatch) -> None:
    first = lull.begin()
    looked = gc.isenabled
    over: list[bool] = []

    def and_the_first_ends_just_then() -> bool:
        enabled = looked()
        lull.end(first)
        over.append(True)
        return enabled

    monkeypatch.setattr(gc, "isenabled", and_the_first_ends_just_then)
    second = lull.begin()
    monkeypatch.undo()
    lull.end(second)
    if not over:
        lull.end(first)
    on = gc.isenabled()
    gc.enable()
    assert on


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        lull.end(lull.begin())
        assert not gc.isenabled()
    finally:
        gc.enable()

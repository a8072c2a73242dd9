"""The page of guarantees: each promise stands there once, and names the tests that prove it."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`"


def promises() -> list[tuple[str, str]]:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE)
    return [(promise, proof) for promise, proof in rows if promise != "promise"]


def test_every_promise_names_the_tests_that_prove_it_and_they_are_there() -> None:
    assert len(promises()) > 100
    for promise, proof in promises():
        assert re.fullmatch(rf"{NAMED}(?:, {NAMED})*", proof), promise
        for file, name in re.findall(NAMED, proof):
            assert (ROOT / file).exists(), promise
            assert not name or re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), name


def test_no_promise_is_made_twice() -> None:
    assert [promise for promise, times in Counter(promise for promise, _ in promises()).items() if times > 1] == []

"""Sketches: short, without secrets, whatever the value is, and without running its code."""

import time
from collections import OrderedDict, deque
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors import hide, message, sketch
from understudy.actors.sketch import ITEMS_LIMIT, TEXT_LIMIT, masked, sketch_fields


class Colour(Enum):
    RED = 1


class Pair(NamedTuple):
    name: str
    token: str


@message("test.sketch.login")
class Login:
    user: str
    password: str
    pin: int

    __redacted__ = ("pin",)


class Evil:
    """Everything that asks it anything is answered with an error, or not at all."""

    def __init__(self) -> None:
        vars(self)["kept"] = 1

    def __repr__(self) -> str:
        raise SystemExit

    __str__ = __len__ = __iter__ = __hash__ = __eq__ = __bool__ = __repr__  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name != "__dict__":
            raise KeyboardInterrupt
        return object.__getattribute__(self, name)


class EvilList(list[Any]):
    def __iter__(self) -> Any:
        raise SystemExit

    __len__ = __repr__ = __getitem__ = __iter__  # type: ignore[assignment]


class EvilDict(dict[Any, Any]):
    def items(self) -> Any:
        raise SystemExit

    keys = values = __iter__ = __repr__ = __len__ = items


class EvilText(str):
    __slots__ = ()

    def __getitem__(self, index: Any) -> str:
        raise SystemExit

    __repr__ = __str__ = lower = __len__ = __getitem__  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (-7, "-7"),
        ("it's", '"it\'s"'),
        (b"\x00a", "b'\\x00a'"),
        ([1, (2,), {"a": {3}}], "[1, (2), {'a': {3}}]"),
        (deque([1]), "[1]"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (Colour.RED, "Colour.RED"),
        (Pair("x", "y"), "Pair(name='x', token=***)"),
        (Login("ada", "hunter2", 1234), "Login(password=***, pin=***, user='ada')"),
        (ValueError("no", 3), "ValueError('no', 3)"),
        (int, "<type int>"),
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"),
        (10**1000, "<int of 3322 bits>"),
    ],
)
def test_ordinary_values_look_as_one_would_write_them(value: Any, shown: str) -> None:
    assert sketch(value) == shown


def test_what_is_long_deep_wide_or_cyclic_is_cut() -> None:
    assert sketch("x" * 10_000).endswith("... (10000 long)")
    assert sketch(list(range(1000))).count(",") == ITEMS_LIMIT
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert sketch(cycle) == "[1, list(...)]"
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    assert sketch(deep) == "[[[[[list(...)]]]]]"
    wide = [[{f"key {key}": "x" * 100 for key in range(50)} for _ in range(50)] for _ in range(50)]
    assert len(sketch(wide)) < 2 * TEXT_LIMIT


def test_no_code_of_the_value_runs() -> None:
    for value in (Evil(), EvilList([1]), EvilDict(a=1), EvilText("x"), [Evil()], {"a": EvilList()}):
        assert sketch(value)


def test_an_evil_object_shows_what_is_stored_in_it() -> None:
    assert sketch(Evil()) == "Evil(kept=1)"
    assert sketch(EvilList([1])) == "EvilList([1])"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "PASSWD",
        "api_key",
        "API-Key",
        "accessToken",
        "Authorization",
        "set-cookie",
        "client_secret",
    ],
)
def test_what_stands_under_a_name_that_sounds_secret_is_hidden(name: str) -> None:
    for value in ({name: "hunter2"}, {"a": [{name: ["hunter2"]}]}, (name, "hunter2"), [[name, b"hunter2"]]):
        assert "hunter2" not in sketch(value)
        assert "***" in sketch(value)
    assert "hunter2" not in sketch({name.encode(): "hunter2"})


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "a=1&access_token=hunter2&b=2",
        '{"client_secret": "hunter2"}',
        "Authorization: Bearer hunter2hunter2",
        "sent 'Basic hunter2hunter2'",
        "postgres://ada:hunter2@host/db",
        "api-key = 'hunter2'",
    ],
)
def test_secrets_inside_texts_are_hidden(text: str) -> None:
    assert "hunter2" not in masked(text)
    assert "hunter2" not in sketch({"line": text})
    assert "hunter2" not in sketch(ValueError(text))


def test_ordinary_texts_are_left_alone() -> None:
    for text in ("the token ring", "basic idea", "http://host:80/a@b", "x = 1", "secretary of state"):
        assert masked(text) == text


def test_more_names_can_be_hidden() -> None:
    assert "DE00" in sketch({"the_iban": "DE00"})
    hide("IBAN")
    assert "DE00" not in sketch({"the_iban": "DE00", "line": "iban: DE00"})
    with pytest.raises(ValueError, match="hide takes names"):
        hide("")


def test_fields_of_an_object_share_one_allowance() -> None:
    class Big:
        def __init__(self) -> None:
            for number in range(1000):
                setattr(self, f"field{number}", "x" * 150)

    fields = sketch_fields(Big(), lambda name: name == "field0")
    assert "field0" not in fields
    assert len(fields) < 30
    assert fields["..."] == "more"


ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(Evil),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=300,
)


@given(ANYTHING)
def test_any_value_has_a_sketch_of_bounded_length(value: Any) -> None:
    assert len(sketch(value)) <= 3 * TEXT_LIMIT


def test_the_worst_that_we_know_takes_no_time_to_speak_of() -> None:
    texts = ["password" * 1000, "token_" * 1000, "://" * 1000, "a:" * 5000, "secret-" * 1000 + "=", "basic " * 1000]
    worst = {text: [text * 10] * 1000 for text in texts}
    shortest = min(_seconds(worst) for _ in range(5))
    assert shortest < 1.0  # some milliseconds, and no catastrophe


def _seconds(value: Any) -> float:
    begun = time.process_time()
    sketch(value)
    return time.process_time() - begun

"""The wire format: what crosses, what does not, and what another version of a node understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codec import Stranger, Wire, batch
from understudy.actors import (
    Failure,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    NotRegistered,
    Request,
    Shutdown,
    message,
)
from understudy.transport.decoder import own_decoder
from understudy.transport.operations import BROKEN, DEFINE, TELL
from understudy.transport.schema import Item, Unreadable, unpacker
from understudy.transport.wire import ITEM_LIMIT, NESTING_LIMIT, TooLarge


@message("test.point")
class Point:
    x: int
    y: int = 0


@message("test.path")
class Path:
    points: tuple[Point, ...]
    cells: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    pair: tuple[tuple[str, ...], int] | None = None
    anything: Any = None


@message("test.checked")
class Checked:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("a value is not negative")


@message("test.ask")
class Ask(Request[int]):
    pass


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_arrive_as_they_were_sent(value: Any) -> None:
    assert Wire().carry(value) == value


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63), st.integers(-(2**63), 2**63)), max_size=5), PLAIN)
def test_messages_arrive_equal_with_tuples_where_annotated(numbers: list[tuple[int, int]], anything: Any) -> None:
    sent = Path(tuple(Point(x, y) for x, y in numbers), numbers, (("a", "b"), 3), anything)
    assert Wire().carry(sent) == sent


def test_a_tuple_arrives_as_a_list_unless_the_annotation_says_tuple() -> None:
    arrived = Wire().carry(Path((), [(1, 2)], None, (1, (2, 3))))
    assert arrived.cells == [(1, 2)]
    assert arrived.anything == [1, [2, 3]]


KEYS = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])) | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, st.integers(0, 9)))
def test_a_tuple_that_is_a_key_arrives_as_that_key_wherever_it_stands(value: dict[Any, int]) -> None:
    wire = Wire()
    point = Path((), anything=[value, {Point(1, 2): value}])
    before, keyed, after = wire.pack({"list": [1]}), wire.pack([value, point]), wire.pack("good")
    wire.learn()
    arrived = [wire.decoder.value(item) for item in wire.decoder.items(batch(before, keyed, after))]
    assert arrived == [{"list": [1]}, [value, point], "good"]


def test_a_message_that_is_no_key_any_more_is_unreadable_and_says_why_and_harms_no_other() -> None:
    wire = Wire()
    items = [wire.pack({Path((), cells=(), anything=(1, 2)): 3}), wire.pack({(1, 2): 3})]  # type: ignore[arg-type]  # pyright: ignore
    wire.learn()
    broken, good = wire.decoder.items(batch(*items))
    assert (broken[0], broken[1][:3]) == (BROKEN, [TELL, 1, 0])
    assert "a key of a dict cannot be one here (unhashable type: 'list')" in broken[2]
    assert wire.decoder.value(good) == {(1, 2): 3}


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 20, 12, 0, 1, 5, tzinfo=UTC),
        datetime(2026, 11, 20, 12, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2026, 11, 20),
        Normal(),
        Shutdown("done"),
        Killed(),
        Failure("ValueError", "no", (("file.py", 3, "f"),)),
        NoProc(),
        NoConnection("cut"),
        Point(1, 2),
        Ask(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_our_own_arrive_equal_alone_and_inside_others(value: Any) -> None:
    wire = Wire()
    assert wire.carry(value) == value
    assert wire.carry([value, {"in": value}]) == [value, {"in": value}]


def test_a_reference_arrives_as_what_it_stands_for() -> None:
    arrived = Wire().carry({"to": Stranger("node", 7, 3)})
    assert arrived["to"].parts == ("node", 7, 3)


def test_a_class_is_defined_once_and_before_its_first_use() -> None:
    wire = Wire()
    wire.pack(Point(1))
    wire.pack(Point(2))
    [definition] = wire.definitions
    assert msgpack.unpackb(definition)[2:] == ["test.point", ["x", "y"], [], {}]


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, print, 2**70, "\ud800", Exception("x")], ids=lambda value: type(value).__name__
)
def test_what_may_not_cross_is_refused_at_the_sender_by_name_with_the_remedy(value: Any) -> None:
    wire = Wire()
    for carrier in (value, [value], Path((), anything={"deep": value})):
        with pytest.raises(NotRegistered, match=r"@message|[Ss]end registered messages"):
            wire.pack(carrier)
    assert wire.carry("still works") == "still works"


def test_an_unregistered_class_is_named() -> None:
    class Unknown:
        pass

    with pytest.raises(NotRegistered, match="Unknown"):
        Wire().pack(Unknown())


def test_messages_nested_too_deep_are_refused_on_both_sides() -> None:
    wire = Wire()
    deep: Any = None
    for _ in range(NESTING_LIMIT + 2):
        deep = Path((), anything=deep)
    with pytest.raises(NotRegistered, match="deep"):
        wire.pack(deep)
    wire.learn()
    code = next(code for code in wire.decoder.unpack if code)
    nested: Any = None
    for _ in range(NESTING_LIMIT + 2):
        nested = msgpack.ExtType(5, msgpack.packb((0, 0, code, (), [], None, nested)))
    [item] = wire.decoder.items(batch(msgpack.packb((TELL, 1, code, (), [], None, nested))))
    assert item[0] == BROKEN
    assert "deep" in item[2]


def test_lists_nested_too_deep_are_refused() -> None:
    deep: Any = 1
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(NotRegistered, match="recursion"):
        Wire().pack(deep)
    with pytest.raises(Unreadable):
        Wire().decoder.items(b"\x91" * 100_000 + b"\x90")


def test_a_message_larger_than_a_frame_is_refused_at_the_sender() -> None:
    with pytest.raises(TooLarge, match="split it"):
        Wire().pack(b"x" * ITEM_LIMIT)


def test_an_unregistered_name_is_an_error_of_its_own_items_only() -> None:
    wire = Wire()
    good = wire.pack(Point(1, 2))
    wire.learn()
    wire.define(70_000, "test.of-another-version", ["a"])
    items = wire.decoder.items(batch(good, msgpack.packb((TELL, 1, 70_000, 5)), good))
    assert [item[0] for item in items] == [TELL, TELL, TELL]
    assert wire.decoder.value(items[0]) == wire.decoder.value(items[2]) == Point(1, 2)
    with pytest.raises(Unreadable, match=r"test\.of-another-version.*import"):
        wire.decoder.value(items[1])


def test_an_unregistered_name_inside_a_message_spoils_only_that_message() -> None:
    wire = Wire()
    good = wire.pack(Point(1, 2))
    wire.learn()
    inner = msgpack.ExtType(5, msgpack.packb((0, 0, 80_000, 1)))
    items = wire.decoder.items(batch(good, msgpack.packb((TELL, 9, 0, [inner])), good))
    assert [item[0] for item in items] == [TELL, BROKEN, TELL]
    assert items[1][1][:2] == [TELL, 9]
    assert "80000" in items[1][2]


def test_a_class_that_is_registered_later_is_understood_from_then_on() -> None:
    wire = Wire()
    wire.define(71_000, "test.late", ["a"])
    with pytest.raises(Unreadable):
        wire.decoder.value([TELL, 1, 71_000, 5])

    @message("test.late")
    class Late:
        a: int

    assert wire.decoder.value([TELL, 1, 71_000, 5]) == Late(5)


def test_unknown_fields_are_ignored_missing_ones_take_their_default_and_order_does_not_matter() -> None:
    newer = unpacker(Point, ["colour", "y", "x"])
    assert newer([TELL, 1, 5, "red", 2, 1]) == Point(1, 2)
    older = unpacker(Point, ["x"])
    assert older([TELL, 1, 5, 1]) == Point(1, 0)
    assert unpacker(Path, ["points"])([TELL, 1, 5, []]).cells == []


def test_a_missing_field_without_a_default_is_a_clear_error() -> None:
    with pytest.raises(Unreadable, match=r"test\.point came without its field 'x'"):
        unpacker(Point, ["y"])([TELL, 1, 5, 1])


def test_a_class_that_checks_itself_is_checked_on_arrival() -> None:
    wire = Wire()
    assert wire.carry(Checked(3)) == Checked(3)
    item = wire.decoder.items(batch(wire.pack(Checked(0))))[0]
    item[3] = -1
    with pytest.raises(Unreadable, match=r"no test\.checked can be made .*ValueError: a value is not negative"):
        wire.decoder.value(item)


@pytest.mark.parametrize(
    "definition",
    [
        [DEFINE],
        [DEFINE, 0, "a", []],
        [DEFINE, "1", "a", []],
        [DEFINE, 1, "", []],
        [DEFINE, 1, "n" * 1_000, []],
        [DEFINE, 1, "a", ["f"] * 1_000],
        [DEFINE, 1, "a", [b"f"]],
        [DEFINE, 2**40, "a", []],
    ],
)
def test_a_senseless_definition_is_refused(definition: Item) -> None:
    with pytest.raises(Unreadable):
        Wire().decoder.define(definition)


@pytest.mark.parametrize("code", [0, 4, 6, 77])
def test_foreign_extension_codes_are_refused(code: int) -> None:
    [item] = Wire().decoder.items(batch(msgpack.packb((TELL, 1, 0, msgpack.ExtType(code, b"x")))))
    assert item[0] == BROKEN


@given(st.binary(max_size=200))
def test_random_bytes_are_unreadable_and_nothing_else(data: bytes) -> None:
    decoder = Wire().decoder
    try:
        items = decoder.items(data)
    except Unreadable:
        return
    for item in items:
        assert isinstance(item, (list, int, str, bytes, float, dict, type(None)))


def test_the_sender_can_read_what_it_sent_itself() -> None:
    wire = Wire()
    item = wire.pack(Path((Point(1),), anything=Point(2)))
    reader = own_decoder(lambda parts: Stranger(*parts))
    [read] = reader.items(batch(item))
    assert reader.value(read) == Path((Point(1),), anything=Point(2))


def test_an_exception_while_packing_leaves_the_encoder_usable() -> None:
    wire = Wire()
    failing: list[Callable[[], Any]] = [lambda: wire.pack(["x" * 100_000, object()]), lambda: wire.pack(2**80)]
    for attempt in failing:
        with pytest.raises(NotRegistered):
            attempt()
        assert wire.carry([1, "two"]) == [1, "two"]

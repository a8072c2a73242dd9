"""Two versions of a program on one wire: what was added, removed or renamed, and what only one of them knows."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from tests.codec import Program, Wire, batch, version
from understudy.actors import CallError, Failure, Normal, NotRegistered, message
from understudy.actors.message import registered_class
from understudy.transport.answers import error_of
from understudy.transport.operations import TELL
from understudy.transport.schema import Unreadable
from understudy.transport.wire import REASON, TooLarge


def sent(wire: Wire, program: Program, *fields: Any, **named: Any) -> bytes:
    """A message of that version's class, as it is packed there; the other end has read its definition."""
    with version(program) as cls:
        item = wire.pack(cls(*fields, **named))
    wire.learn()
    return item


def read(wire: Wire, item: bytes, program: Program) -> Any:
    with version(program):
        [arrived] = wire.decoder.items(batch(item))
        return wire.decoder.value(arrived)


def say_1() -> Any:
    @message("chat.say")
    class Say:
        body: str
        loud: bool = False

    return Say


def say_2() -> Any:
    @message("chat.say", renamed={"body": "text"})
    class Say:
        to: str = "all"
        text: str = ""

    return Say


def say_3() -> Any:
    @message("chat.utter", formerly=("chat.say", "chat.speak"), renamed={"body": "words", "text": "words"})
    class Utter:
        words: str

    return Utter


@pytest.mark.parametrize(
    ("old", "new", "fields", "arrived"),
    [
        (say_1, say_2, {"body": "hi", "loud": True}, {"to": "all", "text": "hi"}),
        (say_2, say_1, {"text": "hi", "to": "Ada"}, {"body": "hi", "loud": False}),
        (say_1, say_3, {"body": "hi"}, {"words": "hi"}),
        (say_3, say_1, {"words": "hi"}, {"body": "hi", "loud": False}),
        (say_2, say_3, {"text": "hi"}, {"words": "hi"}),
        (say_3, say_2, {"words": "hi"}, {"to": "all", "text": "hi"}),
    ],
)
def test_nodes_of_any_two_versions_understand_each_other_whoever_sends(
    old: Program, new: Program, fields: dict[str, Any], arrived: dict[str, Any]
) -> None:
    wire = Wire()
    value = read(wire, sent(wire, old, **fields), new)
    assert {name: getattr(value, name) for name in arrived} == arrived


def test_a_fields_own_name_counts_before_what_another_was_once_called() -> None:
    def new() -> Any:
        @message("chat.say", renamed={"text": "raw"})
        class Say:
            raw: str
            body: str

        return Say

    def old() -> Any:
        @message("chat.say")
        class Say:
            raw: str
            text: str
            body: str

        return Say

    wire = Wire()
    value = read(wire, sent(wire, old, "raw", "text", "body"), new)
    assert (value.raw, value.body) == ("raw", "body")


def test_a_class_that_moved_is_found_under_the_place_it_had_before() -> None:
    def old() -> Any:
        @message(f"{__name__}:Before")
        class Before:
            value: int

        return Before

    def new() -> Any:
        @message(formerly=f"{__name__}:Before")
        class After:
            value: int

        return After

    there, back = Wire(), Wire()
    assert read(there, sent(there, old, 7), new).value == 7
    assert read(back, sent(back, new, 7), old).value == 7


def test_a_former_name_belongs_to_one_class_too() -> None:
    with version(say_3):
        assert registered_class("chat.speak") is registered_class("chat.utter")
        with pytest.raises(ValueError, match=r"'chat.speak' belongs to .*Utter already"):

            @message("chat.speak")
            class Speak:
                pass


@pytest.mark.parametrize(
    "renamed", [{"body": "txt"}, {"text": "loud"}, {"text": "text"}], ids=["to-nobody", "from-a-field", "to-itself"]
)
def test_a_renaming_that_cannot_be_meant_is_refused_where_it_is_said(renamed: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"Wrong cannot have a field renamed from .* loud, text"):

        @message("test.wrong-renaming", renamed=renamed)
        class Wrong:
            text: str
            loud: bool = False


def test_a_field_of_another_type_arrives_as_it_is_unless_the_class_looks() -> None:
    def old() -> Any:
        @message("test.typed")
        class Typed:
            value: str

        return Typed

    def careless() -> Any:
        @message("test.typed")
        class Typed:
            value: int

        return Typed

    def careful() -> Any:
        @message("test.typed")
        class Typed:
            value: int

            def __post_init__(self) -> None:
                if not isinstance(self.value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                    raise TypeError("a value is a number")

        return Typed

    wire, other = Wire(), Wire()
    assert read(wire, sent(wire, old, "seven"), careless).value == "seven"
    with pytest.raises(Unreadable, match="TypeError: a value is a number"):
        read(other, sent(other, old, "seven"), careful)


@pytest.mark.parametrize("later", [[], [[], {}], [["test.former"], {"was": 0}, "unknown", [1]]])
def test_a_definition_may_say_less_or_more_than_we_know(later: list[Any]) -> None:
    wire = Wire()
    wire.define(5, "test.of-tomorrow", ["words"], *later)
    item = msgpack.packb((TELL, 1, 5, "hi", "a part of tomorrow"))
    known = "test.former" if len(later) > 2 else "test.of-tomorrow"

    def today() -> Any:
        @message(known)
        class Today:
            words: str = "none"
            was: str = "none"

        return Today

    assert read(wire, item, today).words == "hi"


@pytest.mark.parametrize("later", [[5], ["a", {}], [[], {"was": 1}], [[], {"was": -1}], [[], {"": 0}], [[1], {}]])
def test_former_names_that_make_no_sense_are_refused(later: list[Any]) -> None:
    with pytest.raises(Unreadable, match="no former names"):
        Wire().define(5, "test.senseless", ["words"], *later)


def test_a_reason_of_tomorrow_is_a_failure_with_its_text_and_one_that_says_more_is_what_it_is() -> None:
    def arrived(*parts: Any) -> Any:
        extension = msgpack.ExtType(REASON, msgpack.packb((0, 0, *parts)))
        [item] = Wire().decoder.items(batch(msgpack.packb((TELL, 1, 0, extension))))
        return Wire().decoder.value(item)

    assert arrived(0, "and more") == Normal()
    assert arrived(3, "ValueError", "no", [], "notes") == Failure("ValueError", "no")
    unknown = arrived(17, "out of luck")
    assert isinstance(unknown, Failure)
    assert "out of luck" in unknown.message


def test_an_error_of_tomorrow_is_a_failed_call_with_its_text() -> None:
    error = error_of("OutOfLuck", "no luck today", None)
    assert type(error) is CallError
    assert str(error) == "OutOfLuck: no luck today"


def test_what_is_sent_is_read_by_plain_messagepack() -> None:
    """MessagePack itself is the referee of what the generated packers write."""
    wire = Wire()
    with version(say_1) as say:
        item = wire.pack(say("hi", loud=True))
    [definition] = wire.definitions
    code = msgpack.unpackb(definition)[1]
    assert msgpack.unpackb(definition) == [9, code, "chat.say", ["body", "loud"], [], {}]
    assert msgpack.unpackb(item) == [0, 1, code, "hi", True]


def test_errors_at_the_sender_leave_nothing_announced_twice() -> None:
    wire = Wire()
    with version(say_1) as say:
        with pytest.raises((NotRegistered, TooLarge)):
            wire.pack(say(object()))
        wire.pack(say("hi"))
    assert len(wire.definitions) == 1

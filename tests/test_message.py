"""Messages: frozen, named, and found again by their names."""

import dataclasses

import pytest

from understudy.actors import Failure, NotRegistered, Request, message, registered_class, registered_name


@message
class Say:
    text: str
    loud: bool = False


@message("test.history")
class History(Request[list[str]]):
    last: int = 20


def test_a_message_is_a_frozen_dataclass_that_compares_and_matches() -> None:
    assert Say("hi") == Say(text="hi", loud=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Say("hi").text = "bye"  # type: ignore[misc]
    match Say("hi"):
        case Say(text, loud):
            assert (text, loud) == ("hi", False)


def test_its_wire_name_is_its_own_or_its_place_in_the_code() -> None:
    assert registered_name(Say) == f"{__name__}:Say"
    assert registered_name(History) == "test.history"
    assert registered_class("test.history") is History
    assert registered_class("nobody") is None


def test_a_name_belongs_to_one_class() -> None:
    with pytest.raises(ValueError, match=r"give .* another"):

        @message("test.history")
        class Other:
            pass


def test_a_reloaded_class_takes_its_name_over() -> None:
    def define() -> type:
        @message("test.reloaded")
        class Again:
            pass

        return Again

    define()
    second = define()
    assert registered_class("test.reloaded") is second


@pytest.mark.parametrize("wrong", ["", "x" * 201])
def test_a_name_has_a_length(wrong: str) -> None:
    with pytest.raises(ValueError, match="1 to 200 characters"):
        message(wrong)


def test_only_a_class_is_a_message() -> None:
    with pytest.raises(TypeError, match="decorates a class"):
        message(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="decorates a class"):
        message(7)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="decorates a class"):
        message("test.number")(7)  # type: ignore[arg-type]


def test_an_unregistered_class_says_what_to_do() -> None:
    class Plain:
        pass

    with pytest.raises(NotRegistered, match="decorate the class with @message"):
        registered_name(Plain)


def test_a_failure_describes_an_exception_without_holding_it() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise Broken

    try:
        deep(200)
    except Broken as error:
        failure = Failure.of(error)
    assert failure.type.endswith("Broken")
    assert failure.message == "(its text could not be made)"
    assert len(failure.trace) == 32
    assert failure.trace[-1][2].endswith("deep")
    assert failure.traceback().startswith("Traceback")

"""Binary frames: byte for byte what Phoenix's own client reads and writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.gateway import phoenix, phoenix_binary
from understudy.gateway.phoenix import Frame, Malformed

names = st.text(max_size=60)


def up(join_ref: str, ref: str, topic: str, event: str, data: bytes) -> bytes:
    """A push as the phoenix package encodes it."""
    fields = [field.encode() for field in (join_ref, ref, topic, event)]
    return bytes([0, *map(len, fields)]) + b"".join(fields) + data


def test_a_push_is_read_as_the_phoenix_package_writes_it() -> None:
    frame = b"\x00\x01\x02\x06\x05" + b"1" + b"23" + b"room:a" + b"hello" + b"\x00\xff"
    assert phoenix_binary.decode(frame) == Frame("1", "23", "room:a", "hello", b"\x00\xff")


@given(names, names, names.filter(bool), names.filter(bool), st.binary())
def test_what_the_phoenix_package_writes_is_read(join_ref: str, ref: str, topic: str, event: str, data: bytes) -> None:
    frame = phoenix_binary.decode(up(join_ref, ref, topic, event, data))
    assert frame == Frame(join_ref or None, ref or None, topic, event, data)


def test_what_the_server_says_has_the_head_that_its_kind_asks_for() -> None:
    assert phoenix_binary.encode_push("1", "room:a", "hi", b"\xff") == b"\x00\x01\x06\x021room:ahi\xff"
    assert phoenix_binary.encode_reply("1", "2", "room:a", "ok", b"\xff") == b"\x01\x01\x01\x06\x0212room:aok\xff"
    assert phoenix_binary.encode_reply(None, 3, "room:a", "ok", b"") == b"\x01\x00\x01\x06\x023room:aok"
    assert phoenix_binary.encode_broadcast("room:a", "hi", b"\xff") == b"\x02\x06\x02room:ahi\xff"


def test_names_fit_as_long_as_a_byte_can_say_their_size() -> None:
    assert phoenix_binary.fits(None, 7, "ü" * 127, "hi")
    assert not phoenix_binary.fits(None, "ü" * 128)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"\x00" + data))
def test_any_bytes_are_a_frame_or_malformed(data: bytes) -> None:
    try:
        assert phoenix_binary.decode(data).topic
    except Malformed as error:
        assert_that_it_helps(error)


def assert_that_it_helps(error: Malformed) -> None:
    assert phoenix.to_json([error.ref, error.topic])
    assert str(error).startswith("expected ")
    assert ", got " in str(error)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "expected a binary frame of kind 0, a push, got an empty one"),
        (b"\x02\x01\x01ab", "expected a binary frame of kind 0, a push, got one of kind 2"),
        (b"\x00\x01", "got a binary frame of 2"),
        (b"\x00\x01\x01\x06\x05", "expected a head of 18 bytes, got a binary frame of 5"),
        (up("", "1", "", "b", b""), "expected topic of 1 to 256 characters, got 0"),
        (up("", "1", "a", "b" * 129, b""), "expected event of 1 to 128 characters, got 129"),
        (up("", "1" * 65, "a", "b", b""), "expected ref of 0 to 64 characters, got 65"),
        (b"\x00\x00\x00\x01\x01\xffb", "expected names in UTF-8"),
    ],
)
def test_malformed_bytes_are_refused_with_what_was_expected_and_what_came(data: bytes, expected: str) -> None:
    with pytest.raises(Malformed) as caught:
        phoenix_binary.decode(data)
    assert expected in str(caught.value)

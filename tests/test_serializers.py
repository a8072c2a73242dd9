"""What each kind of Phoenix client hears of the same event, and what it may say."""

import json

import pytest

from understudy.gateway.log import Cursor
from understudy.gateway.phoenix import Malformed
from understudy.gateway.serializers import (
    PHOENIX,
    PHOENIX_OFFSETS,
    PHOENIX_V1,
    POLLED,
    POLLED_V1,
    PhoenixSerializer,
    for_polls,
    for_socket,
    text_frame,
)

CURSOR = Cursor("epoch", 258)
LONG = "room:" + "ü" * 130


def test_one_broadcast_as_each_kind_of_client_hears_it() -> None:
    v2 = b'[null,null,"room:a","line",{"n":1,"_o":258}]'
    v1 = b'{"topic":"room:a","event":"line","ref":null,"payload":{"n":1,"_o":258}}'
    for serializer, wanted in (
        (PHOENIX, text_frame(v2)),
        (PHOENIX_OFFSETS, text_frame(v2)),
        (PHOENIX_V1, text_frame(v1)),
        (POLLED, json.dumps(v2.decode()).encode()),
        (POLLED_V1, json.dumps(v1.decode()).encode()),
    ):
        assert serializer.broadcast("room:a", "line", b'{"n":1}', CURSOR) == wanted


@pytest.mark.parametrize(("cursor", "offset"), [(CURSOR, 258), (None, 0)])
def test_bytes_are_broadcast_in_a_binary_frame_with_their_offset_before_them_for_who_asked(
    cursor: Cursor | None, offset: int
) -> None:
    head = b"\x02\x06\x04room:aline"
    assert PHOENIX.broadcast("room:a", "line", b"\xff", cursor, True) == b"\x82\x0e" + head + b"\xff"
    with_offset = PHOENIX_OFFSETS.broadcast("room:a", "line", b"\xff", cursor, True)
    assert with_offset == b"\x82\x16" + head + offset.to_bytes(8, "big") + b"\xff"
    assert PHOENIX_OFFSETS.push("1", "room:a", "hi", b"\xff", True) == b"\x82\x0e\x00\x01\x06\x021room:ahi\xff"


@pytest.mark.parametrize("serializer", [PHOENIX_V1, POLLED, POLLED_V1])
def test_who_cannot_hear_bytes_gets_them_as_text(serializer: PhoenixSerializer) -> None:
    said = serializer.push("1", "room:a", "hi", b"\xff", True)
    assert b'{"_b":"/w=="}' in said.replace(b"\\", b"")


def test_a_name_that_fits_in_no_binary_frame_makes_it_text() -> None:
    for frame in (
        PHOENIX.broadcast(LONG, "line", b"\xff", None, True),
        PHOENIX.push("1", LONG, "line", b"\xff", True),
        PHOENIX.reply("1", "2", LONG, "ok", b"\xff", True),
    ):
        assert frame[0] == 0x81
        assert b'{"_b":"/w=="}' in frame


def test_the_end_of_a_stay_says_in_ref_too_which_one_it_ends() -> None:
    assert PHOENIX.push("3", "room:a", "phx_close", b"{}") == text_frame(b'["3","3","room:a","phx_close",{}]')
    assert PHOENIX.push("3", "room:a", "line", b"{}") == text_frame(b'["3",null,"room:a","line",{}]')
    assert b'"ref":"3"' in PHOENIX_V1.push("3", "room:a", "phx_error", b"{}")


def test_bytes_are_understood_from_clients_of_v2_alone() -> None:
    push = b"\x00\x01\x01\x01\x01" + b"12ab" + b"\xff"
    for serializer in (PHOENIX, POLLED):
        assert serializer.decode(push).payload == b"\xff"
    for serializer in (PHOENIX_V1, POLLED_V1):
        with pytest.raises(
            Malformed, match="expected text, since V1 has no binary messages, got a binary one of 10 bytes"
        ):
            serializer.decode(push)


@pytest.mark.parametrize(
    ("version", "socket", "polls"),
    [
        ("2.0.0", PHOENIX, POLLED),
        ("2.0.7", PHOENIX, POLLED),
        ("1.0.0", PHOENIX_V1, POLLED_V1),
        ("1.1.0", None, None),
        ("3.0.0", None, None),
        ("2", None, None),
        ("", None, None),
        ("2.0.0 ", None, None),
    ],
)
def test_a_client_is_spoken_to_in_the_version_it_asks_for(
    version: str, socket: PhoenixSerializer | None, polls: PhoenixSerializer | None
) -> None:
    assert for_socket(version, False) is socket
    assert for_polls(version) is polls
    assert for_socket("2.0.0", True) is PHOENIX_OFFSETS

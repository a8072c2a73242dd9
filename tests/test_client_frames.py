"""Frames as a client reads and writes them, against bytes written down by hand; and the rules of patience."""

import pytest

from understudy.client import patience
from understudy.client.frames import Frame, decode, encode, value
from understudy.client.presence import Presence
from understudy.client.socket import address
from understudy.client.wire import Closed


def test_text_is_the_five_parts_and_an_offset_is_taken_out_of_the_payload() -> None:
    assert encode(Frame("1", "2", "room:a", "say", {"text": "ü"})) == '["1","2","room:a","say",{"text":"ü"}]'
    assert decode('[null,null,"room:a","line",{"n":1,"_o":7}]') == Frame(None, None, "room:a", "line", {"n": 1}, 7)
    assert decode('[null,null,"room:a","line",{"_v":[1],"_o":7}]') == Frame(None, None, "room:a", "line", [1], 7)
    assert decode('[null,null,"room:a","line",{"_b":"BQY=","_o":7}]').payload == b"\5\6"
    assert decode('["1",null,"room:a","line",3]') == Frame("1", None, "room:a", "line", 3)


def test_binary_frames_are_those_of_the_protocol() -> None:
    assert encode(Frame("1", "23", "t", "draw", b"\5\6")) == bytes([0, 1, 2, 1, 4]) + b"123tdraw\5\6"
    assert decode(bytes([0, 1, 1, 4]) + b"1tdraw\5\6") == Frame("1", None, "t", "draw", b"\5\6")
    assert decode(bytes([1, 1, 2, 1, 2]) + b"123tok\5") == Frame(
        "1", "23", "t", "phx_reply", {"status": "ok", "response": b"\5"}
    )
    assert decode(b"\2\1\4tdraw" + (258).to_bytes(8, "big") + b"\5") == Frame(None, None, "t", "draw", b"\5", 258)
    assert decode(b"\2\1\4tdraw" + bytes(8)) == Frame(None, None, "t", "draw", b"", None)


@pytest.mark.parametrize(
    "data",
    ["", "{}", "[1,2]", '["1",null,"t",7,{}]', "[" * 100, b"", b"\3", b"\0\1", b"\0\xff\1\1abc", b"\2\1\1te\0\0"],
)
def test_what_is_no_frame_is_an_error_that_says_so(data: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, whatever it says
        decode(data)


def test_what_cannot_be_said_is_refused_where_it_is_said() -> None:
    for payload in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            encode(Frame(None, None, "t", "e", payload))
    with pytest.raises(ValueError, match="255 bytes"):
        encode(Frame(None, None, "t" * 256, "e", b""))


def test_a_value_is_what_was_said() -> None:
    for said in (None, 1, "x", [1], {}, {"a": {"_o": 1}}):
        assert value(said) == said
    assert value({"_b": ""}) == b""


def test_the_address_of_a_socket_is_made_of_whatever_is_known_of_it() -> None:
    asked = "vsn=2.0.0&offsets=1&refusals=close"
    assert address("http://127.0.0.1:4000") == f"ws://127.0.0.1:4000/socket/websocket?{asked}"
    assert address("https://house/") == f"wss://house/socket/websocket?{asked}"
    assert address("ws://house/live/websocket?room=1") == f"ws://house/live/websocket?room=1&{asked}"
    assert address("wss://house/live") == f"wss://house/live/websocket?{asked}"
    for bad in ("house:4000", "ftp://house", "http://", ""):
        with pytest.raises(ValueError, match="looks like"):
            address(bad)


def test_waits_grow_to_ten_seconds_and_chance_takes_up_to_half() -> None:
    assert [patience.backoff(tries, 0) for tries in (1, 2, 3, 7, 500)] == [0.2, 0.4, 0.8, 10, 10]
    assert patience.backoff(3, 1) == 0.4


def test_close_codes_and_statuses_say_whether_to_come_back() -> None:
    assert {patience.after_close(code) for code in (1000, 1008, 3500, 3999, 4500, 4999)} == {"stop"}
    assert {patience.after_close(code) for code in (1001, 1012, 1013)} == {"spread"}
    assert {patience.after_close(code) for code in (1005, 1006, 1011, 3000, 4000, 4499)} == {"retry"}
    assert {patience.after_status(status) for status in (400, 401, 403, 404, 421, 426)} == {"stop"}
    assert {patience.after_status(status) for status in (301, 408, 425, 429, 500, 503)} == {"retry"}


def test_a_close_names_its_code_for_programs_and_its_sentence_for_people() -> None:
    error = Closed(4503, "banned: you may not come in: not today").error(retry=False)
    assert (error.code, str(error), error.status, error.retry) == (
        "banned",
        "you may not come in: not today",
        4503,
        False,
    )
    error = Closed(1006, "Note: what a proxy says").error(retry=True)
    assert (error.code, str(error)) == ("", "Note: what a proxy says")
    assert str(Closed(1006, "").error(retry=True)) == "connection lost"


def person(*refs: str) -> dict[str, list[dict[str, str]]]:
    return {"metas": [{"phx_ref": ref} for ref in refs]}


def test_who_is_here_follows_states_and_diffs_and_keeps_diffs_that_come_too_early() -> None:
    presence = Presence()
    presence.diff({"joins": {"eva": person("3")}, "leaves": {}})
    assert presence.people == {}
    presence.state({"ada": person("1"), "bob": person("2")})
    assert {key: len(metas) for key, metas in presence.people.items()} == {"ada": 1, "bob": 1, "eva": 1}
    before = presence.people
    presence.diff({"joins": {"ada": person("4")}, "leaves": {"ada": person("1"), "bob": person("2")}})
    assert presence.people == {"ada": [{"phx_ref": "4"}], "eva": [{"phx_ref": "3"}]}
    assert "bob" in before, "what was handed out does not change"
    presence.joining()
    presence.state({})
    assert presence.people == {}

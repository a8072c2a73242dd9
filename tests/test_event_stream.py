"""The text of an event stream: read back as the standard says, it is what was written, whatever that was.

The cases of `fixtures/event_streams.json` follow the list of the web platform tests (eventsource/format-*); Chromium's own
`EventSource` reads them the same way (tests/system/test_event_source.py).
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.event_stream import StreamEvent, StreamReader
from understudy.gateway import phoenix
from understudy.gateway.event_stream import CHUNKED, PLAIN
from understudy.gateway.log import Cursor

CASES = json.loads((Path(__file__).parent / "fixtures" / "event_streams.json").read_text())

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
values = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


def read(text: bytes, cut: int | None = None) -> tuple[list[StreamEvent], StreamReader]:
    reader = StreamReader()
    pieces = [text] if cut is None else [text[at : at + cut] for at in range(0, len(text), cut)]
    return [event for piece in pieces for event in reader.feed(piece)] + list(reader.end()), reader


@pytest.mark.parametrize("cut", [None, 1, 2, 7])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_stream_is_read_as_the_standard_says_in_whatever_pieces_it_comes(case: Any, cut: int | None) -> None:
    events, reader = read(case["stream"].encode(), cut)
    assert [list(event) for event in events] == case["events"]
    assert reader.retry == case.get("retry")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(names, values, st.booleans()), max_size=5))
def test_whatever_a_room_says_is_read_as_it_was_said(said: list[tuple[str, Any, bool]]) -> None:
    text, expected, place = b"", [], ""
    for offset, (event, payload, reliable) in enumerate(said, 1):
        cursor = Cursor("6f0c", offset) if reliable else None
        text += PLAIN.broadcast("room:a", event, phoenix.to_json(payload), cursor)
        place = str(cursor) if cursor else place
        expected.append((event.replace("\r", " ").replace("\n", " "), payload, place))
    events, _ = read(text)
    assert [(event.event, json.loads(event.data), event.id) for event in events] == expected


def test_what_was_missed_comes_after_the_reply_each_event_with_its_place() -> None:
    response = {"menu": ["tea"], "epoch": "6f0c", "offset": 42, "recovered": True}
    missed = [[41, "line", {"n": 1}], [42, "mark", {"_b": "AAE="}]]
    events, _ = read(PLAIN.reply(None, None, "room:a", "ok", phoenix.to_json({**response, "events": missed})))
    assert events == [
        ("joined", phoenix.to_json(response).decode(), "6f0c-40"),
        ("line", '{"n":1}', "6f0c-41"),
        ("mark", '{"_b":"AAE="}', "6f0c-42"),
    ]


def test_over_http_1_1_each_piece_is_a_chunk() -> None:
    piece = CHUNKED.broadcast("room:a", "line", b'{"text":"x"}', Cursor("6f0c", 1))
    text = PLAIN.broadcast("room:a", "line", b'{"text":"x"}', Cursor("6f0c", 1))
    assert piece == b"%x\r\n%b\r\n" % (len(text), text)

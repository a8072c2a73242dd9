"""Frames of Phoenix Channels V2 as a client reads and writes them: a pure codec.

    text      [join_ref, ref, topic, event, payload]                                       JSON, both ways

    binary    0  sizes of join_ref, ref, topic, event (a byte each)   the four   data      a push of ours
              0  sizes of join_ref, topic, event                      the three  data      an event for one member
              1  sizes of join_ref, ref, topic, status                the four   data      a reply
              2  sizes of topic, event                                the two    data      an event for all members

The data of an event for all begins with the 8 bytes of its offset, since our address asks for that (`offsets=1`); an
offset of 0 is none. In a JSON payload the offset is the key `_o`; a payload that is no object comes as
`{"_v": it, "_o": offset}`, and bytes among events that are brought by a join as `{"_b": base64}`.
"""

import base64
import json
from typing import Any, NamedTuple

PUSH, REPLY, BROADCAST = 0, 1, 2
OFFSET_SIZE = 8


class Frame(NamedTuple):
    """One message, either way. A payload is what JSON can say, or bytes; `offset` is None where there is none."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: Any
    offset: int | None = None


def encode(frame: Frame) -> str | bytes:
    """A frame to send: text, or binary when its payload is bytes. Raises TypeError or ValueError for what cannot be said."""
    if not isinstance(frame.payload, bytes | bytearray | memoryview):
        return json.dumps(frame[:5], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    words = [(word or "").encode() for word in frame[:4]]
    for word in words:
        if len(word) > 255:
            raise ValueError(f"in a binary frame {word[:20]!r}... may have 255 bytes, not {len(word)}")
    return bytes([PUSH, *map(len, words)]) + b"".join(words) + bytes(frame.payload)


def decode(data: str | bytes) -> Frame:
    """A frame that came. Raises ValueError if it is none."""
    return _decode_text(data) if isinstance(data, str) else _decode_binary(data)


def value(payload: Any) -> Any:
    """What was said, without what was added to it on the way."""
    if not isinstance(payload, dict):
        return payload
    if "_b" in payload:
        return base64.b64decode(payload["_b"])
    if "_v" in payload:
        return payload["_v"]
    return {key: item for key, item in payload.items() if key != "_o"} if "_o" in payload else payload


def _decode_text(text: str) -> Frame:
    match json.loads(text):
        case [None | str() as join_ref, None | str() as ref, str(topic), str(event), payload]:
            offset = payload.get("_o") if isinstance(payload, dict) else None
            return Frame(join_ref, ref, topic, event, value(payload), offset if isinstance(offset, int) else None)
        case _:
            raise ValueError(f"expected [join_ref, ref, topic, event, payload], got {text[:80]!r}")


def _decode_binary(data: bytes) -> Frame:
    kind = data[0] if data else None
    match kind:
        case 0:
            (join_ref, topic, event), rest = _words(data, 3)
            return Frame(join_ref or None, None, topic, event, rest)
        case 1:
            (join_ref, ref, topic, status), rest = _words(data, 4)
            return Frame(join_ref or None, ref, topic, "phx_reply", {"status": status, "response": rest})
        case 2:
            (topic, event), rest = _words(data, 2)
            if len(rest) < OFFSET_SIZE:
                raise ValueError(f"expected {OFFSET_SIZE} bytes of offset before the data of {event!r}")
            offset = int.from_bytes(rest[:OFFSET_SIZE], "big")
            return Frame(None, None, topic, event, rest[OFFSET_SIZE:], offset or None)
        case _:
            raise ValueError(f"expected a binary frame of kind 0, 1 or 2, got {kind}")


def _words(data: bytes, count: int) -> tuple[list[str], bytes]:
    sizes = data[1 : 1 + count]
    at = 1 + count
    if len(sizes) < count or at + sum(sizes) > len(data):
        raise ValueError("a binary frame ends before its words do")
    words = []
    for size in sizes:
        words.append(data[at : at + size].decode())
        at += size
    return words, data[at:]

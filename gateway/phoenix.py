"""Phoenix Channels V2 as text frames: a pure codec between text and `Frame`s.

    [join_ref, ref, topic, event, payload]

    client                                            server
      | ["1", "1", "room:a", "phx_join", {...}]         |     join_ref names this stay in the topic
      |------------------------------------------------>|
      |  ["1", "1", "room:a", "phx_reply",              |     a reply carries the ref it answers
      |        {"status": "ok", "response": {...}}]     |
      |<------------------------------------------------|
      | ["1", "2", "room:a", "say", {"text": "hi"}]     |     a push; replied to when its ref is not null
      |------------------------------------------------>|
      |       [null, null, "room:a", "line", {...}]     |     a broadcast: the same bytes for every member
      |<------------------------------------------------|
      | [null, "3", "phoenix", "heartbeat", {}]         |     every 30 s
      |------------------------------------------------>|
      |                    phx_close or phx_error       |     the stay ended: for good, or "join again"

What comes in is checked strictly and bounded; what is wrong with it is said in the words "expected ... got ...".
Payloads go out as JSON text that was made once, where the payload was made (`to_json`), however many clients it reaches.
"""

import json
from typing import Any, NamedTuple, TypeAlias

VERSION = "2.0.0"
"""The value of `vsn` in a client's address that asks for this codec."""

SOCKET_TOPIC = "phoenix"
"""The topic of the connection itself: heartbeats."""

JOIN, LEAVE, REPLY, ERROR, CLOSE, HEARTBEAT = (
    "phx_join",
    "phx_leave",
    "phx_reply",
    "phx_error",
    "phx_close",
    "heartbeat",
)
PRESENCE_STATE, PRESENCE_DIFF = "presence_state", "presence_diff"

TOPIC_LIMIT, EVENT_LIMIT, REF_LIMIT = 256, 128, 64
"""Characters."""

DEPTH_LIMIT = 32
"""How deep arrays and objects of a payload may be nested. Deeper ones could be read but not always be written again."""

Json: TypeAlias = Any
"""What JSON can say: None, bool, int, float, str, list, dict with str keys."""

EMPTY = b"{}"
"""The payload that says nothing."""


class Frame(NamedTuple):
    """One message of the protocol, either way."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: Json


class Malformed(ValueError):
    """Text that is no frame. `str()` says what was expected and what came; `ref` and `topic` are set if they could be read."""

    def __init__(self, expected: str, got: str, *, ref: str | None = None, topic: str = SOCKET_TOPIC) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.ref = ref
        self.topic = topic


def decode(text: str) -> Frame:
    """Read one frame. Raises Malformed."""
    try:
        parts = _DECODER.decode(text)
    except RecursionError:
        raise Malformed(f"at most {DEPTH_LIMIT} levels of nesting", "more") from None
    except ValueError as error:
        raise Malformed("JSON", f"{text[:40]!r}: {error}") from None
    if not isinstance(parts, list) or len(parts) != 5:
        got = f"an array of {len(parts)}" if isinstance(parts, list) else _kind(parts)
        raise Malformed("an array of 5 elements [join_ref, ref, topic, event, payload]", got)
    join_ref, ref, topic, event, payload = parts

    known_ref = ref if isinstance(ref, str) and len(ref) <= REF_LIMIT else None
    known_topic = topic if isinstance(topic, str) and len(topic) <= TOPIC_LIMIT else SOCKET_TOPIC

    def check(good: bool, expected: str, value: Json) -> None:
        if not good:
            raise Malformed(expected, _kind(value), ref=known_ref, topic=known_topic)

    check(_is_ref(join_ref), f"join_ref to be null or a string of at most {REF_LIMIT} characters", join_ref)
    check(_is_ref(ref), f"ref to be null or a string of at most {REF_LIMIT} characters", ref)
    check(_is_text(topic, TOPIC_LIMIT), f"topic to be a string of 1 to {TOPIC_LIMIT} characters", topic)
    check(_is_text(event, EVENT_LIMIT), f"event to be a string of 1 to {EVENT_LIMIT} characters", event)
    # Few frames open this many brackets at all, so few are walked.
    if text.count("[") + text.count("{") > DEPTH_LIMIT and _depth(payload) > DEPTH_LIMIT:
        raise Malformed(f"at most {DEPTH_LIMIT} levels of nesting", "more", ref=known_ref, topic=known_topic)
    # Half of a surrogate pair can only be smuggled in escaped. No encoder would write it again.
    if "\\u" in text:
        try:
            to_json(parts)
        except UnicodeEncodeError:
            raise Malformed("Unicode text", "half of a surrogate pair", ref=known_ref) from None
    return Frame(join_ref, ref, topic, event, payload)


def to_json(value: Json) -> bytes:
    """JSON text of a payload, in UTF-8 and on one line. Raises TypeError or ValueError for what JSON cannot say."""
    return _ENCODER.encode(value).encode()


def encode(join_ref: str | None, ref: str | None, topic: str, event: str, payload: bytes) -> bytes:
    """The text of a frame whose `payload` is JSON text already."""
    head = _ENCODER.encode((join_ref, ref, topic, event))
    return b"%b,%b]" % (head[:-1].encode(), payload)


def encode_reply(join_ref: str | None, ref: str | None, topic: str, status: str, response: bytes) -> bytes:
    """The text of the reply to the message `ref`; `status` is "ok" or "error", `response` JSON text."""
    return encode(join_ref, ref, topic, REPLY, b'{"status":"%b","response":%b}' % (status.encode(), response))


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _is_ref(value: Json) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= REF_LIMIT)


def _is_text(value: Json, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit


def _kind(value: Json) -> str:
    """A value as an error message names it: its JSON type, and its size where that may be what is wrong."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"a string of {len(value)} characters"
        case list():
            return "an array"
        case _:
            return "an object"


def _depth(value: Json) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth

"""Phoenix Channels: its words, its limits, and V2 as text, a pure codec between text and `Frame`s.

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
      |       ["1", "1", "room:a", "phx_close", {}]     |     or phx_error: the stay ended, for good or "join again"

What comes in is checked strictly and bounded; what is wrong with it is said in the words "expected ... got ...".
Payloads go out as JSON text that was made once, where the payload was made (`to_json`), however many clients it reaches.
The older V1, an object instead of the array, is in phoenix_v1.py; payloads that are bytes, in phoenix_binary.py.
"""

import json
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

OLDEST = "1.0.0"
"""The version that a client wants whose address has no `vsn`."""

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
ACCESS_TOKEN = "access_token"  # noqa: S105 - an event
"""On the topic of the connection: the server asks for a new token, and the client brings one."""

RECONNECT = "reconnect"
"""There, too: the server is about to go, and asks a client of ours to be back at a moment of its own, `{"within": ms}`."""

PRESENCE_STATE, PRESENCE_DIFF = "presence_state", "presence_diff"

TOPIC_LIMIT, EVENT_LIMIT, REF_LIMIT = 256, 128, 64
"""Characters."""

DEPTH_LIMIT = 32
"""How deep arrays and objects of a payload may be nested. Deeper ones could be read but not always be written again."""

Json: TypeAlias = Any
"""What JSON can say: None, bool, int, float, str, list, dict with str keys."""

Ref: TypeAlias = str | int | None
"""What a client calls a message of its own. Phoenix's client counts in strings, others in numbers; each gets its own back."""

EMPTY = b"{}"
"""The payload that says nothing."""


class Frame(NamedTuple):
    """One message of the protocol, either way. A `payload` of a binary frame is bytes."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: Json


class Malformed(ValueError):
    """What is no frame. `str()` says what was expected and what came; `ref` and `topic` are set if they could be read."""

    def __init__(self, expected: str, got: str, *, ref: Ref = None, topic: str = SOCKET_TOPIC) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.ref = ref
        self.topic = topic


def decode(text: str) -> Frame:
    """Read one frame of V2. Raises Malformed."""
    parts = parse(text)
    if not isinstance(parts, list) or len(parts) != 5:
        got = f"an array of {len(parts)}" if isinstance(parts, list) else kind(parts)
        raise Malformed("an array of 5 elements [join_ref, ref, topic, event, payload]", got)
    return checked(Frame(*parts), text)


def parse(text: str) -> Json:
    """What a JSON text says. Raises Malformed."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise Malformed(f"at most {DEPTH_LIMIT} levels of nesting", "more") from None
    except ValueError as error:
        raise Malformed("JSON", f"{text[:40]!r}: {error}") from None


def checked(frame: Frame, text: str) -> Frame:
    """A frame whose fields may be anything, as `text` had them, if they are what they should be. Raises Malformed."""
    join_ref, ref, topic, event, payload = frame
    known_ref = ref if _is_ref(ref) and _is_unicode(ref) else None
    known_topic = topic if _is_text(topic, TOPIC_LIMIT) and _is_unicode(topic) else SOCKET_TOPIC

    def check(good: bool, expected: str, value: Json) -> None:
        if not good:
            raise Malformed(expected, kind(value), ref=known_ref, topic=known_topic)

    reference = f"to be null, a number or a string of at most {REF_LIMIT} characters"
    check(_is_ref(join_ref), f"join_ref {reference}", join_ref)
    check(_is_ref(ref), f"ref {reference}", ref)
    check(_is_text(topic, TOPIC_LIMIT), f"topic to be a string of 1 to {TOPIC_LIMIT} characters", topic)
    check(_is_text(event, EVENT_LIMIT), f"event to be a string of 1 to {EVENT_LIMIT} characters", event)
    # Few frames open this many brackets at all, so few are walked.
    if text.count("[") + text.count("{") > DEPTH_LIMIT and depth(payload) > DEPTH_LIMIT:
        raise Malformed(f"at most {DEPTH_LIMIT} levels of nesting", "more", ref=known_ref, topic=known_topic)
    # Half of a surrogate pair can only be smuggled in escaped. No encoder would write it again.
    if "\\u" in text and not _is_unicode(frame):
        raise Malformed("Unicode text", "half of a surrogate pair", ref=known_ref, topic=known_topic)
    return frame


def to_json(value: Json) -> bytes:
    """JSON text of a payload, in UTF-8 and on one line. Raises TypeError or ValueError for what JSON cannot say."""
    return _ENCODER.encode(value).encode()


def encode(join_ref: Ref, ref: Ref, topic: str, event: str, payload: bytes) -> bytes:
    """The text of a V2 frame whose `payload` is JSON text already."""
    head = _ENCODER.encode((join_ref, ref, topic, event))
    return b"%b,%b]" % (head[:-1].encode(), payload)


def reply_payload(status: str, response: bytes) -> bytes:
    """The payload of a reply; `status` is "ok" or "error", `response` JSON text."""
    return b'{"status":"%b","response":%b}' % (status.encode(), response)


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """A number that can be written again: 1e999 is JSON, but would be infinity."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _whole(text: str) -> int:
    """A number of at most 64 bits, as rooms on other nodes can be told."""
    if len(text) > 20 or not -(1 << 63) <= (number := int(text)) < 1 << 64:
        raise ValueError(f"{text[:40]} has more than 64 bits")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _is_ref(value: Json) -> bool:
    if isinstance(value, str):
        return len(value) <= REF_LIMIT
    return value is None or (type(value) is int and abs(value) < 1 << 53)


def _is_text(value: Json, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit


def _is_unicode(value: Json) -> bool:
    try:
        to_json(value)
    except UnicodeEncodeError:
        return False
    return True


def kind(value: Json) -> str:
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


def depth(value: Json) -> int:
    """How deep arrays and objects are nested in it."""
    levels, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        levels += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return levels

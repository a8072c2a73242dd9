"""How an event is delivered: to everybody and for good, or only as long as it is the latest of its kind.

    RELIABLE            takes the next offset of the topic and stands in the room's log; who comes back gets what it missed
    conflate(key)       only the latest of each event and key is of worth: a keystroke, a position, who is typing
    SNAPSHOT            each one is the whole state, so only the last one is

A reliable event reaches a client with its offset in the payload's key `_o`. A payload that is no object is wrapped:
`{"_v": payload, "_o": offset}`. In JSON a binary payload is `{"_b": base64}`. These three keys belong to us: an object that
has one of them, as a client may have pushed it, is wrapped as well, `{"_v": object}`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from understudy.gateway import phoenix

if TYPE_CHECKING:
    from understudy.gateway.messages import Member

Payload: TypeAlias = Any
"""What an event carries: a JSON object, any other JSON value, or `bytes` for a binary event."""

OFFSET, VALUE, BINARY = "_o", "_v", "_b"
"""The keys of a payload that belong to the gateway."""

RESERVED = frozenset((OFFSET, VALUE, BINARY))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery class. `key` is None for reliable events; `of` is the id of the member with whom a kept value goes."""

    key: str | None = None
    of: str | None = None


RELIABLE = Delivery()
"""Every member gets every one, in order, or is told that it did not."""

SNAPSHOT = Delivery(key="")
"""The event says all there is to say: whoever is behind, or joins, gets the last one only."""


def conflate(key: str, of: Member | None = None) -> Delivery:
    """Only the latest per event and `key` is of worth. The room keeps it for those who join later: as long as the member
    `of` is there, if one is given, else until `Room.forget`. Raises TypeError for a key that is no text.
    """
    if not isinstance(key, str):
        raise TypeError(f"conflate takes a key that is a text, not {key!r}")
    return Delivery(key, None if of is None else of.id)


def encoded(payload: Payload) -> tuple[bytes, bool]:
    """The bytes of a payload, and whether it is a binary one. Raises TypeError or ValueError for what JSON cannot say."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload), True
    body = phoenix.to_json(payload)
    if isinstance(payload, dict) and not RESERVED.isdisjoint(payload):
        body = b'{"_v":%b}' % body
    return body, False


def stamped(payload: bytes, offset: int) -> bytes:
    """JSON text of a reliable event's payload, with its offset."""
    if not payload.startswith(b"{"):
        return b'{"_v":%b,"_o":%d}' % (payload, offset)
    return b'%b%b"_o":%d}' % (payload[:-1], b"" if payload == b"{}" else b",", offset)


def as_json(payload: bytes, binary: bool) -> bytes:
    """JSON text of a payload that may be a binary one."""
    return b'{"_b":"%b"}' % base64.b64encode(payload) if binary else payload

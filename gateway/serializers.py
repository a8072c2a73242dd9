"""What a kind of Phoenix client hears, byte for byte: V2 or V1, over WebSocket or long polling, with offsets or without.

    payload ── codec (phoenix.py, phoenix_v1.py, phoenix_binary.py) ──> message ── wrapping ──> frame
                                                                                  WebSocket: its header before it
                                                                                  long poll: a JSON string, for `messages`

One serializer serves all connections of its kind, so that a broadcast is encoded once for each kind.

Bytes go to a V2 WebSocket as binary frames. Whoever cannot have those gets them as text, `{"_b": base64}`; so does everybody
where a name is too long for a binary frame's head. With `offsets=1` in its address a client gets 8 bytes before the data of
each binary broadcast: the event's offset, big-endian, or 0 if it takes none.
"""

import re
from collections.abc import Callable
from typing import Protocol, TypeAlias

from understudy.gateway import phoenix, phoenix_binary, phoenix_v1
from understudy.gateway.delivery import as_json, stamped
from understudy.gateway.log import Cursor
from understudy.gateway.phoenix import CLOSE, ERROR, REPLY, Frame, Malformed, Ref

Wrapping: TypeAlias = Callable[[bytes], bytes]
"""Makes a message into what is sent."""

VERSIONS = "1.0.x and 2.0.x"
"""What `vsn` may be, in words."""


class Codec(Protocol):
    """A version of the protocol as text."""

    def decode(self, text: str) -> Frame:
        """Raises Malformed."""
        ...

    def encode(self, join_ref: Ref, ref: Ref, topic: str, event: str, payload: bytes) -> bytes:
        """`payload` is JSON text."""
        ...


def text_frame(text: bytes) -> bytes:
    """An unmasked WebSocket text frame, uncompressed (allowed on any connection): FIN and opcode 1, length, text."""
    return _frame(b"\x81", text)


def binary_frame(data: bytes) -> bytes:
    """The same with opcode 2."""
    return _frame(b"\x82", data)


def _frame(first: bytes, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return b"%b%c%b" % (first, size, data)
    if size < 65536:
        return b"%b\x7e%b%b" % (first, size.to_bytes(2, "big"), data)
    return b"%b\x7f%b%b" % (first, size.to_bytes(8, "big"), data)


def json_string(text: bytes) -> bytes:
    """A message as one of the strings in a poll's `messages`."""
    return phoenix.to_json(text.decode())


class PhoenixSerializer:
    """`text` wraps text messages; `binary` binary ones, if this kind of client can hear them."""

    def __init__(self, codec: Codec, text: Wrapping, binary: Wrapping | None = None, *, offsets: bool = False) -> None:
        self._codec = codec
        self._text = text
        self._binary = binary
        self._offsets = offsets

    def decode(self, data: str | bytes) -> Frame:
        """Read what the client said. Raises Malformed."""
        if isinstance(data, str):
            return self._codec.decode(data)
        if self._codec is phoenix_v1:
            raise Malformed("text, since V1 has no binary messages", f"a binary one of {len(data)} bytes")
        return phoenix_binary.decode(data)

    def reply(self, join_ref: Ref, ref: Ref, topic: str, status: str, response: bytes, binary: bool = False) -> bytes:
        """The answer to the client's message `ref`."""
        if binary and self._binary and phoenix_binary.fits(join_ref, ref, topic, status):
            return self._binary(phoenix_binary.encode_reply(join_ref, ref, topic, status, response))
        payload = phoenix.reply_payload(status, as_json(response, binary))
        return self._text(self._codec.encode(join_ref, ref, topic, REPLY, payload))

    def push(self, join_ref: Ref, topic: str, event: str, payload: bytes, binary: bool = False) -> bytes:
        """An event for one member. The end of a stay says as `ref`, too, which one it ends."""
        if binary and self._binary and phoenix_binary.fits(join_ref, topic, event):
            return self._binary(phoenix_binary.encode_push(join_ref, topic, event, payload))
        ref = join_ref if event in (CLOSE, ERROR) else None
        return self._text(self._codec.encode(join_ref, ref, topic, event, as_json(payload, binary)))

    def broadcast(
        self, topic: str, event: str, payload: bytes, cursor: Cursor | None = None, binary: bool = False
    ) -> bytes:
        """An event for all members, the same bytes for each; `cursor` is its place in the log if it is a reliable one."""
        if binary and self._binary and phoenix_binary.fits(topic, event):
            if self._offsets:
                payload = (cursor.offset if cursor else 0).to_bytes(8, "big") + payload
            return self._binary(phoenix_binary.encode_broadcast(topic, event, payload))
        body = as_json(payload, binary)
        return self._text(
            self._codec.encode(None, None, topic, event, stamped(body, cursor.offset) if cursor else body)
        )


PHOENIX = PhoenixSerializer(phoenix, text_frame, binary_frame)
PHOENIX_OFFSETS = PhoenixSerializer(phoenix, text_frame, binary_frame, offsets=True)
PHOENIX_V1 = PhoenixSerializer(phoenix_v1, text_frame)
POLLED = PhoenixSerializer(phoenix, json_string)
POLLED_V1 = PhoenixSerializer(phoenix_v1, json_string)


def for_socket(version: str, offsets: bool) -> PhoenixSerializer | None:
    """How to speak to a WebSocket client that asks for `vsn=version`; None if we cannot."""
    return _choose(version, PHOENIX_V1, PHOENIX_OFFSETS if offsets else PHOENIX)


def for_polls(version: str) -> PhoenixSerializer | None:
    """How to speak to a long-poll client that asks for `vsn=version`; None if we cannot."""
    return _choose(version, POLLED_V1, POLLED)


def _choose(version: str, v1: PhoenixSerializer, v2: PhoenixSerializer) -> PhoenixSerializer | None:
    match = re.fullmatch(r"([12])\.0\.\d{1,9}", version)
    return None if match is None else v1 if match[1] == "1" else v2

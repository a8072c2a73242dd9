"""Binary frames of Phoenix Channels V2: a payload that is bytes, behind a head of lengths and names.

    push, up      0 | sizes of join_ref, ref, topic, event    | join_ref | ref | topic | event  | data
    push, down    0 | sizes of join_ref, topic, event         | join_ref | topic | event        | data
    reply         1 | sizes of join_ref, ref, topic, status   | join_ref | ref | topic | status | data
    broadcast     2 | sizes of topic, event                   | topic | event                   | data

Kind and sizes are one byte each, names are UTF-8 of at most 255 bytes, a name that is null is empty.
"""

from understudy.gateway.phoenix import EVENT_LIMIT, REF_LIMIT, SOCKET_TOPIC, TOPIC_LIMIT, Frame, Malformed, Ref

PUSH, REPLY, BROADCAST = 0, 1, 2

SIZE_LIMIT = 255
"""Bytes of a name."""


def decode(data: bytes) -> Frame:
    """Read one frame from a client: a push, whose payload is bytes. Raises Malformed."""
    if not data or data[0] != PUSH:
        raise Malformed("a binary frame of kind 0, a push", f"one of kind {data[0]}" if data else "an empty one")
    sizes = data[1:5]
    end = 5 + sum(sizes)
    if len(sizes) < 4 or len(data) < end:
        raise Malformed(f"a head of {end} bytes", f"a binary frame of {len(data)}")
    names, at = [], 5
    for size in sizes:
        try:
            names.append(data[at : at + size].decode())
        except UnicodeDecodeError:
            raise Malformed("names in UTF-8", f"{data[at : at + min(size, 40)]!r}") from None
        at += size
    join_ref, ref, topic, event = names
    for name, what, least, limit in (
        (join_ref, "join_ref", 0, REF_LIMIT),
        (ref, "ref", 0, REF_LIMIT),
        (topic, "topic", 1, TOPIC_LIMIT),
        (event, "event", 1, EVENT_LIMIT),
    ):
        if not least <= len(name) <= limit:
            answered, about = ref[:REF_LIMIT] or None, topic[:TOPIC_LIMIT] or SOCKET_TOPIC
            raise Malformed(f"{what} of {least} to {limit} characters", str(len(name)), ref=answered, topic=about)
    return Frame(join_ref or None, ref or None, topic, event, data[end:])


def fits(*names: Ref) -> bool:
    """Whether these names can stand in a head."""
    return all(len(_name(name)) <= SIZE_LIMIT for name in names)


def encode_push(join_ref: Ref, topic: str, event: str, data: bytes) -> bytes:
    """An event for one client. Like the others it takes names that fit."""
    return _head(PUSH, join_ref, topic, event) + data


def encode_reply(join_ref: Ref, ref: Ref, topic: str, status: str, data: bytes) -> bytes:
    """The answer to the client's message `ref`; `status` is "ok" or "error"."""
    return _head(REPLY, join_ref, ref, topic, status) + data


def encode_broadcast(topic: str, event: str, data: bytes) -> bytes:
    """An event for everybody."""
    return _head(BROADCAST, topic, event) + data


def _name(ref: Ref) -> bytes:
    return b"" if ref is None else str(ref).encode()


def _head(kind: int, *names: Ref) -> bytes:
    encoded = [_name(name) for name in names]
    return bytes((kind, *map(len, encoded))) + b"".join(encoded)

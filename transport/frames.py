"""A frame: what the network carries in one piece, and the first byte of which says what it is.

    HELLO    oldest and newest version spoken, session,
             from (node, incarnation, address), to (node, incarnation), guest                dealer ─▶ router
    DATA     session, sequence, batch                                                        dealer ─▶ router
    CHUNK    session, sequence, stream, number in it, kind; the chunk of a payload is its second part  dealer ─▶ router
    RESUME   session, first sequence unacknowledged: how far are you?                        dealer ─▶ router
    PING     nonce                                                                           dealer ─▶ router
    INTRODUCE   node, public key: who I am, and the key that I am to be known by             dealer ─▶ router
    WELCOME  session, next sequence expected, the version that both speak from now on        router ─▶ dealer
    ACK      session, next sequence expected                                                 router ─▶ dealer
    STALE    session, who answers (node, incarnation), why, whether you are gone for good,
             whether we speak no common version                                              router ─▶ dealer
    BYE      session, next sequence expected: there will be no later acknowledgement         router ─▶ dealer
    PONG     nonce, who answers (node, incarnation), its address                             router ─▶ dealer
    INTRODUCED  public key, who answers (node), why not                                      router ─▶ dealer

DATA, RESUME, ACK and BYE are fixed binary heads, since every batch has one; the others are MessagePack arrays after their first
byte, so that later versions can add to their ends. HELLO and STALE never change but in that way: any two versions read
each other's. Nothing is built from bytes before its size and shape are checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

import msgpack

from understudy.transport.schema import Unreadable
from understudy.transport.wire import FRAME_LIMIT

OLDEST, NEWEST = 1, 1
"""Versions of the protocol that this node speaks. The newest that both ends speak holds for a session; without one, HELLO
is refused, and says so."""

VERSIONS = range(OLDEST, NEWEST + 1)

HELLO, DATA, CHUNK, RESUME, PING, WELCOME, ACK, STALE, BYE, PONG, INTRODUCE, INTRODUCED = b"HDCRPWASBQIJ"

HEAD = Struct(">BQQ")
"""Kind, session, sequence: the head of DATA, and all of RESUME, ACK and BYE."""

CHUNK_HEAD = Struct(">BQQQQB")
"""Kind, session, sequence, stream, number in the stream, what it is (departures.py): all of CHUNK's first part."""

COUNT = Struct(">BI")
"""MessagePack's array of up to 2^32 items: the first bytes of a batch."""

PARTS_LIMIT = 16 * 1024
"""Bytes of a frame that is a MessagePack array: four times what one of this version can have."""

NAME_LIMIT = 200
"""Characters of a node's name and of an address."""


class Peer(NamedTuple):
    """Who speaks: one life of one node."""

    node: str
    incarnation: int

    def __str__(self) -> str:
        return f"{self.node} (incarnation {self.incarnation})"


class Hello(NamedTuple):
    """`oldest`, `newest`: the versions of the protocol that the sender speaks.

    `guest`: the sender is no member yet, so its name may be another's: it replaces nobody.
    """

    oldest: int
    newest: int
    session: int
    sender: Peer
    address: str
    target: Peer
    guest: bool = False

    def encode(self) -> bytes:
        return _encode(
            HELLO, self.oldest, self.newest, self.session, *self.sender, self.address, *self.target, self.guest
        )


class Data(NamedTuple):
    session: int
    sequence: int
    batch: memoryview


class Chunk(NamedTuple):
    """Of a payload; its body is beside it."""

    session: int
    sequence: int
    stream: int
    number: int
    kind: int

    def encode(self) -> bytes:
        return CHUNK_HEAD.pack(CHUNK, *self)


class Resume(NamedTuple):
    session: int
    base: int

    def encode(self) -> bytes:
        return HEAD.pack(RESUME, self.session, self.base)


class Ping(NamedTuple):
    nonce: int

    def encode(self) -> bytes:
        return _encode(PING, self.nonce)


class Welcome(NamedTuple):
    """`version`: of the protocol, for this session from now on."""

    session: int
    next: int
    version: int

    def encode(self) -> bytes:
        return _encode(WELCOME, self.session, self.next, self.version)


class Ack(NamedTuple):
    session: int
    next: int

    def encode(self) -> bytes:
        return HEAD.pack(ACK, self.session, self.next)


class Bye(NamedTuple):
    session: int
    next: int

    def encode(self) -> bytes:
        return HEAD.pack(BYE, self.session, self.next)


class Stale(NamedTuple):
    """`gone`: to the answerer, this life of the node it answers is over for good. `foreign`: the two speak no common version."""

    session: int
    answerer: Peer
    detail: str
    gone: bool = False
    foreign: bool = False

    def encode(self) -> bytes:
        return _encode(STALE, self.session, *self.answerer, self.detail, self.gone, self.foreign)


class Pong(NamedTuple):
    nonce: int
    answerer: Peer
    address: str

    def encode(self) -> bytes:
        return _encode(PONG, self.nonce, *self.answerer, self.address)


class Introduce(NamedTuple):
    """Said under a token, or under another key of that node, or under the very key that it names."""

    node: str
    key: str

    def encode(self) -> bytes:
        return _encode(INTRODUCE, self.node, self.key)


class Introduced(NamedTuple):
    """`refusal`: why the answerer will not know the asker by that key; "" if it does."""

    key: str
    answerer: str
    refusal: str

    def encode(self) -> bytes:
        return _encode(INTRODUCED, self.key, self.answerer, self.refusal)


Frame: TypeAlias = Hello | Data | Chunk | Resume | Ping | Welcome | Ack | Stale | Bye | Pong | Introduce | Introduced


def data_frame(session: int, sequence: int, items: list[bytes]) -> bytes:
    """A DATA frame of packed items. Their sizes are the caller's to keep within FRAME_LIMIT."""
    return b"".join((HEAD.pack(DATA, session, sequence), COUNT.pack(0xDD, len(items)), *items))


def batch_of(frame: bytes) -> memoryview:
    """The batch of a DATA frame of our own."""
    return memoryview(frame)[HEAD.size :]


def decode(frame: bytes) -> Frame:
    """The frame that these bytes are. Raises Unreadable, which says what is wrong with them."""
    if not 0 < len(frame) <= FRAME_LIMIT:
        raise Unreadable(f"a frame has 1 to {FRAME_LIMIT} bytes, this one {len(frame)}")
    kind = frame[0]
    if kind == DATA:
        if len(frame) <= HEAD.size:
            raise Unreadable(f"a data frame of {len(frame)} bytes is cut short")
        _, session, sequence = HEAD.unpack_from(frame)
        return Data(session, sequence, memoryview(frame)[HEAD.size :])
    if kind == CHUNK:
        if len(frame) != CHUNK_HEAD.size:
            raise Unreadable(f"a chunk's head has {CHUNK_HEAD.size} bytes, this one {len(frame)}")
        return Chunk(*CHUNK_HEAD.unpack(frame)[1:])
    head = _heads.get(kind)
    if head is not None:
        if len(frame) != HEAD.size:
            raise Unreadable(f"a {chr(kind)!r} frame has {HEAD.size} bytes, this one {len(frame)}")
        _, session, sequence = HEAD.unpack(frame)
        return head(session, sequence)
    reader = _readers.get(kind)
    if reader is None:
        raise Unreadable(f"no frame begins with byte {kind}")
    if len(frame) > PARTS_LIMIT:
        raise Unreadable(f"a {chr(kind)!r} frame has {PARTS_LIMIT:,} bytes at most, this one {len(frame):,}")
    try:
        return reader(msgpack.unpackb(memoryview(frame)[1:]))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(
            f"a {chr(kind)!r} frame of {len(frame)} bytes is malformed: {error or type(error).__name__}"
        ) from error


def _hello(parts: Any) -> Hello:
    oldest, newest, session, node, incarnation, address, to_node, to_incarnation, *later = parts
    sender, target = _peer(node, incarnation), _peer(to_node, to_incarnation)
    versions = _number(oldest), _number(newest)
    return Hello(*versions, _number(session), sender, _text(address), target, later[:1] == [True])


def _ping(parts: Any) -> Ping:
    nonce, *_ = parts
    return Ping(_number(nonce))


def _welcome(parts: Any) -> Welcome:
    session, following, version, *_ = parts
    return Welcome(_number(session), _number(following), _number(version))


def _stale(parts: Any) -> Stale:
    session, node, incarnation, detail, *later = parts
    return Stale(
        _number(session), _peer(node, incarnation), str(detail)[:500], later[:1] == [True], later[1:2] == [True]
    )


def _pong(parts: Any) -> Pong:
    nonce, node, incarnation, address, *_ = parts
    return Pong(_number(nonce), _peer(node, incarnation), _text(address))


def _introduce(parts: Any) -> Introduce:
    node, key, *_ = parts
    return Introduce(_name(node), _key(key))


def _introduced(parts: Any) -> Introduced:
    key, answerer, refusal, *_ = parts
    return Introduced(_key(key), _name(answerer), str(refusal)[:500])


def _key(value: Any) -> str:
    if type(value) is not str or re.fullmatch("[0-9a-f]{64}", value) is None:
        raise Unreadable(f"a public key of 64 hexadecimal digits was expected, not {str(value)[:80]!r}")
    return value


def _name(value: Any) -> str:
    if not _text(value) or "@" in value:
        raise Unreadable(f"the name of a node was expected, not {str(value)[:40]!r}")
    return str(value)


def _peer(node: Any, incarnation: Any) -> Peer:
    return Peer(_text(node), _number(incarnation))


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise Unreadable(f"a number from 0 to 2^64 was expected, not {str(value)[:40]!r}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > NAME_LIMIT:
        raise Unreadable(f"a text of up to {NAME_LIMIT} characters was expected, not {str(value)[:40]!r}")
    return value


def _encode(kind: int, *parts: Any) -> bytes:
    return bytes((kind,)) + msgpack.packb(parts)


_heads: dict[int, Callable[[int, int], Frame]] = {RESUME: Resume, ACK: Ack, BYE: Bye}
_readers: dict[int, Callable[[Any], Frame]] = {
    HELLO: _hello,
    PING: _ping,
    WELCOME: _welcome,
    STALE: _stale,
    PONG: _pong,
    INTRODUCE: _introduce,
    INTRODUCED: _introduced,
}

"""The decoder: reads the batches of one session. What the bytes mean stands in wire.py.

a batch ──▶ within the limits? ──▶ MessagePack ──▶ items ──▶ unpack[code](item): generated for the class and the sender's fields
                 │                    └─ fails ──▶ one by one, with care: the items that can be read, and BROKEN for the others
                 └─ no ──▶ Unreadable, and nothing was built
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeAlias, cast

import msgpack

from understudy.actors import ActorRef, Failure
from understudy.actors.message import FIELD_LIMIT, NAME_LIMIT, registered_class
from understudy.actors.reasons import TRACE_DEPTH
from understudy.transport.operations import BROKEN
from understudy.transport.payload import Payload, checked_array
from understudy.transport.schema import PLAIN, Item, Unreadable, field_names, own_unpackers, unpacker
from understudy.transport.sources import Memory, Source
from understudy.transport.wire import (
    ALIKE_LIMIT,
    BATCH_ITEMS,
    DATETIME_LIMIT,
    DEFINITION_LIMIT,
    DEFINITION_SIZE,
    FRAME_LIMIT,
    NESTING_LIMIT,
    PAYLOAD,
    REASON_LIMIT,
    REASONS,
    REFERENCE_LIMIT,
)

Resolve: TypeAlias = Callable[[list[Any]], ActorRef[Any]]
"""The reference for what `Export` gave; ValueError if it makes no sense."""
Arrive: TypeAlias = Callable[[int, int | None], Source]
"""Where the payload of that stream and size is read. Raises Unreadable."""


def _nowhere(stream: int, size: int | None) -> Source:
    raise Unreadable("no payload can come this way")


class Decoder:
    """Reads the batches of one session. `unpack[item[2]](item)` is the message of an item.

    An unpacker raises Unreadable when the message's class is not registered here, or lacks what the sender left out.
    """

    __slots__ = ("_arrive", "_defined", "_nesting", "_pairs", "_resolve", "_size", "unpack")

    def __init__(self, resolve: Resolve, arrive: Arrive = _nowhere) -> None:
        self._resolve = resolve
        self._arrive = arrive
        self._nesting = 0
        self._pairs: Callable[[list[tuple[Any, Any]]], dict[Any, Any]] | None = (
            None  # what makes dicts, if that needs care
        )
        self._defined = False  # in this batch
        self._size = 0  # of all names that were defined
        self.unpack: dict[int, Callable[[Item], Any]] = {PLAIN: _unpack_plain}

    def items(self, batch: bytes | memoryview) -> list[Item]:
        """The items of a batch; in place of one that cannot be read, `[BROKEN, item, why]`. Unreadable if it is no batch."""
        self._defined = False
        if _length(batch) > BATCH_ITEMS:
            raise Unreadable(f"a batch has {BATCH_ITEMS:,} items at most, this one claims {_length(batch):,}")
        try:
            items = self._read(batch)
        except Exception:  # noqa: BLE001 - whatever it is, it is told for each item apart
            return self._one_by_one(batch)
        if type(items) is not list:
            raise Unreadable(f"a batch is an array of items, this one a {type(items).__name__}")
        return cast("list[Item]", items)

    def define(self, item: Item) -> None:
        """Learn a code. Unreadable when the definition makes no sense, or is one too many."""
        match item:
            case [_, int(code), str(name), [*names], *later] if (
                0 < code < 1 << 31 and _are_names([name]) and _are_names(names)
            ):
                formerly, once = _former(later, len(names))
            case _:
                raise Unreadable(f"this defines no message class: {str(item)[:200]}")
        if code in self.unpack:
            raise Unreadable(f"code {code} is defined on this session already, and {name!r} cannot have it too")
        if self._defined:
            raise Unreadable(f"a batch defines one class at most, and {name!r} is its second")
        self._size += sum(len(one) + 50 for one in (name, *names, *formerly, *once))
        if len(self.unpack) > DEFINITION_LIMIT or self._size > DEFINITION_SIZE:
            raise Unreadable(f"a session defines {DEFINITION_LIMIT:,} classes at most, and {name!r} is one too many")
        self._defined = True
        self.unpack[code] = self._late(code, (name, *formerly), tuple(names), once)

    def value(self, item: Item) -> Any:
        """The message or plain value of an item. Raises Unreadable."""
        unpack = self.unpack.get(item[2])
        if unpack is None:
            raise Unreadable(f"code {item[2]!r} was never defined on this session")
        return unpack(item)

    def _late(
        self, code: int, called: tuple[str, ...], names: tuple[str, ...], once: dict[str, int]
    ) -> Callable[[Item], Any]:
        """An unpacker that looks for the class when the first message comes: its module may be imported by then."""

        def unpack(item: Item) -> Any:
            cls = next(filter(None, map(registered_class, called)), None)
            if cls is None:
                raise Unreadable(
                    f"no message class is registered here under the name {called[0]!r}: "
                    f"import the module that defines it on this node too"
                )
            self.unpack[code] = made = unpacker(cls, names, once)
            return made(item)

        return unpack

    def _one_by_one(self, batch: bytes | memoryview) -> list[Item]:
        """The slow way through a batch that holds something unreadable."""
        stream = msgpack.Unpacker(max_buffer_size=FRAME_LIMIT)
        stream.feed(batch)
        try:
            size = stream.read_array_header()
            ends = [stream.tell()]
            for _ in range(size):
                # Without the level of the item itself, whatever our own packer let pass can be passed over.
                for _ in range(stream.read_array_header() if _is_array(batch[ends[-1]]) else 1):
                    stream.skip()
                ends.append(stream.tell())
        except Exception as error:
            raise Unreadable(
                f"a batch of {len(batch)} bytes is no MessagePack array: {str(error) or type(error).__name__}"
            ) from error
        view = memoryview(batch)
        return [self._one(view[start:end]) for start, end in pairwise(ends)]

    def _one(self, piece: memoryview) -> Item:
        if not _is_array(piece[0]):
            return [BROKEN, [], "an item is an array"]
        self._pairs = _with_tuples_as_keys
        try:
            return cast("Item", self._read(piece))
        except Exception as error:  # noqa: BLE001 - one unreadable item is an event, whatever its fault is
            detail = str(error) or type(error).__name__
        finally:
            self._pairs = None
        head: Item = []
        stream = msgpack.Unpacker(ext_hook=self._ignored, strict_map_key=False, timestamp=3)
        stream.feed(piece)
        with suppress(Exception):  # as much of its head as can be read
            for _ in range(stream.read_array_header()):
                head.append(stream.unpack())
        return [BROKEN, head, detail]

    def _read(self, data: bytes | memoryview) -> Any:
        return msgpack.unpackb(
            data, ext_hook=self._extension, object_pairs_hook=self._pairs, strict_map_key=False, timestamp=3
        )

    def _extension(self, code: int, data: bytes) -> Any:
        match code:
            case 1 if len(data) <= REFERENCE_LIMIT:
                return self._resolve(msgpack.unpackb(data))
            case 2 if len(data) <= DATETIME_LIMIT:
                return datetime.fromisoformat(data.decode())
            case 3 if len(data) <= REASON_LIMIT:
                return _unpack_reason(msgpack.unpackb(data))
            case 5:  # MESSAGE
                self._nesting += 1
                try:
                    if self._nesting > NESTING_LIMIT:
                        raise Unreadable(f"messages inside messages go {NESTING_LIMIT} deep at most")
                    return self.value(self._read(data))
                finally:
                    self._nesting -= 1
            case 4:  # PAYLOAD
                return self._payload(*msgpack.unpackb(data))
            case 1 | 2 | 3:
                raise Unreadable(f"an extension {code} of {len(data):,} bytes is larger than any of ours")
            case _:
                raise Unreadable(f"MessagePack extension {code} is none of ours")

    def _payload(self, stream: Any, content: Any, dtype: Any = None, shape: Any = None, *_: Any) -> Payload:
        if stream == 0 and type(content) is bytes:
            return Payload.of(Memory(memoryview(content)), *checked_array(len(content), dtype, shape))
        if (
            type(stream) is not int
            or stream <= 0
            or (content is not None and (type(content) is not int or content < 0))
        ):
            raise Unreadable(f"this is no payload: {stream!r}, {str(content)[:100]}")
        source = self._arrive(stream, content)  # if it makes no sense, nobody has it, and its sender will be told
        return Payload.of(source, *checked_array(content, dtype, shape))

    def _ignored(self, code: int, data: bytes) -> None:
        """In the place of an extension, to read what stands around it. That nobody reads a payload, its sender has to know."""
        if code == PAYLOAD:
            with suppress(Exception):
                self._payload(*msgpack.unpackb(data))


def own_decoder(resolve: Resolve, arrive: Arrive = _nowhere) -> Decoder:
    """A decoder for what this process packed itself: it knows every code without being told."""
    decoder = Decoder(resolve, arrive)
    decoder.unpack.update(own_unpackers())
    return decoder


def _unpack_plain(item: Item) -> Any:
    return item[3]


def _with_tuples_as_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict that may hold keys which were tuples at its sender, and came as arrays. A list cannot have been one."""
    keys = [_tuples(key) for key, _ in pairs]
    try:
        if len(keys) > ALIKE_LIMIT and max(Counter(map(hash, keys)).values()) > ALIKE_LIMIT:
            raise Unreadable(f"a dict has {len(keys):,} keys, more than {ALIKE_LIMIT} of them with the same hash")
        return dict(zip(keys, (value for _, value in pairs)))
    except TypeError as error:
        raise Unreadable(
            f"a key of a dict cannot be one here ({error}): a tuple inside a message arrives as a list unless the "
            f"field's annotation says tuple"
        ) from error


def _tuples(key: Any) -> Any:
    return tuple(map(_tuples, key)) if type(key) is list else key


def _is_array(head: int) -> bool:
    """Whether a MessagePack value that begins with this byte is an array."""
    return head & 0xF0 == 0x90 or head in (0xDC, 0xDD)


def _length(batch: bytes | memoryview) -> int:
    """How many items a batch claims to have; 0 if it is none."""
    head = batch[0] if len(batch) else 0
    if head == 0xDD:
        return int.from_bytes(batch[1:5], "big")
    return int.from_bytes(batch[1:3], "big") if head == 0xDC else head & 0x0F if head & 0xF0 == 0x90 else 0


def _are_names(names: Iterable[Any]) -> bool:
    """Whether they may be names of a class or of its fields, and are not too many."""
    names = list(names)
    return len(names) <= FIELD_LIMIT and all(type(name) is str and 0 < len(name) <= NAME_LIMIT for name in names)


def _former(later: list[Any], fields: int) -> tuple[list[str], dict[str, int]]:
    """What a definition says of former names: of the class, and of its fields with their places. A version that knows more may say more."""
    match later:
        case []:
            return [], {}
        case [[*formerly], dict(once), *_] if (
            _are_names(formerly)
            and _are_names(once)
            and all(type(at) is int and 0 <= at < fields for at in once.values())
        ):
            return formerly, once
        case _:
            raise Unreadable(f"these are no former names: {str(later)[:200]}")


_reason_unpackers = [unpacker(cls, field_names(cls)) for cls in REASONS]


def _unpack_reason(values: Any) -> Any:
    """An exit reason; one of a newer version's that we do not know is still a failure with its text."""
    match values:
        case [_, _, 3, str(), str(), [*trace], *_] if len(trace) <= TRACE_DEPTH and all(map(_is_place, trace)):
            pass
        case [_, _, 1 | 5, str(), *_] | [_, _, 0 | 2 | 4, *_]:
            pass
        case [_, _, int(kind), *_] if 0 <= kind < len(REASONS):
            raise Unreadable(f"this is no {REASONS[kind].__name__}: {str(values)[:100]}")
        case _:
            return Failure("unknown", f"an exit reason of another version: {str(values)[:200]}")
    return _reason_unpackers[values[2]](cast("Item", values))


def _is_place(place: Any) -> bool:
    """Whether it is a file, a line and a function."""
    match place:
        case [str(), int(), str()]:
            return True
        case _:
            return False

"""The wire format: registered messages as MessagePack, packed and unpacked by functions generated for each class.

    a batch    MessagePack array of items
    an item    [operation, target, code, field, field, ...]     (they stand in operations.py)
    code       which message class; 0: no message but one plain value, field 0

    sender                                        receiver
    tell(Say("hi"))   ── [DEFINE, 7, "chat.say", ["text"]] ──▶   7 is chat.say, made of `text`
                      ── [TELL, 31, 7, "hi"] ───────────────▶   Say(text="hi")
    tell(Say("ho"))   ── [TELL, 31, 7, "ho"] ───────────────▶   Say(text="ho")

A class is defined once per session, in a batch before its first use: that is what makes positions safe. The receiver matches the
sender's field *names* with its own, so that a field it does not know is ignored and one that is missing takes its
default: a node and its successor version understand each other. Sessions deliver in order and exactly once, therefore
definitions cannot be missed.

What may cross: registered messages (also inside one another), None, bool, int (64 bits), float, str, bytes, list, dict,
datetime, references and exit reasons. A tuple arrives as a list unless the field's annotation says tuple. Anything else
raises NotRegistered at the sender. Never pickle: bytes name classes that are registered here, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeAlias, cast

import msgpack

from understudy.actors import (
    ActorRef,
    Failure,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    NotRegistered,
    Shutdown,
    UnderstudyError,
)
from understudy.actors.message import NAME_LIMIT, registered_class
from understudy.transport.operations import BROKEN
from understudy.transport.schema import (
    PLAIN,
    Item,
    Parts,
    Unreadable,
    field_names,
    own_unpackers,
    packer,
    schema_of,
    unpacker,
)

FRAME_LIMIT = 1 << 20
"""Bytes of one frame, header and all; the network refuses larger ones unread."""

ITEM_LIMIT = FRAME_LIMIT - 64
"""Bytes of one item: it must fit into a frame of its own."""

NESTING_LIMIT = 32
"""Messages inside messages. MessagePack itself stops at 1023 lists inside lists, on both sides."""

DEFINITION_LIMIT = 10_000
"""Message classes that one session may define."""

REASON_LIMIT = 64 * 1024
"""Bytes of an exit reason: a longer one is shortened, since the news of a death must pass."""

FIELD_LIMIT = 255
"""Fields of one message class."""

REFERENCE, DATETIME, REASON, PAYLOAD, MESSAGE = 1, 2, 3, 4, 5
"""MessagePack extension codes. PAYLOAD is reserved for streams; every other code is refused."""

Export: TypeAlias = Callable[[ActorRef[Any]], Sequence[Any]]
"""What stands for a reference on the wire: (node, incarnation, id) or (node, name)."""
Resolve: TypeAlias = Callable[[list[Any]], ActorRef[Any]]
"""The reference for what `Export` gave; ValueError if it makes no sense."""


class TooLarge(UnderstudyError):
    """The message is larger than a frame. Nothing was sent: split it, or send where it can be fetched."""


class Encoder:
    """Packs the items of one session.

    `announce` takes the definitions, each to be sent in a batch before the first item that needs it. `parts` and `pack`
    are the two halves of `item`, for the one caller that is in a hurry: `pack(parts[type(message)](TELL, target, message))`.
    """

    __slots__ = ("_announce", "_export", "_nesting", "pack", "parts")

    def __init__(self, export: Export, announce: Callable[[bytes], None]) -> None:
        self._export = export
        self._announce = announce
        self._nesting = 0
        self.parts: dict[type, Parts] = dict.fromkeys(_PLAIN_TYPES, _plain)
        self.pack: Callable[[Any], bytes] = msgpack.Packer(default=self._extension).pack

    def item(self, first: Any, second: Any, value: Any, before: tuple[Any, ...] = ()) -> bytes:
        """What stands `before`, two places, and the value, as one item. Raises NotRegistered, TooLarge."""
        try:
            cls = type(value)
            parts = self.parts.get(cls) or self.introduce(cls)
            return self.checked(self.pack(before + parts(first, second, value)), value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise explained(error, value) from error

    def checked(self, item: bytes, value: Any) -> bytes:
        """The item, unless it is too large for the wire."""
        if len(item) > ITEM_LIMIT:
            raise TooLarge(
                f"a {type(value).__qualname__} of {len(item):,} bytes does not fit a frame of {FRAME_LIMIT:,}: "
                f"split it, or send where it can be fetched from"
            )
        return item

    def introduce(self, cls: type) -> Parts:
        """How to send values of that class from now on; a message class is defined on the wire first."""
        if issubclass(cls, (*_PLAIN_TYPES, ActorRef)):
            known: Parts = _plain
        else:
            schema = schema_of(cls)
            self._announce(schema.definition)
            known = schema.parts
        self.parts[cls] = known
        return known

    def _extension(self, value: Any) -> msgpack.ExtType:
        """What MessagePack does not know by itself."""
        if isinstance(value, ActorRef):
            return msgpack.ExtType(REFERENCE, msgpack.packb(self._export(value)))
        if isinstance(value, datetime):
            return msgpack.ExtType(DATETIME, value.isoformat().encode())
        if isinstance(value, int):
            raise OverflowError(f"the integer {value:#x} has more than 64 bits")
        cls: type = type(value)
        parts_of_reason = _reason_parts.get(cls)
        if parts_of_reason is not None:
            packed = msgpack.packb(parts_of_reason(0, 0, value), unicode_errors="backslashreplace")
            if len(packed) > REASON_LIMIT:
                packed = msgpack.packb(_reason_parts[Failure](0, 0, Failure(cls.__name__, str(value)[:2_000])))
            return msgpack.ExtType(REASON, packed)
        parts = self.parts.get(cls) or self.introduce(cls)
        self._nesting += 1
        try:
            if self._nesting > NESTING_LIMIT:
                raise NotRegistered(
                    f"messages inside messages go {NESTING_LIMIT} deep at most: send a flatter {cls.__qualname__}"
                )
            return msgpack.ExtType(MESSAGE, msgpack.packb(parts(0, 0, value), default=self._extension))
        finally:
            self._nesting -= 1


class Decoder:
    """Reads the batches of one session. `unpack[item[2]](item)` is the message of an item.

    An unpacker raises Unreadable when the message's class is not registered here, or lacks what the sender left out.
    """

    __slots__ = ("_nesting", "_resolve", "unpack")

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._nesting = 0
        self.unpack: dict[int, Callable[[Item], Any]] = {PLAIN: _unpack_plain}

    def items(self, batch: bytes | memoryview) -> list[Item]:
        """The items of a batch; in place of one that cannot be read, `[BROKEN, item, why]`. Unreadable if it is no batch."""
        try:
            items: Any = msgpack.unpackb(batch, ext_hook=self._extension, strict_map_key=False, timestamp=3)
        except Exception:  # noqa: BLE001 - whatever it is, it is told for each item apart
            return self._one_by_one(batch)
        if type(items) is not list:
            raise Unreadable(f"a batch is an array of items, this one a {type(items).__name__}")
        return cast("list[Item]", items)

    def define(self, item: Item) -> None:
        """Learn a code. Unreadable when the definition makes no sense."""
        match item:
            case [_, int(code), str(name), [*names], *_] if (
                0 < code < 1 << 31
                and 0 < len(name) <= NAME_LIMIT
                and len(names) <= FIELD_LIMIT
                and all(isinstance(field, str) for field in names)
                and (code in self.unpack or len(self.unpack) <= DEFINITION_LIMIT)
            ):
                self.unpack[code] = self._late(code, name, tuple(names))
            case _:
                raise Unreadable(f"this defines no message class: {str(item)[:200]}")

    def value(self, item: Item) -> Any:
        """The message or plain value of an item. Raises Unreadable."""
        unpack = self.unpack.get(item[2])
        if unpack is None:
            raise Unreadable(f"code {item[2]!r} was never defined on this session")
        return unpack(item)

    def _late(self, code: int, name: str, names: tuple[str, ...]) -> Callable[[Item], Any]:
        """An unpacker that looks for the class when the first message comes: its module may be imported by then."""

        def unpack(item: Item) -> Any:
            cls = registered_class(name)
            if cls is None:
                raise Unreadable(
                    f"no message class is registered here under the name {name!r}: "
                    f"import the module that defines it on this node too"
                )
            self.unpack[code] = made = unpacker(cls, names)
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
                stream.skip()
                ends.append(stream.tell())
        except Exception as error:
            raise Unreadable(
                f"a batch of {len(batch)} bytes is no MessagePack array: {error or type(error).__name__}"
            ) from error
        view = memoryview(batch)
        return [self._one(view[start:end]) for start, end in pairwise(ends)]

    def _one(self, piece: memoryview) -> Item:
        try:
            item: Any = msgpack.unpackb(piece, ext_hook=self._extension, strict_map_key=False, timestamp=3)
            return item if type(item) is list else [BROKEN, [], "an item is an array"]
        except Exception as error:  # noqa: BLE001 - one unreadable item is an event, whatever its fault is
            detail = str(error) or type(error).__name__
        try:
            item = msgpack.unpackb(piece, ext_hook=_ignored, strict_map_key=False, timestamp=3)
        except Exception:  # noqa: BLE001 - not even its head can be read
            item = []
        return [BROKEN, item, detail]

    def _extension(self, code: int, data: bytes) -> Any:
        match code:
            case 1:  # REFERENCE
                return self._resolve(msgpack.unpackb(data))
            case 2:  # DATETIME
                return datetime.fromisoformat(data.decode())
            case 3:  # REASON
                return _unpack_reason(msgpack.unpackb(data))
            case 5:  # MESSAGE
                self._nesting += 1
                try:
                    if self._nesting > NESTING_LIMIT:
                        raise Unreadable(f"messages inside messages go {NESTING_LIMIT} deep at most")
                    return self.value(
                        msgpack.unpackb(data, ext_hook=self._extension, strict_map_key=False, timestamp=3)
                    )
                finally:
                    self._nesting -= 1
            case _:
                raise Unreadable(f"MessagePack extension {code} is none of ours")


def own_decoder(resolve: Resolve) -> Decoder:
    """A decoder for what this process packed itself: it knows every code without being told."""
    decoder = Decoder(resolve)
    decoder.unpack.update(own_unpackers())
    return decoder


def explained(error: Exception, value: Any) -> NotRegistered:
    """The NotRegistered for what MessagePack said about a value."""
    if isinstance(error, NotRegistered):
        return error
    return NotRegistered(
        f"a {type(value).__qualname__} may not cross the wire as it is: {error}. "
        f"Send registered messages, None, bool, int of 64 bits, float, str, bytes, lists and dicts"
    )


def _plain(first: Any, second: Any, value: Any) -> tuple[Any, ...]:
    return first, second, PLAIN, value


def _unpack_plain(item: Item) -> Any:
    return item[3]


def _ignored(code: int, data: bytes) -> None:
    """In the place of an extension, to read what stands around it."""


_REASONS: tuple[type, ...] = (Normal, Shutdown, Killed, Failure, NoProc, NoConnection)
_PLAIN_TYPES: tuple[type, ...] = (
    *(type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict, datetime),
    *_REASONS,
)
_reason_parts = {cls: packer(at, field_names(cls)) for at, cls in enumerate(_REASONS)}
_reason_unpackers = [unpacker(cls, field_names(cls)) for cls in _REASONS]


def _unpack_reason(values: Any) -> Any:
    """An exit reason; one of a newer version's that we do not know is still a failure with its text."""
    match values:
        case [_, _, int(kind), *_] if 0 <= kind < len(_REASONS):
            return _reason_unpackers[kind](cast("Item", values))
        case _:
            return Failure("unknown", f"an exit reason of another version: {str(values)[:200]}")

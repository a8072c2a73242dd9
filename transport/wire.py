"""The wire format: registered messages as MessagePack, packed and unpacked by functions generated for each class.

    a batch    MessagePack array of items
    an item    [operation, target, code, field, field, ...]     (they stand in operations.py)
    code       which message class; 0: no message but one plain value, field 0

    sender                                        receiver
    tell(Say("hi"))   ── [DEFINE, 7, "chat.say", ["text"]] ──▶   7 is chat.say, made of `text`
                      ── [TELL, 31, 7, "hi"] ───────────────▶   Say(text="hi")
    tell(Say("ho"))   ── [TELL, 31, 7, "ho"] ───────────────▶   Say(text="ho")

A class is defined once per session, in a batch before its first use: that is what makes positions safe. The receiver matches the
sender's field *names* with its own, the former ones too, so that a field it does not know is ignored and one that is missing takes its
default: a node and its successor version understand each other. Sessions deliver in order and exactly once, therefore
definitions cannot be missed. What a value's type is, nobody looks at: a class that cares does so in its `__post_init__`.

What may cross: registered messages (also inside one another), None, bool, int (64 bits), float, str, bytes, list, dict,
datetime, references, exit reasons and payloads. A tuple arrives as a list unless the field's annotation says tuple. Anything else
raises NotRegistered at the sender. Never pickle: bytes name classes that are registered here, or nothing.

The limits below are looked at before anything is built. What they leave: a frame of a million empty lists takes 74 times its
size while it is read, and 0.2 s; no other frame takes more. docs/wire.md tells all of this to somebody who writes another implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from typing import Any, Protocol, TypeAlias, cast

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
from understudy.actors.message import FIELD_LIMIT, NAME_LIMIT, registered_class
from understudy.actors.reasons import TRACE_DEPTH
from understudy.transport.operations import BROKEN
from understudy.transport.payload import Payload, checked_array
from understudy.transport.schema import (
    PLAIN,
    Item,
    Pack,
    Parts,
    Teller,
    Unreadable,
    field_names,
    own_unpackers,
    packer,
    schema_of,
    teller,
    unpacker,
)
from understudy.transport.sources import Memory, Source

FRAME_LIMIT = 1 << 20
"""Bytes of one frame, header and all; the network refuses larger ones unread."""

ITEM_LIMIT = FRAME_LIMIT - 64
"""Bytes of one item: it must fit into a frame of its own."""

BATCH_ITEMS = 32 * 1024
"""Items of one batch. The smallest, KILL and CANCEL, have three bytes, and a batch of small ones is sent at 48 KiB."""

NESTING_LIMIT = 32
"""Messages inside messages. MessagePack itself stops at 1023 lists inside lists, on both sides."""

DEFINITION_LIMIT = 10_000
"""Message classes that one session may define, one in a batch and none of them again."""

DEFINITION_SIZE = 8 << 20
"""Bytes that the names in a session's definitions may take here, each counted with 50 more."""

REFERENCE_LIMIT = 2048
"""Bytes of a reference: two names, of 200 and 255 characters, at worst of four bytes each."""

DATETIME_LIMIT = 64
"""Bytes of a time."""

REASON_LIMIT = 64 * 1024
"""Bytes of an exit reason: a longer one is shortened, since the news of a death must pass."""

REFERENCE, DATETIME, REASON, PAYLOAD, MESSAGE = 1, 2, 3, 4, 5
"""MessagePack extension codes; every other one is refused.

A PAYLOAD is `[stream, size, type, shape]`, or `[0, bytes, type, shape]` if it is small; type and shape are those of a NumPy array,
None for anything else."""

INLINE = 256 * 1024
"""Bytes of payloads that travel inside one message. A larger one, and what is too much for one message, is a stream."""

Export: TypeAlias = Callable[[ActorRef[Any]], Sequence[Any]]
"""What stands for a reference on the wire: (node, incarnation, id) or (node, name)."""
Resolve: TypeAlias = Callable[[list[Any]], ActorRef[Any]]
"""The reference for what `Export` gave; ValueError if it makes no sense."""
Arrive: TypeAlias = Callable[[int, int | None], Source]
"""Where the payload of that stream and size is read. Raises Unreadable."""


class TooLarge(UnderstudyError):
    """The message is larger than a frame. Nothing was sent: put what is large in it into a Payload, or split it."""


class Streams(Protocol):
    """What the large payloads of a message leave as."""

    def take(self, payload: Payload) -> int:
        """The number of a new stream, for a message that is being packed. Raises Overloaded."""
        ...

    def packed(self, *, sent: bool) -> None:
        """The message is ready to be sent, or will not be."""
        ...


class Trial:
    """`Streams` of a message that is packed only to see whether that can be done."""

    def take(self, payload: Payload) -> int:
        return 1

    def packed(self, *, sent: bool) -> None:
        """Nothing was begun."""


class HasPayload(ValueError):
    """An interruption: there is a payload in the message, which is to be packed once more, with care."""


class Encoder:
    """Packs the items of one session.

    `announce` takes the definitions, each to be sent in a batch before the first item that needs it. `tellers` is for the
    one caller that is in a hurry: `tellers[type(message)](target, message)` is the item of a tell, once its class was
    introduced, and `otherwise` when that raised something. A message with payloads is always packed there: whatever goes
    wrong, no stream is left open, and who has none pays nothing for it.
    """

    __slots__ = ("_announce", "_export", "_inline", "_nesting", "_parts", "_streams", "pack", "tellers")

    def __init__(self, export: Export, announce: Callable[[bytes], None], streams: Streams | None = None) -> None:
        self._export = export
        self._announce = announce
        self._streams: Streams = streams if streams is not None else Trial()
        self._inline = -1  # bytes of payloads that may go into the message at hand; -1: it is not packed with care
        self._nesting = 0
        self.pack: Pack = msgpack.Packer(default=self._extension).pack
        self._parts: dict[type, Parts] = dict.fromkeys(_PLAIN_TYPES, _plain)
        self.tellers: dict[type, Teller] = dict.fromkeys(_PLAIN_TYPES, _tell_plain(self.pack))

    def item(self, first: Any, second: Any, value: Any, before: tuple[Any, ...] = ()) -> bytes:
        """What stands `before`, two places, and the value, as one item. Raises NotRegistered, TooLarge."""
        try:
            cls = type(value)
            parts = self._parts.get(cls) or self.introduce(cls)
            return self.checked(self.pack(before + parts(first, second, value)), value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return self.otherwise(error, first, second, value, before)

    def otherwise(self, error: Exception, first: Any, second: Any, value: Any, before: tuple[Any, ...] = ()) -> bytes:
        """Packing raised this error: pack once more, if it was only for a payload. Raises as `item` does, and Overloaded."""
        if not isinstance(error, HasPayload):
            raise explained(error, value) from error
        sent = False
        try:
            item = self._with_payloads(INLINE, before, first, second, value)
            if len(item) > ITEM_LIMIT:  # beside all the rest there is no room in the frame
                self._streams.packed(sent=False)
                item = self._with_payloads(0, before, first, second, value)
            self.checked(item, value)
            sent = True
        except (TypeError, ValueError, OverflowError, RecursionError) as flaw:
            raise explained(flaw, value) from flaw
        except UnderstudyError as refusal:
            raise refusal from None  # not because of the interruption
        finally:
            self._inline = -1
            self._streams.packed(sent=sent)
        return item

    def _with_payloads(self, inline: int, before: tuple[Any, ...], first: Any, second: Any, value: Any) -> bytes:
        self._inline = inline
        return self.pack(before + self._parts[type(value)](first, second, value))

    def checked(self, item: bytes, value: Any) -> bytes:
        """The item, unless it is too large for the wire."""
        if len(item) > ITEM_LIMIT:
            raise TooLarge(
                f"a {type(value).__qualname__} of {len(item):,} bytes does not fit a frame of {FRAME_LIMIT:,}: "
                f"put what is large in it into a Payload, which may have any size, or split it"
            )
        return item

    def introduce(self, cls: type) -> Parts:
        """How to send values of that class from now on; a message class is defined on the wire first."""
        if issubclass(cls, (*_PLAIN_TYPES, ActorRef, Payload)):
            known: Parts = _plain
            tell = _tell_plain(self.pack)
        else:
            schema = schema_of(cls)
            self._announce(schema.definition)
            known, tell = schema.parts, schema.teller(self.pack)
        self._parts[cls], self.tellers[cls] = known, tell
        return known

    def teller(self, cls: type) -> Teller:
        """What packs a tell of that class, introduced if it was not yet."""
        if cls not in self.tellers:
            self.introduce(cls)
        return self.tellers[cls]

    def _extension(self, value: Any) -> msgpack.ExtType:
        """What MessagePack does not know by itself."""
        if isinstance(value, ActorRef):
            return msgpack.ExtType(REFERENCE, msgpack.packb(self._export(value)))
        if isinstance(value, datetime):
            return msgpack.ExtType(DATETIME, value.isoformat().encode())
        if isinstance(value, int):
            raise OverflowError(f"the integer {value:#x} has more than 64 bits")
        if isinstance(value, Payload):
            return msgpack.ExtType(PAYLOAD, self._payload(value))
        cls: type = type(value)
        parts_of_reason = _reason_parts.get(cls)
        if parts_of_reason is not None:
            packed = msgpack.packb(parts_of_reason(0, 0, value), unicode_errors="backslashreplace")
            if len(packed) > REASON_LIMIT:
                packed = msgpack.packb(_reason_parts[Failure](0, 0, Failure(cls.__name__, str(value)[:2_000])))
            return msgpack.ExtType(REASON, packed)
        parts = self._parts.get(cls) or self.introduce(cls)
        self._nesting += 1
        try:
            if self._nesting > NESTING_LIMIT:
                raise NotRegistered(
                    f"messages inside messages go {NESTING_LIMIT} deep at most: send a flatter {cls.__qualname__}"
                )
            return msgpack.ExtType(MESSAGE, msgpack.packb(parts(0, 0, value), default=self._extension))
        finally:
            self._nesting -= 1

    def _payload(self, payload: Payload) -> bytes:
        source = payload.source
        if self._inline < 0:
            raise HasPayload("a payload")
        if isinstance(source, Memory) and source.size <= self._inline:
            self._inline -= source.size
            return msgpack.packb((0, source.view, payload.dtype, payload.shape))
        return msgpack.packb((self._streams.take(payload), payload.size, payload.dtype, payload.shape))


def _nowhere(stream: int, size: int | None) -> Source:
    raise Unreadable("no payload can come this way")


class Decoder:
    """Reads the batches of one session. `unpack[item[2]](item)` is the message of an item.

    An unpacker raises Unreadable when the message's class is not registered here, or lacks what the sender left out.
    """

    __slots__ = ("_arrive", "_defined", "_nesting", "_resolve", "_size", "unpack")

    def __init__(self, resolve: Resolve, arrive: Arrive = _nowhere) -> None:
        self._resolve = resolve
        self._arrive = arrive
        self._nesting = 0
        self._defined = False  # in this batch
        self._size = 0  # of all names that were defined
        self.unpack: dict[int, Callable[[Item], Any]] = {PLAIN: _unpack_plain}

    def items(self, batch: bytes | memoryview) -> list[Item]:
        """The items of a batch; in place of one that cannot be read, `[BROKEN, item, why]`. Unreadable if it is no batch."""
        self._defined = False
        if _length(batch) > BATCH_ITEMS:
            raise Unreadable(f"a batch has {BATCH_ITEMS:,} items at most, this one claims {_length(batch):,}")
        try:
            items: Any = msgpack.unpackb(batch, ext_hook=self._extension, strict_map_key=False, timestamp=3)
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
        try:
            return cast("Item", msgpack.unpackb(piece, ext_hook=self._extension, strict_map_key=False, timestamp=3))
        except Exception as error:  # noqa: BLE001 - one unreadable item is an event, whatever its fault is
            detail = str(error) or type(error).__name__
        head: Item = []
        stream = msgpack.Unpacker(ext_hook=self._ignored, strict_map_key=False, timestamp=3)
        stream.feed(piece)
        with suppress(Exception):  # as much of its head as can be read
            for _ in range(stream.read_array_header()):
                head.append(stream.unpack())
        return [BROKEN, head, detail]

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
                    return self.value(
                        msgpack.unpackb(data, ext_hook=self._extension, strict_map_key=False, timestamp=3)
                    )
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


def explained(error: Exception, value: Any) -> NotRegistered:
    """The NotRegistered for what MessagePack said about a value."""
    if isinstance(error, NotRegistered):
        return error
    return NotRegistered(
        f"a {type(value).__qualname__} may not cross the wire as it is: {error}. "
        f"Send registered messages, None, bool, int of 64 bits, float, str, bytes, lists and dicts"
    )


_tell_plain = teller(PLAIN, ["message"])


def _plain(first: Any, second: Any, value: Any) -> tuple[Any, ...]:
    return first, second, PLAIN, value


def _unpack_plain(item: Item) -> Any:
    return item[3]


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
        case [_, _, 3, str(), str(), [*trace], *_] if len(trace) <= TRACE_DEPTH and all(map(_is_place, trace)):
            pass
        case [_, _, 1 | 5, str(), *_] | [_, _, 0 | 2 | 4, *_]:
            pass
        case [_, _, int(kind), *_] if 0 <= kind < len(_REASONS):
            raise Unreadable(f"this is no {_REASONS[kind].__name__}: {str(values)[:100]}")
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

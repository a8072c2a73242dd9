"""The encoder: packs the items of one session. What the bytes mean stands in wire.py.

tell(Say("hi"))  ──▶ introduce(Say): a definition, once ──▶ parts, generated for the class ──▶ MessagePack
                                                                   └─ references, times, reasons, payloads, messages inside: extensions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import msgpack

from understudy.actors import ActorRef, Failure, NotRegistered, UnderstudyError
from understudy.transport.payload import Payload
from understudy.transport.schema import PLAIN, Pack, Parts, Teller, field_names, packer, schema_of, teller
from understudy.transport.sources import Memory
from understudy.transport.wire import (
    DATETIME,
    FRAME_LIMIT,
    INLINE,
    ITEM_LIMIT,
    MESSAGE,
    NESTING_LIMIT,
    PAYLOAD,
    REASON,
    REASON_LIMIT,
    REASONS,
    REFERENCE,
    TooLarge,
)

Export: TypeAlias = Callable[[ActorRef[Any]], Sequence[Any]]
"""What stands for a reference on the wire: (node, incarnation, id) or (node, name)."""


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


_PLAIN_TYPES: tuple[type, ...] = (
    *(type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict, datetime),
    *REASONS,
)


_reason_parts = {cls: packer(at, field_names(cls)) for at, cls in enumerate(REASONS)}

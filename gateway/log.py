"""What was said in a topic and is still there to be said again: the reliable events of a room, numbered from 1.

    epoch 6f0c...    [41] [42] [43] [44]        offset 44
                          ^ since(41): 42, 43, 44; since(39): None, 40 is not there any more

An epoch is one log's life: offsets of different epochs have nothing to do with each other. A client keeps the pair, its
`Cursor`, and shows it when it joins again. The log is the room's (`Room.make_log`), so it outlives gateways; the one in
memory ends with the room. Appending waits for nothing: one that is written to a disk does that behind the same interface.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from understudy.actors import Refused
from understudy.gateway.phoenix import Json

if TYPE_CHECKING:
    from understudy.actors import ActorSystem

EVENTS, SIZE, AGE = 1_000, 1 << 20, 300.0
"""What a log in memory keeps: so many events, bytes of payloads, seconds."""

OFFSET_DIGITS = 18
"""No offset has more."""


class Entry(NamedTuple):
    """A reliable event: its payload is JSON text, or anything if `binary`."""

    offset: int
    event: str
    payload: bytes
    binary: bool


class Cursor(NamedTuple):
    """How far a client has come in a topic. As text, which is what HTTP has room for, "epoch-offset"."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor that the text is; None if it is none."""
        epoch, _, offset = text.rpartition("-")
        good = epoch and offset.isascii() and offset.isdigit() and len(offset) <= OFFSET_DIGITS
        return cls(epoch, int(offset)) if good else None

    @classmethod
    def read(cls, value: Json) -> Cursor | None:
        """What a client shows in its join payload as `resume`; None for nothing. Raises Refused for anything else."""
        match value:
            case None:
                return None
            case {"epoch": str(epoch), "offset": int(offset)} if offset >= 0 and not isinstance(offset, bool):
                return cls(epoch, offset)
            case _:
                raise Refused('resume must be {"epoch": text, "offset": number}, as the reply to the last join said')


class Log(Protocol):
    """The reliable events of one topic."""

    @property
    def epoch(self) -> str:
        """Which life of the log this is."""
        ...

    @property
    def offset(self) -> int:
        """The offset of the last event; 0 before the first."""
        ...

    def append(self, event: str, payload: bytes, binary: bool) -> int:
        """Take in one more event; its offset. Offsets have no holes."""
        ...

    def since(self, offset: int) -> list[Entry] | None:
        """All events after `offset`; None when one of them is not there any more, or there is no such offset yet."""
        ...

    def last(self, limit: int) -> list[Entry]:
        """The last events that are there, `limit` at most, the oldest first."""
        ...


class MemoryLog:
    """A log that ends with its room. Keeps at most `events` events, `size` bytes of payloads, and nothing for longer than
    `age` seconds; but always the last one, however large.
    """

    def __init__(self, system: ActorSystem, *, events: int = EVENTS, size: int = SIZE, age: float = AGE) -> None:
        if events < 1:
            raise ValueError(f"a log keeps at least one event, not {events}")
        self.epoch = system.world.token()
        self.offset = 0
        self._clock = system.loop.time
        self._events, self._size, self._age = events, size, age
        self._entries: deque[tuple[float, Entry]] = deque()
        self._held = 0

    def append(self, event: str, payload: bytes, binary: bool) -> int:
        self.offset += 1
        self._entries.append((self._clock(), Entry(self.offset, event, payload, binary)))
        self._held += len(payload)
        while len(self._entries) > self._events or (self._held > self._size and len(self._entries) > 1):
            self._drop()
        self._drop_the_old()
        return self.offset

    def since(self, offset: int) -> list[Entry] | None:
        self._drop_the_old()
        wanted = self.offset - offset
        return self._tail(wanted) if 0 <= wanted <= len(self._entries) else None

    def last(self, limit: int) -> list[Entry]:
        self._drop_the_old()
        return self._tail(min(max(limit, 0), len(self._entries)))

    def _tail(self, count: int) -> list[Entry]:
        return [entry for _, entry in islice(self._entries, len(self._entries) - count, None)]

    def _drop_the_old(self) -> None:
        until = self._clock() - self._age
        while self._entries and self._entries[0][0] < until:
            self._drop()

    def _drop(self) -> None:
        self._held -= len(self._entries.popleft()[1].payload)

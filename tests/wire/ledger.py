"""What was sent and what came of it: a receiver's Book, a sender's Account, and the equation between them.

A stream is all that one life of a sender sends to one life of a sink: numbers from 0. Exactly once and in order, what has
come of it is therefore one number, and so is everything else:

    0 ────────── acknowledged ────────── came ────────── sent over the network ────────── sent
    │  it came: no dead letter for any  │  dead letters, fate unknown  │  dead letters, surely not arrived
"""

from __future__ import annotations

import mmap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from understudy.actors import Actor, ActorRef, Bounded, DeadLetter, Later, Request, conflate, message

STREAMS = 1024
"""That fit into a Book."""

CAME, MISSING, AGAIN, STALE = range(4)
FIELDS = 4


@message("wire.numbered")
class Numbered:
    """The n-th of a stream, meant for that life of its receiver's node."""

    stream: int
    life: int
    number: int
    padding: bytes


@message("wire.whoever")
class Whoever(Request[ActorRef[Any]]):
    """Who has the name now."""


@message("wire.ponder")
class Ponder(Request[None]):
    """Never answered."""


@message("wire.echo")
class Echo(Request[int]):
    """Answered with its number."""

    number: int


class Book:
    """What a sink has seen of each stream, in a file that it shares with the test: what stands there survives a kill -9."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(STREAMS * FIELDS * 8))
        with path.open("r+b") as file:
            self._pages = mmap.mmap(file.fileno(), 0)
        self._at = memoryview(self._pages).cast("Q")

    def note(self, message: Numbered, life: int) -> None:
        """A message of a stream is here."""
        at, row = self._at, message.stream * FIELDS
        if message.life != life:
            at[row + STALE] += 1
        elif message.number < at[row]:
            at[row + AGAIN] += 1
        else:
            at[row + MISSING] += message.number - at[row]
            at[row] = message.number + 1

    def read(self, stream: int) -> Entry:
        """What came of a stream until now."""
        row = stream * FIELDS
        return Entry(*self._at[row : row + FIELDS])

    def close(self) -> None:
        self._at.release()
        self._pages.close()


@dataclass
class Entry:
    """Of one stream. `came`: one past the highest number. `again`: repeated, or after a later one. `stale`: meant for another life."""

    came: int
    missing: int
    again: int
    stale: int


class Sink(Actor):
    """Notes in the book what it handles."""

    def __init__(self, book: Book, life: int) -> None:
        super().__init__()
        self.note = book.note
        self.life = life

    def on_receive(self, message: Any) -> Any:
        match message:
            case Numbered():
                self.note(message, self.life)
                return None
            case Whoever():
                return self.actor_ref
            case Echo(number):
                return number
            case Ponder():
                return Later()
            case _:
                return self.unhandled(message)


def noted_at_the_door(book: Book, life: int) -> type[Sink]:
    """A sink whose messages are in the book as soon as they are in its mailbox: what was there unread at a kill has come."""

    def key(message: Any) -> None:
        if isinstance(message, Numbered):
            book.note(message, life)

    class NotedAtTheDoor(Sink):
        mailbox = Bounded(1_000_000_000, conflate(key))

        def __init__(self, book: Book, life: int) -> None:
            super().__init__(book, life)
            self.note = _noted_before

    return NotedAtTheDoor


def _noted_before(message: Numbered, life: int) -> None:
    """At the door."""


@dataclass
class Account:
    """The sender's side of one stream. `unknown` and `surely`: dead letters, of which the first number is `*_from`."""

    life: int
    sent: int = 0
    unknown: int = 0
    unknown_from: int = 0
    surely: int = 0
    surely_from: int = 0
    disorder: int = 0
    """Dead letters that did not follow the one before."""
    waited: int = 0
    """Times that the outbox was full."""
    over: bool = False
    """Nothing more is to be sent."""

    def letter(self, letter: DeadLetter) -> None:
        """A message of this stream is a dead letter."""
        number = letter.message.number
        if letter.fate_unknown:
            if not self.unknown:
                self.unknown_from = number
            self.disorder += number != self.unknown_from + self.unknown or self.surely > 0
            self.unknown += 1
        else:
            if not self.surely:
                self.surely_from = number
            self.disorder += number != self.surely_from + self.surely
            self.surely += 1

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass
class Balance:
    """What became of one or more streams that the equation holds for: none missing, none repeated, none stale."""

    sent: int = 0
    came: int = 0
    unknown: int = 0
    unknown_that_came: int = 0
    surely: int = 0

    def __add__(self, other: Balance) -> Balance:
        return Balance(*(mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values())))


def balance(account: Account, entry: Entry) -> Balance:
    """Hold the equation: every message came in order and once, or is a dead letter; only an unknown one may be both.

    Of a stream that has ended, one way or the other. Raises AssertionError.
    """
    told = f"{account}, {entry}"
    assert (entry.missing, entry.again, entry.stale) == (0, 0, 0), f"not in order and exactly once: {told}"
    acknowledged = account.sent - account.unknown - account.surely
    assert not account.disorder, f"dead letters not in order: {told}"
    assert not account.unknown or account.unknown_from == acknowledged, f"silence, or a dead letter too many: {told}"
    assert not account.surely or account.surely_from == acknowledged + account.unknown, f"silence: {told}"
    assert acknowledged <= entry.came, f"acknowledged, but it never came: {told}"
    assert entry.came <= acknowledged + account.unknown, f"a dead letter that surely had not arrived did: {told}"
    return Balance(account.sent, entry.came, account.unknown, entry.came - acknowledged, account.surely)

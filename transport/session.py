"""A session: everything from one life of a node to one life of another, in order and exactly once, over a network that
loses, repeats and reorders. A pure state machine: no socket, no clock; time is an argument, frames go in and out.

    Outbound                                                       Inbound
    ────────                                                       ───────
    GREETING ── HELLO(session, from, to) ───────────────────────▶  not to me, or from one declared dead:
       │        again until answered       ◀── STALE(who I am) ──  nothing is kept
       │                                   ◀── WELCOME(next) ────  expects `next`, 0 at first
       ▼
     OPEN ───── DATA(session, sequence) ────────────────────────▶  sequence = next: delivered, next + 1
       │        up to WINDOW frames ahead                          sequence < next: a duplicate, dropped
       │                                                           sequence > next: after a gap, ignored
       │                                   ◀── ACK(next) ────────  at once for many, soon for few
       │        no progress for a while: back to the first unacknowledged frame, and on from there
       │                                   ◀── BYE(next) ────────  it stops: no later acknowledgement
       │                                   ◀── STALE ────────────  DATA of a session that is not known there
       ▼
     ENDED      what was never sent did surely not arrive; the fate of what was sent and not acknowledged is unknown

Two nodes talk through two sessions, one each way. A session outlives any number of broken connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from understudy.actors import UnderstudyError
from understudy.transport.frames import VERSION, Ack, Bye, Hello, Peer, Stale, Welcome, batch_of, data_frame

WINDOW = 256
"""Frames that may be under way unacknowledged."""

PATIENCE = 0.15
"""Seconds without progress before frames are sent again. Doubles with each time, up to PATIENCE_LIMIT."""

PATIENCE_LIMIT = 1.0

State: TypeAlias = Literal["greeting", "open", "ended"]


class SessionError(UnderstudyError):
    """The other side broke the protocol: the text says what was expected and what came."""


class Undelivered(NamedTuple):
    """A batch that was not acknowledged when its session ended. `fate_unknown`: it was sent, so it may have arrived."""

    batch: memoryview
    fate_unknown: bool


class Outbound:
    """The sending side. Whoever drives it transmits `pending(now)` until that is None, and tells it `sent(now)` for each
    frame that the network took; calls `tick(now)` at `due`; and hands in what comes back.
    """

    __slots__ = (
        "_base",
        "_end",
        "_frames",
        "_hello",
        "_high",
        "_next",
        "_patience",
        "_progress",
        "_waiting",
        "resends",
        "session",
        "size",
        "state",
    )

    def __init__(self, hello: Hello) -> None:
        self.session = hello.session
        self.state: State = "greeting"
        self.size = 0  # bytes held
        self.resends = 0  # frames sent again
        self._hello = hello.encode()
        self._frames: dict[int, bytes] = {}
        self._base = 0  # the first unacknowledged sequence
        self._next = 0  # the next one to send
        self._high = 0  # one past the highest ever sent
        self._end = 0  # one past the last one offered
        self._waiting = False  # HELLO was sent, its answer is awaited
        self._progress = 0.0
        self._patience = PATIENCE

    def offer(self, items: list[bytes]) -> None:
        """Take a batch of packed items for delivery."""
        if self.state == "ended":
            raise SessionError("expected no more batches: the session has ended")
        frame = data_frame(self.session, self._end, items)
        self._frames[self._end] = frame
        self._end += 1
        self.size += len(frame)

    def pending(self) -> bytes | None:
        """The frame to transmit next; it stays the same until it is `sent`."""
        if self.state == "open":
            return self._frames.get(self._next) if self._next < self._base + WINDOW else None
        return self._hello if self.state == "greeting" and not self._waiting else None

    def sent(self, now: float) -> None:
        """The network took the pending frame."""
        if self.state == "greeting":
            self._waiting = True
            self._progress = now
            return
        if self._next == self._base:
            self._progress = now  # the wait for an acknowledgement begins
        self._next += 1
        if self._next > self._high:
            self._high = self._next
        else:
            self.resends += 1

    @property
    def due(self) -> float | None:
        """When `tick` has something to do; None while nothing is awaited."""
        awaited = self._waiting if self.state == "greeting" else self.state == "open" and self._next > self._base
        return self._progress + self._patience if awaited else None

    def tick(self, now: float) -> None:
        """Time passed. If an answer is overdue, what was sent becomes pending again."""
        due = self.due
        if due is None or now < due:
            return
        self._waiting = False
        self._next = self._base
        self._progress = now
        self._patience = min(2 * self._patience, PATIENCE_LIMIT)

    def welcomed(self, welcome: Welcome, now: float) -> None:
        """The other side knows the session and expects `welcome.next`."""
        self._mine(welcome.session, "WELCOME")
        if self.state == "greeting":
            self.state = "open"
            self._patience = PATIENCE
            self._advance(welcome.next, now)

    def acknowledged(self, ack: Ack | Bye, now: float) -> None:
        """The other side delivered everything below `ack.next`."""
        self._mine(ack.session, type(ack).__name__.upper())
        if self.state == "open":
            self._advance(ack.next, now)

    def end(self) -> Iterator[Undelivered]:
        """The other side is gone: yields what was not acknowledged, oldest first, and holds nothing any more."""
        self.state = "ended"
        frames, self._frames, self.size = self._frames, {}, 0
        return (Undelivered(batch_of(frame), sequence < self._high) for sequence, frame in frames.items())

    @property
    def idle(self) -> bool:
        """Whether everything offered was acknowledged."""
        return not self._frames

    def _advance(self, next_expected: int, now: float) -> None:
        if not next_expected <= self._high:
            raise SessionError(
                f"session {self.session:016x}: expected an acknowledgement of at most {self._high} frames, got {next_expected}"
            )
        if next_expected <= self._base:
            return  # an old one that was overtaken
        for sequence in range(self._base, next_expected):
            self.size -= len(self._frames.pop(sequence))
        self._base = next_expected
        self._next = max(self._next, next_expected)
        self._progress = now
        self._patience = PATIENCE

    def _mine(self, session: int, what: str) -> None:
        if session != self.session:
            raise SessionError(f"expected {what} of session {self.session:016x}, got one of {session:016x}")


class Inbound:
    """The receiving side of one session. `peer` is who speaks."""

    __slots__ = ("duplicates", "gaps", "next", "peer", "session")

    def __init__(self, hello: Hello) -> None:
        self.session = hello.session
        self.peer = hello.sender
        self.next = 0
        self.duplicates = 0
        self.gaps = 0

    def accept(self, sequence: int) -> bool:
        """Whether the frame of that sequence is the next one, which is to be delivered now."""
        if sequence == self.next:
            self.next += 1
            return True
        if sequence < self.next:
            self.duplicates += 1
        else:
            self.gaps += 1
        return False

    def welcome(self) -> Welcome:
        """The answer to its HELLO, the first and every repeated one."""
        return Welcome(self.session, self.next)

    def ack(self) -> Ack:
        """How far it has come."""
        return Ack(self.session, self.next)

    def bye(self) -> Bye:
        """How far it has come, for the last time."""
        return Bye(self.session, self.next)


def refusal(hello: Hello, me: Peer, buried: int) -> Stale | None:
    """Why this HELLO cannot be accepted by `me`; None if it can.

    `buried` is the highest incarnation of the sender's name that was declared dead or has left, 0 if there is none.
    """
    gone = False
    if hello.version != VERSION:
        detail = f"expected protocol version {VERSION}, got {hello.version}: update the older of the two nodes"
    elif hello.target != me:
        detail = f"expected a HELLO to {me}, got one to {hello.target}"
    elif hello.sender.node == me.node:
        detail = f"expected a node of another name, got {hello.sender} while I am {me}"
    elif hello.sender.incarnation <= buried:
        gone = True
        detail = f"expected a living incarnation of {hello.sender.node}, got {hello.sender.incarnation}, which is gone for good"
    else:
        return None
    return Stale(hello.session, me, detail, gone)

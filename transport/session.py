"""A session: everything from one life of a node to one life of another, in order and exactly once, over a network that
loses, repeats and reorders. A pure state machine: no socket, no clock; time is an argument, frames go in and out.

    Outbound                                                          Inbound
    ────────                                                          ───────
    GREETING ── HELLO(versions, session, from, to) ────────────────▶  not to me, from the dead, or no common version:
       │        again until answered          ◀── STALE(who I am) ──  nothing is kept
       │                                      ◀── WELCOME(next) ────  expects `next`, 0 at first
       ▼
     OPEN ───── DATA(session, sequence) ───────────────────────────▶  sequence = next: delivered, next + 1
      │ ▲       up to a window ahead                                  sequence < next: a duplicate, dropped
      │ │                                                             sequence > next: after a gap, ignored
      │ │                                     ◀── ACK(next) ────────  at once for many, soon for few
      │ │                                     ◀── BYE(next) ────────  it stops: no later acknowledgement
      │ │                                     ◀── STALE ────────────  DATA or RESUME of a session not known there
      │ │
      │ ├────── an ACK that is progress, and on from where it was; or
      │ │                                     ◀── WELCOME(next) ────  and on from `next`
      ▼ │
    ASKING ──── RESUME(session) ───────────────────────────────────▶  how far it has come
       │        a new connection, or no progress for a while; again until answered
       ▼
     ENDED      from any state, once: when the peer is gone for good.
                What was never sent did surely not arrive; the fate of what was sent and not acknowledged is unknown

Two nodes talk through two sessions, one each way. A session outlives any number of broken connections. It asks before it
sends again, since a peer that is slow, or a loop that is blocked, has lost nothing: only what is missing goes out twice.
What does not fit the drawing raises SessionError, which says what was expected and what came, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from understudy.actors import UnderstudyError
from understudy.transport.frames import (
    VERSIONS,
    Ack,
    Bye,
    Hello,
    Peer,
    Resume,
    Stale,
    Welcome,
    batch_of,
    data_frame,
)
from understudy.transport.network import Loaded

WINDOW = 256
"""Frames that may be under way unacknowledged."""

WINDOW_BYTES = 8 * 1024 * 1024
"""Bytes after which no more goes under way: the network holds them in queues of its own, beside what is held here."""

PATIENCE = 0.15
"""Seconds without an answer or progress before it is asked again. Doubles with each time, up to PATIENCE_LIMIT."""

PATIENCE_LIMIT = 1.0

SMOOTHING = 1 / 8
"""Part of a new measurement in the round-trip time, as in TCP."""

State: TypeAlias = Literal["greeting", "open", "asking", "ended"]


class SessionError(UnderstudyError):
    """The other side broke the protocol: the text says what was expected and what came."""


class Undelivered(NamedTuple):
    """A batch that was not acknowledged when its session ended. `fate_unknown`: it was sent, so it may have arrived."""

    batch: memoryview
    fate_unknown: bool


class Outbound:
    """The sending side. Whoever drives it transmits `pending()` until that is None, and tells it `sent(now)` for each
    frame that the network took; calls `tick(now)` at `due`; says when there is a new connection; and hands in what comes
    back.
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
        "_timed",
        "_timed_at",
        "_under_way",
        "_versions",
        "_waiting",
        "resends",
        "rtt",
        "session",
        "size",
        "state",
        "version",
    )

    def __init__(self, hello: Hello) -> None:
        self.session = hello.session
        self.state: State = "greeting"
        self.version = 0
        """Of the protocol, as the other side chose it; 0 until it is welcomed."""
        self.size = 0
        """Bytes offered and not acknowledged yet."""
        self.resends = 0
        """Frames that were sent again."""
        self.rtt: float | None = None
        """Seconds from sending a frame to its acknowledgement, smoothed; the receiver's wait for more to acknowledge
        (`door.ACK_DELAY`) is part of it. None before the first."""
        self._versions = range(hello.oldest, hello.newest + 1)
        self._hello = hello.encode()
        self._frames: dict[int, bytes | Loaded] = {}
        self._base = 0  # the first unacknowledged sequence
        self._next = 0  # the next one to send
        self._high = 0  # one past the highest ever sent
        self._end = 0  # one past the last one offered
        self._under_way = 0  # bytes from `_base` to `_next`
        self._waiting = False  # HELLO or RESUME was sent, its answer is awaited
        self._progress = 0.0
        self._patience = PATIENCE
        self._timed = -1  # the frame whose round trip is measured; one at a time, and none that was sent twice
        self._timed_at = 0.0

    def offer(self, items: list[bytes]) -> None:
        """Take a batch of packed items for delivery."""
        self.load(data_frame(self.session, self._end, items))

    def load(self, frame: bytes | Loaded) -> None:
        """Take a frame with the sequence `offered` for delivery."""
        if self.state == "ended":
            raise SessionError("expected no more batches: the session has ended")
        self._frames[self._end] = frame
        self._end += 1
        self.size += len(frame)

    def pending(self) -> bytes | Loaded | None:
        """The frame to transmit next; it stays the same until it is `sent`."""
        if self.state == "open":
            room = self._next < self._base + WINDOW and self._under_way < WINDOW_BYTES
            return self._frames.get(self._next) if room else None
        if self._waiting or self.state == "ended":
            return None
        return self._hello if self.state == "greeting" else Resume(self.session, self._base).encode()

    def sent(self, now: float) -> None:
        """The network took the pending frame."""
        if self.state != "open":
            self._waiting = True
            self._progress = now
            return
        sequence = self._next
        if sequence == self._base:
            self._progress = now  # the wait for an acknowledgement begins
        self._next = sequence + 1
        self._under_way += len(self._frames[sequence])
        if sequence < self._high:
            self.resends += 1
            return
        self._high = sequence + 1
        if self._timed < 0:
            self._timed, self._timed_at = sequence, now

    @property
    def due(self) -> float | None:
        """When `tick` has something to do; None while nothing is awaited."""
        awaited = self._next > self._base if self.state == "open" else self._waiting
        return self._progress + self._patience if awaited else None

    def tick(self, now: float) -> None:
        """Time passed. If an answer or progress is overdue, ask for it, or ask again."""
        due = self.due
        if due is None or now < due:
            return
        self._patience = min(2 * self._patience, PATIENCE_LIMIT)
        self._ask(now)

    def connected(self, now: float) -> None:
        """There is a new connection: what was under way on the one before may be lost."""
        if self.state != "open" or self._next > self._base:
            self._patience = PATIENCE
            self._ask(now)

    def welcomed(self, welcome: Welcome, now: float) -> None:
        """The other side knows the session and expects `welcome.next`."""
        self._mine(welcome.session, "WELCOME")
        if welcome.version not in self._versions:
            raise SessionError(
                f"session {self.session:016x}: expected WELCOME with a version from {self._versions[0]} to "
                f"{self._versions[-1]}, got {welcome.version}"
            )
        if self.state == "ended":
            return
        self._advance(welcome.next, now)
        if self.state != "open":
            self.state = "open"
            self.version = welcome.version
            self._waiting = False
            self._patience = PATIENCE
            self._next = self._base
            self._under_way = 0

    def acknowledged(self, ack: Ack | Bye, now: float) -> None:
        """The other side delivered everything below `ack.next`."""
        self._mine(ack.session, type(ack).__name__.upper())
        if self.state == "ended":
            return
        if self._advance(ack.next, now) and self.state == "asking":
            self.state = "open"  # it was slow, no more: on from where we were
            self._waiting = False

    def end(self) -> Iterator[Undelivered]:
        """The other side is gone: yields what was not acknowledged, oldest first, and holds nothing any more."""
        self.state = "ended"
        self._waiting = False
        frames, self._frames, self.size = self._frames, {}, 0
        return (
            Undelivered(batch_of(frame), sequence < self._high)
            for sequence, frame in frames.items()
            if isinstance(frame, bytes)  # and no chunk of a payload, which is no message
        )

    @property
    def idle(self) -> bool:
        """Whether everything offered was acknowledged."""
        return not self._frames

    @property
    def offered(self) -> int:
        """Batches offered so far."""
        return self._end

    @property
    def ahead(self) -> int:
        """Batches that were sent and are not acknowledged."""
        return self._high - self._base

    @property
    def delivered(self) -> int:
        """Batches acknowledged so far, the first ones of those offered."""
        return self._base

    def _ask(self, now: float) -> None:
        """Find out how far the other side has come, before anything else."""
        if self.state == "open":
            self.state = "asking"
        self._waiting = False
        self._progress = now
        self._timed = -1

    def _advance(self, next_expected: int, now: float) -> bool:
        """Everything below was delivered. Returns whether that is news."""
        if next_expected > self._high:
            raise SessionError(
                f"session {self.session:016x}: expected an acknowledgement of at most {self._high} frames, got {next_expected}"
            )
        if next_expected <= self._base:
            return False  # an old one that was overtaken
        for sequence in range(self._base, next_expected):
            length = len(self._frames.pop(sequence))
            self.size -= length
            if sequence < self._next:
                self._under_way -= length
        self._base = next_expected
        self._next = max(self._next, next_expected)
        self._progress = now
        self._patience = PATIENCE
        if 0 <= self._timed < next_expected:
            taken = now - self._timed_at
            self.rtt = taken if self.rtt is None else self.rtt + SMOOTHING * (taken - self.rtt)
            self._timed = -1
        return True

    def _mine(self, session: int, what: str) -> None:
        if session != self.session:
            raise SessionError(f"expected {what} of session {self.session:016x}, got one of {session:016x}")


class Inbound:
    """The receiving side of one session. `peer` is who speaks, `version` that of the protocol."""

    __slots__ = ("duplicates", "gaps", "next", "peer", "session", "version")

    def __init__(self, hello: Hello, spoken: range = VERSIONS) -> None:
        self.session = hello.session
        self.peer = hello.sender
        self.version = common_version(hello, spoken)
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
        elif sequence < self.next + WINDOW:
            self.gaps += 1
        else:
            raise SessionError(
                f"session {self.session:016x} of {self.peer}: expected a frame below {self.next + WINDOW}, "
                f"{WINDOW} ahead at most, got {sequence}"
            )
        return False

    def welcome(self) -> Welcome:
        """The answer to its HELLO, the first and every repeated one, and to RESUME."""
        return Welcome(self.session, self.next, self.version)

    def ack(self) -> Ack:
        """How far it has come."""
        return Ack(self.session, self.next)

    def bye(self) -> Bye:
        """How far it has come, for the last time."""
        return Bye(self.session, self.next)


def common_version(hello: Hello, spoken: range = VERSIONS) -> int:
    """The newest version of the protocol that the sender of that HELLO speaks and so do we; 0 if there is none."""
    newest = min(hello.newest, spoken[-1])
    return newest if newest >= max(hello.oldest, spoken[0]) else 0


def refusal(hello: Hello, me: Peer, buried: int, spoken: range = VERSIONS) -> Stale | None:
    """Why this HELLO cannot be accepted by `me`; None if it can.

    `buried` is the highest incarnation of the sender's name that was declared dead or has left, 0 if there is none.
    """
    gone = False
    foreign = not common_version(hello, spoken)
    if foreign:
        theirs, ours = _spoken(hello.oldest, hello.newest), _spoken(spoken[0], spoken[-1])
        detail = f"expected protocol {ours}, got {theirs}: update the older of the two nodes"
    elif hello.target != me:
        detail = f"expected a HELLO to {me}, got one to {hello.target}"
    elif hello.sender.node == me.node:
        detail = f"expected a node of another name, got {hello.sender} while I am {me}"
    elif hello.sender.incarnation <= buried:
        gone = True
        detail = f"expected a living incarnation of {hello.sender.node}, got {hello.sender.incarnation}, which is gone for good"
    else:
        return None
    return Stale(hello.session, me, detail, gone, foreign)


def _spoken(oldest: int, newest: int) -> str:
    return f"version {newest}" if oldest == newest else f"versions {oldest} to {newest}"

"""The door of a node: who came in, and how far each has been heard. One per node; `Links` stands behind it.

    HELLO of a life we know nothing against  ──▶ a Visitor, and WELCOME
    HELLO to somebody else, or from the dead ──▶ STALE
    DATA of a visitor                        ──▶ its link's Delivery, and an ACK soon
    CHUNK of a visitor                       ──▶ its link's Arrivals, and an ACK soon
    RESUME of a visitor                      ──▶ WELCOME: how far it has come
    DATA, CHUNK, RESUME of nobody known      ──▶ STALE
    PING                                     ──▶ through the run queue of the actors, then PONG

A link that is lost takes its visitors with it; those of the dead are remembered for a while, to be told what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.transport.frames import Chunk, Data, Hello, Peer, Ping, Pong, Resume, Stale, decode
from understudy.transport.network import BadAddress, Path, parse_address
from understudy.transport.schema import Unreadable
from understudy.transport.session import Inbound, SessionError, refusal

if TYPE_CHECKING:
    from understudy.transport.gate import Gate
    from understudy.transport.link import Link
    from understudy.transport.links import Links

ACK_DELAY = 0.01
"""Seconds that an acknowledgement waits for more to acknowledge. Each costs both processes a wake-up: acknowledging every
tick made an unloaded call a third slower (355 us against 236 us in the same minute)."""

ACK_FRAMES = 16
"""Frames after which it does not wait. A sender may be session.WINDOW frames ahead."""

ACK_BYTES = 64 * 1024
"""Bytes that count for another frame. A sender may be session.WINDOW_BYTES ahead."""

SESSIONS_LIMIT = 64
"""Sessions that one life of a node may have here at a time: one for its messages, a few for its large payloads."""

SEVERED_LIMIT = 256
"""Sessions of nodes that are gone which are remembered, so that a zombie is told what it is."""


@dataclass(slots=True)
class Visitor:
    """A welcomed session. `path` is where it was last heard from, answers go there; `deliver` takes its batches."""

    inbound: Inbound
    link: Link
    path: Path
    deliver: Callable[[memoryview], None]


class Door:
    """`pulse` is given each PING; it is to see to it that `pong` is called. Used on the loop's thread only."""

    def __init__(self, links: Links) -> None:
        self.pulse: Callable[[Path, Ping], None] = self.pong
        self.gate: Gate | None = None
        """Stands before the door of a node with keys."""
        self._links = links
        self._network = links.network
        self._loop = links.system.loop
        self._visitors: dict[int, Visitor] = {}
        self._severed: dict[int, None] = {}  # the last sessions of the buried, so that they can be told
        self._owed: set[int] = set()
        self._unacknowledged = 0

    def heard(self, path: Path, data: bytes, body: memoryview | None = None) -> None:
        """A frame came; a chunk has a body beside it."""
        try:
            frame = decode(data)
            if (body is not None) != isinstance(frame, Chunk):
                raise Unreadable(f"a {type(frame).__name__} came {'with' if body is not None else 'without'} a body")
            if self.gate is not None and self.gate.stops(path, frame):
                return
            match frame:
                case Data():
                    self._data(path, frame)
                case Chunk() if body is not None:
                    self._chunk(path, frame, body)
                case Hello():
                    self._hello(path, frame)
                case Resume():
                    self._resume(path, frame)
                case Ping():
                    self.pulse(path, frame)
                case _:
                    raise Unreadable(f"a {type(frame).__name__} does not come this way")
        except (Unreadable, SessionError) as error:
            self._links.report("a stranger", error)

    def pong(self, path: Path, ping: Ping) -> None:
        """Answer a ping."""
        self._network.answer(path, Pong(ping.nonce, self._links.me, self._links.address).encode())

    def sever(self, link: Link) -> None:
        """The peer of that link is gone for good; whatever still comes from it is told so."""
        self._severed.update(dict.fromkeys(self._sessions_of(link)))
        while len(self._severed) > SEVERED_LIMIT:
            del self._severed[next(iter(self._severed))]

    def forget(self, link: Link) -> None:
        """That link is lost: its visitors are strangers now."""
        for session in self._sessions_of(link):
            del self._visitors[session]

    def visiting(self, session: int) -> str:
        """The node whose session that is; "" for an unknown one."""
        visitor = self._visitors.get(session)
        return visitor.inbound.peer.node if visitor is not None else ""

    def inbound(self, link: Link) -> list[Inbound]:
        """The sessions of a link's peer: how far each has come."""
        return [visitor.inbound for visitor in self._visitors.values() if visitor.link is link]

    def farewell(self) -> int:
        """Tell every visitor how far it came, for the last time. Returns how many there are."""
        for visitor in self._visitors.values():
            self._network.answer(visitor.path, visitor.inbound.bye().encode())
        return len(self._visitors)

    def _hello(self, path: Path, hello: Hello) -> None:
        links = self._links
        stale = refusal(hello, links.me, links.last_buried(hello.sender.node), links.versions)
        visitor = self._visitors.get(hello.session)
        if stale is None and visitor is not None and visitor.inbound.peer != hello.sender:
            stale = Stale(hello.session, links.me, "expected a session of its own, got another node's")
        if stale is None and visitor is None and self._sessions_with(hello.sender) >= SESSIONS_LIMIT:
            stale = Stale(hello.session, links.me, f"expected {SESSIONS_LIMIT} sessions at most, got one more")
        if stale is not None:
            self._network.answer(path, stale.encode())
            return
        if visitor is None:
            try:
                parse_address(hello.address)
            except BadAddress as error:
                raise Unreadable(f"a HELLO of {hello.sender} says where nobody can be reached: {error}") from error
            link = links.greet(hello)
            visitor = self._visitors[hello.session] = Visitor(
                Inbound(hello, links.versions), link, path, link.delivery.deliver
            )
        visitor.path = path
        self._network.answer(path, visitor.inbound.welcome().encode())

    def _data(self, path: Path, frame: Data) -> None:
        visitor = self._accepted(path, frame, len(frame.batch))
        if visitor is not None:
            self._links.system.scheduler.spot.bring_in(visitor.deliver, frame.batch)

    def _chunk(self, path: Path, frame: Chunk, body: memoryview) -> None:
        visitor = self._accepted(path, frame, 0)
        if visitor is not None:
            visitor.link.arrivals.chunk(frame.stream, frame.number, frame.kind, body)

    def _accepted(self, path: Path, frame: Data | Chunk, size: int) -> Visitor | None:
        """The visitor whose next frame that is, which will be acknowledged. A large one counts for several."""
        visitor = self._visitor(path, frame.session)
        if visitor is None:
            return None
        before = self._unacknowledged
        expected = visitor.inbound.accept(frame.sequence)
        self._unacknowledged += 1 + size // ACK_BYTES if expected else ACK_FRAMES  # who is lost is told at once
        self._owed.add(frame.session)
        if before < ACK_FRAMES <= self._unacknowledged:
            self._loop.call_soon(self._acknowledge)
        elif before == 0:
            self._loop.call_later(ACK_DELAY, self._acknowledge)
        return visitor if expected else None

    def _resume(self, path: Path, resume: Resume) -> None:
        visitor = self._visitor(path, resume.session)
        if visitor is not None:
            self._network.answer(path, visitor.inbound.welcome().encode())

    def _visitor(self, path: Path, session: int) -> Visitor | None:
        """The visitor of that session, who is at `path` now. None if there is none, which it is told."""
        visitor = self._visitors.get(session)
        if visitor is not None:
            visitor.path = path
            return visitor
        if session in self._severed:
            stale = Stale(session, self._links.me, "expected a living node, got one that is gone for good", gone=True)
        else:
            stale = Stale(session, self._links.me, "expected a session that was greeted, got an unknown one")
        self._network.answer(path, stale.encode())
        return None

    def _acknowledge(self) -> None:
        owed, self._owed = self._owed, set()
        self._unacknowledged = 0
        for session in owed:
            visitor = self._visitors.get(session)
            if visitor is not None:
                self._network.answer(visitor.path, visitor.inbound.ack().encode())

    def _sessions_with(self, peer: Peer) -> int:
        return sum(visitor.inbound.peer == peer for visitor in self._visitors.values())

    def _sessions_of(self, link: Link) -> list[int]:
        return [session for session, visitor in self._visitors.items() if visitor.link is link]

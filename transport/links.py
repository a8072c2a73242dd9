"""The links of one node, and what is heard at its door.

    HELLO of a life we know nothing against ──▶ WELCOME, and a Link to it
    HELLO to somebody else, or from the dead ──▶ STALE
    DATA of a welcomed session               ──▶ its Link, and an ACK soon
    DATA of any other                        ──▶ STALE
    PING                                     ──▶ through the run queue of the actors, then PONG

A newer incarnation that says HELLO buries the older one at once: a node's name has one living owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from understudy.actors import (
    ActorRef,
    ActorSystem,
    ExitReason,
    NamedRef,
    NoConnection,
    NoProc,
    NotRegistered,
    UnderstudyError,
)
from understudy.transport.exports import Exports
from understudy.transport.frames import Data, Hello, Peer, Ping, Pong, Resume, Stale, decode
from understudy.transport.link import Link
from understudy.transport.network import Network, Path
from understudy.transport.remote import RemoteNamedRef, RemoteRef
from understudy.transport.schema import Unreadable
from understudy.transport.session import Inbound, SessionError, refusal

logger = logging.getLogger("understudy.transport")

ACK_DELAY = 0.01
"""Seconds that an acknowledgement waits for more to acknowledge. Each costs both processes a wake-up: acknowledging every
tick made an unloaded call a third slower (355 us against 236 us in the same minute)."""

ACK_FRAMES = 16
"""Frames after which it does not wait. A sender may be session.WINDOW frames ahead."""

FAREWELL = 0.05
"""Seconds between BYE and the end of the connections: ZeroMQ throws away what a peer has not read by then."""

SEVERED_LIMIT = 256
"""Sessions of nodes that are gone which are remembered, so that a zombie is told what it is."""

MEET_INTERVAL = 0.2
"""Seconds between two attempts to meet a node by its address alone."""


class CannotReach(UnderstudyError):
    """Nobody answers at that address, or not the one who was expected."""


@dataclass(slots=True)
class Visitor:
    """A welcomed session. `path` is where it was last heard from: answers go there."""

    inbound: Inbound
    link: Link
    path: Path


class Links:
    """Used on the loop's thread only.

    `presented` is told of every life that a node's name leads to; `greeted` of every one that said HELLO, or answered for
    an older one; `condemned` of one that said that to it we are gone for good.
    """

    def __init__(self, system: ActorSystem, network: Network) -> None:
        self.system = system
        self.network = network
        self.exports = Exports(system)
        self.me = Peer(system.name, system.incarnation)
        self.address = ""
        self.guest = False
        """True until this node is a member, if it speaks to others before: its name may still be refused."""
        self.unreadable = 0
        self.presented: Callable[[Peer], None] = _nobody
        self.greeted: Callable[[Peer], None] = _nobody
        self.condemned: Callable[[Peer], None] = _nobody
        self.pulse: Callable[[Path, Ping], None] = self.pong
        self._leaving = False
        self._gone = self._nowhere(self.me, NoProc())
        self._links: dict[Peer, Link] = {}
        self._by_name: dict[str, Link] = {}
        self._buried: dict[str, int] = {}
        self._missed: dict[str, int] = {}
        self._severed: dict[int, None] = {}  # the last sessions of the buried, so that they can be told
        self._visitors: dict[int, Visitor] = {}
        self._owed: set[int] = set()
        self._unacknowledged = 0

    def listen(self, address: str) -> str:
        """Open the door; returns the address in full. Raises BadAddress, CannotListen."""
        self.address = self.network.bind(address, self.heard)
        return self.address

    # --- to others ---

    def to(self, peer: Peer, address: str | None = None) -> Link:
        """The link to one life of a node: a lost one if that is gone for good. Without an address it waits for one."""
        link = self._links.get(peer)
        if link is None:
            if peer == self.me:
                return self._gone
            gone = self._buried.get(peer.node, -1)
            if address is None:
                gone = max(gone, self._missed.get(peer.node, -1))
            # One life of a name at a time: while this node has the name, every other life of it is over.
            if peer.incarnation <= gone or peer.node == self.me.node:
                return self._nowhere(peer, NoConnection(f"{peer} is gone"))
            link = self._links[peer] = Link(self, peer, address)
        elif address is not None:
            link.connect(address)
        return link

    def present(self, peer: Peer, address: str) -> Link:
        """The link to a life that is a member, and so the one that the node's name leads to unless a newer one is known."""
        link = self.to(peer, address)
        latest = self._by_name.get(peer.node)
        if link.lost is None and (latest is None or latest.peer.incarnation < peer.incarnation):
            self.missed(Peer(peer.node, peer.incarnation - 1), NoConnection(f"{peer.node} was started again"))
            self._by_name[peer.node] = link
            self.presented(peer)
        return link

    def towards(self, node: str) -> Link:
        """The link to the present life of that node; a lost one while none is known."""
        link = self._by_name.get(node)
        return link if link is not None else self._nowhere(Peer(node, 0), NoConnection(f"no node {node!r} is up"))

    def bury(self, peer: Peer, reason: ExitReason) -> None:
        """That life is over: calls fail, monitors fire, what was not acknowledged is a dead letter. Nothing of it is heard again."""
        self._buried[peer.node] = max(peer.incarnation, self._buried.get(peer.node, 0))
        for link in [
            link for at, link in self._links.items() if at.node == peer.node and at.incarnation <= peer.incarnation
        ]:
            self._severed.update(dict.fromkeys(self._sessions_of(link)))
            self._drop(link, reason)
        while len(self._severed) > SEVERED_LIMIT:
            del self._severed[next(iter(self._severed))]

    def missed(self, peer: Peer, reason: ExitReason) -> None:
        """That life was over before this node could meet it: addresses of it that somebody sent here wait no longer.

        It is not buried: a guest whose clock ran backwards may still ask for a table under such an incarnation.
        """
        self._missed[peer.node] = max(peer.incarnation, self._missed.get(peer.node, 0))
        for link in tuple(self._links.values()):
            if link.address is None and link.peer.node == peer.node and link.peer.incarnation <= peer.incarnation:
                self._drop(link, reason)

    def stopped(self, link: Link) -> None:
        """The other end said BYE. If it was a guest, somebody else may well live under its name."""
        reason = NoConnection(f"{link.peer.node} has stopped")
        if self._by_name.get(link.peer.node, link) is link:
            self.bury(link.peer, reason)
        else:
            self._drop(link, reason)

    def cut(self, reason: ExitReason) -> None:
        """End every link at once: this node is out."""
        for link in tuple(self._links.values()):
            self._drop(link, reason)

    def begin_again(self, incarnation: int) -> None:
        """This node goes by a higher incarnation than it has told the few it spoke to: greet them anew."""
        known = [(link.peer, link.address) for link in self._links.values() if link.address is not None]
        self.cut(NoConnection("this node begins again under a higher incarnation"))
        self.system.incarnation = incarnation
        self.me = Peer(self.system.name, incarnation)
        self._gone = self._nowhere(self.me, NoProc())
        for peer, address in known:
            self.present(peer, address)

    async def meet(self, address: str, timeout: float = 5.0) -> Pong:
        """Ask who listens at an address. Raises CannotReach, BadAddress."""
        loop = self.system.loop
        met: asyncio.Future[Pong] = loop.create_future()
        ping = Ping(self.system.world.random.getrandbits(63))

        def heard(data: bytes) -> None:
            match decode(data):
                case Pong(nonce=ping.nonce) as pong if not met.done():
                    met.set_result(pong)
                case _:
                    pass

        channel = self.network.connect(address, heard, lambda: None)
        try:
            async with asyncio.timeout(timeout):
                while not met.done():
                    channel.send(ping.encode())
                    await asyncio.wait([met], timeout=MEET_INTERVAL)
            return met.result()
        except TimeoutError:
            raise CannotReach(
                f"nobody answered at {address} within {timeout} s: is a node of this cluster running there?"
            ) from None
        finally:
            channel.close()

    async def drain(self, patience: float) -> None:
        """Wait up to `patience` seconds for everything sent to be acknowledged: this node is about to leave."""
        self._leaving = True
        if self._links:
            waiting = [asyncio.ensure_future(link.drained()) for link in self._links.values()]
            _, late = await asyncio.wait(waiting, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def close(self, patience: float) -> None:
        """Drain, say BYE, and close all links and the door."""
        await self.drain(patience)
        for visitor in self._visitors.values():
            self.network.answer(visitor.path, visitor.inbound.bye().encode())
        if self._visitors:
            await asyncio.sleep(FAREWELL)
        self.cut(NoConnection("this node has stopped"))
        self.network.close()

    # --- references ---

    def export(self, ref: ActorRef[Any]) -> tuple[Any, ...]:
        """What stands for a reference on the wire."""
        if isinstance(ref, RemoteNamedRef):
            return ref.node, ref.target
        if isinstance(ref, RemoteRef):
            return (*ref.link.peer, ref.target)
        if isinstance(ref, NamedRef):
            return self.me.node, ref.name
        node, incarnation, number = ref.address
        if (node, incarnation) != self.me:
            raise NotRegistered(f"{ref!r} belongs to another system of this process: only its own node can send it")
        self.exports.add(ref)
        return node, incarnation, number

    def resolve(self, parts: Any) -> ActorRef[Any]:
        """The reference for what stood for it on the wire. Raises Unreadable."""
        match parts:
            case [str(node), int(incarnation), int(target)]:
                peer = Peer(node, incarnation)
                return self.here(target) if peer == self.me else RemoteRef(self.to(peer), target)
            case [str(node), str(name)]:
                return self.named(node, name)
            case _:
                raise Unreadable(f"this is no reference: {str(parts)[:100]}")

    def named(self, node: str, name: str) -> ActorRef[Any]:
        """The reference for `name@node`."""
        return self.system.ref(name) if node == self.me.node else RemoteNamedRef(self, node, name)

    def here(self, target: Any) -> ActorRef[Any]:
        """The actor of this node with that id or name, dead or alive."""
        if type(target) is str:
            return self.system.ref(target)
        return self.exports.find(target) or RemoteRef(self._gone, target)

    # --- what is heard ---

    def heard(self, path: Path, data: bytes) -> None:
        """A frame came to the door."""
        try:
            frame = decode(data)
            match frame:
                case Data():
                    self._data(path, frame)
                case Hello():
                    self._hello(path, frame)
                case Resume():
                    self._resume(path, frame)
                case Ping():
                    self.pulse(path, frame)
                case _:
                    raise Unreadable(f"a {type(frame).__name__} does not come this way")
        except (Unreadable, SessionError) as error:
            self.report("a stranger", error)

    def pong(self, path: Path, ping: Ping) -> None:
        """Answer a ping."""
        self.network.answer(path, Pong(ping.nonce, self.me, self.address).encode())

    def refused(self, link: Link, stale: Stale) -> None:
        """A peer, or whoever has its address now, would not have what a link sent."""
        answerer = stale.answerer
        if answerer.node == link.peer.node and answerer.incarnation > link.peer.incarnation:
            self._succeed(answerer)
            if link.address is not None:
                self.present(answerer, link.address)
        elif answerer == link.peer and stale.session == link.out.session:
            if not self._leaving:
                self.report(link.peer, UnderstudyError(f"it refuses this node: {stale.detail}"))
            self._drop(link, NoConnection(f"{link.peer} refuses this node: {stale.detail}"))
            if stale.gone:
                self.condemned(link.peer)

    def report(self, who: object, error: Exception) -> None:
        """Something unreadable came: an event, never an end."""
        self.unreadable += 1
        logger.error("from %s: %s", who, str(error) or type(error).__name__)

    def _data(self, path: Path, frame: Data) -> None:
        visitor = self._visitor(path, frame.session)
        if visitor is None:
            return
        before = self._unacknowledged
        if visitor.inbound.accept(frame.sequence):
            visitor.link.delivery.deliver(frame.batch)
            self._unacknowledged += 1
        else:
            self._unacknowledged += ACK_FRAMES  # the sender does not know how far we are: tell it at once
        self._owed.add(frame.session)
        if before < ACK_FRAMES <= self._unacknowledged:
            self.system.loop.call_soon(self._acknowledge)
        elif before == 0:
            self.system.loop.call_later(ACK_DELAY, self._acknowledge)

    def _resume(self, path: Path, resume: Resume) -> None:
        visitor = self._visitor(path, resume.session)
        if visitor is not None:
            self.network.answer(path, visitor.inbound.welcome().encode())

    def _visitor(self, path: Path, session: int) -> Visitor | None:
        """The visitor of that session, who is at `path` now. None if there is none, which it is told."""
        visitor = self._visitors.get(session)
        if visitor is not None:
            visitor.path = path
            return visitor
        if session in self._severed:
            stale = Stale(session, self.me, "expected a living node, got one that is gone for good", gone=True)
        else:
            stale = Stale(session, self.me, "expected a session that was greeted, got an unknown one")
        self.network.answer(path, stale.encode())
        return None

    def _acknowledge(self) -> None:
        owed, self._owed = self._owed, set()
        self._unacknowledged = 0
        for session in owed:
            visitor = self._visitors.get(session)
            if visitor is not None:
                self.network.answer(visitor.path, visitor.inbound.ack().encode())

    def _hello(self, path: Path, hello: Hello) -> None:
        stale = refusal(hello, self.me, self._buried.get(hello.sender.node, 0))
        if stale is not None:
            self.network.answer(path, stale.encode())
            return
        visitor = self._visitors.get(hello.session)
        if visitor is None:
            if hello.guest:
                link = self.to(hello.sender, hello.address)
            else:
                self._succeed(hello.sender)
                link = self.present(hello.sender, hello.address)
            visitor = self._visitors[hello.session] = Visitor(Inbound(hello), link, path)
        visitor.path = path
        self.network.answer(path, visitor.inbound.welcome().encode())

    def _succeed(self, living: Peer) -> None:
        """A node lives in this incarnation: any older one is over, whether or not a table can say so."""
        latest = self._by_name.get(living.node)
        if latest is not None and latest.peer.incarnation < living.incarnation:
            self.bury(latest.peer, NoConnection(f"{living.node} was started again"))
        self.greeted(living)

    def _drop(self, link: Link, reason: ExitReason) -> None:
        self._links.pop(link.peer, None)
        if self._by_name.get(link.peer.node) is link:
            del self._by_name[link.peer.node]
        for session in self._sessions_of(link):
            del self._visitors[session]
        link.lose(reason)

    def _sessions_of(self, link: Link) -> list[int]:
        return [session for session, visitor in self._visitors.items() if visitor.link is link]

    def _nowhere(self, peer: Peer, reason: ExitReason) -> Link:
        """A link that is lost from the start, so that references to nobody need no case of their own."""
        link = Link(self, peer, None)
        link.lose(reason)
        return link


def _nobody(peer: Peer) -> None:
    """Nobody asked to be told."""

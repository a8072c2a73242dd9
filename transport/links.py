"""The links of one node: which lives of other nodes there are, and which are over. Its door hears what they say.

    a member, an address, a HELLO ──▶ a Link to that life
    dead, gone, started again     ──▶ the Link is lost, and nothing of that life is heard again

A newer incarnation that says HELLO buries the older one at once: a node's name has one living owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    ActorRef,
    ActorSystem,
    Envelope,
    ExitReason,
    NamedRef,
    NoConnection,
    NoProc,
    NotRegistered,
    UnderstudyError,
)
from understudy.actors.limiter import Limiter
from understudy.transport.burial import Burial
from understudy.transport.cluster_ref import ClusterRef
from understudy.transport.door import Door
from understudy.transport.entity_ref import EntityRef
from understudy.transport.exports import UNIQUE, Exports
from understudy.transport.frames import NAME_LIMIT, VERSIONS, Hello, Introduced, Peer, Pong, Stale
from understudy.transport.gate import Gate
from understudy.transport.groups import ClusterGroups
from understudy.transport.link import Link
from understudy.transport.meeting import meet
from understudy.transport.network import Network
from understudy.transport.remote import RemoteNamedRef, RemoteRef
from understudy.transport.schema import Unreadable
from understudy.transport.trust import Trust

if TYPE_CHECKING:
    from understudy.transport.registry import Registry

logger = logging.getLogger("understudy.transport")

FAREWELL = 0.05
"""Seconds between BYE and the end of the connections: ZeroMQ throws away what a peer has not read by then."""

SPOKEN: range = VERSIONS
"""The versions that the nodes of this process speak."""

UNMET_LIMIT = 256
"""Lives of nodes that are named in references and were never met, nor heard of from the table."""

BURST, EVERY = 20, 1.0
"""Of what one peer sends that makes no sense: so many lines in the log at once, and then one in so many seconds."""


class Links:
    """Used on the loop's thread only.

    `presented` is told of every life that a node's name leads to; `greeted` of every one that said HELLO, or answered for
    an older one; `condemned` of one that said that to it we are gone for good.
    """

    def __init__(self, system: ActorSystem, network: Network, trust: Trust | None = None) -> None:
        self.system = system
        self.network = network
        self.trust = trust
        """Who may speak as whom; None without keys."""
        self.introduced: Callable[[Link, Introduced], None] = _unasked
        self.exports = Exports(system)
        self.groups = ClusterGroups(self)
        self.me = Peer(system.name, system.incarnation)
        self.versions = SPOKEN
        """Of the protocol."""
        self.address = ""
        self.guest = False
        """True until this node is a member, if it speaks to others before: its name may still be refused."""
        self.unreadable = 0
        """Frames, items and messages so far that made no sense here. Of a peer's log lines about them some are left out."""
        self._limiter: Limiter[tuple[str, str]] = Limiter(BURST, EVERY)
        self.presented: Callable[[Peer], None] = _nobody
        self.registry: Registry | None = None
        """Who has which name of the cluster; None where there is none."""
        self.greeted: Callable[[Peer], None] = _nobody
        self.condemned: Callable[[Peer], None] = _nobody
        self.returned: Callable[[Link, int, Any], None] = _unsent
        self.entity: Callable[[str, str], ActorRef[Any]] = _unhosted
        self._leaving = False
        self._gone = self._nowhere(self.me, NoProc())
        self._links: dict[Peer, Link] = {}
        self._lost: dict[Peer, Link] = {}
        self._foreign: dict[Peer, Link] = {}  # lost links to those with whom no version is common
        self._by_name: dict[str, Link] = {}
        self._buried: dict[str, int] = {}
        self._missed: dict[str, int] = {}
        self._refusals: dict[Peer, str] = {}
        self._burials: list[Burial] = []
        self.door = Door(self)
        if trust is not None:
            self.door.gate = Gate(self, trust, self.door.visiting)
            self.secure()

    def listen(self, address: str) -> str:
        """Open the door; returns the address in full. Raises BadAddress, CannotListen."""
        self.address = self.network.bind(address, self.door.heard)
        return self.address

    # --- keys ---

    def secure(self) -> None:
        """Prove the key of this node that is in force, from now on."""
        if self.trust is not None and self.door.gate is not None:
            self.network.secure(self.trust.pair, self.door.gate.allows)

    def opens(self, node: str, key: str) -> None:
        """That node proves that key to whoever connects to it. What was to reach it under another is connected anew."""
        if self.trust is not None:
            self.trust.opens(node, key)
            for link in self.met():
                if link.peer.node == node:
                    link.prove(link.pair)

    def met(self) -> list[Link]:
        """The links to those of whom it is known where they are."""
        return [link for link in self._links.values() if link.address is not None]

    def peers(self) -> list[Peer]:
        """The lives of other nodes that there are links to."""
        return list(self._links)

    # --- to others ---

    def to(self, peer: Peer, address: str | None = None) -> Link:
        """The link to one life of a node: a lost one if that is gone for good. Without an address it waits for one."""
        link = self._links.get(peer)
        if link is None:
            if peer == self.me:
                return self._gone
            if peer in self._foreign:
                return self._foreign[peer]
            gone = self._buried.get(peer.node, -1)
            if address is None:
                gone = max(gone, self._missed.get(peer.node, -1))
            # One life of a name at a time: while this node has the name, every other life of it is over.
            if peer.incarnation <= gone or peer.node == self.me.node:
                return self._past(peer)
            link = self._links[peer] = Link(self, peer, address)
        elif address is not None:
            link.connect(address)
        return link

    def all(self) -> tuple[Link, ...]:
        """Every link that is not lost."""
        return tuple(self._links.values())

    def known(self, peer: Peer) -> Link | None:
        """The link to that life, if there is one."""
        return self._links.get(peer)

    def is_foreign(self, peer: Peer) -> bool:
        """Whether that life has refused us because it speaks no version of the protocol that we do. It may live all the same."""
        return peer in self._foreign

    def refusal(self, peer: Peer) -> str:
        """Why that life will not speak to this node, in its own words; "" if it has not said so, and lives."""
        return self._refusals.get(peer, "")

    def present(self, peer: Peer, address: str) -> Link:
        """The link to a life that is a member, and so the one that the node's name leads to unless a newer one is known."""
        link = self.to(peer, address)
        latest = self._by_name.get(peer.node)
        if link.lost is None and (latest is None or latest.peer.incarnation < peer.incarnation):
            again = NoConnection(f"{peer.node} was started again")
            if latest is not None:  # the table did not tell of the older one while this node could not read it
                self.bury(latest.peer, again)
            self.missed(Peer(peer.node, peer.incarnation - 1), again)
            self._by_name[peer.node] = link
            link.muster.ask()
            self.presented(peer)
        return link

    def towards(self, node: str) -> Link:
        """The link to the present life of that node; a lost one while none is known."""
        link = self._by_name.get(node) or next(
            (link for peer, link in self._foreign.items() if peer.node == node), None
        )
        return link if link is not None else self._nowhere(Peer(node, 0), NoConnection(f"no node {node!r} is up"))

    def bury(self, peer: Peer, reason: ExitReason) -> None:
        """That life is over: calls fail, monitors fire, what was not acknowledged is a dead letter. Nothing of it is heard again."""
        self._buried[peer.node] = max(peer.incarnation, self._buried.get(peer.node, 0))
        self._foreign.pop(peer, None)
        self._refusals.pop(peer, None)
        for link in [
            link for at, link in self._links.items() if at.node == peer.node and at.incarnation <= peer.incarnation
        ]:
            self.door.sever(link)
            self._drop(link, reason)

    def last_buried(self, node: str) -> int:
        """The highest incarnation of that name which is gone for good; 0 if there is none."""
        return self._buried.get(node, 0)

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
        return await meet(self, address, timeout)

    async def drain(self, patience: float) -> None:
        """Wait up to `patience` seconds for everything sent to be acknowledged: this node is about to leave."""
        self._leaving = True
        if self._links:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await asyncio.gather(*(link.drained() for link in self._links.values()), return_exceptions=True)

    async def close(self, patience: float) -> None:
        """Drain, say BYE, and close all links and the door."""
        await self.drain(patience)
        if self.door.farewell():
            await asyncio.sleep(FAREWELL)
        self.cut(NoConnection("this node has stopped"))
        for burial in self._burials:
            burial.finish()
        self.network.close()

    # --- references ---

    def export(self, ref: ActorRef[Any]) -> tuple[Any, ...]:
        """What stands for a reference on the wire."""
        if isinstance(ref, EntityRef):
            return "", ref.kind, ref.key
        if isinstance(ref, RemoteNamedRef):
            return ref.node, ref.target
        if isinstance(ref, ClusterRef):
            return "", ref.name
        if isinstance(ref, RemoteRef):
            if type(ref.target) is str:
                return ("", ref.target[1:]) if ref.target.startswith(UNIQUE) else (ref.link.peer.node, ref.target)
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
            case [str(node), int(incarnation), int(target)] if (
                len(node) <= NAME_LIMIT and 0 <= incarnation < 1 << 64 and 0 <= target < 1 << 64
            ):
                peer = Peer(node, incarnation)
                return self.here(target) if peer == self.me else RemoteRef(self._unmet(peer), target)
            case ["", str(kind), str(key)]:
                return self.entity(kind, key)
            case ["", str(name)]:
                return self.clustered(name)
            case [str(node), str(name)] if len(node) <= NAME_LIMIT:
                return self.named(node, name)
            case _:
                raise Unreadable(f"this is no reference: {str(parts)[:100]}")

    def _unmet(self, peer: Peer) -> Link:
        """The link of a reference that somebody sent: to a life that nobody has told us of, perhaps."""
        if peer not in self._links and sum(link.address is None for link in self._links.values()) >= UNMET_LIMIT:
            raise Unreadable(
                f"{UNMET_LIMIT} nodes that nobody has seen were named here already, and {peer} is one too many"
            )
        return self.to(peer)

    def named(self, node: str, name: str) -> ActorRef[Any]:
        """The reference for `name@node`. Raises ValueError for a node that cannot be."""
        if not 0 < len(node) <= NAME_LIMIT:
            raise ValueError(
                f"{f'{name}@{node}'[:100]!r}: a node's name has 1 to {NAME_LIMIT} characters, after the last '@'"
            )
        return self.system.ref(name) if node == self.me.node else RemoteNamedRef(self, node, name)

    def clustered(self, name: str) -> ActorRef[Any]:
        """The reference to whoever has that name in the cluster. Raises ValueError for what cannot be a name."""
        if self.registry is None:
            raise Unreadable(f"a name of the cluster came, {name[:100]!r}, and this system is in none")
        return self.registry.ref(name)

    def strayed(self, target: Any, envelope: Envelope) -> bool:
        """Take in what came for a name of the cluster that nobody here has, or not yet. False if it is for something else."""
        if self.registry is None or type(target) is not str or not target.startswith(UNIQUE):
            return False
        self.registry.wait(target[1:], envelope)
        return True

    def here(self, target: Any) -> ActorRef[Any]:
        """The actor of this node with that id or name, dead or alive."""
        if type(target) is str:
            return self.clustered(target[1:]) if target.startswith(UNIQUE) else self.system.ref(target)
        return self.exports.find(target) or self.exports.dead(target) or RemoteRef(self._gone, target)

    # --- what is heard ---

    def greet(self, hello: Hello) -> Link:
        """The link to whoever said that HELLO, to which there is no objection."""
        if hello.guest:
            return self.to(hello.sender, hello.address)
        self._succeed(hello.sender)
        return self.present(hello.sender, hello.address)

    def refused(self, link: Link, stale: Stale, *, ours: bool) -> None:
        """A peer, or whoever has its address now, would not have what a link sent. `ours`: it was of that link's session."""
        answerer = stale.answerer
        if answerer.node == link.peer.node and answerer.incarnation > link.peer.incarnation:
            self._succeed(answerer)
            if link.address is not None:
                self.present(answerer, link.address)
        elif answerer == link.peer and ours:
            self._refusals[link.peer] = stale.detail
            if not self._leaving:
                self.report(link.peer, UnderstudyError(f"it refuses this node: {stale.detail}"))
            self._drop(link, NoConnection(f"{link.peer} refuses this node: {stale.detail}"))
            if stale.foreign:
                self._foreign[link.peer] = link
            if stale.gone:
                self.condemned(link.peer)

    def report(self, who: object, error: Exception) -> None:
        """Something unreadable came: an event, never an end."""
        self.unreadable += 1
        left_out = self._limiter.admit((str(who), type(error).__name__), self.system.loop.time())
        if left_out is not None:
            more = f" ({left_out:,} more like it before)" if left_out else ""
            logger.error("from %s: %s%s", who, str(error) or type(error).__name__, more)

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
        self.door.forget(link)
        link.lose(reason)
        self._burials = [burial for burial in (*self._burials, link.burial) if burial is not None and not burial.over]

    def _past(self, peer: Peer) -> Link:
        """The lost link to a life that is over; kept for a while, since references to it come in numbers."""
        link = self._lost.get(peer)
        if link is None:
            if len(self._lost) >= UNMET_LIMIT:
                self._lost.clear()
            link = self._lost[peer] = self._nowhere(peer, NoConnection(f"{peer} is gone"))
        return link

    def _nowhere(self, peer: Peer, reason: ExitReason) -> Link:
        """A link that is lost from the start, so that references to nobody need no case of their own."""
        link = Link(self, peer, None)
        link.lose(reason)
        return link


def _unasked(link: Link, answer: Introduced) -> None:
    """This node has introduced itself to nobody."""


def _nobody(peer: Peer) -> None:
    """Nobody asked to be told."""


def _unsent(link: Link, target: int, message: Any) -> None:
    """This node has sent nothing to an entity."""


def _unhosted(kind: str, key: str) -> ActorRef[Any]:
    raise Unreadable(f"this node is not there yet for references to entities, such as {kind}/{key}")

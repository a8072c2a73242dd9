"""A node's health: how others learn of it, how it looks after itself, and what it sees of them.

    PING of a peer ──▶ Pulse, an actor like any other ──▶ PONG        a socket that is open says nothing about actors
    a probe of ours that is missed, three times       ──▶ PeerUnreachable ──▶ PeerReachable, or its death
    every few seconds, for whoever subscribed         ──▶ LinkMetrics of each link

    node.system.hooks.subscribe(PeerUnreachable, lambda event: print(event.node, event.why))

Unreachable is not dead: nothing fails and nothing fires, and what is sent waits. Whether it is dead stands in the table.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from understudy.actors import Actor, ActorRef, message
from understudy.transport.frames import Peer, Ping
from understudy.transport.network import Path
from understudy.transport.suspicion import Rules
from understudy.transport.table import Member

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.links import Links

METRICS_EVERY = 5.0
"""Seconds between two LinkMetrics of a link, for those who subscribed."""


@message("understudy.peer_unreachable")
class PeerUnreachable:
    """That life of another node answers no probes: suspected here, and no more than that.

    `why`: whether it seems gone, or only its loop is held.
    """

    node: str
    incarnation: int
    why: str


@message("understudy.peer_reachable")
class PeerReachable:
    """It answers again; `seconds`: how long it was unreachable."""

    node: str
    incarnation: int
    seconds: float


@message("understudy.link_metrics")
class LinkMetrics:
    """One link, at one moment; counts are since it was opened. A frame holds all messages of one tick, up to 48 KiB.

    `connected`: a connection stands now. `queued_bytes`, `queued_frames`: sent or waiting to be, and not acknowledged; of those
    `unacknowledged` frames were sent. `full`: `tell` raises Overloaded. `offers`: who waits for room. `round_trip`: seconds from a
    frame to its acknowledgement, smoothed, up to 10 ms of the receiver's wait for more in it; None before the first.
    `frames_in`: delivered here; `duplicates`, `gaps`: that came twice or too early, and were dropped.
    """

    node: str
    incarnation: int
    address: str
    connected: bool
    queued_bytes: int
    queued_frames: int
    unacknowledged: int
    full: bool
    offers: int
    open_calls: int
    round_trip: float | None
    resends: int
    frames_out: int
    frames_in: int
    duplicates: int
    gaps: int


class Health:
    """Of one node."""

    def __init__(self, links: Links, rules: Rules) -> None:
        self._links = links
        self._rules = rules
        self._hooks = links.system.hooks
        self._loop = links.system.loop
        self._unreachable: dict[Peer, float] = {}
        self._pulse: ActorRef[Pulse] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Answer the probes of others from now on."""
        self._pulse = pulse = await self._links.system.spawn(Pulse, self._links)
        self._links.door.pulse = lambda path, ping: pulse.tell((path, ping))
        self._tell_metrics()

    def close(self) -> None:
        """Tell and answer nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._pulse is not None:
            self._pulse.exit()

    # --- itself ---

    async def check(self) -> bool:
        """Whether the actors of this node get their turn, in the time that it gives others to answer."""
        assert self._pulse is not None, "a node is checked while it is up"
        beat: asyncio.Future[None] = self._loop.create_future()
        self._pulse.tell(beat)
        return bool((await asyncio.wait((beat,), timeout=self._rules.answer_within))[0])

    # --- the others ---

    def stands(self, member: Member) -> bool:
        """Whether a connection to that very life stands."""
        link = self._links.known(Peer(*member.key))
        return link is not None and link.connected

    def answers(self, peer: Peer) -> bool:
        """Whether that life answers probes, as far as is known."""
        return peer not in self._unreachable

    def silent(self, member: Member, why: str) -> None:
        """It answers no probes."""
        self._unreachable[Peer(*member.key)] = self._loop.time()
        self._hooks.emit(PeerUnreachable(*member.key, why))

    def answering(self, member: Member) -> None:
        """It answers again."""
        since = self._unreachable.pop(Peer(*member.key), self._loop.time())
        self._hooks.emit(PeerReachable(*member.key, self._loop.time() - since))

    def lost(self, peer: Peer) -> None:
        """It is gone for good."""
        self._unreachable.pop(peer, None)

    # --- the links ---

    def metrics(self) -> list[LinkMetrics]:
        """All links to nodes that are there, or may be."""
        return [self._measured(link) for link in self._links.all() if link.address is not None]

    def _measured(self, link: Link) -> LinkMetrics:
        out = link.out
        inbound = self._links.door.inbound(link)
        return LinkMetrics(
            *link.peer,
            address=link.address or "",
            connected=link.connected,
            queued_bytes=out.size,
            queued_frames=out.offered - out.delivered,
            unacknowledged=out.ahead,
            full=link.full,
            offers=link.offers.waiting,
            open_calls=len(link.calls),
            round_trip=out.rtt,
            resends=out.resends,
            frames_out=out.delivered + out.ahead,
            frames_in=sum(session.next for session in inbound),
            duplicates=sum(session.duplicates for session in inbound),
            gaps=sum(session.gaps for session in inbound),
        )

    def _tell_metrics(self) -> None:
        if self._hooks.wants(LinkMetrics):
            for each in self.metrics():
                self._hooks.emit(each)
        self._timer = self._loop.call_later(METRICS_EVERY, self._tell_metrics)


class Pulse(Actor):
    """Answers the pings of other nodes, and its own node's question whether actors get their turn here."""

    def __init__(self, links: Links) -> None:
        super().__init__()
        self._links = links

    def on_receive(self, message: tuple[Path, Ping] | asyncio.Future[None]) -> None:
        if isinstance(message, asyncio.Future):
            if not message.done():
                message.set_result(None)
        else:
            self._links.door.pong(*message)

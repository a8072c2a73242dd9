"""What the news of other nodes mean for the parts of this one: its links, its placement, its keys, and whoever asked to be told.

Membership ── up, lost, past, row ──▶ Links, Placement, Health, Locksmith, News
           ◀── an answer, or none ── probe
"""

from __future__ import annotations

from understudy.actors import NoConnection
from understudy.transport.frames import Peer
from understudy.transport.health import Health
from understudy.transport.joining import MEET_WITHIN
from understudy.transport.links import Links
from understudy.transport.locksmith import Locksmith
from understudy.transport.news import News, NodeDrains, NodeLost, NodeUp
from understudy.transport.placement import Placement
from understudy.transport.table import Member


class Neighbours:
    """Of one node. `locksmith`: where there are keys, once the node is a member."""

    def __init__(self, links: Links, placement: Placement, health: Health, news: News) -> None:
        self.locksmith: Locksmith | None = None
        self._links = links
        self._placement = placement
        self._health = health
        self._news = news

    async def probe(self, member: Member) -> bool:
        """Ask that very life for a sign of life; what membership takes as its `probe`."""
        links, peer = self._links, Peer(*member.key)
        if member.node == links.me.node:  # an earlier life of ours, or another process's claim to the name
            if not await links.network.listens(member.address):
                return False
            return (await links.meet(member.address, MEET_WITHIN)).answerer == peer
        if links.is_foreign(peer):  # it speaks another version, and lives: who meets it without a link is answered
            return (await links.meet(member.address, MEET_WITHIN)).answerer == peer
        return await links.to(peer, member.address).ping(MEET_WITHIN)

    def row(self, row: Member) -> None:
        """The table says something new of a node."""
        self._placement.row(row)
        trust = self._links.trust
        if trust is None:
            return
        key = row.curve_key if row.status == "active" else ""
        trust.row(row.node, key)
        self._links.opens(row.node, key)
        if trust.revoked(row.node) and row.status == "active" and self.locksmith is not None:
            self.locksmith.revoked(row)

    def up(self, member: Member) -> None:
        """A node is a member now."""
        self._links.present(Peer(*member.key), member.address)
        self._placement.announce()
        self._news.publish(NodeUp(member))

    def lost(self, node: str, incarnation: int, reason: str) -> None:
        """That life of a node is over."""
        peer = Peer(node, incarnation)
        self._links.bury(peer, NoConnection(reason))
        self._health.lost(peer)
        self._placement.lost(peer)
        self._news.publish(NodeLost(node, incarnation, reason))

    def past(self, node: str, incarnation: int, reason: str) -> None:
        """It was over before this node could meet it."""
        self._links.missed(Peer(node, incarnation), NoConnection(reason))

    def drains(self, peer: Peer) -> None:
        """A node drains."""
        if self._links.towards(peer.node).peer == peer:  # else its NodeUp is still to come, and says so
            self._news.publish(NodeDrains(*peer))

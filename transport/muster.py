"""A muster: what one peer is told of the groups here, and what it has told of its own. One per link.

    presented ── FOLLOW ──▶ the peer's muster ── ROSTER, JOINED: who is in now ──▶ our Roster of it
                                              ── JOINED, PARTED: each change   ──▶

Links are reliable and in order, so a roster is what the peer said, to the last word; when the link is lost nobody of that life
is in any group. A peer that does not ask is told nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, Joined, Left
from understudy.transport.operations import FOLLOW, JOINED, PARTED, ROSTER
from understudy.transport.roster import Roster, Unsaid

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.schema import Item

SLICE = 1_000
"""Changes told in one turn of the loop, in a few kilobytes: a group of a hundred thousand holds neither the loop nor the link."""


class Muster:
    """Used on the loop's thread only; `roster` is read under the lock of the link's groups."""

    __slots__ = ("_asked", "_link", "_scheduled", "_unsaid", "active", "roster")

    def __init__(self, link: Link) -> None:
        self.active = False
        """Whether the peer wants to be told."""
        self.roster = Roster()
        self._link = link
        self._unsaid: Unsaid[ActorRef[Any]] = Unsaid()
        self._asked = False
        self._scheduled = False

    # --- what the peer is told ---

    def ask(self) -> None:
        """Have the peer tell of its groups."""
        self._link.signal(FOLLOW)

    def follow(self, item: Item) -> None:
        """FOLLOW: the peer wants to know, from the beginning."""
        self._asked = True
        self._soon()

    def told(self, news: Joined | Left) -> None:
        """A change here."""
        self._unsaid.change(news.group, news.ref, joined=isinstance(news, Joined))
        self.go_on()

    def go_on(self) -> None:
        """Tell what is to be told, if the link takes it."""
        if self._unsaid and not self._link.full:
            self._soon()

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._link.loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        link = self._link
        if link.lost is not None:
            return
        if self._asked:
            self._begin()
        for group, joined, members in self._unsaid.take(SLICE):
            ids = [link.links.exports.add(ref) if joined else ref.address.id for ref in members]
            link.signal(JOINED if joined else PARTED, group, *ids)
        self.go_on()

    def _begin(self) -> None:
        self._asked = False
        self.end()
        self.active = True
        self._unsaid.begin(self._link.system.groups.follow(None, self))
        self._link.signal(ROSTER)

    def end(self) -> None:
        """Tell no more."""
        if self.active:
            self._link.system.groups.unfollow(None, self)
            self._unsaid = Unsaid()

    # --- what the peer tells ---

    def anew(self, item: Item) -> None:
        """ROSTER: what it said before is void."""
        self._link.links.groups.clear(self._link, self.roster)

    def joined(self, item: Item) -> None:
        """JOINED. Raises Unreadable."""
        _, group, *ids = item
        self._link.links.groups.joined(self._link, self.roster, group, ids)

    def parted(self, item: Item) -> None:
        """PARTED. Raises Unreadable."""
        _, group, *ids = item
        self._link.links.groups.parted(self._link, self.roster, group, ids)

    # --- the end ---

    def lose(self) -> None:
        """The link is lost, and with it all members over there."""
        self.end()
        self._link.links.groups.clear(self._link, self.roster)

"""A node takes a new key while it runs, and tells its peers, who know it by the old one.

    the door is opened under the new key; what was connected to it breaks
    to each peer, over the channel under the old key:  INTRODUCE(new) ──▶ trusted too, and looked for at our door
                                                       ◀── INTRODUCED ──
    the channel is made anew under the new key:        INTRODUCE(new) ──▶ trusted alone
                                                       ◀── INTRODUCED ──
    every peer has answered that: the old key is thrown away

A peer that does not answer is tried under one key and the other in turn: it may have been away and know only the old one,
or have known the new one before. Sessions notice nothing but new connections. A peer that dies is waited for no more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from understudy.transport.frames import Introduce, Introduced
from understudy.transport.keys import KeyPair, fingerprint

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.links import Links

logger = logging.getLogger("understudy.transport")

SAY_EVERY = 0.2
"""Seconds between two INTRODUCEs to a peer that has not answered."""

TURN = 2.0
"""Seconds that one key is tried before it is another's turn."""


class Rotation:
    """From former keys of this node to the one in force, both as its `trust` has them."""

    def __init__(self, links: Links) -> None:
        assert links.trust is not None, "a key cannot be changed where there is none"
        self._links = links
        self._trust = links.trust
        self._pair = self._trust.pair
        self._former = self._trust.former
        self._turns: dict[Link, tuple[int, float]] = {}  # which key is tried, since when
        self._known: set[Link] = set()

    async def run(self) -> None:
        """Open the door under the new key, and go on until every peer knows it."""
        links = self._links
        links.introduced = self._introduced
        links.secure()
        for link in links.met():
            link.prove(self._former[0])
        while waiting := [link for link in links.met() if link not in self._known]:
            for link in waiting:
                self._say(link)
            await asyncio.sleep(SAY_EVERY)
        for pair in self._former:
            self._trust.store.retire(links.me.node, pair)
        self._trust.refresh()
        logger.info("every peer knows this node by its new key, %s", fingerprint(self._pair.public))

    def _say(self, link: Link) -> None:
        now = self._links.system.loop.time()
        turn, since = self._turns.setdefault(link, (1 if link.pair is not None else 0, now))
        if now - since >= TURN:
            keys: tuple[KeyPair | None, ...] = (None, *self._former)
            turn = (turn + 1) % len(keys)
            self._turns[link] = turn, now
            link.prove(keys[turn])
        link.lane.send_first(Introduce(self._links.me.node, self._pair.public).encode())

    def _introduced(self, link: Link, answer: Introduced) -> None:
        if answer.key != self._pair.public or link in self._known:
            return
        if answer.refusal:
            logger.error("%s will not know this node by its new key: %s", link.peer, answer.refusal)
            self._known.add(link)
        elif link.pair is None:
            self._known.add(link)
        else:
            self._turns[link] = 0, self._links.system.loop.time()
            link.prove(None)

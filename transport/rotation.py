"""A node takes a new key while it runs, and tells its peers, who know it by the old one.

    to each peer, over the channel under the old key:  INTRODUCE(new) ──▶ trusted too
                                                       ◀── INTRODUCED ──
    every peer has answered: the door is opened under the new key; what was connected to it breaks
    each channel is made anew under the new key:       INTRODUCE(new) ──▶ trusted alone, and looked for at our door
                                                       ◀── INTRODUCED ──
    every peer has answered: the old key is thrown away

Nobody's door changes before all its peers know; else two that change theirs while they cannot reach each other would never
meet again.
A peer that does not answer is tried under one key and the other in turn: it may have been away and know only the old one,
or have known the new one before. Sessions notice nothing but new connections. A peer that dies is waited for no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
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
    """Takes this node from the key in force to the next one, if there is one, and gives up its former ones.

    `changed` is called when another key is in force.
    """

    def __init__(self, links: Links, changed: Callable[[], None]) -> None:
        assert links.trust is not None, "a key cannot be changed where there is none"
        self._links = links
        self._changed = changed
        self._trust = links.trust
        self._pair = self._trust.pair
        self._keys: tuple[KeyPair | None, ...] = (
            None,
            *self._trust.former,
        )  # to be proved to a peer; None: that in force
        self._turns: dict[Link, tuple[int, float]] = {}  # which of them is tried, since when
        self._known: set[Link] = set()

    async def run(self) -> None:
        """Go on until every peer knows this node by its new key, and by no other."""
        links, trust = self._links, self._trust
        links.introduced = self._introduced
        if trust.next is not None:
            self._pair = trust.next
            await self._say_to_all()
            trust.store.promote(links.me.node, self._pair)
            trust.refresh()
            links.secure()
            self._changed()
            self._keys = (None, *trust.former)
            self._known.clear()
            self._turns.clear()
            for link in links.met():
                link.prove(None)
        await self._say_to_all()
        for pair in trust.former:
            trust.store.retire(links.me.node, pair)
        trust.refresh()
        logger.info("every peer knows this node by its new key, %s", fingerprint(self._pair.public))

    async def _say_to_all(self) -> None:
        while waiting := [link for link in self._links.met() if link not in self._known]:
            for link in waiting:
                self._say(link)
            await asyncio.sleep(SAY_EVERY)

    def _say(self, link: Link) -> None:
        now = self._links.system.loop.time()
        turn, since = self._turns.setdefault(link, (0, now))
        if now - since >= TURN:
            turn = (turn + 1) % len(self._keys)
            self._turns[link] = turn, now
            link.prove(self._keys[turn])
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

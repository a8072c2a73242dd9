"""Looks after the keys of a running node, so that it is never stopped for their sake.

the store has changed ──▶ a node was revoked          its links are cut, and the table says that it is dead
                      ──▶ this node has a new key     `Rotation`, and the new key in its row of the table
                      ──▶ a node is trusted now       it comes in when it next tries
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from understudy.actors import NoConnection
from understudy.transport.frames import Peer
from understudy.transport.keys import KeyPair, KeyTrouble, fingerprint
from understudy.transport.links import Links
from understudy.transport.membership import Membership
from understudy.transport.rotation import Rotation
from understudy.transport.table import Member, TableError
from understudy.transport.trust import Trust

logger = logging.getLogger("understudy.transport")

LOOK_EVERY = 0.5
"""Seconds between two looks at the store."""

AGAIN = 1.0
"""Seconds after which the table is written again, if it could not be."""


class Locksmith:
    """Used on the loop's thread only, from when the node has joined until `close`."""

    def __init__(self, links: Links, trust: Trust, membership: Membership) -> None:
        self._links = links
        self._trust = trust
        self._membership = membership
        self._next: KeyPair | None = None
        self._trouble = ""
        self._rotation: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look. A change of keys that was not finished in this node's last life goes on."""
        gate = self._links.door.gate
        assert gate is not None, "a node with keys has a gate"
        gate.look = self.look
        if self._trust.former or self._trust.next is not None:
            self._rotate()
        self._run(self._watch())

    async def close(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look(self) -> None:
        """Take up what has changed in the store."""
        try:
            self._trust.refresh()
        except KeyTrouble as error:
            if str(error) != self._trouble:
                logger.error("the keys stay as they were: %s", error)
            self._trouble = str(error)
            return
        self._trouble = ""
        if self._trust.next not in (None, self._next):
            self._rotate()
        for peer in self._links.peers():
            if self._trust.revoked(peer.node):
                self._cut(peer)

    def revoked(self, member: Member) -> None:
        """A node that was thrown out stands in the table as a member."""
        self._cut(Peer(*member.key))

    def _cut(self, peer: Peer) -> None:
        reason = f"its key was revoked on {self._links.me.node}"
        if self._links.last_buried(peer.node) < peer.incarnation:
            logger.warning("%s cuts %s off: its key is trusted here no more", self._links.me.node, peer)
        self._links.bury(peer, NoConnection(reason))
        self._run(self._written(lambda: self._membership.expel(peer.node, peer.incarnation, reason)))

    def _rotate(self) -> None:
        if self._rotation is not None:
            self._rotation.cancel()
        self._next = self._trust.next
        self._rotation = self._run(Rotation(self._links, self._publish).run())

    def _publish(self) -> None:
        key = self._trust.pair.public
        logger.info("this node has a new key, %s", fingerprint(key))
        self._run(self._written(lambda: self._membership.publish(curve_key=key)))

    async def _written(self, write: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await write()
                return
            except TableError:
                await asyncio.sleep(AGAIN)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "keys are looked after no more", "exception": error}
            )

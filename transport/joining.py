"""Joining: the way of a node to its membership table, before it is a member, and back to it.

    state= ──▶ SqliteTable         none of the three ──▶ MemoryTable
    table= ──▶ opened by its address, or somebody's object
    join=  ── token? enrol ── meet ──▶ the seed ──▶ RemoteTable, served by it ── the seed was away ──▶ met again

All nodes of a cluster have keys, or none: those with and those without cannot speak to each other, and would vote each
other dead in the table that they share. Whoever comes to such a table is refused before it writes anything there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path

from understudy.actors import NameTaken, UnderstudyError
from understudy.transport.frames import Peer
from understudy.transport.keys import KeyTrouble
from understudy.transport.links import Links
from understudy.transport.meeting import enrol
from understudy.transport.memory import MemoryTable
from understudy.transport.opening import open_table
from understudy.transport.served import TABLE, RemoteTable
from understudy.transport.sqlite import SqliteTable
from understudy.transport.table import Member, MembershipTable
from understudy.transport.token import read_token

logger = logging.getLogger("understudy.transport")

TABLE_FILE = "membership.db"
"""The membership table's file in the state folder."""

MEET_WITHIN = 5.0
"""Seconds that the node named by `join` has to answer."""

LOOK_WITHIN = 1.0
"""Seconds that a member may take to accept a connection, where it is asked whether it is there at all."""

FIND_EVERY = 5.0
"""Seconds between two looks whether the node that served the table, and went away, is back where we joined it."""

LET_IN_BY = "UNDERSTUDY_TOKEN"
"""The environment variable that has a join token. One that nobody needs is ignored: it may stay from start to start."""


class Joining:
    """Of one node, which listens already."""

    def __init__(
        self,
        links: Links,
        *,
        join: str | None,
        token: str | None,
        state: Path | None,
        table: MembershipTable | str | None,
    ) -> None:
        self._links = links
        self._table = table
        self._opened: MembershipTable | None = None
        self._join = join
        self._token = token
        self._state = state

    async def begin(self) -> tuple[Peer | None, MembershipTable]:
        """The node that serves the table, if it is another one's, and the table.

        Raises BadAddress, CannotReach, NameTaken, KeyTrouble, TableError, ValueError for a token without keys.
        """
        if self._table is not None and not isinstance(self._table, str):
            return None, self._table
        seed = None
        if self._join is not None:
            seed = await self._meet(self._join)
            self._opened = RemoteTable(self._links.named(seed.node, TABLE))
        elif self._table is not None:
            self._opened = await open_table(self._table)
        elif self._state is not None:
            self._opened = await SqliteTable.open(self._state / TABLE_FILE)
        else:
            self._opened = MemoryTable()
        return seed, self._opened

    async def close(self) -> None:
        """Let go of the table, unless it is somebody else's."""
        if self._opened is not None:
            await self._opened.close()

    async def look_at(self, table: MembershipTable) -> None:
        """Raises KeyTrouble if a living member has keys and this node none, or the other way round; TableError."""
        keyed = self._links.trust is not None
        for row in (await table.read()).members:
            if row.status == "active" and bool(row.curve_key) != keyed and await self._is_there(row):
                that, this, remedy = (
                    ("no keys", "some", "start that one, and all others, with keys, or this one without")
                    if keyed
                    else ("keys", "none", "give this one keys too (`keys=` or --keys, see docs/security.md)")
                )
                raise KeyTrouble(
                    f"the member {row.node!r}, at {row.address}, has {that} and the node {self._links.me.node!r} has {this}: "
                    f"all nodes of a cluster have keys, or none; {remedy}"
                )

    async def find_again(self, seed: Peer) -> None:
        """The node that serves the table may come back without knowing us: because it, or others, declared us dead.

        Then it does not greet us, and we would wait for ever. Asked where we once joined, it says so.
        """
        assert self._join is not None, "only who joined by an address has a seed"
        while True:
            await asyncio.sleep(FIND_EVERY)
            if self._links.towards(seed.node).lost is not None:
                with suppress(UnderstudyError):
                    found = await self._links.meet(self._join, MEET_WITHIN)
                    if found.answerer.node == seed.node:
                        self._links.present(found.answerer, found.address)

    async def _meet(self, join: str) -> Peer:
        await self._enrol(join)
        seed = await self._links.meet(join, MEET_WITHIN)
        if seed.answerer.node == self._links.me.node:
            raise NameTaken(
                f"the node at {join} is called {seed.answerer.node!r} itself: give this one another name, or join another node"
            )
        self._links.guest = True
        self._links.present(seed.answerer, seed.address)
        return seed.answerer

    async def _enrol(self, join: str) -> None:
        """Use the token, unless this node was let in by it before."""
        text = self._token if self._token is not None else os.environ.get(LET_IN_BY)
        if not text:
            return
        trust = self._links.trust
        if trust is None:
            raise ValueError(
                f"a token lets in a node that has keys, and {self._links.me.node!r} has none: say where with `keys`"
            )
        token = read_token(text)
        if not trust.store.came_by(token.pair.public):
            logger.info("%s trusts this node now, and is trusted", await enrol(self._links, join, token, MEET_WITHIN))

    async def _is_there(self, row: Member) -> bool:
        """Whether anybody listens where that member did. A row may have stayed from a life that was killed."""
        if row.address == self._links.address:
            return False  # that is this node itself
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN):
                return await self._links.network.listens(row.address)
        return False

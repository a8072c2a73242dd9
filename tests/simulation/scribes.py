"""Owners that write under their fence.

Scribe (registered, a singleton, an entity) ── guarded_write(title, fence, "seat", who) ──▶ the table
its echo: the same, some seconds later, whatever has become of the scribe meanwhile ──▶ refused, if another has the name
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from tests.simulation.realm import Realm
from understudy.actors import Actor, ActorRef, Request, message
from understudy.transport import Fenced, Node, TableError

WRITES_EVERY = 0.4
"""Seconds between two writes of an owner."""

ECHO = (1.0, 12.0)
"""Seconds after which the echo of an owner's first write comes, at least and at most."""


@message("realm.who")
class Who(Request[list[Any]]):
    """Answered by an owner with what it writes under, and its fence."""


class Crash(Exception):
    """Of an owner's own making."""


class Scribe(Actor):
    """An owner that writes: when it begins, again and again, and once more when it may be over."""

    def __init__(self, title: str, node: Node, realm: Realm) -> None:
        super().__init__()
        self.title = title
        self._node = node
        self._cluster = realm.cluster
        self._record = realm.record
        self._echo: asyncio.Task[None] | None = None

    def on_start(self) -> None:
        address = self.actor_ref.address
        self.who = f"{address.node} {address.incarnation} {address.id}"
        if self.fence:  # one that is registered later is told when it may begin
            self._begin()

    def _begin(self) -> None:
        assert self.fence > 0, f"{self.title} began without a fence"
        self._node.names.on_lost(partial(self._lost, self.actor_ref, self.fence))
        wait = self._cluster.simulation.delay(*ECHO, "echo")
        self._echo = asyncio.create_task(self._again(wait, self.fence))
        self.actor_ref.tell("write")
        self.send_every(WRITES_EVERY, "write")

    def _check(self) -> None:
        """Whoever has lost its name is killed before it says another word."""
        known = self._node.names.fence(self.title)
        if self.fence and known != self.fence:
            self._record.mistakes.append(
                f"{self.who} goes on as {self.title} under {self.fence}; its node has it under {known}"
            )

    def _lost(self, ref: ActorRef[Any], mine: int, name: str, fence: int) -> None:
        """Called after whoever has let it in: they have killed it."""
        if (name, fence) == (self.title, mine) and ref.is_alive():
            self._record.mistakes.append(
                f"{self.who} lives on, though its node has lost {name}, which it had under {fence}"
            )

    async def on_receive(self, message: object) -> object:
        match message:
            case "write":
                self._check()
                await self._write(self.fence)
                return None
            case "begin":
                self._begin()
                return None
            case "crash":
                raise Crash(self.title)
            case Who():
                return [self.who, self.fence]
            case _:
                return self.unhandled(message)

    async def _again(self, wait: float, fence: int) -> None:
        await asyncio.sleep(wait)
        await self._write(fence)

    async def _write(self, fence: int) -> None:
        with suppress(Fenced, TableError):
            await self._node.table.guarded_write(self.title, fence, "seat", self.who.encode())

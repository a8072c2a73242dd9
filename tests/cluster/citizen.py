"""A node in a process of its own that owns things, as far as the others let it: `python -m tests.cluster.citizen OPTIONS`.

It is a player (`tests/wire/player.py`), with more to be asked for:

    candidate   for a singleton            take     a name, whenever nobody else has it
    host        of the rooms               join     the crowd, with so many actors
    whoever     has a name, as a call to it finds out            owner   of a name, as this node reads the table

Whoever owns a name writes under its fence, again and again. What the table accepted is appended to `accepted` in the
folder of the play, one line each: whose it was is known afterwards, also of those that were killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from tests.wire.ledger import Whoever
from tests.wire.player import Player, main
from understudy.actors import Actor, ActorRef, Down, NameTaken, Request, UnderstudyError, message
from understudy.transport import Fenced, Node, TableError

WRITES_EVERY = 0.1
"""Seconds between two writes of an owner."""

CROWD = "crowd"
"""The group that all are in."""


@message("citizen.who")
class Who(Request[list[Any]]):
    """Answered by an owner with [node, incarnation, actor, fence, when it began]."""


class Owner(Actor):
    """Writes under its fence. `title`: the name that it has."""

    def __init__(self, title: str, node: Node, ledger: Ledger) -> None:
        super().__init__()
        self.title = title
        self._node = node
        self._ledger = ledger
        self._began = 0.0

    def on_start(self) -> None:
        if self.fence:  # one that is registered later is told when it may begin
            self._begin()

    def _begin(self) -> None:
        self._began = time.monotonic()
        self.actor_ref.tell("write")
        self.send_every(WRITES_EVERY, "write", fixed="delay")

    async def on_receive(self, message: object) -> object:
        match message:
            case "write":
                await self._write()
                return None
            case "begin":
                self._begin()
                return None
            case Whoever():
                return self.actor_ref
            case Who():
                return [*self.actor_ref.address, self.fence, self._began]
            case _:
                return self.unhandled(message)

    async def _write(self) -> None:
        who = " ".join(map(str, self.actor_ref.address))
        with suppress(Fenced, TableError):
            await self._node.table.guarded_write(self.title, self.fence, "seat", who.encode())
            self._ledger.note(f"{self.title} {self.fence} {who}")


class Room(Owner):
    """An entity."""

    def __init__(self, key: str, node: Node, ledger: Ledger) -> None:
        super().__init__(f"room/{key}", node, ledger)


class Face(Actor):
    """One of the crowd."""

    def __init__(self, heard: list[object]) -> None:
        super().__init__()
        self._heard = heard

    def on_start(self) -> None:
        self.join(CROWD)

    def on_receive(self, message: object) -> None:
        self._heard.append(message)


class Mourner(Actor):
    """Notes when it hears of an end."""

    def __init__(self, ref: ActorRef[Any], told: asyncio.Future[float]) -> None:
        super().__init__()
        self._ref = ref
        self._told = told

    def on_start(self) -> None:
        self.monitor(self._ref)

    def on_receive(self, message: object) -> None:
        assert isinstance(message, Down)
        self._told.set_result(time.monotonic())


class Ledger:
    """What the table accepted, in a file that all citizens append to."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


class Citizen(Player):
    """What can be asked of it: also its methods."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ledger = Ledger(self._book.path.with_name("accepted"))
        self._contests: list[asyncio.Task[None]] = []
        self._heard: list[object] = []
        self._ends: dict[str, asyncio.Future[float]] = {}

    # --- what it owns ---

    async def candidate(self, title: str) -> None:
        """Be a candidate for a singleton."""
        await self._node.singleton(title, Owner, title, self._node, self._ledger)

    async def take(self, title: str) -> None:
        """Have that name whenever nobody else has it."""
        self._contests.append(asyncio.create_task(self._contend(title)))

    async def host(self) -> None:
        """Run rooms."""
        self._node.host("room", Room, self._node, self._ledger)

    async def gather(self, faces: int) -> None:
        """Send so many into the crowd."""
        for _ in range(faces):
            await self._node.spawn(Face, self._heard)

    async def _contend(self, title: str) -> None:
        while True:
            owner = await self._node.spawn(Owner, title, self._node, self._ledger)
            while owner.is_alive():
                moved = self._node.names.moved(title)
                try:
                    await self._node.register(title, owner)
                except NameTaken:
                    await asyncio.wait((moved,), timeout=2.0)
                except TableError:
                    await asyncio.sleep(0.5)
                else:
                    owner.tell("begin")
                    await owner.ended()

    # --- what it sees ---

    async def owner(self, title: str) -> list[Any] | None:
        """[node, incarnation, fence] of a name's living owner."""
        row = self._node.names.owner(title)
        return None if row is None else [row.node, row.incarnation, row.fence]

    async def mine(self) -> list[str]:
        """The names that it has."""
        return sorted(row.name for row in self._node.names.mine())

    async def whoever(self, title: str, timeout: float) -> list[Any] | str:
        """What the owner of a name, or an entity, answers; or the name of the error."""
        kind, _, key = title.partition("/")
        ref = self._node.entity(kind, key) if key else self._node.cluster_ref(title)
        try:
            return await ref.call(Who(), timeout)
        except UnderstudyError as error:
            return type(error).__name__

    async def crowd(self) -> dict[str, int]:
        """How many of the crowd are on which node."""
        return {node: len(refs) for node, refs in self._node.groups[CROWD].by_node().items()}

    async def standings(self) -> list[str]:
        """How each member stands with it, for whoever looks for a reason."""
        return [self._node.trouble, *map(str, self._node.membership.explain())]

    # --- when it sees it ---

    async def mourn(self, title: str) -> None:
        """Watch for the end of whoever has that name now."""
        row = self._node.names.owner(title)
        assert row is not None, f"nobody has {title}"
        who: ActorRef[Any] = await self._node.cluster_ref(title).call(Whoever())
        self._ends[title] = asyncio.get_running_loop().create_future()
        await self._node.spawn(Mourner, who, self._ends[title])

    async def mourned(self, title: str) -> float:
        """When it was told of that end."""
        return await self._ends[title]

    async def vacant(self, title: str, life: int) -> float:
        """When the name was first seen not to be that life's any more."""
        while (row := self._node.names.owner(title)) is not None and row.incarnation == life:
            await self._node.names.moved(title)
        return time.monotonic()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Citizen))

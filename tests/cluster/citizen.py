"""A node in a process of its own that owns things, as far as the others let it: `python -m tests.cluster.citizen OPTIONS`.

It is a player (`tests/wire/player.py`), with more to be asked for:

    candidate   for a singleton            take     a name, whenever nobody else has it
    host        of the rooms               join     the crowd, with so many actors
    whoever     has a name, as a call to it finds out            owner   of a name, as this node reads the table
    work        calls whoever has those names, all the time      tell    them, until it is told to stop
    depart      drain, and leave

Whoever owns a name writes under its fence, again and again. What the table accepted is appended to `accepted` in the
folder of the play, one line each: whose it was is known afterwards, also of those that were killed. What an owner was given to
keep is in `kept`, what a caller had the answer to in `answered`, and which calls failed in `failed`. Before each write it looks whether
the table has a lower fence than it has written under itself: then the table took a write that came too late, which is noted in `fell`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop

from tests.wire.ledger import Whoever
from tests.wire.player import Player, main
from understudy.actors import Actor, ActorRef, Down, Draining, NameTaken, Request, UnderstudyError, message
from understudy.transport import Fenced, Node, TableError

WRITES_EVERY = 0.1
"""Seconds between two writes of an owner."""

CROWD = "crowd"
"""The group that all are in."""

ANSWERS_WITHIN = 60.0
"""Seconds that a call may take whose answer is wanted whatever happens."""

CALLS_EVERY = TELLS_EVERY = 0.02
"""Seconds between two calls of one caller, and two tells."""


@message("citizen.who")
class Who(Request[list[Any]]):
    """Answered by an owner with [node, incarnation, actor, fence, when it began]."""


@message("citizen.put")
class Put(Request[None]):
    """Keep this; answered when it is kept."""

    who: str
    number: int


class Owner(Actor):
    """Writes under its fence. `title`: the name that it has."""

    def __init__(self, title: str, node: Node, ledgers: Ledgers) -> None:
        super().__init__()
        self.title = title
        self._node = node
        self._ledgers = ledgers
        self._began = 0.0
        self._accepted = 0

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
            case Put(who, number):
                self._ledgers.note("kept", self.title, who, number)
                return None
            case _:
                return self.unhandled(message)

    async def _write(self) -> None:
        who = " ".join(map(str, self.actor_ref.address))
        table = self._node.table
        with suppress(Fenced, TableError):
            there = await table.guarded_read(self.title, "seat")
            if there is not None and int(there.split()[0]) < self._accepted:
                self._ledgers.note("fell", self.title, self._accepted, who, "found", there.decode())
            await table.guarded_write(self.title, self.fence, "seat", f"{self.fence} {who}".encode())
            self._accepted = self.fence
            self._ledgers.note("accepted", self.title, self.fence, who)


class Room(Owner):
    """An entity."""

    def __init__(self, key: str, node: Node, ledgers: Ledgers) -> None:
        super().__init__(f"room/{key}", node, ledgers)


class Customer(Actor):
    """Calls whoever has those names, one after the other, until its node drains."""

    def __init__(self, names: dict[str, ActorRef[Any]], ledgers: Ledgers) -> None:
        super().__init__()
        self._names = cycle(names.items())
        self._ledgers = ledgers
        self._number = 0

    def on_start(self) -> None:
        self.actor_ref.tell("go")

    async def on_receive(self, message: object) -> None:
        if self.system.nodes.draining:
            return
        title, ref = next(self._names)
        who, self._number = f"{self.system.name}:{self.system.incarnation}", self._number + 1
        begun = time.monotonic()
        try:
            await ref.call(Put(who, self._number), ANSWERS_WITHIN)
        except UnderstudyError as error:
            self._ledgers.note("failed", title, who, self._number, type(error).__name__)
        else:
            self._ledgers.note("answered", title, who, self._number, round(time.monotonic() - begun, 4))
        self.send_after(CALLS_EVERY, "go")


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
        self._counts = told

    def on_start(self) -> None:
        self.monitor(self._ref)

    def on_receive(self, message: object) -> None:
        assert isinstance(message, Down)
        self._counts.set_result(time.monotonic())


class Ledgers:
    """Files that all citizens append to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def note(self, ledger: str, *words: object) -> None:
        if ledger not in self._files:
            self._files[ledger] = os.open(self._folder / ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._files[ledger], f"{' '.join(map(str, words))}\n".encode())


class Citizen(Player):
    """What can be asked of it: also its methods."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ledgers = Ledgers(self._book.path.parent)
        self._contests: list[asyncio.Task[None]] = []
        self._heard: list[object] = []
        self._ends: dict[str, asyncio.Future[float]] = {}
        self._counts: dict[str, int] = {}
        self._telling: asyncio.Task[None] | None = None

    # --- what it owns ---

    async def candidate(self, title: str) -> None:
        """Be a candidate for a singleton."""
        await self._node.singleton(title, Owner, title, self._node, self._ledgers)

    async def take(self, title: str) -> None:
        """Have that name whenever nobody else has it."""
        self._contests.append(asyncio.create_task(self._contend(title)))

    async def host(self) -> None:
        """Run rooms."""
        self._node.host("room", Room, self._node, self._ledgers)

    async def gather(self, faces: int) -> None:
        """Send so many into the crowd."""
        for _ in range(faces):
            await self._node.spawn(Face, self._heard)

    async def _contend(self, title: str) -> None:
        while True:
            owner = await self._node.spawn(Owner, title, self._node, self._ledgers)
            while owner.is_alive():
                moved = self._node.names.moved(title)
                try:
                    await self._node.register(title, owner)
                except NameTaken:
                    await asyncio.wait((moved,), timeout=2.0)
                except TableError:
                    await asyncio.sleep(0.5)
                except Draining:
                    return
                else:
                    owner.tell("begin")
                    await owner.ended()

    # --- what it does ---

    async def work(self, titles: list[str]) -> None:
        """Call whoever has these names, one after the other, until this node drains."""
        await self._node.spawn(Customer, {title: self._ref(title) for title in titles}, self._ledgers)

    async def tell(self, titles: list[str]) -> None:
        """Tell whoever has these names, until told to stop."""
        self._counts = dict.fromkeys(titles, 0)
        self._telling = asyncio.create_task(self._tell({title: self._ref(title) for title in titles}))

    async def told(self) -> dict[str, int]:
        """Stop telling; how often whom."""
        assert self._telling is not None, "it tells nobody"
        self._telling.cancel()
        return self._counts

    async def depart(self) -> dict[str, Any]:
        """Drain, and leave: how long it took, and what was left behind."""
        for contest in self._contests:
            contest.cancel()
        report = await self._node.leave(30.0)
        return {"seconds": report.seconds, "left": report.left, "trouble": report.trouble}

    async def _tell(self, refs: dict[str, ActorRef[Any]]) -> None:
        for title in cycle(refs):
            refs[title].tell(Put("told", self._counts[title]))
            self._counts[title] += 1
            await asyncio.sleep(TELLS_EVERY)

    def _ref(self, title: str) -> ActorRef[Any]:
        kind, _, key = title.partition("/")
        return self._node.entity(kind, key) if key else self._node.cluster_ref(title)

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
        try:
            return await self._ref(title).call(Who(), timeout)
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

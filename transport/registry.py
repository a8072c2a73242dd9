"""The registry: which actor of this node has which of the cluster's names, and the way to whoever has one anywhere.

    register ── names.claim ──▶ bind(name, actor, fence) ── it ends ──▶ the name is given up
                                        │ the name is lost: the actor is killed, before it says another word
    tell to a name ──▶ here: into its mailbox
                   ──▶ elsewhere: over the link to its owner, for the target "@name"
                   ──▶ nobody has it: into its waiting room

What comes over a link for a name that nobody here has waits in the same room: its owner may still be starting it. If the
table, read anew, says that it has moved, it is sent on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from understudy.actors import (
    ActorDied,
    ActorRef,
    Cell,
    DeadLetter,
    Envelope,
    ExitReason,
    NameTaken,
    NoConnection,
    NodeDown,
    UnderstudyError,
)
from understudy.actors.names import checked_name
from understudy.transport.cluster_ref import ClusterRef
from understudy.transport.emptying import named
from understudy.transport.exports import UNIQUE
from understudy.transport.frames import Peer
from understudy.transport.names import TRY_AGAIN, Names
from understudy.transport.remote import RemoteRef
from understudy.transport.table import TableError
from understudy.transport.waiting_room import Turn, Waiting, WaitingRoom

if TYPE_CHECKING:
    from understudy.transport.links import Links


class Bound:
    """An actor of this node that has a name. `release`: its end gives the name up."""

    __slots__ = ("cell", "fence", "release", "token")

    def __init__(self, cell: Cell[Any], fence: int, token: int, release: bool) -> None:
        self.cell = cell
        self.fence = fence
        self.token = token
        self.release = release


class Registry:
    """Of one node; used on its loop only, but for `here` and `ref`. `hosted(kind)`: whether entities of that kind are hosted anywhere."""

    def __init__(self, names: Names, links: Links, hosted: Callable[[str], bool]) -> None:
        self.names = names
        self.links = links
        self.system = links.system
        self._bound: dict[str, Bound] = {}
        self._rooms: dict[str, WaitingRoom] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hosted = hosted
        self._over = False
        self.thread = self.system.scheduler.thread
        names.on_lost(self._lost)
        names.on_moved(self._moved)
        links.registry = self
        links.exports.unique = self.here

    # --- actors of this node ---

    async def register(self, name: str, ref: ActorRef[Any]) -> int:
        """Give an actor of this node a name that nobody else in the cluster has, until it ends; returns the fence.

        Raises NameTaken if somebody living has it, ActorDied if the actor has ended, TableError, Draining; ValueError for
        what is no name; TypeError for what is no actor of this node.
        """
        self.checked(name)
        cell = ref._meant() if isinstance(ref, ActorRef) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if not isinstance(cell, Cell) or cell.system is not self.system:
            raise TypeError(f"an actor is registered on its own node; {ref!r} is none of {self.system.name!r}")
        row = await self.names.claim(name, by=cell)
        if row is None:
            raise NameTaken(f"the name {name!r} is taken: {self._whose(name)} has it")
        bound = self._bound.get(name)
        if cell.reason is not None:
            if bound is None:
                self.names.give_up(name)
            raise ActorDied(cell.reason, repr(cell))
        if bound is None:
            self.bind(name, cell, row.fence)
        return row.fence

    async def unregister(self, name: str) -> None:
        """Take the name from the actor of this node that has it; it lives on. Nothing happens if there is none.

        Raises TableError if the table cannot be told now; it is told as soon as it can be.
        """
        cell = self.unbind(name)
        if cell is not None:
            cell.tied().fence = 0
            await self.names.release(name)

    def bind(self, name: str, ref: ActorRef[Any], fence: int, *, release: bool = True) -> None:
        """This actor is who is meant by a name that this node has: what waits for it is let in. Its end gives the name up,
        unless `release` is False: then it only ends the binding. If the name is lost the actor is killed."""
        cell = ref._meant()
        assert isinstance(cell, Cell), "only an actor of this node is bound here"
        token = self.system.next_token()
        cell.tied().fence = fence
        self._bound[name] = Bound(cell, fence, token, release)
        cell._monitor(token, self)
        self._look_into(name)

    def unbind(self, name: str) -> Cell[Any] | None:
        """Nobody here is meant by the name any more; this node has it still. Returns who was."""
        bound = self._bound.pop(name, None)
        if bound is None:
            return None
        bound.cell._demonitor(bound.token, self)
        return bound.cell

    def here(self, name: str) -> Cell[Any] | None:
        """The living actor of this node that has the name."""
        bound = self._bound.get(name)
        return bound.cell if bound is not None and bound.cell.reason is None else None

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """An actor that is bound has ended."""
        for name in [name for name, bound in self._bound.items() if bound.token == token]:
            bound = self._bound.pop(name)
            if bound.release:
                self.names.give_up(name)

    async def drain(self, deadline: float) -> list[str]:
        """The names that go with this node: nobody else can start the actors that were registered here."""
        kept = [(name, bound.cell) for name, bound in self._bound.items() if bound.release]
        return named([f"the name {name!r} of {cell!r} goes when this node stops" for name, cell in kept])

    # --- whoever has a name ---

    def ref(self, name: str) -> ClusterRef[Any]:
        """The reference to whoever has that name. ValueError for what cannot be one."""
        return ClusterRef(self, self.checked(name))

    def checked(self, name: str) -> str:
        """The name, if an actor may have it in the cluster; else ValueError, as for the name of an entity: its host alone has that."""
        kind, slash, key = checked_name(name, "a cluster-wide").partition("/")
        if slash and self._hosted(kind):
            raise ValueError(f"{name!r} is an entity: what means it is node.entity({kind!r}, {unquote(key)!r})")
        return name

    def someone(self, name: str) -> ActorRef[Any] | None:
        """Who has the name now, if messages can go there at once."""
        return None if name in self._rooms else self._resolve(name)

    def wait(self, name: str, envelope: Envelope) -> Waiting:
        """Let it wait for whoever has the name, behind all that do."""
        room = self._rooms.get(name)
        if room is None:
            room = WaitingRoom(self.system, ClusterRef(self, name), lambda: self._rooms.pop(name, None))
            self._rooms[name] = room
            if not self._over:
                self._run(self._look(name, room))
        waiting = room.enter(envelope)
        if self._over:
            self._close_room(name)
        return waiting

    def waiting(self) -> list[str]:
        """What waits here for somebody to have a name, in words."""
        counts = {name: len(room) for name, room in self._rooms.items()}
        return [f"for whoever has the name {name!r} {count} messages wait" for name, count in counts.items() if count]

    def tell(self, name: str, message: Any) -> None:
        """A tell from another thread, where it was looked at: nobody is there to be told what is wrong with it."""
        try:
            self.post(name, Envelope(message))
        except UnderstudyError as error:
            self.system.dead_letters.add(DeadLetter(ClusterRef(self, name), message, str(error)))

    async def turn(self, name: str) -> None:
        """Wait in line for whoever has the name."""
        future: asyncio.Future[None] = self.system.loop.create_future()
        self.wait(name, Envelope(None, Turn(future)))
        await future

    def post(self, name: str, envelope: Envelope) -> Waiting:
        """Send it to whoever has the name, or let it wait. Raises what `tell` does."""
        to = self.someone(name)
        if to is None:
            return self.wait(name, envelope)
        waiting = Waiting(envelope, 0.0)
        waiting.send(to, self.system.loop.time())
        return waiting

    def close(self) -> None:
        """The node ends: nothing waits any more."""
        self._over = True
        for task in tuple(self._tasks):
            task.cancel()
        for name in tuple(self._rooms):
            self._close_room(name)

    # --- inside ---

    def _resolve(self, name: str) -> ActorRef[Any] | None:
        here = self.here(name)
        if here is not None:
            return here
        row = self.names.owner(name)
        if row is None:
            return None
        peer = Peer(row.node, row.incarnation)
        if peer == self.links.me:
            return None  # it is being started, or given up
        link = self.links.to(peer)
        return RemoteRef(link, UNIQUE + name) if link.lost is None else None

    def _look_into(self, name: str) -> None:
        """Send on what waits for that name, if somebody has it."""
        room = self._rooms.get(name)
        if room is None:
            return
        to = self._resolve(name)
        if to is not None and (room.looked or isinstance(to, Cell)):
            del self._rooms[name]
            room.send_on(to)

    async def _look(self, name: str, room: WaitingRoom) -> None:
        """Read the table before believing what it said when the first message came."""
        while self._rooms.get(name) is room:
            try:
                await self.names.look()
            except TableError:
                await asyncio.sleep(TRY_AGAIN)
                continue
            room.looked = True
            self._look_into(name)
            return

    def _moved(self, names: set[str] | None) -> None:
        """The table says something new of these names, or of all."""
        for name in tuple(self._rooms) if names is None else names & self._rooms.keys():
            self._look_into(name)

    def _lost(self, name: str, fence: int) -> None:
        cell = self.unbind(name)
        if cell is not None:
            cell.kill()

    def _whose(self, name: str) -> str:
        here, row = self.here(name), self.names.owner(name)
        if here is not None:
            return f"{here!r}, of this node,"
        return f"an actor on the node {row.node!r}" if row is not None else "another"

    def _close_room(self, name: str) -> None:
        why = NoConnection(f"the node {self.system.name!r} has stopped")
        self._rooms.pop(name).close(NodeDown(why, f"whoever has the name {name!r}"))

    def _run(self, coroutine: Any) -> None:
        task = self.system.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

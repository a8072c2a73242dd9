"""Groups: any number of actors of one system under one name, to be told something all at once.

    join, leave, an end ──> the table, under its lock ──> news ──> the loop's intake ──> those who follow: the mailboxes
                            (from any thread)              (in the order of the table's changes)     of watchers, other nodes

An actor that joins a group twice is in it once, and one `leave` takes it out (Erlang's `pg` counts; ours does not). A
group is there as long as it has members. Nothing of this costs anything for actors without groups. The groups of all nodes
together have the same face: `system.nodes.groups` (the transport wing).
"""

from __future__ import annotations

import threading  # noqa: TID251 - actors with threads of their own join and leave, too
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from understudy.actors.cell import Cell
from understudy.actors.dead_letters import OVERLOADED, DeadLetter
from understudy.actors.envelope import Envelope
from understudy.actors.errors import Overloaded
from understudy.actors.message import message
from understudy.actors.mortician import LEAVING
from understudy.actors.names import checked_name
from understudy.actors.ref import ActorRef, meant

if TYPE_CHECKING:
    from understudy.actors.system import ActorSystem


@message("understudy.joined")
class Joined:
    """To whoever watches the group: `ref` is in it from now on."""

    group: str
    ref: ActorRef[Any]


@message("understudy.left")
class Left:
    """To whoever watches the group: `ref` has left it, or has ended."""

    group: str
    ref: ActorRef[Any]


News: TypeAlias = Joined | Left


class Follower(Protocol):
    """Is told of each change, on the loop, in the order of the changes, as long as it is active."""

    active: bool

    def told(self, news: News) -> None:
        """Something has changed."""
        ...


class Watch:
    """An actor that watches. It is the ticket of the news it gets: none arrives once it is over."""

    __slots__ = ("active", "cell")

    def __init__(self, cell: Cell[Any]) -> None:
        self.cell = cell
        self.active = True

    def told(self, news: News) -> None:
        """It finds it in its mailbox."""
        self.cell.tell(Envelope(news, ticket=self))


class Assembly(Protocol):
    """All groups there are, of one system or of all nodes: `groups[name]` is one, iterating gives those that have members."""

    @property
    def whose(self) -> str:
        """Where they are, in words."""
        ...

    def __getitem__(self, name: str) -> Group:
        """The group of that name, empty or not; ValueError if a group cannot have it."""
        ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def counts(self) -> dict[str, int]:
        """How many living members each group has."""
        ...

    def watch(self, ref: ActorRef[Any], name: str | None = None) -> dict[str, tuple[ActorRef[Any], ...]]:
        """Tell an actor of this system of every change in that group, or in all (None), as `Joined` and `Left`.

        Returns who is in now. Watching again begins afresh: what waits in the mailbox is older than the answer, and void.
        """
        ...

    def unwatch(self, ref: ActorRef[Any], name: str | None = None) -> None:
        """Tell it no more, not even of what waits in its mailbox already."""
        ...

    # --- what a `Group` asks for ---

    def broadcast_to(self, name: str, message: Any) -> int: ...

    def members_of(self, name: str) -> tuple[ActorRef[Any], ...]: ...

    def local_of(self, name: str) -> tuple[ActorRef[Any], ...]: ...

    def by_node_of(self, name: str) -> dict[str, tuple[ActorRef[Any], ...]]: ...

    def has(self, name: str, ref: ActorRef[Any]) -> bool: ...


@dataclass(frozen=True, slots=True)
class Group:
    """A group by its name, whoever is in it at the time: `system.groups["chat"]`, or `node.groups["chat"]` for the members
    on all nodes. From any thread."""

    groups: Assembly
    name: str

    def broadcast(self, message: Any) -> int:
        """Tell every member, those of one node in the order in which they joined; returns how many there were.

        A member whose mailbox refuses it (`Overloaded`) is left out: a dead letter, and the others get it all the same.
        Over all nodes it is one frame for each node that has members. Raises NotRegistered and TooLarge, before anybody was
        told, if there are members on other nodes and the message may not cross.
        """
        return self.groups.broadcast_to(self.name, message)

    def members(self) -> tuple[ActorRef[Any], ...]:
        """The living members, those of one node in the order in which they joined."""
        return self.groups.members_of(self.name)

    def local(self) -> tuple[ActorRef[Any], ...]:
        """Those of them that are of this system."""
        return self.groups.local_of(self.name)

    def by_node(self) -> dict[str, tuple[ActorRef[Any], ...]]:
        """The members by the names of their nodes; nodes without any are left out."""
        return self.groups.by_node_of(self.name)

    def __iter__(self) -> Iterator[ActorRef[Any]]:
        return iter(self.members())

    def __len__(self) -> int:
        return len(self.members())

    def __contains__(self, ref: ActorRef[Any]) -> bool:
        return self.groups.has(self.name, meant(ref))

    def __repr__(self) -> str:
        return f"<group {self.name!r} {self.groups.whose}>"


class Groups:
    """The groups of one system: `groups[name]` is one, iterating gives the names of those that have members."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self._lock = threading.RLock()  # a finalizer, which may run anywhere, may come here too
        self._table: dict[str, dict[Cell[Any], None]] = {}
        self._watches: dict[str | None, dict[object, Follower]] = {}  # None: those who watch all groups

    @property
    def whose(self) -> str:
        """Where they are, in words."""
        return f"at {self.system.name}"

    def __getitem__(self, name: str) -> Group:
        """The group of that name, empty or not; ValueError if a group cannot have it."""
        return Group(self, checked_name(name, "a group's"))

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(tuple(self._table))

    def __len__(self) -> int:
        return len(self._table)

    def counts(self) -> dict[str, int]:
        """How many living members each group has."""
        with self._lock:
            table = {name: tuple(members) for name, members in tuple(self._table.items())}
        living = {name: sum(cell.reason is None for cell in members) for name, members in table.items()}
        return {name: count for name, count in living.items() if count}

    # --- for actors ---

    def join(self, cell: Cell[Any], name: str) -> Group:
        """Add an actor; nothing changes if it is in already, or has ended."""
        group = self[name]
        with self._lock:
            if cell in self._table.get(name, ()):
                return group
            mine = cell.tied().joined
            mine[name] = None
            # First noted, then looked: a death in another thread finds the note, or is seen here.
            if cell.stage >= LEAVING:
                del mine[name]
                return group
            self._table.setdefault(name, {})[cell] = None
            told = self._announce(Joined(name, cell))
        self._send(told)
        return group

    def leave(self, cell: Cell[Any], name: str) -> None:
        """Take an actor out; nothing changes if it is not in."""
        checked_name(name, "a group's")
        with self._lock:
            told = cell in self._table.get(name, {}) and self._remove(cell, name)
        self._send(told)

    def watch(self, ref: ActorRef[Any], name: str | None = None) -> dict[str, tuple[ActorRef[Any], ...]]:
        """See `Assembly`."""
        cell = self.watcher(ref, name)
        with self._lock:
            self._blind(cell, name)
            watching = cell.tied().watching
            watching[name] = None
            if cell.stage >= LEAVING:
                del watching[name]
                return self._snapshot(name)
            return self._follow(cell, name, Watch(cell))

    def unwatch(self, ref: ActorRef[Any], name: str | None = None) -> None:
        """See `Assembly`."""
        cell = self.watcher(ref, name)
        with self._lock:
            self._blind(cell, name)

    def watcher(self, ref: ActorRef[Any], name: str | None) -> Cell[Any]:
        """The actor that is to watch that group, if it can. ValueError if not."""
        if name is not None:
            checked_name(name, "a group's")
        cell = meant(ref)
        if not isinstance(cell, Cell) or cell.scheduler is not self.system.scheduler:
            raise ValueError(
                f"{ref!r} is no actor of the system {self.system.name!r}: an actor watches groups where it lives"
            )
        return cell

    def forget(self, cell: Cell[Any]) -> None:
        """An actor has ended: it leaves all its groups, and watches none."""
        told = False
        bonds = cell.bonds
        assert bonds is not None, "what is in a group has bonds"
        with self._lock:
            for name in tuple(bonds.joined):
                told |= cell in self._table.get(name, {}) and self._remove(cell, name)
            for watched in tuple(bonds.watching):
                self._blind(cell, watched)
        self._send(told)

    # --- for other nodes ---

    def follow(self, name: str | None, follower: Follower) -> dict[str, tuple[ActorRef[Any], ...]]:
        """Tell it of every change in a group, or in all (None), from what this returns on: who is in now."""
        with self._lock:
            return self._follow(follower, name, follower)

    def unfollow(self, name: str | None, follower: Follower) -> None:
        """Tell it no more."""
        with self._lock:
            self._stop_telling(follower, name)

    # --- under the lock ---

    def _follow(self, who: object, name: str | None, follower: Follower) -> dict[str, tuple[ActorRef[Any], ...]]:
        self._watches.setdefault(name, {})[who] = follower
        return self._snapshot(name)

    def _snapshot(self, name: str | None) -> dict[str, tuple[ActorRef[Any], ...]]:
        names = tuple(self._table) if name is None else (name,)
        return {each: tuple(self._table.get(each, ())) for each in names}

    def _remove(self, cell: Cell[Any], name: str) -> bool:
        members = self._table[name]
        del members[cell]
        if not members:
            del self._table[name]
        cell.tied().joined.pop(name, None)
        return self._announce(Left(name, cell))

    def _blind(self, cell: Cell[Any], name: str | None) -> None:
        cell.tied().watching.pop(name, None)
        self._stop_telling(cell, name)

    def _stop_telling(self, who: object, name: str | None) -> None:
        watches = self._watches.get(name, {})
        follower = watches.pop(who, None)
        if follower is not None:
            follower.active = False
            if not watches:
                del self._watches[name]

    def _announce(self, news: News) -> bool:
        """Put the news in line for those who watch at this moment. Whether there are any: then `_send` is due."""
        one, every = self._watches.get(news.group), self._watches.get(None)
        if not one and not every:
            return False
        watches = (*(one or {}).values(), *(every or {}).values())
        self.system.scheduler.intake.append((_tell, (watches, news)))
        return True

    # --- without it ---

    def _send(self, told: bool) -> None:
        if told:
            self.system.scheduler.signal(_nothing, ())

    def members_of(self, name: str) -> tuple[ActorRef[Any], ...]:
        """The living members of a group."""
        with self._lock:
            members = tuple(self._table.get(name, ()))
        return tuple([cell for cell in members if cell.reason is None])

    def local_of(self, name: str) -> tuple[ActorRef[Any], ...]:
        """All of them are."""
        return self.members_of(name)

    def by_node_of(self, name: str) -> dict[str, tuple[ActorRef[Any], ...]]:
        """There is no other node here."""
        members = self.members_of(name)
        return {self.system.name: members} if members else {}

    def has(self, name: str, ref: ActorRef[Any]) -> bool:
        """Whether it is in the group, and alive."""
        with self._lock:
            return ref in self._table.get(name, ()) and ref.is_alive()

    def broadcast_to(self, name: str, message: Any, barred: Container[ActorRef[Any]] = ()) -> int:
        """Tell all members of a group, except those who are `barred`: for them it is a dead letter."""
        members = self.members_of(name)
        scheduler = self.system.scheduler
        for ref in members:
            try:
                if barred and ref in barred:
                    raise Overloaded(f"others stand in line for {ref!r}")
                ref.tell(message)
            except Overloaded:
                scheduler.signal(self.system.dead_letters.add, (DeadLetter(ref, message, OVERLOADED),))
        return len(members)


def _tell(watches: Iterable[Follower], news: News) -> None:
    for watch in watches:
        if watch.active:
            watch.told(news)


def _nothing() -> None:
    """The signal that brings the loop to those before it."""

"""Groups: any number of actors of one system under one name, to be told something all at once.

    join, leave, an end ──> the table, under its lock ──> news ──> the loop's intake ──> the mailboxes of those who watch
                            (from any thread)              (in the order of the table's changes)

An actor that joins a group twice is in it once, and one `leave` takes it out (Erlang's `pg` counts; ours does not). A
group is there as long as it has members. Nothing of this costs anything for actors without groups.
"""

from __future__ import annotations

import threading  # noqa: TID251 - actors with threads of their own join and leave, too
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.actors.dead_letters import OVERLOADED, DeadLetter
from understudy.actors.envelope import Envelope
from understudy.actors.errors import Overloaded
from understudy.actors.message import message
from understudy.actors.mortician import LEAVING
from understudy.actors.names import checked_name
from understudy.actors.ref import ActorRef, meant

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
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


class Watch:
    """Who watches. It is the ticket of the news it gets: none arrives once it is over."""

    __slots__ = ("active", "cell")

    def __init__(self, cell: Cell[Any]) -> None:
        self.cell = cell
        self.active = True


@dataclass(frozen=True, slots=True)
class Group:
    """A group by its name, whoever is in it at the time: `system.groups["chat"]`. From any thread."""

    groups: Groups
    name: str

    def broadcast(self, message: Any) -> int:
        """Tell every member, in the order in which they joined; returns how many there were.

        A member whose mailbox refuses it (`Overloaded`) is left out: a dead letter, and the others get it all the same.
        """
        return self.groups._broadcast(self.name, message)

    def members(self) -> tuple[ActorRef[Any], ...]:
        """The living members, in the order in which they joined."""
        return self.groups._members_of(self.name)

    def __iter__(self) -> Iterator[ActorRef[Any]]:
        return iter(self.members())

    def __len__(self) -> int:
        return len(self.members())

    def __contains__(self, ref: ActorRef[Any]) -> bool:
        return self.groups._has(self.name, meant(ref))

    def __repr__(self) -> str:
        return f"<group {self.name!r} at {self.groups.system.name}>"


class Groups:
    """The groups of one system: `groups[name]` is one, iterating gives the names of those that have members."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self._lock = threading.RLock()  # a finalizer, which may run anywhere, may come here too
        self._table: dict[str, dict[Cell[Any], None]] = {}
        self._watches: dict[str | None, dict[Cell[Any], Watch]] = {}  # None: those who watch all groups

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

    def watch(self, cell: Cell[Any], name: str | None) -> dict[str, tuple[ActorRef[Any], ...]]:
        """Tell an actor of every change in a group, or in all (None); returns who is in now.

        Watching again begins afresh: what waits in the mailbox is older than the answer, and void.
        """
        with self._lock:
            self._blind(cell, name)
            watching = cell.tied().watching
            watching[name] = None
            if cell.stage >= LEAVING:
                del watching[name]
            else:
                self._watches.setdefault(name, {})[cell] = Watch(cell)
            names = tuple(self._table) if name is None else (name,)
            return {each: tuple(self._table.get(each, ())) for each in names}

    def unwatch(self, cell: Cell[Any], name: str | None) -> None:
        """Tell it no more, not even of what waits in its mailbox already."""
        with self._lock:
            self._blind(cell, name)

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

    # --- under the lock ---

    def _remove(self, cell: Cell[Any], name: str) -> bool:
        members = self._table[name]
        del members[cell]
        if not members:
            del self._table[name]
        cell.tied().joined.pop(name, None)
        return self._announce(Left(name, cell))

    def _blind(self, cell: Cell[Any], name: str | None) -> None:
        cell.tied().watching.pop(name, None)
        watches = self._watches.get(name, {})
        watch = watches.pop(cell, None)
        if watch is not None:
            watch.active = False
            if not watches:
                del self._watches[name]

    def _announce(self, news: Joined | Left) -> bool:
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

    def _members_of(self, name: str) -> tuple[ActorRef[Any], ...]:
        with self._lock:
            members = tuple(self._table.get(name, ()))
        return tuple([cell for cell in members if cell.reason is None])

    def _has(self, name: str, ref: ActorRef[Any]) -> bool:
        with self._lock:
            return ref in self._table.get(name, ()) and ref.is_alive()

    def _broadcast(self, name: str, message: Any) -> int:
        members = self._members_of(name)
        scheduler = self.system.scheduler
        for ref in members:
            try:
                ref.tell(message)
            except Overloaded:
                scheduler.signal(self.system.dead_letters.add, (DeadLetter(ref, message, OVERLOADED),))
        return len(members)


def _tell(watches: tuple[Watch, ...], news: Joined | Left) -> None:
    for watch in watches:
        if watch.active:
            watch.cell.tell(Envelope(news, ticket=watch))


def _nothing() -> None:
    """The signal that brings the loop to those before it."""

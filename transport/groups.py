"""Groups over all nodes: `node.groups["party"]`. Each node keeps its own members, and a copy of what each other node tells.

    join, leave, an end ──▶ the system's groups ──▶ Muster of each link ── JOINED, PARTED ──▶ Roster of this node, over there
    broadcast           ──▶ the members here
                        └─▶ one CAST for each node whose roster has the group ──▶ whoever is in it there when it comes
    a node is lost      ──▶ all its members have left

The copies agree as soon as messages get through: nobody is asked, nothing is voted on, there is no owner. The face is that of
the system's own groups, from every thread; here is the thin process around `roster.py`.
"""

from __future__ import annotations

import threading  # noqa: TID251 - actors with threads of their own broadcast and look, too
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, Address, Cell, ExitReason, Joined, Left, Overloaded
from understudy.actors.dead_letters import OVERLOADED, DeadLetter
from understudy.actors.groups import Follower, Group, Watch
from understudy.actors.names import checked_name
from understudy.actors.ref import described
from understudy.transport.encoder import Encoder
from understudy.transport.operations import CAST
from understudy.transport.remote import RemoteRef
from understudy.transport.roster import Roster

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.links import Links

SLICE = 500
"""News told to watchers in one turn of the loop."""


class GroupThere(ActorRef[Any]):
    """The members of a group on one other node, whoever they are: what a broadcast is told, and is a dead letter of."""

    __slots__ = ("_name", "link")

    def __init__(self, link: Link, name: str) -> None:
        self.link = link
        self._name = name

    def tell(self, message: Any) -> None:
        """One frame for all of them. Raises as `RemoteRef.tell` does."""
        link = self.link
        if not link.system.scheduler.here():
            Encoder(link.links.export, _unannounced).item(
                CAST, self._name, message
            )  # raises what the loop could only report
            link.system.scheduler.signal(link.send, (self, message))
        elif link.full:
            link.obstructed(self, message)
        else:
            link.push(link.encoder.item(CAST, self._name, message))

    @property
    def address(self) -> Address:
        return Address(*self.link.peer, 0)

    @property
    def name(self) -> str:
        return self._name

    def is_alive(self) -> bool:
        return self.link.lost is None

    def __repr__(self) -> str:
        return described("group", self._name, self.link.peer.node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupThere) and (other._name, other.link) == (self._name, self.link)

    def __hash__(self) -> int:
        return hash((self._name, self.link))


class ClusterGroups:
    """The groups of all nodes, as one of them sees them. See `actors.groups.Assembly`."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._system = links.system
        self._here = links.system.groups
        self._lock = threading.RLock()  # a finalizer, which may run anywhere, may come here too
        self._rosters: dict[Link, Roster] = {}  # those that have members
        self._watches: dict[str | None, dict[Cell[Any], Watch]] = {}
        self._watchers: dict[Cell[Any], int] = {}
        self._news: deque[tuple[tuple[Follower, ...], Iterator[Joined | Left]]] = deque()

    @property
    def whose(self) -> str:
        """Where they are, in words."""
        return f"of all nodes, seen from {self._system.name}"

    def __getitem__(self, name: str) -> Group:
        """The group of that name, empty or not; ValueError if a group cannot have it."""
        return Group(self, checked_name(name, "a group's"))

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts())

    def __len__(self) -> int:
        return len(self.counts())

    def counts(self) -> dict[str, int]:
        """How many living members each group has."""
        counts = Counter(self._here.counts())
        with self._lock:
            for roster in self._rosters.values():
                counts.update({name: roster.count(name) for name in roster})
        return dict(counts)

    # --- watching ---

    def watch(self, ref: ActorRef[Any], name: str | None = None) -> dict[str, tuple[ActorRef[Any], ...]]:
        """See `Assembly`."""
        cell = self._here.watcher(ref, name)
        watch = Watch(cell)
        with self._lock:
            self._blind(cell, name)
            self._watches.setdefault(name, {})[cell] = watch
            there = {each: self._there(each) for each in ([name] if name is not None else self._names())}
            here = self._here.follow(name, watch)
            begins = cell not in self._watchers
            if begins:
                self._watchers[cell] = self._system.next_token()
        if begins:
            cell._monitor(self._watchers[cell], self)
        return {each: (*here.get(each, ()), *there.get(each, ())) for each in {**here, **there}}

    def unwatch(self, ref: ActorRef[Any], name: str | None = None) -> None:
        """See `Assembly`."""
        cell = self._here.watcher(ref, name)
        with self._lock:
            self._blind(cell, name)

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """One that watches has ended."""
        with self._lock:
            for cell in [cell for cell, known in self._watchers.items() if known == token]:
                del self._watchers[cell]
                for name in [name for name, watches in self._watches.items() if cell in watches]:
                    self._blind(cell, name)

    # --- what a `Group` asks for ---

    def members_of(self, name: str) -> tuple[ActorRef[Any], ...]:
        """The living members: those of this node first."""
        here = self._here.members_of(name)
        with self._lock:
            return here + self._there(name)

    def local_of(self, name: str) -> tuple[ActorRef[Any], ...]:
        """Those of this node."""
        return self._here.members_of(name)

    def by_node_of(self, name: str) -> dict[str, tuple[ActorRef[Any], ...]]:
        """By the names of their nodes, this one's first."""
        nodes = self._here.by_node_of(name)
        with self._lock:
            for link, roster in self._rosters.items():
                if ids := roster.ids(name):
                    nodes[link.peer.node] = tuple(RemoteRef[Any](link, each) for each in ids)
        return nodes

    def has(self, name: str, ref: ActorRef[Any]) -> bool:
        """Whether it is in the group, as far as is known here."""
        if not isinstance(ref, RemoteRef):
            return self._here.has(name, ref)
        with self._lock:
            peer, number = ref.link.peer, ref.target
            return type(number) is int and any(
                link.peer == peer and roster.has(name, number) for link, roster in self._rosters.items()
            )

    def broadcast_to(self, name: str, message: Any) -> int:
        """Tell the members here, and each other node once."""
        with self._lock:
            counts = {link: roster.count(name) for link, roster in self._rosters.items() if roster.count(name)}
        for link in counts:  # the others first: what may not cross is refused before anybody is told
            there = GroupThere(link, name)
            try:
                there.tell(message)
            except Overloaded:
                self._system.scheduler.signal(self._system.dead_letters.add, (DeadLetter(there, message, OVERLOADED),))
        return self._here.broadcast_to(name, message) + sum(counts.values())

    # --- what other nodes tell; on the loop ---

    def joined(self, link: Link, roster: Roster, group: object, ids: list[Any]) -> None:
        """Members of a peer have joined. Raises Unreadable."""
        with self._lock:
            new = roster.join(group, ids)
            if new:
                self._rosters[link] = roster
                self._publish(Joined, link, str(group), new)

    def parted(self, link: Link, roster: Roster, group: object, ids: list[Any]) -> None:
        """Members of a peer have left. Raises Unreadable."""
        with self._lock:
            self._publish(Left, link, str(group), roster.part(group, ids))

    def clear(self, link: Link, roster: Roster) -> None:
        """All of them have."""
        with self._lock:
            self._rosters.pop(link, None)
            for group, ids in roster.clear().items():
                self._publish(Left, link, group, ids)

    # --- under the lock ---

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for roster in self._rosters.values() for name in roster))

    def _there(self, name: str) -> tuple[ActorRef[Any], ...]:
        return tuple(RemoteRef[Any](link, each) for link, roster in self._rosters.items() for each in roster.ids(name))

    def _blind(self, cell: Cell[Any], name: str | None) -> None:
        watches = self._watches.get(name, {})
        watch = watches.pop(cell, None)
        if watch is not None:
            self._here.unfollow(name, watch)
            if not watches:
                del self._watches[name]

    def _publish(self, kind: type[Joined | Left], link: Link, group: str, ids: Iterable[int]) -> None:
        """Put news in line for those who watch at this moment."""
        watches = (*self._watches.get(group, {}).values(), *self._watches.get(None, {}).values())
        if watches and ids:
            self._news.append((watches, (kind(group, RemoteRef[Any](link, each)) for each in ids)))
            if len(self._news) == 1:
                self._tell()

    def _tell(self) -> None:
        """A slice of the news: a node that is lost may have had a hundred thousand members."""
        left = SLICE
        while self._news:
            watches, news = self._news[0]
            for one in islice(news, left):
                left -= 1
                for watch in watches:
                    if watch.active:
                        watch.told(one)
            if not left:
                self._system.loop.call_soon(self._tell)
                return
            self._news.popleft()


def _unannounced(definition: bytes) -> None:
    """A trial announces nothing."""

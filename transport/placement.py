"""Where something new is to run: on the node with the most free capacity, of those that may have it.

    the table   ── active, roles, tags, capacity, draining ──┐
    links       ── who is up, who answers probes             ├──▶ choose(role, tags) ──▶ "engine-2", or NoRoom
    Load (1 s)  ── how much each has, as it says itself      │
    what was chosen here since that was said ────────────────┘

A choice rests on what was heard last, so two nodes may send their next actor to the same third one. That one decides: it refuses
what is one too many, says how loaded it is, and whoever asked chooses again (`abroad.py`).

    free        capacity - what was placed there; without a limit (capacity 0) it is endless, and the fewest placed come first
    as good     as another: chance decides, so that nodes which choose at the same moment do not all choose the same
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, ExitReason, NoRoom
from understudy.transport.frames import Peer
from understudy.transport.loads import Load, say_load
from understudy.transport.table import Member

if TYPE_CHECKING:
    from understudy.transport.links import Links


NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a node has to have: the role, each of the tags, and to be one of `among`; None: any."""

    role: str | None = None
    tags: tuple[str, ...] = ()
    among: Collection[str] | None = None

    def __str__(self) -> str:
        role = f"the role {self.role!r}" if self.role is not None else "any role"
        tags = f" and the tags {', '.join(map(repr, self.tags))}" if self.tags else ""
        return role + tags + (f", of {', '.join(sorted(self.among)) or 'none'}" if self.among is not None else "")


class Placement:
    """Of one node. On its loop.

    `roles`, `tags`, `capacity`: its own. `answers(peer)`: whether that life of another node answers probes, as far as is known.
    """

    def __init__(
        self,
        links: Links,
        roles: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        capacity: int = 0,
        answers: Callable[[Peer], bool] = lambda peer: True,
    ) -> None:
        self.draining = False
        """Whether this node takes nothing new. `announce` says so to the others."""
        self._stopping = False
        self._links = links
        self._random = links.system.world.random
        self._mine = Member(links.me.node, 0, "", roles=roles, tags=tags, capacity=capacity)
        self._answers = answers
        self.on_drains: Callable[[Peer], None] = lambda peer: None
        """Told once of each life of another node that drains, until it does not."""
        self._known_to_drain: dict[str, int] = {}
        self._holds: dict[ActorRef[Any], Hold] = {}
        self._held: Counter[str] = Counter()  # what was placed here, by kind
        self._placed = 0
        self._rows: dict[str, Member] = {}
        self._loads: dict[str, Load] = {}
        self._told: dict[Peer, Load] = {}
        # What was chosen here and may not be in its node's load yet: in this second, and in the one before.
        self._chosen: Counter[str] = Counter()
        self._chosen_before: Counter[str] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    # --- choosing ---

    def choose(self, role: str | None = None, tags: tuple[str, ...] = (), among: Collection[str] | None = None) -> str:
        """The node with the most free capacity of those that are active, answer, do not drain, and have the role and all tags.

        This node may be it. `among`: only one of these. What is chosen counts there, for the next choice, until that node says how
        loaded it is; whether it is full it says itself. Raises NoRoom, which says what each node lacks.
        """
        wanted = Wanted(role, tags, among)
        node = self._best(wanted)
        if node is None:
            raise self.no_room(wanted)
        self._chosen[node] += 1
        return node

    def has_room(self, role: str | None = None, tags: tuple[str, ...] = ()) -> bool:
        """Whether `choose` would find a node now."""
        return self._best(Wanted(role, tags)) is not None

    async def room(self, role: str | None = None, tags: tuple[str, ...] = ()) -> None:
        """Wait until `choose` would find a node."""
        while not self.has_room(role, tags):
            await self.moved()

    def no_room(self, wanted: Wanted, refused: Mapping[str, str] = NOBODY) -> NoRoom:
        """Why there is nobody who has what is wanted. `refused`: what those said who were asked."""
        lacks = {row.node: self._lacks(row, wanted) or refused.get(row.node, "") for row in self._members()}
        said = "; ".join(f"{node} {why}" for node, why in sorted(lacks.items()))
        return NoRoom(f"no node has room for one more with {wanted}: {said}", lacks)

    def _best(self, wanted: Wanted) -> str | None:
        best: list[str] = []
        most: tuple[float, int] = (0.0, 0)
        for row in self._members():
            if self._lacks(row, wanted):
                continue
            free = self._free(row)
            if not best or free > most:
                best, most = [row.node], free
            elif free == most:
                best.append(row.node)
        return best[0] if len(best) == 1 else self._random.choice(best) if best else None

    def _free(self, row: Member) -> tuple[float, int]:
        placed = self._expected(row.node)
        return row.capacity - placed if row.capacity else math.inf, -placed

    def _said(self, node: str) -> int:
        """How much is on that node, as it said last."""
        if node == self._mine.node:
            return self._placed
        load = self._loads.get(node)
        return load.placed if load is not None else 0

    def _expected(self, node: str) -> int:
        """How much is on that node, and on its way."""
        return self._said(node) + self._chosen[node] + self._chosen_before[node]

    def _lacks(self, row: Member, wanted: Wanted) -> str:
        """Why that node cannot have it; "" if it can."""
        node = row.node
        if wanted.role is not None and wanted.role not in row.roles:
            return f"has {_listed('role', row.roles)}"
        missing = [tag for tag in wanted.tags if tag not in row.tags]
        if missing:
            return f"lacks {_listed('tag', missing)}"
        if wanted.among is not None and node not in wanted.among:
            return "is none of these"
        if self.is_draining(node):
            return "stops" if self.is_stopping(node) else "drains"
        if row.capacity and (placed := self._said(node)) >= row.capacity:
            return f"is full ({placed} of {row.capacity})"
        if node != self._mine.node:
            link = self._links.towards(node)
            if link.lost is not None:
                return f"cannot be reached: {link.lost}"
            if not self._answers(link.peer):
                return "does not answer"
        return ""

    def _members(self) -> Iterator[Member]:
        yield self._mine
        yield from self._rows.values()

    # --- what is placed here ---

    def took(self, kind: str) -> None:
        """One more of that kind was placed on this node: an "actor", an "entity", a "run"."""
        self._held[kind] += 1
        self._placed += 1
        if self._chosen[self._mine.node] > 0:
            self._chosen[self._mine.node] -= 1

    def let_go(self, kind: str) -> None:
        """One of that kind has ended, or has gone elsewhere."""
        self._held[kind] -= 1
        self._placed -= 1
        self._stir()

    def hold(self, kind: str) -> Hold:
        """One more of that kind counts as placed here from now on, until the hold is dropped."""
        return Hold(self, kind, self._links.system.next_token())

    def holding(self, ref: ActorRef[Any], hold: Hold) -> None:
        """That actor counts, until it has `ended`."""
        self._holds[ref] = hold

    def ended(self, ref: ActorRef[Any]) -> None:
        """It counts no more."""
        self._holds.pop(ref, None)

    def guests(self) -> list[ActorRef[Any]]:
        """The actors here that are to be moved when this node drains."""
        return [ref for ref, hold in self._holds.items() if hold.moves]

    def strays(self) -> list[ActorRef[Any]]:
        """The actors that were placed here, and that nobody starts elsewhere."""
        return [ref for ref, hold in self._holds.items() if hold.moves is False]

    def drained(self) -> str:
        """Why this node takes nothing new, even from whoever means it and no other; "" if it does."""
        if self.is_stopping(self._mine.node):
            return f"the node {self._mine.node!r} stops, and takes nothing new"
        return f"the node {self._mine.node!r} drains, and takes nothing new" if self.draining else ""

    def refuses(self) -> str:
        """Why this node takes nothing more that could as well be placed elsewhere; "" if it does."""
        if why := self.drained():
            return why
        if self._mine.capacity and self._placed >= self._mine.capacity:
            return f"the node {self._mine.node!r} is full: it has {self._placed} of {self._mine.capacity}"
        return ""

    @property
    def load(self) -> Load:
        """How loaded this node is."""
        kinds = {kind: count for kind, count in self._held.items() if count}
        return Load(
            *self._links.me,
            self._placed,
            self._mine.capacity,
            bool(self.drained()),
            kinds,
            self.is_stopping(self._mine.node),
        )

    def loads(self) -> dict[str, Load]:
        """How loaded each member is, by its node: this one now, the others as they said last."""
        silent = (row for row in self._rows.values() if row.node not in self._loads)
        mute = {row.node: Load(*row.key, capacity=row.capacity, draining=row.draining) for row in silent}
        return {self._mine.node: self.load, **self._loads, **mute}

    # --- draining ---

    def is_draining(self, node: str) -> bool:
        """Whether that node has said, in the table or to us, that it takes nothing new."""
        if node == self._mine.node:
            return bool(self.drained())
        row, load = self._rows.get(node), self._loads.get(node)
        return (row is not None and row.draining) or (load is not None and load.draining)

    def is_stopping(self, node: str) -> bool:
        """Whether that node has said to us that this life of it ends now."""
        if node == self._mine.node:
            return self._stopping or self._links.system.is_ending
        load = self._loads.get(node)
        return load is not None and load.stopping and load.incarnation == self._links.towards(node).peer.incarnation

    def stop(self) -> None:
        """This node stops: tell the others before its actors end, so that nobody takes that for a failure of theirs."""
        self._stopping = True
        self.announce()

    async def drains(self, node: str) -> None:
        """Wait until that node drains, or is gone."""
        while node in self._rows and not self.is_draining(node):
            await self.moved()

    # --- what is heard ---

    def row(self, row: Member) -> None:
        """What the table says of another node."""
        if row.status == "active":
            self._rows[row.node] = row
        else:
            self._rows.pop(row.node, None)
        load = self._loads.get(row.node)
        if load is not None and (row.status != "active" or load.incarnation != row.incarnation):
            del self._loads[row.node]
        self._look(row.node)
        self._stir()

    def lost(self, peer: Peer) -> None:
        """That life of a node is over."""
        row, load = self._rows.get(peer.node), self._loads.get(peer.node)
        if row is not None and row.incarnation <= peer.incarnation:
            del self._rows[peer.node]
        if load is not None and load.incarnation <= peer.incarnation:
            del self._loads[peer.node]
        self._told.pop(peer, None)
        self._stir()

    def heard(self, load: Load) -> None:
        """What another node says of itself."""
        known = self._loads.get(load.node)
        if load.node == self._mine.node or (known is not None and known.incarnation > load.incarnation):
            return
        self._loads[load.node] = load
        del self._chosen[load.node], self._chosen_before[load.node]
        self._look(load.node)
        self._stir()

    def tick(self) -> None:
        """Once a second: what was chosen long ago has arrived or never will, and whoever does not know our load is told."""
        self._chosen_before, self._chosen = self._chosen, Counter()
        self.announce()
        self._stir()

    def announce(self) -> None:
        """Tell the others how loaded this node is: those that are connected, and have not heard it."""
        load = self.load
        for row in self._rows.values():
            link = self._links.towards(row.node)
            if link.connected and self._told.get(link.peer) != load:
                self._told[link.peer] = load
                say_load(link, load)

    # --- waiting ---

    def _look(self, node: str) -> None:
        """Whether that node drains now, and did not before."""
        if not self.is_draining(node):
            self._known_to_drain.pop(node, None)
        elif (row := self._rows.get(node)) is not None and self._known_to_drain.get(node) != row.incarnation:
            self._known_to_drain[node] = row.incarnation
            self.on_drains(Peer(*row.key))

    def _stir(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def moved(self) -> None:
        """Wait until something has changed: here, in the table, or in what the others say. At most for a second."""
        future: asyncio.Future[None] = self._links.system.loop.create_future()
        self._waiting.append(future)
        await future


class Hold:
    """One thing that counts as placed here: dropped once, by whoever took it, or at the end of the actor that it is."""

    __slots__ = ("_kind", "_placement", "_token", "moves")

    def __init__(self, placement: Placement, kind: str, token: int) -> None:
        self._placement = placement
        self._kind = kind
        self._token = token
        self.moves: bool | None = None
        placement.took(kind)

    def until_end_of(self, ref: ActorRef[Any], moves: bool | None = None) -> None:
        """It is that actor, of this node. `moves`: whether somebody starts it elsewhere when this node drains, and ends it here;
        None: that is nobody's concern."""
        self.moves = moves
        self._placement.holding(ref, self)
        ref._monitor(self._token, self)

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """It has ended."""
        self._placement.ended(ref)
        self.drop()

    def drop(self) -> None:
        """It is gone."""
        self._placement.let_go(self._kind)


def _listed(what: str, words: Collection[str]) -> str:
    return f"the {what}{'s' if len(words) > 1 else ''} {', '.join(words)}" if words else f"no {what}s"


def checked_words(words: object, node: str, what: str) -> tuple[str, ...]:
    """Roles or tags. TypeError for what is no sequence of texts, a single text too."""
    if isinstance(words, tuple | list) and all(isinstance(word, str) and word for word in words):
        return tuple(words)
    raise TypeError(f'the {what} of node {node!r} are a tuple of texts, such as ("engine",), not {words!r}')


def checked_capacity(capacity: object, node: str) -> int:
    """How many placed actors a node takes. TypeError, ValueError."""
    if not isinstance(capacity, int) or isinstance(capacity, bool):
        raise TypeError(f"the capacity of node {node!r} is a whole number, 0: no limit, not {capacity!r}")
    if capacity < 0:
        raise ValueError(f"the capacity of node {node!r} is a whole number from 0 (no limit) up, not {capacity}")
    return capacity

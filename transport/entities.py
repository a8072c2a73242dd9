"""Entities: actors by kind and key, of which exactly one runs in the cluster while anybody needs it.

node.host("room", Room)                     this node can run rooms: Room(key)
node.entity("room", "lobby").tell(Say(..))  from any node; it runs from the first message on, until it is idle

EntityRef ──▶ Route (routes.py) ── nobody is known to have it ──▶ seek:
                owner(name), as the table says; else the host with the most free capacity (placement.py)
                Activate ──▶ its Host (entity_host.py) ── claims the name, starts the actor ──▶ its address
              ◀── Here: what waited is sent there, and what comes later goes straight
              ◀── Elsewhere, Unwilling: the next one is asked
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    Actor,
    ActorRef,
    Cell,
    NoRoom,
    StartFailed,
    UnderstudyError,
    Watcher,
)
from understudy.transport.activation import (
    HOST,
    Activate,
    Elsewhere,
    Here,
    Retire,
    Trouble,
    Unwilling,
    checked_kind,
    unique_name,
)
from understudy.transport.entity_deeds import Tie, Watched
from understudy.transport.entity_host import Host, Kind
from understudy.transport.entity_ref import EntityRef
from understudy.transport.host_actor import HostActor, Hosts, group_of, retire
from understudy.transport.remote import RemoteRef
from understudy.transport.routes import Route, Routes
from understudy.transport.steward import NotStarted
from understudy.transport.traceback import caused

if TYPE_CHECKING:
    from understudy.actors.groups import Assembly
    from understudy.actors.replies import ThreadReply
    from understudy.transport.links import Links
    from understudy.transport.names import Names
    from understudy.transport.placement import Placement

IDLE = 300.0
"""Seconds without a message after which an entity is ended, unless its kind says otherwise."""

ASK_WITHIN = 40.0
"""Seconds that a node is given to start an entity; a start may take 30 of them."""

KNOWN_WITHIN = 1.0
"""Seconds that what is sent waits for a node that has room: one may just be joining, or say that it hosts the kind."""

BACK_WITHIN = 8.0
"""The same for a kind that was hosted before: its nodes are being started again."""

PAUSE, PAUSE_LIMIT = 0.005, 0.25
"""Seconds until whoever had no answer that helps is asked again; doubles with each time, up to the limit."""

SWEEP = 60.0
"""Seconds between two looks for routes to other nodes that nobody uses any more."""


class Entities:
    """Of one node; used on its loop only."""

    def __init__(
        self, links: Links, names: Names, placement: Placement, groups: Assembly, roles: tuple[str, ...]
    ) -> None:
        self.links = links
        self.system = links.system
        self.names = names
        self.routes = Routes(links, self._seek)
        self.host = Host(links, names, placement, self.routes.left)
        self._placement = placement
        self._groups = groups
        self._roles = roles
        self._actor: ActorRef[Any] | None = None
        self._seen: set[str] = set()
        self._watches: dict[tuple[int, Watcher], Watched] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        links.entity = self.named

    async def start(self) -> ActorRef[Any]:
        """Be there for other nodes; the actor that is."""
        self._actor = await self.system.spawn(HostActor, self.host, name=HOST)
        self.host.parent = self._actor
        self._sweeper = self.system.loop.create_task(self._sweep(), context=self.system.scheduler.neutral_context())
        return self._actor

    def end(self, why: str) -> None:
        """This node ends, and its actors with it."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.routes.end(why)
        self.host.end()

    async def drain(self, deadline: float) -> list[str]:
        """End all entities here in order: their next messages start them elsewhere. Those that had not ended in time."""
        return [f"the entity {name!r} has not ended" for name in await self.host.close_all(until=deadline)]

    # --- for users ---

    def add(
        self,
        kind: str,
        cls: type[Actor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        role: str | None,
        idle: float,
    ) -> None:
        """See `Node.host`."""
        checked_kind(kind)
        if not (isinstance(cls, type) and issubclass(cls, Actor)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the entities of a kind are of a subclass of Actor, not {cls!r}")
        if not isinstance(idle, int | float) or isinstance(idle, bool) or not idle > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"the idle time of {kind!r} is a number of seconds above 0, or math.inf, not {idle!r}")
        if kind in self.host.kinds:
            raise ValueError(f"this node hosts {kind!r} already: `await node.unhost({kind!r})` first")
        if role is not None and role not in self._roles:
            return
        self.host.kinds[kind] = Kind(kind, cls, args, kwargs, float(idle))
        self._say(Hosts(kind, True))

    async def remove(self, kind: str, within: float) -> None:
        """See `Node.unhost`."""
        if self.host.kinds.pop(kind, None) is None:
            raise ValueError(f"this node does not host {kind!r}; it hosts {_listed(self.host.kinds)}")
        self._say(Hosts(kind, False))
        left = await self.host.close_all(kind, self.system.loop.time() + within)
        if left:
            raise TimeoutError(
                f"{len(left)} of the kind {kind!r} have not ended within {within} s, such as {left[0]!r}"
            )

    def ref(self, kind: str, key: str) -> EntityRef[Any]:
        """See `Node.entity`."""
        return EntityRef(self, kind, key, unique_name(kind, key))

    def named(self, kind: str, key: str) -> EntityRef[Any]:
        """The reference for what stood for it on the wire. Raises ValueError."""
        return self.ref(kind, key)

    def hosted(self, kind: str) -> bool:
        """Whether it is a kind that is hosted on any node, as far as is known here. On any thread."""
        return kind in self.host.kinds or bool(self._groups.members_of(group_of(kind)))

    def runs(self, ref: EntityRef[Any]) -> bool:
        """Whether it runs, as far as is known here."""
        return self.names.owner(ref.name) is not None or self.routes.known(ref.name) is not None

    # --- seeking ---

    async def _seek(self, route: Route) -> None:
        """Find where an entity is, or have it started: until it is settled, given up, or nobody waits any more."""
        began = self.system.loop.time()
        refused: dict[str, str] = {}
        hint, pause = "", PAUSE
        while self.routes.waits(route):
            try:
                node = hint or self._whom_to_ask(route.ref, refused)
            except NoRoom as error:
                waited = self.system.loop.time() - began
                back = route.ref.kind in self._seen and not any("is full" in why for why in error.lacks.values())
                if waited >= (BACK_WITHIN if back else KNOWN_WITHIN):
                    self.routes.give_up(route, error)
                    return
                refused.clear()
                pause = await _rest(pause)
                continue
            hint = ""
            answer, link = await self._ask(node, route.ref)
            if not self.routes.waits(route):
                return
            match answer:
                case Cell():
                    if answer.reason is None and self.host.sits(route.ref.name, answer):
                        self.routes.settle(route, answer)
                        return
                case Here(number) if link is not None:
                    if link.lost is None:
                        self.routes.settle(route, RemoteRef(link, number))
                        return
                case Elsewhere(other) if other != node:
                    hint = other
                    continue
                case NotStarted(_, who, reason):
                    self.routes.give_up(route, caused(StartFailed(who, reason), node, reason))
                    return
                case Unwilling(why):
                    refused[node] = why
                    continue
                case _:
                    pass
            pause = await _rest(pause)

    def _whom_to_ask(self, ref: EntityRef[Any], refused: dict[str, str]) -> str:
        owner = self.names.owner(ref.name)
        if owner is not None and owner.node not in refused:
            return owner.node
        hosts = self._hosts(ref.kind)
        if not hosts:
            raise NoRoom(
                f"no node hosts {ref.kind!r}, so there is no {ref.name!r}; what is hosted: {_listed(self._kinds())}"
            )
        try:
            return self._placement.choose(among=hosts - refused.keys())
        except NoRoom as error:
            lacks = {node: why for node, why in sorted({**error.lacks, **refused}.items()) if node in hosts}
            said = "; ".join(f"{node} {why}" for node, why in lacks.items())
            raise NoRoom(f"no node has room for {ref.name!r}: {said}", lacks) from None

    def _hosts(self, kind: str) -> set[str]:
        hosts = set(self._groups[group_of(kind)].by_node())
        if kind in self.host.kinds:
            hosts.add(self.system.name)
        else:
            hosts.discard(self.system.name)
        if hosts:
            self._seen.add(kind)
        return hosts

    def _kinds(self) -> set[str]:
        """What is hosted anywhere."""
        front = group_of("")
        return {name[len(front) :] for name in self._groups if name.startswith(front)} | set(self.host.kinds)

    async def _ask(self, node: str, ref: EntityRef[Any]) -> tuple[Any, Any]:
        if node == self.system.name:
            return await self.host.activate(ref.kind, ref.key), None
        link = self.links.towards(node)
        if link.lost is not None:
            return Unwilling(f"is gone: {link.lost}"), link
        try:
            return await RemoteRef[Any](link, HOST).call(Activate(ref.kind, ref.key), ASK_WITHIN), link
        except UnderstudyError as error:
            return Unwilling(f"did not answer: {error}") if link.lost is None else Trouble(str(error)), link

    # --- what references need ---

    def watch(self, watch: Watched) -> None:
        """Watch from its turn on."""
        self._watches[watch.token, watch.watcher] = watch
        watch.ref._send(watch)

    def unwatch(self, token: int, watcher: Watcher) -> None:
        """Watch no more."""
        watch = self._watches.pop((token, watcher), None)
        if watch is not None:
            watch.end()

    def untie(self, ref: EntityRef[Any], sender: ActorRef[Any]) -> None:
        """Undo the link of `sender` to that entity."""
        tie = Tie(ref, sender)
        for token, watcher in [key for key in self._watches if key[1] == tie]:
            self.unwatch(token, watcher)

    def fired(self, watch: Watched) -> None:
        """It has told its watcher."""
        self._watches.pop((watch.token, watch.watcher), None)

    def retire(self, name: str, at: RemoteRef[Any] | None, reply: ThreadReply) -> None:
        """Have the entity's host end it in order."""

        async def done() -> None:
            try:
                if at is None:
                    reply.set(await retire(self.host, name))
                else:
                    reply.set(await RemoteRef[Any](at.link, HOST).call(Retire(name), math.inf))
            except UnderstudyError:
                reply.set(False)

        self._run(done())

    def _run(self, coroutine: Any) -> None:
        task = self.system.loop.create_task(coroutine, context=self.system.scheduler.neutral_context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say(self, message: Any) -> None:
        if self._actor is not None:
            self._actor.tell(message)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            await self.routes.sweep()


async def _rest(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return min(2 * seconds, PAUSE_LIMIT)


def _listed(kinds: Any) -> str:
    return ", ".join(sorted(map(repr, kinds))) or "none"

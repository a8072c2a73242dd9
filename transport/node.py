"""A node: an actor system that other machines can reach. One process is usually one node.

async with Node("stage", state=".understudy") as node:             the first one: its table is a file
    room = await node.spawn(Room, name="room/lobby")
    engine = node.ref("engine@engine-1")                           whoever has that name there, through restarts

async with Node("engine-1", state=".understudy"): ...              on the same machine: the same file
async with Node("engine-2", join="tcp://127.0.0.1:4100"): ...      elsewhere: the table of the node that listens there

     ActorSystem          Links ── Network           Membership ── MembershipTable
          └── actors here   └── actors elsewhere          └── who is there; who is gone for good
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from understudy.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Assembly,
    NoConnection,
    UnderstudyError,
)
from understudy.actors.deadlines import waiting_time
from understudy.actors.nodes import Alone
from understudy.transport.abroad import Abroad
from understudy.transport.copies import wanted_copy
from understudy.transport.drain import DRAIN_TIMEOUT, DrainReport, Drains
from understudy.transport.emptying import emptied, moved
from understudy.transport.entities import Entities
from understudy.transport.frames import NAME_LIMIT, Peer
from understudy.transport.health import Health
from understudy.transport.joining import Joining
from understudy.transport.keyfolder import KeyFolder
from understudy.transport.links import Links
from understudy.transport.loads import HERALD, Herald
from understudy.transport.locksmith import Locksmith
from understudy.transport.membership import Membership
from understudy.transport.names import Names
from understudy.transport.naming import Naming
from understudy.transport.naming import started as _started
from understudy.transport.neighbours import Neighbours
from understudy.transport.network import Network
from understudy.transport.news import News, NodeDrains
from understudy.transport.opening import check_address
from understudy.transport.overview import Overview
from understudy.transport.placement import Placement, checked_capacity, checked_words
from understudy.transport.registry import Registry
from understudy.transport.remote import RemoteRef
from understudy.transport.served import TABLE, TableServer
from understudy.transport.singleton import Singletons
from understudy.transport.spawning import Spawning
from understudy.transport.steward import STEWARD, Steward
from understudy.transport.suspicion import Rules
from understudy.transport.sweeper import Sweeper
from understudy.transport.table import Member, MembershipTable
from understudy.transport.trust import KeyStore, Trust
from understudy.transport.zeromq import ZeroMqNetwork

A = TypeVar("A", bound=Actor)

PARTING = 1.0
"""Seconds that a stopping node waits for what it sent to be acknowledged."""


class Node(Spawning, Naming, Overview):
    """`await node.start()` and `await node.stop()`, or `async with`. Belongs to the loop that starts it.

    `listen`: where it is reached, port 0 for any free one; without keys loopback only.
    `state`: the folder of the membership table that the nodes of one machine share; none: a cluster of its own.
    `join`: the address of a node whose table this one uses instead.
    `table`: the address of a table that all use: postgresql://..., etcd://... (docs/tables.md); or one of your own, already open.
    `keys`: the folder of its keys and of those it trusts; made, with a key, if it is not there. With it nobody else is heard.
    `roles`, `tags`: what it is for and what it has, such as ("engine",) and ("gpu",); `capacity`: how many placed actors, entities
        and runs it takes, 0: no limit.
    `token`: what lets this node in where it joins, if it is not trusted there yet; else the environment's UNDERSTUDY_TOKEN.
    `probe_interval`, `probe_misses`: seconds between two probes of each other node, and how many missed make a suspect.
    `blocked_after`: seconds that a node is given whose connection stands, though it does not answer: something holds its loop.
    `sweep_after`: seconds after which the names of a node that is gone are deleted from the table, if nobody has taken them.
    """

    def __init__(
        self,
        name: str,
        *,
        listen: str = "tcp://127.0.0.1:0",
        state: str | os.PathLike[str] | None = None,
        join: str | None = None,
        keys: str | os.PathLike[str] | KeyStore | None = None,
        token: str | None = None,
        roles: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        capacity: int = 0,
        system: ActorSystem | None = None,
        network: Network | None = None,
        table: MembershipTable | str | None = None,
        probe_interval: float = 1.0,
        probe_misses: int = 3,
        blocked_after: float = 10.0,
        sweep_after: float = 60.0,
    ) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or "@" in name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"a node's name is a text of 1 to {NAME_LIMIT} characters without '@', not {name!r}")
        if system is not None and system.name != name:
            raise ValueError(f"the system of node {name!r} must have its name, not {system.name!r}")
        if state is not None and not isinstance(state, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the state of node {name!r} is a folder, as a text or a path, not {state!r}")
        if table is not None and (join is not None or state is not None):
            other = "join" if join is not None else "state"
            raise ValueError(
                f"node {name!r} can use one membership table: name it by `table` or by `{other}`, not by both"
            )
        if isinstance(table, str):
            check_address(table)
        if token is not None and (join is None or table is not None):
            raise ValueError(
                f"a token lets node {name!r} in where it joins: say where with `join`, the address of the node that made it"
            )
        self.name = name
        self._listen = listen
        self._state = None if state is None else Path(state)
        self._join = join
        self._keys = KeyFolder(keys) if isinstance(keys, str | os.PathLike) else keys
        self._token = token
        self._roles = checked_words(roles, name, "roles")
        self._tags = checked_words(tags, name, "tags")
        self._capacity = checked_capacity(capacity, name)
        self._given_system = system
        self._given_network = network
        self._given_table = table
        self._rules = Rules(probe_interval, probe_misses, blocked_after, sweep_after)
        self._system: ActorSystem | None = None
        self._links: Links | None = None
        self._table: MembershipTable | None = None
        self._names: Names | None = None
        self._placement: Placement | None = None
        self._drains: Drains | None = None
        self._open = AsyncExitStack()
        self._news: News | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._own: list[ActorRef[Any]] = []
        self._starting: asyncio.Timeout | None = None
        self._settled: asyncio.Event | None = None
        self._ended: asyncio.Future[str] | None = None
        self._put_out = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- what it is ---

    @property
    def system(self) -> ActorSystem:
        """The actors of this node."""
        return _started(self._system)

    @property
    def links(self) -> Links:
        """The links to other nodes."""
        return _started(self._links)

    @property
    def placement(self) -> Placement:
        """Where something new is to run, and how loaded each node is."""
        return _started(self._placement)

    @property
    def drains(self) -> Drains:
        """What is to be done when this node drains: a part that has something here adds its step."""
        return _started(self._drains)

    @property
    def draining(self) -> bool:
        """Whether this node takes nothing new, and hands over what it has."""
        return self._placement is not None and self._placement.draining

    @property
    def put_out(self) -> str:
        """Why the cluster goes on without this node, which ends itself then; "" as long as it does not."""
        return self._put_out

    @property
    def names(self) -> Names:
        """The names that are unique in the cluster, and who has them."""
        return _started(self._names)

    @property
    def table(self) -> MembershipTable:
        """The table of members and names, as this node reaches it."""
        return _started(self._table)

    @property
    def groups(self) -> Assembly:
        """The groups of all nodes: `node.groups["party"].broadcast(message)`. An actor joins with `self.join("party")`."""
        return self.links.groups

    @property
    def incarnation(self) -> int:
        """Which life of the node this is; the next one's is higher."""
        return self.system.incarnation

    @property
    def address(self) -> str:
        """Where it listens, such as tcp://127.0.0.1:41234."""
        return self.links.address

    def ref(self, name: str) -> ActorRef[Any]:
        """Whoever has the name when it is used: "room/lobby" here, "engine@engine-1" on another node."""
        return self.system.ref(name)

    async def drained(self, ref: ActorRef[Any]) -> None:
        """Wait until all that this node has sent so far to the node of `ref` has arrived: it is in the mailboxes there, or in line
        for them, or a dead letter there. For an actor of this node that is so at once.

        Raises NodeDown if that node is gone, or goes before all is acknowledged: what is left are dead letters here.
        """
        if isinstance(ref, RemoteRef):
            if ref.link.links is not self.links:
                raise ValueError(f"{ref!r} is a reference of another node in this process: ask that node")
            if not self.system.scheduler.here():
                raise RuntimeError(f"drained belongs on the loop of the node {self.name!r}")
            await ref.link.drained()
        elif not isinstance(ref, ActorRef):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"drained waits for what was sent to an actor, given its reference, not {ref!r}")

    def subscribe(self, ref: ActorRef[Any]) -> None:
        """Tell `ref` NodeUp, NodeDrains and NodeLost from now on, until it ends; first a NodeUp for each other node that is there."""
        others = (row for row in self.members() if row.status == "active" and row.node != self.name)
        _started(self._news).subscribe(ref, others)

    # --- life ---

    async def start(self) -> None:
        """Listen, and join. Raises BadAddress, CannotListen, CannotReach, TableError, NameTaken, KeyTrouble; nothing is left open then.

        UnderstudyError if it is stopped meanwhile.
        """
        if self._system is not None:
            raise RuntimeError(f"node {self.name!r} was started before: make a new Node for its next life")
        self._ended = asyncio.get_running_loop().create_future()
        self._settled = asyncio.Event()
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(None) as self._starting:  # it is up when somebody stops the node meanwhile
                    await self._begin(stack)
                self._open = stack.pop_all()
        except TimeoutError:
            if self._starting is None or not self._starting.expired():
                raise
            raise UnderstudyError(f"the node {self.name!r} was stopped while it started") from None
        finally:
            self._settled.set()

    async def _begin(self, stack: AsyncExitStack) -> None:
        self._system = self._given_system or ActorSystem(self.name, copy=wanted_copy())
        self._system.incarnation = int(self._system.world.wall() * 1000)
        self._news = News(self._system)
        trust = Trust(self.name, self._keys) if self._keys is not None else None
        links = self._links = Links(self._system, self._given_network or ZeroMqNetwork(), trust)
        stack.push_async_callback(links.close, PARTING / 4)  # what it said to its peers was waited for before it left
        stack.push_async_callback(self._dismiss_its_own)
        self._health = health = Health(links, self._rules)
        stack.callback(health.close)
        placement = self._placement = Placement(links, self._roles, self._tags, self._capacity, health.answers)
        self._own.append(await self._system.spawn(Herald, placement, self._look, name=HERALD))
        steward = await self._system.spawn(Steward, placement, name=STEWARD)
        self._own.append(steward)
        drains = self._drains = Drains(placement, lambda: links.me, self._tell_draining, self._write_draining)
        self._system.nodes = Abroad(links, steward, placement, drains)
        neighbours = Neighbours(links, placement, health, self._news)
        placement.on_drains = neighbours.drains
        links.listen(self._listen)
        joining = Joining(links, join=self._join, token=self._token, state=self._state, table=self._given_table)
        stack.push_async_callback(joining.close)
        seed, table = await joining.begin()
        self._table = table
        await joining.look_at(table)
        key = trust.pair.public if trust is not None else ""
        me = Member(
            self.name, self.incarnation, links.address, curve_key=key, roles=self._roles, pid=os.getpid(),
            tags=self._tags, capacity=self._capacity,
        )  # fmt: skip
        self._membership = membership = Membership(
            table,
            me,
            probe=neighbours.probe,
            on_up=neighbours.up,
            on_dead=neighbours.lost,
            on_own_death=self._own_death,
            on_past=neighbours.past,
            on_row=neighbours.row,
            on_silent=health.silent,
            on_answering=health.answering,
            stands=health.stands,
            healthy=health.check,
            rules=self._rules,
        )
        names = self._names = Names(table, membership)
        sweeper = Sweeper(table, membership, names, self._system.world.random.random, self._rules.sweep_after)
        entities = self._entities = Entities(links, names, placement, links.groups, self._roles)
        registry = self._registry = Registry(names, links, entities.hosted)
        singletons = self._singletons = Singletons(registry, self._roles)
        links.greeted = lambda peer: membership.hello(*peer)
        links.condemned = lambda peer: membership.condemned(peer.node)
        stack.push_async_callback(membership.leave)
        stack.callback(sweeper.end)
        stack.callback(names.end, "it leaves")
        stack.callback(registry.close)
        stack.push_async_callback(
            links.drain, PARTING
        )  # first the last words of its actors, then the news that it left
        if self._given_system is None:
            stack.push_async_callback(self._system.shutdown)
        stack.push_async_callback(singletons.close)
        stack.callback(entities.end, "this node has stopped")
        stack.callback(drains.stop)
        stack.callback(placement.stop)
        drains.add("names", "entities", entities.drain)
        drains.add("names", "singletons", singletons.drain)
        drains.add("names", "children", lambda deadline: moved(placement, deadline))
        drains.add("mailboxes", "mailboxes", lambda deadline: emptied(links, drains.drainers, deadline))
        drains.add("rest", "names", registry.drain)
        await health.start()
        if seed is None:
            self._own.append(await self._system.spawn(TableServer, table, name=TABLE))
        claimed = await membership.claim()
        links.guest = False
        if claimed.incarnation != self.incarnation:
            links.begin_again(claimed.incarnation)
        if trust is not None:
            neighbours.locksmith = Locksmith(links, trust, membership)
            stack.push_async_callback(neighbours.locksmith.close)
        await membership.join()
        names.start()
        sweeper.start()
        self._own.append(await entities.start())
        if neighbours.locksmith is not None:
            neighbours.locksmith.start()
        if seed is not None:
            finding = asyncio.create_task(joining.find_again(seed))
            stack.callback(finding.cancel)

    async def stop(self) -> None:
        """End the actors, leave the cluster, close the links: in this order, so that nobody is surprised. Twice is fine.

        A start that is under way is called off, and raises UnderstudyError.
        """
        await self._stopped("it was stopped")

    async def _stopped(self, why: str) -> None:
        _started(self._ended)
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop(why))
        await asyncio.shield(self._stopping)

    async def drain(self, timeout: float = DRAIN_TIMEOUT) -> DrainReport:
        """Take nothing new, hand over what this node has, and wait until that is done, `timeout` seconds at most and then a moment
        for each stage; see `drain.py`. Returns what was left behind. The node is up until it is stopped, and takes nothing new.

        One drain at a time: whoever asks during one waits for that one, and has its report; after it, for another. When all who wait
        are cancelled it is called off. While the node starts, its start is waited for. UnderstudyError if the node has stopped, or
        stops meanwhile.
        """
        try:
            async with asyncio.timeout(waiting_time(timeout)):
                await _started(self._settled).wait()
        except TimeoutError:
            raise UnderstudyError(
                f"the node {self.name!r} was still starting after {timeout} s: nothing was drained"
            ) from None
        return await self.drains.drain(timeout)

    async def leave(self, timeout: float = DRAIN_TIMEOUT) -> DrainReport:
        """Drain, then stop. Returns what was left behind when it stopped; it did all the same. Raises what `drain` does."""
        report = await self.drain(timeout)
        await self._stopped("it left")
        return report

    async def ended(self) -> str:
        """Wait until the node has stopped, by `stop` or because the others declared it dead; returns why."""
        return await asyncio.shield(_started(self._ended))

    async def _stop(self, why: str) -> None:
        if self._starting is not None and self._settled is not None and not self._settled.is_set():
            with suppress(RuntimeError):  # it is past that, or has failed, and closes what it has opened
                self._starting.reschedule(asyncio.get_running_loop().time())
            await self._settled.wait()
        await self._open.aclose()
        ended = _started(self._ended)
        if not ended.done():
            ended.set_result(why)

    async def _dismiss_its_own(self) -> None:
        """End the actors that a system has which goes on without the node, and which are the node's."""
        self.system.nodes = Alone(self.system)
        for ref in reversed(self._own):
            await ref.stop()

    # --- membership ---

    async def _look(self, whom: Peer) -> None:
        await self.names.look()
        _started(self._entities).routes.leave(whom, self.names.owner)

    def _tell_draining(self) -> None:
        _started(self._names).draining = self.draining
        self.placement.announce()
        if self.draining:
            _started(self._news).publish(NodeDrains(*self.links.me))

    async def _write_draining(self, draining: bool) -> None:
        await _started(self._membership).publish(draining=draining)

    def _own_death(self, reason: str) -> None:
        """The cluster goes on without this node: whatever its actors still do must not reach the others."""
        self._put_out = reason
        self.links.cut(NoConnection(f"this node is out of the cluster: {reason}"))
        if self._names is not None:
            self._names.end(reason)
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop(reason))

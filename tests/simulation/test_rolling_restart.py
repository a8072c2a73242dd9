"""A rolling restart: every node drains, leaves and starts again, one after the other, while others call and tell what lives there.

A store outside of all nodes keeps what was handled. Promised, and held against it: no call fails, what was answered was handled once,
what was told is handled once, by rooms in the order told; no name is lost, fences only grow; a child that was placed runs, and its
supervisor, which may restart nobody, has not given up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import pytest

from understudy.actors import Actor, ActorRef, ActorSystem, CrashReport, DeadLetter, Request, message
from understudy.simulation import Cluster, Simulation
from understudy.supervisors import Child, Supervisor, WhichChildren
from understudy.transport import DrainReport, Node

HOSTS = ("node-1", "node-2", "node-3")

ROOMS = ("lobby", "kitchen", "cellar", "attic")

CLERK = "clerk"

NAMES = (*ROOMS, CLERK)


@message("test.rolling.put")
class Put(Request[int]):
    """Keep this; the answer is the fence under which that was done."""

    what: str
    number: int


@dataclass
class Store:
    """What was handled, by the name of whoever did: outside of all nodes."""

    simulation: Simulation
    kept: dict[str, list[tuple[str, int]]] = field(default_factory=dict[str, list[tuple[str, int]]])
    fences: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    hosts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    troubles: list[object] = field(default_factory=list[object])
    reports: list[DrainReport] = field(default_factory=list[DrainReport])


STORES: WeakValueDictionary[int, Store] = WeakValueDictionary()
NUMBERS = count()
"""By number, which crosses the wire; for as long as the run has them."""


class Keeper(Actor):
    """An entity, a singleton, or a child: takes its time, and keeps what it was given."""

    def __init__(self, name: str, store: int) -> None:
        super().__init__()
        self.store = STORES[store]
        self.known = name

    def on_start(self) -> None:
        self.store.fences.setdefault(self.known, []).append(self.fence)
        self.store.hosts.setdefault(self.known, []).append(self.system.name)

    async def on_receive(self, message: object) -> object:
        match message:
            case Put(what, number):
                await asyncio.sleep(self.store.simulation.random.uniform(0.0, 0.02))
                self.store.kept.setdefault(self.known, []).append((what, number))
                return self.fence
            case _:
                return self.unhandled(message)


class Caller(Actor):
    """Calls what lives in the cluster, one after the other, and each must answer; until its node drains, or all is over."""

    def __init__(self, rolling: Rolling, who: str) -> None:
        super().__init__()
        self.rolling = rolling
        self.who = who
        self.number = 0

    def on_start(self) -> None:
        self.tell_oneself()

    def tell_oneself(self) -> None:
        self.send_after(self.rolling.random.uniform(0.0, 0.1), "go")

    async def on_receive(self, message: object) -> None:
        if self.rolling.over or self.system.nodes.draining:
            return
        name = self.rolling.random.choice(NAMES)
        await self.rolling.target(self.system, name).call(Put(self.who, self.number), timeout=60.0)
        self.rolling.answered.setdefault((self.who, name), set()).add(self.number)
        self.number += 1
        self.tell_oneself()


class Teller(Actor):
    """Tells them, never waiting for anybody."""

    def __init__(self, rolling: Rolling) -> None:
        super().__init__()
        self.rolling = rolling

    def on_start(self) -> None:
        self.send_after(0.0, "go")

    def on_receive(self, message: object) -> None:
        if self.rolling.over:
            return
        name, told = self.rolling.random.choice(NAMES), self.rolling.told
        told[name] = told.get(name, -1) + 1
        self.rolling.target(self.system, name).tell(Put("told", told[name]))
        self.send_after(self.rolling.random.uniform(0.0, 0.05), "go")


class Rolling:
    """The cluster, and what is done to it."""

    def __init__(self, simulation: Simulation, cluster: Cluster) -> None:
        self.random = simulation.random
        self.cluster = cluster
        self.number = next(NUMBERS)
        self.store = STORES[self.number] = Store(simulation)
        self.told: dict[str, int] = {}
        self.answered: dict[tuple[str, str], set[int]] = {}
        self.over = False

    def target(self, system: ActorSystem, name: str) -> ActorRef[Any]:
        return system.nodes.cluster_ref(CLERK) if name == CLERK else system.nodes.entity("room", name)

    async def host(self, node: Node) -> None:
        """The main program of each host."""
        node.system.hooks.subscribe(CrashReport, self.store.troubles.append)
        node.host("room", Keeper, self.number)
        await node.singleton(CLERK, Keeper, CLERK, self.number)
        await node.spawn(Caller, self, f"{node.name}:{node.incarnation}")

    async def client(self, node: Node) -> None:
        """The main program of one that stays."""
        for event in (CrashReport, DeadLetter):
            node.system.hooks.subscribe(event, self.store.troubles.append)
        await node.spawn(Caller, self, node.name)
        await node.spawn(Teller, self)

    async def roll(self) -> None:
        """All hosts, one after the other, as an operator does who waits until each is back."""
        for name in self.random.sample(HOSTS, len(HOSTS)):
            await asyncio.sleep(self.random.uniform(0.0, 3.0))
            self.store.reports.append(await self.cluster.run(name, self.cluster.node(name).leave(30.0)))
            await self.cluster.restart(name)
            await self.cluster.met()


@pytest.mark.seeds(12)
@pytest.mark.parametrize("table", ["quick", "slow"])
async def test_a_rolling_restart_loses_no_message_that_was_acknowledged_and_no_name(
    simulation: Simulation, table: str
) -> None:
    async with Cluster(simulation) as cluster:
        rolling = Rolling(simulation, cluster)
        if table == "slow":  # a name is nobody's for a while
            cluster.table.slow(0.0, 0.2)
        store = rolling.store
        await asyncio.gather(*(cluster.start(name, rolling.host, roles=("host",)) for name in HOSTS))
        client = await cluster.start("client", rolling.client)
        await cluster.met()
        child = Child(Keeper, ("child", rolling.number), name="child", role="host")
        boss = await cluster.run("client", client.spawn(Supervisor, [child], intensity=0))
        await rolling.roll()
        rolling.over = True
        await asyncio.sleep(15.0)

        assert store.troubles == []
        assert [report.left for report in store.reports] == [{}] * len(HOSTS), store.reports
        for name in NAMES:
            kept = store.kept[name]
            assert len(set(kept)) == len(kept), f"handled twice: {name}"
            came = [number for what, number in kept if what == "told"]
            # What is sent on by the node that had a name may be overtaken by what is sent to the one that has it now.
            assert (sorted(came) if name == CLERK else came) == list(range(rolling.told.get(name, -1) + 1)), name
            fences = store.fences[name]
            assert fences == sorted(set(fences)), f"the fences of {name}: {fences}"
            assert 0 not in fences
            await rolling.target(client.system, name).call(Put("at last", 0), timeout=10.0)
        for (who, name), numbers in rolling.answered.items():
            assert numbers == {number for what, number in store.kept[name] if what == who}, who
        [row] = await boss.call(WhichChildren())
        assert row.state == "running"
        assert row.node in HOSTS
        assert len(store.hosts["child"]) == row.restarts + 1 >= 2, store.hosts["child"]

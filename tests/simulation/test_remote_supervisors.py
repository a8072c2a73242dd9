"""Supervisors with children on other nodes, whatever happens to nodes, network and table.

A ledger outside of all nodes knows who really lives where. Promised, and held against it:

- in one life of a node there are never two living children of one place, and nobody lives there for a supervisor that has ended
  or whose node is lost, but for the time that it takes to learn of that and to end;
- when all is well again every place is filled, by one child, which its supervisor knows; and nobody else lives;
- every `spawn_on` ends; what it has returned lives on as it was said, and nothing lives that it has not returned.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import pytest

from tests.properties import OF_NODES
from understudy.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Address,
    CallError,
    Ended,
    ExitReason,
    Request,
    UnderstudyError,
    message,
)
from understudy.simulation import Cluster, Simulation, faults
from understudy.supervisors import Child, Supervisor, WhichChildren
from understudy.transport import Node

SETTLED = 40.0
"""Seconds after the last fault: deaths are declared, nodes come back, children with them."""


@message("test.remote.who")
class Who(Request[str]):
    """Answered with the place of a child."""


@dataclass
class Life:
    """One life of one child, in one life of a node."""

    place: str
    address: Address
    ended: bool = False

    @property
    def node(self) -> tuple[str, int]:
        return self.address.node, self.address.incarnation


@dataclass
class Ledger:
    """Who lives, as nobody inside can know it: outside of all nodes."""

    cluster: Cluster
    lives: list[Life] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    systems: list[ActorSystem] = field(default_factory=list)

    def begin(self, place: str, actor: Actor) -> None:
        if actor.system not in self.systems:  # others may start actors there before its node has wholly started
            self.systems.append(actor.system)
            actor.system.hooks.subscribe(Ended, self.ended)
        life = Life(place, actor.actor_ref.address)
        if any((other.place, other.node) == (place, life.node) for other in self.living()):
            self.mistakes.append(f"a second {place} on {life.node}")
        self.lives.append(life)

    def ended(self, event: Ended) -> None:
        for life in self.lives:
            if life.address == event.ref.address:
                life.ended = True

    def living(self) -> list[Life]:
        """Those that have not ended, in lives of nodes that have not either."""
        now = {(name, self.cluster.node(name).incarnation) for name in self.cluster.running()}
        return [life for life in self.lives if not life.ended and life.node in now]


LEDGERS: WeakValueDictionary[int, Ledger] = WeakValueDictionary()
NUMBERS = count()
"""By number, which crosses the wire; for as long as the run has them: a system that is kept keeps its tasks, and every later run
would look through those."""


class Engine(Actor):
    """A child that takes a while to start and to end, and perhaps does not live long."""

    def __init__(self, ledger: int, place: str, frail: float) -> None:
        super().__init__()
        self.ledger = LEDGERS[ledger]
        self.place = place
        self.frail = frail

    async def on_start(self) -> None:
        self.ledger.begin(self.place, self)
        await asyncio.sleep(0.01)
        if self.frail:
            self.send_after(self.frail, "crash")

    def on_receive(self, message: object) -> object:
        match message:
            case Who():
                return self.place
            case "crash":
                raise ValueError("frail")
            case _:
                return self.unhandled(message)

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(0.05)


class Boss(Supervisor):
    intensity = 1_000
    period = 3_600.0


class Company:
    """One node with a supervisor, others with its children."""

    def __init__(self, simulation: Simulation, cluster: Cluster, frail: float, strategy: str) -> None:
        self.simulation = simulation
        self.cluster = cluster
        self.number = next(NUMBERS)
        self.ledger = LEDGERS[self.number] = Ledger(cluster)
        self.engines = ["engine-1", "engine-2"]
        self.strategy = strategy
        self.children = [
            Child(
                Engine, (self.number, f"{node}/{n}", frail if n else 0.0), name=f"{node}/{n}", node=node, shutdown=1.0
            )
            for node in self.engines
            for n in range(2)
        ]

    async def begin(self) -> None:
        await asyncio.gather(
            self.cluster.start("stage", self.stage),
            *(self.cluster.start(node) for node in self.engines),
        )
        await self.cluster.met(60)

    async def stage(self, node: Node) -> None:
        await node.spawn(Boss, self.children, strategy=self.strategy, name="boss")

    async def whole(self, within: float) -> list[Any]:
        """Wait until every place is filled, and its child answers; returns what the supervisor says of its children."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while True:
            try:
                boss = self.cluster.node("stage").ref("boss")
                rows = await boss.call(WhichChildren(), timeout=1.0)
                if all(row.ref is not None for row in rows):
                    for row in rows:
                        assert row.ref is not None
                        assert await row.ref.call(Who(), timeout=1.0) == row.id
                    return rows
            except (CallError, UnderstudyError):
                pass
            assert loop.time() < end, f"after {within} s: {rows}"
            await asyncio.sleep(0.2)

    def check(self) -> None:
        assert self.ledger.mistakes == []
        assert sorted(life.place for life in self.ledger.living()) == sorted(child.id for child in self.children)


@pytest.mark.seeds(OF_NODES)
async def test_after_any_faults_every_place_is_filled_once_and_nothing_is_left_over(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        frail = simulation.choose([0.0, 1.0], "frail")
        strategy = simulation.choose(["one_for_one", "one_for_one", "rest_for_one", "one_for_all"], "strategy")
        company = Company(simulation, cluster, frail, strategy)
        await company.begin()
        await company.whole(10)
        kinds = faults.NETWORK + 3 * faults.NODES + faults.TABLE
        keeper = asyncio.ensure_future(cluster.keep_alive())
        script = faults.plan(simulation, ["stage", *company.engines], kinds, seconds=8, most=6, longest=6.0)
        await faults.play(cluster, script)
        while len(cluster.running()) < 3:  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.5)
        await cluster.met(60)
        await company.whole(SETTLED)
        keeper.cancel()
        await asyncio.sleep(3.0)  # what was told to end has ended
        if not frail:
            company.check()
        assert company.ledger.mistakes == []


@dataclass
class Attempt:
    """One spawn_on, of one life of the stage."""

    place: str
    life: int
    child: bool
    timeout: float
    began: float
    ended: float | None = None
    ref: ActorRef[Any] | None = None


class Spawner(Actor):
    """Starts actors elsewhere, some of them as its children, and does not live for ever."""

    trap_exit = True

    def __init__(self, node: Node, ledger: int, attempts: list[Attempt], simulation: Simulation) -> None:
        super().__init__()
        self.node = node
        self.ledger = ledger
        self.attempts = attempts
        self.simulation = simulation

    def on_start(self) -> None:
        self.run(self.work())

    def on_receive(self, message: object) -> object:
        return None  # ends of children

    async def work(self) -> None:
        random, loop = self.simulation.random, asyncio.get_running_loop()
        for _ in range(6):
            await asyncio.sleep(random.uniform(0.0, 1.5))
            where, child = f"engine-{random.randint(1, 2)}", random.random() < 0.5
            place, timeout = f"spawned-{len(self.attempts)}", random.choice([0.02, 0.5, 3.0])
            attempt = Attempt(place, self.actor_ref.address.incarnation, child, timeout, loop.time())
            self.attempts.append(attempt)
            spawn = self.spawn_on if child else self.node.spawn_on
            try:
                async with asyncio.timeout(random.choice([0.01, 1.0, 100.0])):  # some are cancelled
                    attempt.ref = await spawn(where, Engine, self.ledger, place, 0.0, timeout=timeout)
            except (UnderstudyError, TimeoutError):
                pass
            finally:
                attempt.ended = loop.time()


@pytest.mark.seeds(OF_NODES)
async def test_every_spawn_ends_and_nothing_lives_that_nobody_was_given(simulation: Simulation) -> None:
    async with Cluster(simulation) as cluster:
        number = next(NUMBERS)
        ledger = LEDGERS[number] = Ledger(cluster)
        attempts, owners = list[Attempt](), list[ActorRef[Any]]()

        async def stage(node: Node) -> None:
            owners.append(await node.spawn(Spawner, node, number, attempts, simulation))

        await asyncio.gather(*(cluster.start(f"engine-{n}") for n in (1, 2)))
        await cluster.start("stage", stage)
        keeper = asyncio.ensure_future(cluster.keep_alive())
        kinds = faults.NETWORK + 2 * faults.NODES + faults.TABLE
        script = faults.plan(simulation, ["stage", "engine-1", "engine-2"], kinds, seconds=8, most=6, longest=6.0)
        await faults.play(cluster, script)
        while len(cluster.running()) < 3:  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.5)
        await cluster.met(60)
        await asyncio.sleep(15.0)
        if simulation.chance(0.5, "the owner ends"):
            owners[-1].kill()
            await asyncio.sleep(2.0)
        keeper.cancel()
        now = cluster.node("stage").incarnation
        living = {life.place: life for life in ledger.living()}
        lives = {(name, cluster.node(name).incarnation) for name in cluster.running()}
        for attempt in attempts:
            known = attempt.life == now
            if attempt.ended is not None and not any(fault.kind == "pause" for fault in script):
                assert attempt.ended - attempt.began <= attempt.timeout + 0.001, attempt
            if known:
                assert attempt.ended is not None, f"it never ended: {attempt}"
            if known and attempt.ref is None:
                assert attempt.place not in living, f"nobody has it: {attempt}"
            if attempt.ref is not None and attempt.ref.address[:2] in lives:
                if attempt.child:
                    assert (attempt.place in living) == (known and owners[-1].is_alive()), attempt
                elif known:
                    assert attempt.place in living, f"it was to live on: {attempt}"
            if not known and attempt.ref is None and attempt.place in living:
                raise AssertionError(f"whoever wanted it is gone, and never had it: {attempt}")
        assert ledger.mistakes == []

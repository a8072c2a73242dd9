"""Whatever is done to names, groups, singletons and entities, in whatever order: every node says what the model says.

Hypothesis makes up the commands, and a seed of its choice everything else. The machine only writes them down; its teardown
has the model and a real cluster follow them, and compares after each.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.cluster_model import Model
from understudy.actors import Actor, ActorRef, NameTaken, Request, message
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node

NODES = ("a", "b", "c")
NAMES = ("ann", "bob")
GROUPS = ("party", "choir")
KEYS = ("lobby", "roof")
SUN = "sun"

CALM = 1.0
"""Seconds after which everything has followed from a command while all is well."""

MOURNING = 9.0
"""The same where a node has died, which the others have to find out."""

NEVER = 1e6
"""Seconds for which an entity may be idle here."""


@message("model.number")
class Number(Request[int]):
    """Answered with the number of whoever is asked."""


@message("model.count")
class Count(Request[list[Any]]):
    """Answered with [node, incarnation, how often this was asked]."""


class Fault(Exception):
    """Of a handler's own making."""


class Person(Actor):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def on_receive(self, message: object) -> object:
        match message:
            case Number():
                return self._number
            case ("join", str(group)):
                self.join(group)
            case ("leave", str(group)):
                self.leave(group)
            case _:
                raise Fault
        return None


class Counter(Actor):
    """An entity, or a singleton."""

    def __init__(self, *_: str) -> None:
        super().__init__()
        self._count = 0

    def on_receive(self, message: object) -> object:
        match message:
            case Count():
                self._count += 1
                return [*self.actor_ref.address[:2], self._count]
            case _:
                raise Fault


class City:
    """A real cluster, and the model beside it: both follow the commands, whose numbers pick what they mean."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.model = Model(NODES)
        self.refs: dict[int, ActorRef[Any]] = {}
        self.fences: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.homes: dict[str, tuple[str, int]] = {}
        """Where an entity last answered."""
        self._numbers = 0

    async def begin(self) -> None:
        await asyncio.gather(*(self.cluster.start(name, self._inhabit) for name in NODES))
        await self.cluster.met()
        await asyncio.sleep(CALM)

    async def _inhabit(self, node: Node) -> None:
        node.host("room", Counter, idle=NEVER)
        await node.singleton(SUN, Counter)

    def _somebody(self, pick: int) -> int | None:
        numbers = sorted(self.model.actors)
        return numbers[pick % len(numbers)] if numbers else None

    def _node(self, pick: int) -> Node:
        up = sorted(self.model.up)
        return self.cluster.node(up[pick % len(up)])

    # --- commands ---

    async def spawn(self, where: int) -> None:
        node, self._numbers = self._node(where), self._numbers + 1
        self.refs[self._numbers] = await self.cluster.run(node.name, node.spawn(Person, self._numbers))
        self.model.spawn(self._numbers, node.name)

    async def end(self, who: int, how: str) -> None:
        number = self._somebody(who)
        if number is None:
            return
        ref = self.refs[number]
        match how:
            case "stop":
                ref.stop()
            case "kill":
                ref.kill()
            case _:
                ref.tell("crash")
        self.model.end(number)

    async def register(self, who: int, name: str) -> None:
        number = self._somebody(who)
        if number is None or self.model.actors[number].name is not None:
            return
        node = self.cluster.node(self.model.actors[number].node)
        free = self.model.register(number, name)
        try:
            fence = await self.cluster.run(node.name, node.register(name, self.refs[number]))
        except NameTaken:
            assert not free, f"{name} is taken, though nobody has it"
        else:
            assert free, f"{name} was given away twice"
            assert fence > self.fences[name], f"the fence of {name} did not grow: {fence} after {self.fences[name]}"
            self.fences[name] = fence

    async def unregister(self, name: str) -> None:
        owner = self.model.owner(name)
        if owner is not None:
            node = self.cluster.node(owner.node)
            await self.cluster.run(node.name, node.unregister(name))
            self.model.unregister(name)

    async def join(self, who: int, group: str, leaves: bool) -> None:
        number = self._somebody(who)
        if number is not None:
            self.refs[number].tell(("leave" if leaves else "join", group))
            (self.model.leave if leaves else self.model.join)(number, group)

    async def call(self, where: int, key: str) -> None:
        node, incarnation, count = await self._node(where).entity("room", key).call(Count())
        assert (node, incarnation) in self._lives(), f"{key} answers from {node}, {incarnation}, which is over"
        before, calls = self.homes.get(key), self.model.call(key)
        assert count == calls, f"{key} was asked {calls} times, and counts {count}"
        assert calls == 1 or before == (node, incarnation), f"{key} has moved from {before} to {node}, and counts on"
        self.homes[key] = node, incarnation

    async def fail(self, where: int, key: str) -> None:
        self._node(where).entity("room", key).tell("crash")
        self.model.fail(key)

    async def down(self, which: int, how: str) -> None:
        if len(self.model.up) == 1:
            return
        name = self._node(which).name
        held = {key for key, (node, _) in self.homes.items() if node == name}
        self.model.down(name, held)
        match how:
            case "crash":
                self.cluster.crash(name)
                await asyncio.sleep(MOURNING)
            case "stop":
                await self.cluster.stop(name)
            case _:
                await self.cluster.leave(name)

    async def back(self, which: int) -> None:
        gone = sorted(set(NODES) - self.model.up)
        if gone:
            name = gone[which % len(gone)]
            await self.cluster.restart(name)
            self.model.back(name)

    # --- whether it is so ---

    def _lives(self) -> set[tuple[str, int]]:
        return {(name, self.cluster.node(name).incarnation) for name in self.model.up}

    async def check(self) -> None:
        """Every node says what the model says."""
        for name in sorted(self.model.up):
            node = self.cluster.node(name)
            for unique in NAMES:
                owner, row = self.model.owner(unique), node.names.owner(unique)
                assert (owner and owner.node) == (row and row.node), f"{name} says of {unique} {row}, it is {owner}"
                if owner is not None:
                    assert await node.cluster_ref(unique).call(Number(), CALM) == owner.number
            for group in GROUPS:
                refs = [ref for refs in node.groups[group].by_node().values() for ref in refs]
                seen = {
                    number for number, ref in self.refs.items() if any(ref.address == each.address for each in refs)
                }
                assert seen == self.model.members(group), f"{name} sees in {group} {seen}"
                assert len(refs) == len(seen), f"{name} sees ghosts in {group}: {refs}"
        suns = [await self.cluster.node(name).cluster_ref(SUN).call(Count(), CALM) for name in sorted(self.model.up)]
        assert len({(node, incarnation) for node, incarnation, _ in suns}) == 1, f"there are several suns: {suns}"
        assert (suns[0][0], suns[0][1]) in self._lives(), f"the sun is a ghost: {suns}"


class Commands(RuleBasedStateMachine):
    """Writes down commands, which the city follows in the end."""

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.seed = seed
        self.script: list[tuple[str, tuple[Any, ...]]] = []

    @rule(where=st.integers(0, 9))
    def spawn(self, where: int) -> None:
        self.script.append(("spawn", (where,)))

    @rule(who=st.integers(0, 9), how=st.sampled_from(("stop", "kill", "crash")))
    def end(self, who: int, how: str) -> None:
        self.script.append(("end", (who, how)))

    @rule(who=st.integers(0, 9), name=st.sampled_from(NAMES))
    def register(self, who: int, name: str) -> None:
        self.script.append(("register", (who, name)))

    @rule(name=st.sampled_from(NAMES))
    def unregister(self, name: str) -> None:
        self.script.append(("unregister", (name,)))

    @rule(who=st.integers(0, 9), group=st.sampled_from(GROUPS), leaves=st.booleans())
    def join(self, who: int, group: str, leaves: bool) -> None:
        self.script.append(("join", (who, group, leaves)))

    @rule(where=st.integers(0, 9), key=st.sampled_from(KEYS))
    def call(self, where: int, key: str) -> None:
        self.script.append(("call", (where, key)))

    @rule(where=st.integers(0, 9), key=st.sampled_from(KEYS))
    def fail(self, where: int, key: str) -> None:
        self.script.append(("fail", (where, key)))

    @rule(which=st.integers(0, 9), how=st.sampled_from(("crash", "stop", "leave")))
    def down(self, which: int, how: str) -> None:
        self.script.append(("down", (which, how)))

    @rule(which=st.integers(0, 9))
    def back(self, which: int) -> None:
        self.script.append(("back", (which,)))

    def teardown(self) -> None:
        simulation = Simulation(self.seed)

        async def play() -> None:
            async with Cluster(simulation) as cluster:
                city = City(cluster)
                await city.begin()
                for command, arguments in self.script:
                    await getattr(city, command)(*arguments)
                    await asyncio.sleep(CALM)
                    await city.check()

        simulation.run(play)


SETTINGS = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

TestCluster = Commands.TestCase
TestCluster.settings = SETTINGS

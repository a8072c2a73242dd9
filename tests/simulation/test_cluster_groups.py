"""Groups over five nodes, whatever happens to all of them.

Within ten seconds of quiet everybody sees the same members of every group: those who are in it, and no ghost. Whoever has
counted along from the news sees them too, and a broadcast reaches each of them once.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest

from tests.properties import OF_CLUSTERS
from tests.simulation.realm import Realm
from understudy.actors import Actor, ActorRef, Address, Joined, Left
from understudy.simulation import Simulation
from understudy.transport import Node

GROUPS = ("kitchen", "garden", "attic")

GUESTS = 3
"""Of each node, at any time."""

RESTLESS = (0.1, 4.0)
"""Seconds after which a guest goes somewhere else, at least and at most."""


class Guest(Actor):
    """Comes, goes, and ends, until it is calm."""

    def __init__(self, house: House, node: Node) -> None:
        super().__init__()
        self._house = house
        self._node = node

    def on_start(self) -> None:
        self.join(self._house.simulation.choose(GROUPS, "begins in"))
        self._rest()

    def _rest(self) -> None:
        self.send_after(self._house.simulation.delay(*RESTLESS, "restless"), "move")

    async def on_receive(self, message: object) -> None:
        match message:
            case "move" if not self._house.calm:
                await self._move()
            case ("hello", str()):
                self._house.heard[self.actor_ref.address] += 1
            case _:
                pass

    async def _move(self) -> None:
        simulation = self._house.simulation
        group = simulation.choose(GROUPS, "where")
        match simulation.choose(("join", "join", "leave", "end"), "what"):
            case "join":
                self.join(group)
            case "leave":
                self.leave(group)
            case _:
                await self._node.spawn(Guest, self._house, self._node)
                self.stop()
        self._rest()


class Porter(Actor):
    """Knows from the news who is where."""

    def __init__(self, node: Node, book: dict[str, set[Address]]) -> None:
        super().__init__()
        self._node = node
        self._book = book

    def on_start(self) -> None:
        for group, refs in self._node.groups.watch(self.actor_ref).items():
            self._book[group] = {ref.address for ref in refs}

    def on_receive(self, message: object) -> None:
        match message:
            case Joined(group, ref):
                assert ref.address not in self._book[group], f"{ref} joined {group} twice"
                self._book[group].add(ref.address)
            case Left(group, ref):
                self._book[group].remove(ref.address)
            case _:
                self.unhandled(message)


class House(Realm):
    """Guests on every node, and a porter on each who counts along."""

    agrees_on = "all_see_the_same_groups"

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.calm = False
        self.heard: Counter[Address] = Counter()
        self.books: dict[Node, dict[str, set[Address]]] = {}
        self.porters: dict[Node, ActorRef[Porter]] = {}

    async def inhabit(self, node: Node) -> None:
        self.books[node] = defaultdict(set)
        self.porters[node] = await node.spawn(Porter, node, self.books[node])
        for _ in range(GUESTS):
            await node.spawn(Guest, self, node)

    def present(self) -> dict[str, dict[str, set[Address]]]:
        """Who is in which group on which node, as the nodes themselves have it."""
        return {
            group: {
                node.name: {ref.address for ref in members}
                for node in self.survivors()
                if (members := node.system.groups[group].members())
            }
            for group in GROUPS
        }

    def agreed(self) -> bool:
        """See Realm."""
        try:
            self.check()
        except (AssertionError, KeyError):  # or a porter is not there yet
            return False
        return True

    def check(self) -> None:
        """Everybody sees the same, and nobody who is not there."""
        present = self.present()
        assert sum(len(members) for there in present.values() for members in there.values()), "nobody is anywhere"
        for node in self.survivors():
            assert self.porters[node].is_alive()
            for group, there in present.items():
                seen = {name: {ref.address for ref in refs} for name, refs in node.groups[group].by_node().items()}
                assert seen == there, f"{node.name} sees in the {group} {seen}, there are {there}"
                everybody = set[Address]().union(*there.values())
                members = node.groups[group].members()
                lives = [tuple(ref.address) for ref in members]
                assert sorted(lives) == sorted(map(tuple, everybody)), f"{node.name} sees in the {group} {lives}"
                assert len(node.groups[group]) == len(members)
                assert self.books[node][group] == everybody, f"the porter of {node.name} has lost count of the {group}"

    async def check_broadcast(self) -> None:
        """Each member hears it once."""
        group = self.simulation.choose(GROUPS, "greeted")
        members = [address for there in self.present()[group].values() for address in there]
        sender = self.simulation.choose(self.survivors(), "sender")
        sender.groups[group].broadcast(("hello", group))
        await asyncio.sleep(1.0)
        assert self.heard == Counter(members)


@pytest.mark.seeds(OF_CLUSTERS)
async def test_everybody_sees_the_same_members_and_no_ghosts_within_ten_seconds_of_quiet(
    simulation: Simulation,
) -> None:
    async with House(simulation) as house:
        await house.trouble()
        house.calm = True
        await house.quiet()
        house.check()
        await house.check_broadcast()

"""Broadcasts over nodes, whatever happens to the nodes and to what is between them.

What one life of a speaker sends, broadcast or told, arrives at one life of a listener in the order it was sent, and never twice.
If both are there from the beginning to the end, nothing of it is missing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import NamedTuple

import pytest

from understudy.actors import Actor, Address, message
from understudy.simulation import Cluster, Simulation, faults
from understudy.transport import Node

LISTENERS = 2
"""On each node, at any time."""

EVERY = 0.2
"""Seconds between two words of a speaker."""


@message("test.broadcasts.word")
class Word:
    """The `number`-th that this life of a node says."""

    node: str
    incarnation: int
    number: int


class Life(NamedTuple):
    """One of a node, from its joining on."""

    node: str
    incarnation: int


class Listener(Actor):
    """In the audience until it ends."""

    def __init__(self, heard: dict[Address, list[Word]]) -> None:
        super().__init__()
        self._heard = heard

    def on_start(self) -> None:
        self.join("audience")

    def on_receive(self, message: object) -> object:
        match message:
            case Word():
                self._heard[self.actor_ref.address].append(message)
                return None
            case _:
                return self.unhandled(message)


class Speaker(Actor):
    """Says one word after the other: broadcast, or told to each of whom it knows."""

    def __init__(self, stage: Stage, node: Node) -> None:
        super().__init__()
        self._stage = stage
        self._node = node

    def on_start(self) -> None:
        self.send_every(EVERY, "speak")

    def on_receive(self, message: object) -> None:
        if not self._stage.speaking:
            return
        life = Life(self._node.name, self._node.incarnation)
        word = Word(*life, self._stage.said[life])
        self._stage.said[life] += 1
        audience = self.system.nodes.groups["audience"]
        if word.number % 3:
            audience.broadcast(word)
        else:
            for ref in audience:
                ref.tell(word)


class Stage:
    """What was said, and who heard what."""

    def __init__(self, simulation: Simulation, cluster: Cluster) -> None:
        self.cluster = cluster
        self.nodes = [f"node-{number}" for number in range(1, simulation.choose([2, 3], "nodes") + 1)]
        self.said: defaultdict[Life, int] = defaultdict(int)
        self.heard: defaultdict[Address, list[Word]] = defaultdict(list)
        self.speaking = False

    async def begin(self) -> None:
        await asyncio.gather(*(self.cluster.start(name, self.set_up) for name in self.nodes))
        await self.complete()
        self.speaking = True

    async def set_up(self, node: Node) -> None:
        for _ in range(LISTENERS):
            await node.spawn(Listener, self.heard)
        await node.spawn(Speaker, self, node)

    async def complete(self) -> None:
        """Wait until every running node knows the whole audience."""
        async with asyncio.timeout(60):
            while not self._is_complete():  # noqa: ASYNC110 - looking is cheap in virtual time
                await asyncio.sleep(0.1)

    def _is_complete(self) -> bool:
        running, whole = self.cluster.running(), LISTENERS * len(self.nodes)
        return len(running) == len(self.nodes) and all(
            len(self.cluster.node(name).groups["audience"]) == whole for name in running
        )

    def check(self, lasting: set[Life]) -> None:
        """`lasting`: the lives that were there from the beginning to the end."""
        for address, words in self.heard.items():
            by_speaker: defaultdict[Life, list[int]] = defaultdict(list)
            for word in words:
                by_speaker[Life(word.node, word.incarnation)].append(word.number)
            for speaker, numbers in by_speaker.items():
                assert numbers == sorted(set(numbers)), f"{address} heard of {speaker}: {numbers}"
            for speaker in lasting if Life(address.node, address.incarnation) in lasting else ():
                assert by_speaker[speaker] == list(range(self.said[speaker])), f"{address} has missed some of {speaker}"

    def lives(self) -> set[Life]:
        """Those that run."""
        return {Life(name, self.cluster.node(name).incarnation) for name in self.cluster.running()}


@pytest.mark.seeds(60)
async def test_whatever_happens_words_arrive_in_order_once_and_between_those_who_last_all_of_them(
    simulation: Simulation,
) -> None:
    async with Cluster(simulation) as cluster:
        stage = Stage(simulation, cluster)
        await stage.begin()
        first = stage.lives()
        deadly = simulation.chance(0.6, "deadly")
        kinds = faults.NETWORK + (2 * faults.NODES + faults.TABLE if deadly else ())
        keeper = asyncio.ensure_future(cluster.keep_alive())
        longest = 5.0 if deadly else 2.0
        await faults.play(cluster, faults.plan(simulation, stage.nodes, kinds, seconds=5, longest=longest))
        await asyncio.sleep(8)  # whoever is to be declared dead is by now
        await stage.complete()
        stage.speaking = False
        await asyncio.sleep(2)
        keeper.cancel()
        lasting = first & stage.lives()
        assert deadly or lasting == first
        assert sum(stage.said.values()) > 50
        assert len(stage.heard) >= LISTENERS * len(stage.nodes)
        stage.check(lasting)

"""Entities: one actor for each key, wherever it is and whenever somebody needs it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from understudy.actors import (
    Actor,
    ExitReason,
    Request,
    message,
)
from understudy.simulation import Cluster, Simulation
from understudy.transport import Node


@message("test.entities.say")
class Say:
    """Put down in the chronicle."""

    text: str


@message("test.entities.who")
class Who(Request[list[Any]]):
    """Answered with the node, the fence, and what this life was told."""


@message("test.entities.order")
class Do:
    """crash, stop, or wait: so many seconds."""

    what: str
    seconds: float = 0.0


@dataclass
class Life:
    """One life of an entity."""

    key: str
    node: str
    fence: int
    told: list[str] = field(default_factory=list)
    ended: ExitReason | None = None


@dataclass
class Chronicle:
    """What all the rooms went through, as nobody inside can know it."""

    lives: list[Life] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    broken: set[str] = field(default_factory=set)
    slow_start: float = 0.0
    slow_stop: float = 0.0

    def of(self, key: str) -> list[Life]:
        return [life for life in self.lives if life.key == key]

    def told(self, key: str) -> list[str]:
        return [text for life in self.of(key) for text in life.told]


class Room(Actor):
    """Remembers what it was told."""

    def __init__(self, key: str, chronicle: Chronicle) -> None:
        super().__init__()
        self.key = key
        self.chronicle = chronicle

    async def on_start(self) -> None:
        self.chronicle.starts[self.key] += 1
        if self.chronicle.slow_start:
            await asyncio.sleep(self.chronicle.slow_start)
        if self.key in self.chronicle.broken:
            raise ValueError(f"{self.key} is broken")
        self.life = Life(self.key, self.system.name, self.fence)
        self.chronicle.lives.append(self.life)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Say(text):
                self.life.told.append(text)
                return None
            case Who():
                return [self.life.node, self.life.fence, self.life.told]
            case Do("crash"):
                raise ValueError("as it was told")
            case Do("wait", seconds):
                return self._wait(seconds)
            case _:
                return self.unhandled(message)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def on_stop(self, reason: ExitReason) -> None:
        if self.chronicle.slow_stop:
            await asyncio.sleep(self.chronicle.slow_stop)
        self.life.ended = reason


@asynccontextmanager
async def street(
    simulation: Simulation, *, guests: tuple[str, ...] = ("a",), hosts: tuple[str, ...] = ("b", "c"), **options: Any
) -> AsyncIterator[tuple[Cluster, Chronicle]]:
    """A cluster of nodes that have guests and nodes that host rooms."""
    chronicle = Chronicle()

    async def host(node: Node) -> None:
        node.host("room", Room, chronicle, **options)

    async with Cluster(simulation) as cluster:
        await asyncio.gather(*(cluster.start(name) for name in guests), *(cluster.start(name, host) for name in hosts))
        await cluster.met()
        await asyncio.sleep(0.5)
        yield cluster, chronicle


async def test_an_entity_starts_with_the_first_message_and_is_the_same_from_everywhere(simulation: Simulation) -> None:
    async with street(simulation, guests=("a", "d")) as (cluster, chronicle):
        lobby = cluster.node("a").entity("room", "lobby")
        assert chronicle.starts == {}
        lobby.tell(Say("hello"))
        node, fence, told = await lobby.call(Who())
        assert (node in "bc", fence > 0, told) == (True, True, ["hello"])
        for name in "abcd":
            assert await cluster.node(name).entity("room", "lobby").call(Who()) == [node, fence, ["hello"]]
        assert chronicle.starts == {"lobby": 1}
        for name in "bc":
            owner = cluster.node(name).names.owner("room/lobby")
            assert owner is not None
            assert (owner.node, owner.fence) == (node, fence)

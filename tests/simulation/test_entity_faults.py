"""Entities over five nodes, whatever happens to all of them: faults, drains, idleness, crashes of their own.

Each node's guests number what they send to each room. Held against what the rooms put down:

- two lives of a room never have the same fence, and one that is found out writes nothing any more: of its writes only those with
  the highest fence so far are accepted;
- of one guest a room hears, over all its lives in the order of their fences, each message once at most and in the order sent;
- every call ends;
- where nodes are only slow, cut off for a short while or drained, every message is handled;
- within ten seconds of quiet each room answers everywhere, and is the same for all.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.simulation.realm import NODES, Realm
from understudy.actors import Actor, DeadLetter, ExitReason, Request, UnderstudyError, message
from understudy.simulation import Simulation, faults
from understudy.transport import Fenced, Node, TableError

ROOMS = ("attic", "hall", "yard")

CALMED = 10.0
"""Seconds after which the last guest has had an answer."""

IDLE = 2.0
"""Seconds after which a room ends that nobody speaks to."""


@message("test.rooms.speak")
class Speak:
    """The number of a guest's message to that room."""

    guest: str
    number: int


@message("test.rooms.look")
class Look(Request[list[Any]]):
    """Answered with node and fence."""


@message("test.rooms.break")
class Break(Request[None]):
    """Crash."""


@dataclass
class Life:
    """One life of a room."""

    room: str
    node: tuple[str, int]
    fence: int
    heard: list[tuple[str, int]] = field(default_factory=list)
    written: int = 0
    ended: bool = False


class Room(Actor):
    """Puts down what it hears, and writes now and then."""

    def __init__(self, key: str, inn: Inn, node: Node) -> None:
        super().__init__()
        self.key = key
        self.inn = inn
        self.node = node

    async def on_start(self) -> None:
        await asyncio.sleep(self.inn.simulation.delay(0.0, 0.05, "start"))
        self.life = Life(self.key, (self.node.name, self.node.incarnation), self.fence)
        self.inn.lives.append(self.life)

    async def on_receive(self, message: Any) -> Any:
        match message:
            case Speak(guest, number):
                self.life.heard.append((guest, number))
                if self.inn.simulation.chance(0.1, "it writes"):
                    await self._write()
                return None
            case Look():
                return [self.node.name, self.fence]
            case Break():
                raise ValueError("it breaks")
            case _:
                return self.unhandled(message)

    async def _write(self) -> None:
        name = f"room/{self.key}"
        try:
            await self.node.table.guarded_write(name, self.fence, "last", str(self.fence).encode())
        except (Fenced, TableError):
            return
        assert self.fence >= self.inn.highest[name], f"{name}: {self.fence} was accepted after {self.inn.highest[name]}"
        self.inn.highest[name] = self.fence
        self.life.written += 1

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(self.inn.simulation.delay(0.0, 0.2, "hook"))
        self.life.ended = True


class Inn(Realm):
    """Rooms that may be on any node, and guests on each of them."""

    def __init__(self, simulation: Simulation, *, crashes: bool) -> None:
        super().__init__(simulation)
        self.crashes = crashes
        self.calm = False
        self.lives: list[Life] = []
        self.highest: dict[str, int] = defaultdict(int)
        self.sent: dict[tuple[str, str], int] = defaultdict(int)
        self.calls: Counter[str] = Counter()
        self.dead: list[DeadLetter] = []

    async def inhabit(self, node: Node) -> None:
        node.host("room", Room, self, node, idle=IDLE)
        node.system.hooks.subscribe(DeadLetter, self.dead.append)
        for room in ROOMS:
            self.does(self._visit(node, room))

    async def _visit(self, node: Node, room: str) -> None:
        guest = f"{node.name}:{node.incarnation}"
        ref = node.entity("room", room)
        while not self.calm:
            for _ in range(self.simulation.choose((0, 1, 1, 1, 5), "how many")):
                ref.tell(Speak(guest, self.sent[guest, room]))
                self.sent[guest, room] += 1
            match self.simulation.choose(("go on", "go on", "call", "call", "break", "stop", "rest"), "then"):
                case "call":
                    await self._call(guest, ref.call(Look(), timeout=4.0))
                case "break" if self.crashes:
                    await self._call(guest, ref.call(Break(), timeout=4.0))
                case "stop":
                    ref.stop()
                case "rest":
                    await asyncio.sleep(self.simulation.delay(1.0, 2 * IDLE, "rest"))
                case _:
                    pass
            await asyncio.sleep(self.simulation.delay(0.01, 0.5, "pause"))

    async def _call(self, guest: str, call: Any) -> None:
        self.calls[guest] += 1
        with suppress(UnderstudyError):
            await call
        self.calls[guest] -= 1

    # --- what is held against it ---

    def check(self) -> None:
        here = [f"{node.name}:{node.incarnation}" for node in self.survivors()]
        assert not any(self.calls[guest] for guest in here), f"calls never ended: {self.calls}"
        for room in ROOMS:
            lives = sorted((life for life in self.lives if life.room == room), key=lambda life: life.fence)
            fences = [life.fence for life in lives]
            assert len(set(fences)) == len(fences), f"two lives of {room} have the same fence: {fences}"
            heard: dict[str, list[int]] = defaultdict(list)
            for life in lives:
                for guest, number in life.heard:
                    heard[guest].append(number)
            for guest, numbers in heard.items():
                assert numbers == sorted(set(numbers)), f"{room} heard {guest} out of order: {numbers}"
                if not self.crashes:
                    missing = set(range(self.sent[guest, room])) - set(numbers)
                    assert not missing, (
                        f"{room} never heard {sorted(missing)} of {guest}; dead letters: {self.dead[:5]}"
                    )

    async def check_agreement(self) -> None:
        """Each room is the same from everywhere, and there is one of it."""
        for room in ROOMS:
            said = [
                await self.cluster.run(node.name, node.entity("room", room).call(Look(), timeout=5.0))
                for node in self.survivors()
            ]
            assert all(each == said[0] for each in said), f"{room}: {said}"
            here = [node.name for node in self.survivors() if node.entities.host.seat(f"room/{room}") is not None]
            assert here == [said[0][0]], f"{room} is on {here}, and answers from {said[0]}"


@pytest.mark.seeds(30)
async def test_each_room_is_one_whatever_happens_and_agreed_on_within_ten_seconds_of_quiet(
    simulation: Simulation,
) -> None:
    async with Inn(simulation, crashes=True) as inn:
        await inn.trouble()
        await inn.quiet()
        inn.calm = True
        await asyncio.sleep(CALMED)
        await inn.check_agreement()
        inn.check()


@pytest.mark.seeds(30)
async def test_nothing_is_lost_while_nodes_are_slow_or_drained(simulation: Simulation) -> None:
    async with Inn(simulation, crashes=False) as inn:
        script = faults.plan(simulation, NODES, (*faults.NETWORK, "slow table"), seconds=8.0, most=8, longest=1.5)
        drain = asyncio.create_task(_drain_one(inn))
        await faults.play(inn.cluster, script)
        await drain
        inn.calm = True
        await asyncio.sleep(CALMED)
        await inn.check_agreement()
        inn.check()


async def _drain_one(inn: Inn) -> None:
    await asyncio.sleep(inn.simulation.delay(0.0, 6.0, "drain"))
    name = inn.simulation.choose(NODES, "drained")
    node = inn.cluster.node(name)
    report = await inn.cluster.run(name, node.drain(20))
    assert "entities" not in report.left, str(report)

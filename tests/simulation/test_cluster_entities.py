"""Entities on five nodes, whatever happens to all of them.

A key has one instance in the whole cluster that may write; within ten seconds of quiet everybody reaches the same one, on a
node that lives, and no other instance is left anywhere.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pytest

from tests.properties import OF_CLUSTERS
from tests.simulation.realm import Realm
from tests.simulation.scribes import Scribe, Who
from understudy.actors import ActorRef, UnderstudyError
from understudy.simulation import Simulation
from understudy.transport import Node

KEYS = ("lobby", "cellar", "roof")

IDLE = 2.0
"""Seconds after which a room that nobody needs is ended."""

REACHED_WITHIN = 2.0
"""Seconds that a room takes to begin and to answer, when all is well."""


class Room(Scribe):
    """Writes under its fence as long as it is there."""

    def __init__(self, key: str, hotel: Hotel, node: Node) -> None:
        super().__init__(f"room/{key}", node, hotel)
        self._key = key
        self._hotel = hotel

    def on_start(self) -> None:
        assert self.fence > 0, f"{self.title} began without a fence"
        self._hotel.rooms[self._key].append((self._node, self.actor_ref))
        super().on_start()


class Hotel(Realm):
    """Every node runs rooms, and has guests who ask for them."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.rooms: dict[str, list[tuple[Node, ActorRef[Any]]]] = defaultdict(list)
        self.calm = False
        self.answered = 0

    async def inhabit(self, node: Node) -> None:
        node.host("room", Room, self, node, idle=IDLE)
        self.does(self.guest(node))

    async def guest(self, node: Node) -> None:
        """Ask for one room after the other; now and then end it, and ask at once for its next life."""
        while not self.calm:
            await asyncio.sleep(self.simulation.delay(0.2, 2.5, "asks"))
            key = self.simulation.choose(KEYS, "for")
            if self.simulation.chance(0.1, "crash"):
                node.entity("room", key).tell("crash")
            with suppress(UnderstudyError):
                who, fence = await node.entity("room", key).call(Who(), 3.0)
                assert fence > 0
                assert who.split()[0] in self.cluster.names()
                self.answered += 1

    async def check_rooms(self) -> None:
        """Each key is one room, for everybody, and there is no other."""
        living = self.survivors()
        lives = {(node.name, node.incarnation) for node in living}
        for key in KEYS:
            asked = [node.entity("room", key).call(Who(), REACHED_WITHIN) for node in living]
            found = {tuple(answer) for answer in await asyncio.gather(*asked)}
            assert len(found) == 1, f"the {key} is many: {found}"
            [(who, fence)] = found
            there = [ref for node, ref in self.rooms[key] if node in living and ref.is_alive()]
            assert len(there) == 1, f"of the {key} there are {there}"
            row = (await self.record.read()).name(f"room/{key}")
            assert row is not None, f"nobody has the {key}"
            assert (row.node, row.incarnation) in lives, f"the {key} has a ghost for an owner: {row}"
            assert (fence, who.split()[:2]) == (row.fence, [row.node, str(row.incarnation)]), (
                f"{who} is the {key}, not {row}"
            )


@pytest.mark.seeds(OF_CLUSTERS)
async def test_a_key_is_one_room_for_everybody_within_ten_seconds_of_quiet(simulation: Simulation) -> None:
    async with Hotel(simulation) as hotel:
        await hotel.trouble()
        hotel.calm = True
        await hotel.quiet()
        await hotel.check_rooms()
        hotel.record.check()

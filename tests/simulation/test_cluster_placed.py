"""What is placed on five nodes, whatever happens to all of them: children with a role, and actors that nobody supervises.

A ledger outside of all nodes knows who really lives where. Within ten seconds of quiet every place of every supervisor is filled
by one child, which its supervisor knows; nobody lives for the past life of a node; and the loss of a node was one restart,
however many children were there. No supervisor gives up, its own node may end or be cut off from all others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.properties import OF_CLUSTERS
from tests.simulation.realm import NODES, Realm
from tests.simulation.test_remote_supervisors import LEDGERS, NUMBERS, Attempt, Engine, Ledger, Who
from understudy.actors import ActorRef, Cell, Ended, Normal, StartFailed, UnderstudyError
from understudy.simulation import Simulation
from understudy.supervisors import Child, GaveUp, Supervisor, WhichChildren
from understudy.transport import Node, NodeLost

ROLE = "engine"

PLACES = 3
"""Of each supervisor."""

EMPLOYERS = NODES[:2]
"""The nodes that have a supervisor."""

REACHED_WITHIN = 1.0
"""Seconds that a supervisor and a child take to answer when all is well."""

Life = tuple[str, int]
"""A node and its incarnation."""


class Boss(Supervisor):
    """Forgets no restart. More than that many nobody has a reason for."""

    intensity = 30
    period = 3_600.0


class Books(Ledger):
    """Of whom it is told how they ended, too."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fell: Counter[str] = Counter()

    def ended(self, event: Ended) -> None:
        super().ended(event)
        if not isinstance(event.reason, Normal):  # as one does that is moved
            self.fell.update(life.place for life in self.lives if life.address == event.ref.address)


class Industry(Realm):
    """Some nodes have supervisors with placed children, and every node has what starts actors wherever there is room."""

    roles = (ROLE,)

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.calm = False
        self.number = next(NUMBERS)
        self.ledger = LEDGERS[self.number] = Books(self.cluster)
        self.bosses: dict[Life, ActorRef[Any]] = {}
        self.attempts: list[Attempt] = []
        self.gave_up: list[GaveUp] = []

    async def inhabit(self, node: Node) -> None:
        node.system.hooks.subscribe(GaveUp, self.gave_up.append)
        if node.name in EMPLOYERS:
            self.does(self.employ(node))
        self.does(self.recruit(node))

    def places(self, life: Life) -> list[str]:
        """What a supervisor of that life has to fill."""
        return [f"{life}/{number}" for number in range(PLACES)]

    async def employ(self, node: Node) -> None:
        """Have a supervisor."""
        life = node.name, node.incarnation
        children = [
            Child(Engine, (self.number, place, 0.0), id=place, role=ROLE, shutdown=1.0) for place in self.places(life)
        ]
        while life not in self.bosses and self.cluster.node(node.name) is node:
            try:
                self.bosses[life] = await node.spawn(Boss, children)
            except StartFailed:  # nobody had room in time, or the node ends
                await asyncio.sleep(0.5)

    async def recruit(self, node: Node) -> None:
        """Start actors anywhere, now and then."""
        loop = asyncio.get_running_loop()
        while not self.calm:
            await asyncio.sleep(self.simulation.delay(1.0, 6.0, "recruits"))
            place, timeout = f"free-{len(self.attempts)}", self.simulation.choose([0.02, 0.5, 3.0], "within")
            attempt = Attempt(place, node.incarnation, False, timeout, loop.time())
            self.attempts.append(attempt)
            try:
                attempt.ref = await node.spawn_on(Engine, self.number, place, 0.0, role=ROLE, timeout=timeout)
            except UnderstudyError:
                pass
            finally:
                attempt.ended = loop.time()

    async def check_children(self) -> None:
        """Each place has one child, which its supervisor knows, and nobody else lives for one."""
        lives = {(node.name, node.incarnation): node for node in self.survivors()}
        wanted = [place for life in lives if life[0] in EMPLOYERS for place in self.places(life)]
        placed = [life.place for life in self.ledger.living() if not life.place.startswith("free-")]
        assert sorted(placed) == sorted(wanted), "some lack, some are too many, or of a past life"
        where = {life.place: life.address for life in self.ledger.living()}
        for life in lives:
            if life[0] in EMPLOYERS:
                for row in await self.bosses[life].call(WhichChildren(), REACHED_WITHIN):
                    assert row.ref is not None, f"{life} has nobody as {row.id}"
                    assert row.ref.address == where[row.id], f"{life} has {row.ref} as {row.id}, not {where[row.id]}"
                    assert await row.ref.call(Who(), REACHED_WITHIN) == row.id

    def check_intensity(self) -> None:
        """A restart for each child that fell, and for each loss of a node: no more."""
        for diary in self.diaries:
            life = diary.node.name, diary.node.incarnation
            boss = self.bosses.get(life)
            if isinstance(boss, Cell) and isinstance(boss.actor, Boss):
                counted = len(boss.actor._tree.intensity.restarts)
                lost = sum(isinstance(line, NodeLost) for line in diary.lines)
                fell = sum(self.ledger.fell[place] for place in self.places(life))
                assert counted <= lost + fell, f"{life} counts {counted}, lost {lost} nodes, and {fell} children fell"

    def check_recruits(self) -> None:
        """Every spawn has ended; what it returned lives if its node does, and nobody else."""
        now = {(node.name, node.incarnation) for node in self.survivors()}
        incarnations = {incarnation for _, incarnation in now}
        living = {life.place for life in self.ledger.living()}
        for attempt in self.attempts:
            if attempt.life in incarnations:
                assert attempt.ended is not None, f"it never ended: {attempt}"
            if attempt.ref is None:
                assert attempt.place not in living, f"nobody has it: {attempt}"
            elif attempt.ref.address[:2] in now:
                assert attempt.place in living, f"it was to live on: {attempt}"


@pytest.mark.seeds(OF_CLUSTERS)
async def test_every_place_has_one_child_within_ten_seconds_of_quiet_and_nobody_is_left_of_past_lives(
    simulation: Simulation,
) -> None:
    async with Industry(simulation) as industry:
        await industry.trouble()
        industry.calm = True
        await industry.quiet()
        assert industry.ledger.mistakes == []
        await industry.check_children()
        industry.check_intensity()
        industry.check_recruits()
        assert industry.attempts
    assert industry.gave_up == []

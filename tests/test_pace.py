"""Pace: a supervisor with many children leaves the loop its turn while it starts, restarts and ends them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.virtual import VirtualLoop, virtually
from understudy.actors import Actor, ActorSystem, ExitReason
from understudy.supervisors import Child, DynamicSupervisor, StartAnother, Supervisor
from understudy.supervisors.pace import SLICE

MANY = 50
WORK = SLICE / 5
"""Seconds that each start takes, and each end."""


class Turns:
    """Counts the turns of the loop; `starts` and `ends` say of each turn how many children did so in it."""

    def __init__(self) -> None:
        self.number = 0
        self.starts: Counter[int] = Counter()
        self.ends: Counter[int] = Counter()

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._count())
        yield
        task.cancel()

    async def _count(self) -> None:
        while True:
            self.number += 1
            await asyncio.sleep(0)

    def forget(self) -> None:
        self.starts.clear()
        self.ends.clear()


class Laborious(Actor):
    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns

    def on_start(self) -> None:
        self._work(self.turns.starts)

    def on_receive(self, message: Any) -> None:
        raise RuntimeError(message)

    def on_stop(self, reason: ExitReason) -> None:
        self._work(self.turns.ends)

    def _work(self, noted: Counter[int]) -> None:
        noted[self.turns.number] += 1
        loop = self.system.loop
        assert isinstance(loop, VirtualLoop)
        loop.stand_still(WORK)


def paced(noted: Counter[int], count: int) -> bool:
    """Whether all of so many were done, and never more at a time than a slice, and what was begun in it, allows."""
    return noted.total() == count and max(noted.values()) <= SLICE / WORK + 1


async def seen(noted: Counter[int], count: int) -> None:
    """Wait until there are so many."""
    while noted.total() < count:  # noqa: ASYNC110 - turn by turn, since turns are what is counted
        await asyncio.sleep(0)


def test_a_supervisor_of_many_children_leaves_the_loop_its_turn() -> None:
    async def main() -> None:
        turns = Turns()
        async with ActorSystem() as system, turns.counted():
            specs = [Child(Laborious, (turns,), id=str(number)) for number in range(MANY - 1)]
            specs.append(Child(Laborious, (turns,), name="last"))
            supervisor = await system.spawn(Supervisor, specs, strategy="one_for_all")
            assert paced(turns.starts, MANY)
            turns.forget()
            system.ref("last").tell("crash")
            await seen(turns.starts, MANY)
            assert paced(turns.ends, MANY - 1)
            assert paced(turns.starts, MANY)
            turns.forget()
            supervisor.stop()
            await supervisor.ended()
            assert paced(turns.ends, MANY)

    virtually(main())


def test_a_dynamic_supervisor_that_ends_many_children_leaves_the_loop_its_turn() -> None:
    async def main() -> None:
        turns = Turns()
        async with ActorSystem() as system, turns.counted():
            supervisor = await system.spawn(DynamicSupervisor, Child(Laborious, (turns,)))
            for _ in range(MANY):
                await supervisor.call(StartAnother())
            supervisor.stop()
            await supervisor.ended()
            assert paced(turns.ends, MANY)

    virtually(main())


def test_a_supervisor_that_is_told_to_end_meanwhile_ends_those_that_it_has_started() -> None:
    async def main() -> None:
        turns = Turns()
        async with ActorSystem() as system, turns.counted():
            specs = [Child(Laborious, (turns,), id=str(number)) for number in range(MANY)]
            spawning = asyncio.create_task(system.spawn(Supervisor, specs))
            await seen(turns.starts, MANY // 2)
            spawning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await spawning
            assert MANY // 2 <= turns.starts.total() < MANY
            await seen(turns.ends, turns.starts.total())
            assert system.actors() == []

    virtually(main())

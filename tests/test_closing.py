"""How a system ends: one actor after the other, in a time that whoever is in a hurry makes shorter. In virtual time."""

import asyncio
import math
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.virtual import virtually
from understudy.actors import Actor, ActorSystem, ExitReason, Killed, Shutdown

ENDED = Shutdown("the system shuts down")


class Takes(Actor):
    """Takes its time to end: so many seconds, or for ever. `diary`: who has ended, when."""

    stop_timeout = None

    def __init__(self, seconds: float, diary: list[tuple[str | None, float]]) -> None:
        super().__init__()
        self.seconds = seconds
        self.diary = diary

    async def on_stop(self, reason: ExitReason) -> None:
        loop = asyncio.get_running_loop()
        if self.seconds == math.inf:
            await loop.create_future()
        await asyncio.sleep(self.seconds)
        self.diary.append((self.name, loop.time()))


def in_a_system(main: Any) -> Any:
    """Run `main(system)` in virtual time."""

    async def run() -> Any:
        system = ActorSystem(slow_after=None)
        return await main(system)

    return virtually(run())


async def started(system: ActorSystem, diary: Any, **seconds: float) -> dict[str, Any]:
    """Actors by name, in the order of their start, and how long each takes to end."""
    return {name: await system.spawn(Takes, time, diary, name=name) for name, time in seconds.items()}


def test_top_level_actors_end_one_after_the_other_the_last_one_started_first() -> None:
    async def main(system: ActorSystem) -> None:
        diary: list[Any] = []
        await started(system, diary, a=1.0, b=2.0, c=3.0)
        await system.shutdown()
        assert diary == [("c", 3.0), ("b", 5.0), ("a", 6.0)]

    in_a_system(main)


def test_one_that_hangs_is_killed_in_time_for_all_the_others_to_end_as_they_should() -> None:
    async def main(system: ActorSystem) -> None:
        diary: list[Any] = []
        refs = await started(system, diary, a=0.5, b=0.5, hangs=math.inf, c=1.0)
        await system.shutdown(9.0)
        assert diary == [("c", 1.0), ("b", pytest.approx(7.5)), ("a", pytest.approx(8.0))]
        assert await refs["hangs"].ended() == Killed()
        assert [await refs[name].ended() for name in "abc"] == [ENDED] * 3

    in_a_system(main)


def test_whoever_ends_last_has_all_the_time_that_is_left() -> None:
    async def main(system: ActorSystem) -> None:
        diary: list[Any] = []
        refs = await started(system, diary, first=9.9)
        await system.shutdown(10.0)
        assert diary == [("first", 9.9)]
        assert await refs["first"].ended() == ENDED

    in_a_system(main)


def test_however_many_hang_a_shutdown_ends_at_its_deadline() -> None:
    async def main(system: ActorSystem) -> None:
        refs = await started(system, [], **{f"hangs-{n}": math.inf for n in range(20)})
        await system.shutdown(8.0)
        assert asyncio.get_running_loop().time() == pytest.approx(8.0)
        assert {await ref.ended() for ref in refs.values()} == {Killed()}

    in_a_system(main)


def later(delay: float, what: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
    async def wait() -> None:
        await asyncio.sleep(delay)
        await what

    return asyncio.create_task(wait())


@pytest.mark.parametrize(("second", "end"), [(2.0, 3.0), (0.0, 1.0), (99.0, 10.0), (math.inf, 10.0)])
def test_of_two_shutdowns_the_earlier_deadline_counts_whoever_came_first(second: float, end: float) -> None:
    async def main(system: ActorSystem) -> None:
        refs = await started(system, [], hangs=math.inf)
        hasty = later(1.0, system.shutdown(second))
        await system.shutdown(10.0)
        assert asyncio.get_running_loop().time() == pytest.approx(end)
        await hasty
        assert await refs["hangs"].ended() == Killed()

    in_a_system(main)


def test_a_shutdown_without_end_waits_until_somebody_is_in_a_hurry() -> None:
    async def main(system: ActorSystem) -> None:
        await started(system, [], a=math.inf, b=math.inf)
        hasty = later(100.0, system.shutdown(4.0))
        await system.shutdown(math.inf)
        assert asyncio.get_running_loop().time() == pytest.approx(104.0)
        await hasty

    in_a_system(main)


async def test_whoever_is_in_a_hurry_does_not_wait_for_a_thread_of_the_pool_either() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)

    class Delegates(Actor):
        async def on_receive(self, message: Any) -> None:
            await self.offload(work)

    system = ActorSystem()
    (await system.spawn(Delegates)).tell("work")
    await asyncio.to_thread(begun.wait)
    patient = asyncio.create_task(system.shutdown(30.0))
    await asyncio.sleep(0)
    await system.shutdown(0.0)
    await patient
    go_on.set()

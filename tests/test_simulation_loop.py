"""The virtual loop: asyncio as it is documented, in an order that the seed decides, on a clock that jumps."""

import asyncio
import contextlib
import contextvars
import gc
import itertools
import warnings
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import pytest

from understudy.actors import Actor
from understudy.simulation import Cluster, EverybodyWaits, NotDeterministic, Simulation, StillRunning, compare, simulate
from understudy.transport import Node

SEEDS = range(40)


def outcomes(main: Callable[[], Coroutine[Any, Any, Any]]) -> set[Any]:
    """What `main` returns, over a few seeds."""
    return {simulate(main, seed) for seed in SEEDS}


def test_call_soon_keeps_the_order_of_one_origin() -> None:
    async def main() -> None:
        seen: dict[str, list[int]] = {"a": [], "b": []}

        async def one(name: str) -> None:
            loop = asyncio.get_running_loop()
            for number in range(20):
                loop.call_soon(seen[name].append, number)
                if number % 3 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(1)

        await asyncio.gather(one("a"), one("b"))
        assert seen == {"a": list(range(20)), "b": list(range(20))}

    for seed in SEEDS:
        simulate(main, seed)


def test_independent_tasks_take_turns_in_every_order() -> None:
    async def main() -> str:
        order: list[str] = []

        async def one(name: str) -> None:
            order.append(name)

        await asyncio.gather(*map(one, "abc"))
        return "".join(order)

    assert outcomes(main) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_timers_of_different_times_keep_their_order_and_so_do_those_of_one_origin() -> None:
    async def main() -> tuple[str, ...]:
        order: list[str] = []
        loop = asyncio.get_running_loop()

        async def another() -> None:
            loop.call_at(1.0, order.append, "mine")

        task = loop.create_task(another())
        loop.call_at(2.0, order.append, "later")
        loop.call_at(1.0, order.append, "first")
        loop.call_at(1.0, order.append, "second")
        await task
        await asyncio.sleep(3)
        assert order.index("first") < order.index("second") < order.index("later") == 3
        return tuple(order)

    assert len(outcomes(main)) == 3  # "mine" before, between and after


def test_a_task_that_has_not_begun_is_not_overtaken_by_its_cancellation() -> None:
    async def main() -> None:
        begun: list[bool] = []

        async def work() -> None:
            begun.append(True)
            await asyncio.sleep(10)

        async def somebody_else(task: asyncio.Task[None]) -> None:
            asyncio.get_running_loop().call_soon(task.cancel)

        work_task = asyncio.create_task(work())
        await somebody_else(work_task)
        await asyncio.wait([work_task])
        assert begun == [True]

    for seed in SEEDS:
        simulate(main, seed)


def test_a_day_of_timers_passes_in_no_time() -> None:
    async def main() -> tuple[int, float]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(60)
                ticks += 1

        task = asyncio.create_task(tick())
        await asyncio.sleep(24 * 3600 + 1)
        task.cancel()
        return ticks, asyncio.get_running_loop().time()

    assert simulate(main) == (1440, 86401.0)


def test_what_asyncio_promises_holds() -> None:
    tag: contextvars.ContextVar[str] = contextvars.ContextVar("tag", default="none")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        assert asyncio.get_running_loop().time() == 5
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1)

        async def answer(number: int) -> int:
            await asyncio.sleep(1 / (number + 1))
            return number

        assert await asyncio.gather(*map(answer, range(5))) == list(range(5))

        queue: asyncio.Queue[int] = asyncio.Queue(2)
        got: list[int] = []

        async def consume() -> None:
            while len(got) < 10:
                got.append(await queue.get())

        async with asyncio.TaskGroup() as group:
            group.create_task(consume())
            for number in range(10):
                await queue.put(number)
        assert got == list(range(10))

        inside = 0
        lock = asyncio.Lock()

        async def alone() -> None:
            nonlocal inside
            async with lock:
                inside += 1
                await asyncio.sleep(0)
                assert inside == 1
                inside -= 1

        await asyncio.gather(*(alone() for _ in range(5)))

        with pytest.raises(ExceptionGroup):
            await group_that_fails()

        tag.set("mine")

        async def read() -> str:
            tag.set(tag.get() + "!")
            return tag.get()

        assert await asyncio.create_task(read()) == "mine!"
        assert tag.get() == "mine"

        async def numbers() -> Any:
            for number in range(3):
                await asyncio.sleep(1)
                yield number

        assert [number async for number in numbers()] == [0, 1, 2]
        task = asyncio.create_task(shielded())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def group_that_fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(100))
            group.create_task(failing())

    async def shielded() -> None:
        await asyncio.shield(asyncio.sleep(1))

    async def failing() -> None:
        await asyncio.sleep(1)
        raise ValueError

    for seed in SEEDS:
        simulate(main, seed)


def test_when_everybody_waits_it_says_who_and_where() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(stuck(), name="the stuck one")
        await task

    with pytest.raises(
        EverybodyWaits, match=r"nobody will ever come[\s\S]*the stuck one .*test_simulation_loop.py:\d+"
    ):
        simulate(main)


def test_what_runs_in_circles_is_named() -> None:
    async def around() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(StillRunning, match=r"without any virtual time passing.*around \(\d+ times\)"):
        simulate(lambda: _task(around()))

    async def ticking() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(1)

    with pytest.raises(StillRunning, match=r"3600 virtual seconds are over[\s\S]*test_simulation_loop.py:\d+"):
        simulate(ticking, max_time=3600)
    with pytest.raises(StillRunning, match=r"1000 steps.*ticking|1001 steps.*"):
        simulate(ticking, max_steps=1000)


async def _task(coroutine: Coroutine[Any, Any, None]) -> None:
    await asyncio.create_task(coroutine)


def test_a_lost_update_between_two_tasks_is_found() -> None:
    async def main() -> int:
        count = 0

        async def add(pauses: int) -> None:
            nonlocal count
            for _ in range(pauses):
                await asyncio.sleep(0)
            before = count
            await asyncio.sleep(0)
            count = before + 1

        await asyncio.gather(add(0), add(4))  # in a plain loop the two never meet
        return count

    assert asyncio.run(main()) == 2
    assert outcomes(main) == {1, 2}


def test_one_seed_is_one_run_and_another_seed_another() -> None:
    async def main() -> None:
        await asyncio.gather(*(asyncio.sleep(number % 3) for number in range(10)))

    def digest(seed: int) -> str:
        simulation = Simulation(seed)
        simulation.run(main)
        return simulation.trace.digest

    assert digest(1) == digest(1)
    assert len({digest(seed) for seed in range(20)}) == 20


def test_two_runs_of_a_seed_that_differ_are_told_where_they_part() -> None:
    memory: list[int] = []

    def test(simulation: Simulation) -> None:
        async def main() -> None:
            memory.append(1)
            await asyncio.sleep(len(memory))

        simulation.run(main)

    with pytest.raises(NotDeterministic, match=r"event \d+, after .*: one run has \[1.0 .*\], the other has \[2.0 "):
        compare(test, 1)


def test_what_the_seed_decides_is_in_the_trace() -> None:
    simulation = Simulation(3, keep=None)

    async def main() -> tuple[str, bool, float]:
        return simulation.choose(["a", "b"], "letter"), simulation.chance(0.5, "rain"), simulation.delay(1, 2, "wire")

    letter, rain, wire = simulation.run(main)
    trace = "\n".join(simulation.trace.events)
    assert f"choose letter {'ab'.index(letter)} of 2" in trace
    assert f"chance rain {rain}" in trace
    assert f"delay wire {wire!r}" in trace
    assert 1 <= wire <= 2
    with pytest.raises(ValueError, match="nothing to choose from for letter"):
        simulation.choose([], "letter")


def test_steps_may_cost_time() -> None:
    async def main() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert simulate(main) == 0
    assert 0 < simulate(main, cost=0.001) < 0.2


def test_what_a_run_leaves_behind_is_ended_in_order(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []

    async def main() -> None:
        async def left(number: int) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(number)

        tasks = [asyncio.create_task(left(number)) for number in range(3)]
        await asyncio.sleep(1)
        assert tasks

    simulate(main)
    gc.collect()
    assert sorted(ended) == [0, 1, 2]
    assert not caplog.records


class Slow(Actor):
    """Everything it does takes a while."""

    async def on_start(self) -> None:
        self.run(self.beside(self.later()))

    async def on_receive(self, message: object) -> object:
        await asyncio.sleep(0)
        return message

    async def on_stop(self) -> None:
        await asyncio.sleep(0.1)

    async def later(self) -> None:
        await asyncio.sleep(0.1)

    async def beside(self, work: Coroutine[Any, Any, None]) -> None:
        await work


async def beside_each_other(simulation: Simulation) -> None:
    for _ in range(3):
        simulation.loop.create_task(asyncio.sleep(1))
    await asyncio.sleep(0)


async def in_one_system(simulation: Simulation) -> None:
    system = simulation.system()
    slow = await system.spawn(Slow)
    await asyncio.gather(*(slow.call(number) for number in range(3)))


async def in_a_cluster(simulation: Simulation) -> None:
    async def post(node: Node) -> None:
        await node.spawn(Slow, name="post")

    async with Cluster(simulation) as cluster:
        await cluster.start("stage", post)
        attic = await cluster.start("attic", post)
        await cluster.met()
        post_on_stage = attic.ref("post@stage")
        asking = asyncio.gather(*(post_on_stage.call(number) for number in range(5)), return_exceptions=True)
        cluster.crash("stage")
        await asking


@pytest.fixture
def frozen() -> Iterator[None]:
    """A collection looks only at what the test makes."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("main", "stride"), [(beside_each_other, 1), (in_one_system, 5), (in_a_cluster, 40)])
def test_a_run_that_is_broken_off_anywhere_is_cleared_away_without_a_word(
    main: Callable[[Simulation], Coroutine[Any, Any, None]], stride: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for seed in range(5):
            for most in itertools.count(1, stride):
                simulation = Simulation(seed, max_steps=most)
                with contextlib.suppress(StillRunning):
                    simulation.run(partial(main, simulation))
                    break  # it was over before
                del simulation
                gc.collect()
    assert [str(each.message) for each in said] == []
    assert capfd.readouterr() == ("", "")

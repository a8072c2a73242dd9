"""Threads under the baton: thread actors and plain threads, unmodified, in an order that the seed decides."""

import asyncio
import itertools
import queue
import threading
import time
from typing import Any

import pytest

from understudy.actors import Actor, ActorRef, ActorSystem, ThreadActor
from understudy.simulation import EverybodyWaits, Simulation, simulate

SEEDS = range(30)


class Counter(ThreadActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        time.sleep(0.5)
        self.count += message
        return self.count


class Asker(ThreadActor):
    def __init__(self, counter: ActorRef[Counter]) -> None:
        super().__init__()
        self.counter = counter

    def on_receive(self, message: Any) -> Any:
        return [self.counter.ask(message, timeout=10) for _ in range(3)]


class Echo(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


async def askers(system: ActorSystem) -> list[list[int]]:
    counter = await system.spawn(Counter)
    refs = [await system.spawn(Asker, counter) for _ in range(3)]
    return list(await asyncio.gather(*(ref.call(1) for ref in refs)))


def test_thread_actors_run_as_the_seed_says() -> None:
    def once(seed: int) -> tuple[Any, float, str]:
        simulation = Simulation(seed)

        async def main() -> Any:
            answers = await askers(simulation.system("threads"))
            assert sorted(itertools.chain(*answers)) == list(range(1, 10))
            return answers

        answers = simulation.run(main)
        return str(answers), simulation.time, simulation.trace.digest

    first = [once(seed) for seed in SEEDS]
    assert first == [once(seed) for seed in SEEDS]
    assert {time for _, time, _ in first} == {4.5}  # nine messages of half a second each, one at a time
    assert len({answers for answers, _, _ in first}) > 3


def test_sleeping_in_a_thread_lets_the_loop_go_on() -> None:
    async def main() -> None:
        async with ActorSystem("x") as system:
            slow, quick = await system.spawn(Counter), await system.spawn(Echo)
            answer = asyncio.create_task(slow.call(5))
            for _ in range(20):
                await quick.call(1)
                await asyncio.sleep(0.01)
            assert not answer.done()
            assert await answer == 5
            assert asyncio.get_running_loop().time() == pytest.approx(0.5)

    for seed in SEEDS:
        simulate(main, seed)


def test_a_race_between_two_threads_is_found() -> None:
    async def main() -> int:
        count = 0
        gate = threading.Lock()

        def add() -> None:
            nonlocal count
            with gate:
                before = count
            with gate:
                count = before + 1

        threads = [threading.Thread(target=add) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            assert not thread.is_alive()
        return count

    assert {simulate(main, seed) for seed in range(200)} == {1, 2}


def test_what_the_standard_library_makes_of_locks_is_virtual() -> None:
    async def main() -> list[Any]:
        seen: list[Any] = []
        jobs: queue.Queue[int | None] = queue.Queue()
        ready, barrier = threading.Event(), threading.Barrier(2)

        def work() -> None:
            ready.wait()
            while (job := jobs.get()) is not None:
                seen.append(job)
            barrier.wait()
            with pytest.raises(queue.Empty):
                jobs.get(timeout=5)
            seen.append(time.monotonic())

        thread = threading.Thread(target=work)
        thread.start()
        ready.set()
        for number in range(3):
            jobs.put(number)
        jobs.put(None)
        barrier.wait()
        thread.join(1)
        assert thread.is_alive()
        thread.join()
        return seen

    for seed in SEEDS:
        assert simulate(main, seed) == [0, 1, 2, 5.0]


def test_threads_that_wait_for_each_other_are_named() -> None:
    async def main() -> None:
        one, other = threading.Lock(), threading.Lock()

        def take(first: threading.Lock, second: threading.Lock) -> None:
            with first:
                time.sleep(1)
                with second:
                    pass

        threads = [threading.Thread(target=take, args=pair, name="taker") for pair in ((one, other), (other, one))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with pytest.raises(EverybodyWaits, match=r"thread-1 taker at .*test_simulation_threads.py:\d+\n.*thread-2 taker"):
        simulate(main)
    assert not [thread for thread in threading.enumerate() if thread.name == "taker"]


def test_a_thread_calls_back_into_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def double(number: int) -> int:
            await asyncio.sleep(1)
            return number * 2

        got: list[int] = []

        def work() -> None:
            got.append(asyncio.run_coroutine_threadsafe(double(21), loop).result())

        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.sleep(2)
        thread.join()
        assert got == [42]

    for seed in SEEDS:
        simulate(main, seed)


def test_a_lock_of_a_run_is_an_ordinary_one_afterwards() -> None:
    locks: list[Any] = []

    async def main() -> None:
        locks.extend([threading.Lock(), threading.RLock(), threading.Event()])

    simulate(main)
    lock, again, event = locks
    with lock, again, again:
        assert not lock.acquire(timeout=0.001)
    thread = threading.Thread(target=event.set)
    thread.start()
    assert event.wait(10)
    thread.join()

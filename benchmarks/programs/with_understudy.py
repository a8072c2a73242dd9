"""The cases, done with Understudy."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from benchmarks.stopwatch import BATCH, Case, Sample, Watch, main, resident, settled
from understudy import Actor, ActorRef, ActorSystem
from understudy.app import run
from understudy.supervisors import Child, Supervisor

RING = 1_000
SOURCES = 100
CHUNK = 1_000
"""Messages that a source sends before it gives way to others."""

RESTARTS = 50
"""Crashes for each supervisor: no supervisor forgets them within its period, ours as little as Erlang's."""


class Sink(Actor):
    def __init__(self, expected: int, done: asyncio.Future[None]) -> None:
        super().__init__()
        self.left = expected
        self.done = done

    def on_receive(self, message: Any) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


class Source(Actor):
    def __init__(self, sink: ActorRef[Any], count: int, chunk: int) -> None:
        super().__init__()
        self.sink = sink
        self.left = count
        self.chunk = chunk

    def on_receive(self, message: Any) -> None:
        sink = self.sink
        now = min(self.left, self.chunk)
        for number in range(now):
            sink.tell(number)
        self.left -= now
        if self.left:
            self.actor_ref.tell(message)


class Echo(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


class AsyncEcho(Actor):
    async def on_receive(self, message: Any) -> Any:
        return message


class Link(Actor):
    def __init__(self, done: asyncio.Future[None]) -> None:
        super().__init__()
        self.next: ActorRef[Any] = self.actor_ref
        self.done = done

    def on_receive(self, message: Any) -> None:
        if message.__class__ is not int:
            self.next = message
        elif message:
            self.next.tell(message - 1)
        else:
            self.done.set_result(None)


class Small(Actor):
    def on_start(self) -> None:
        self.started = True


class Idle(Actor):
    pass


class Fragile(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError(message)
        return message


async def tell(system: ActorSystem, size: int) -> Sample:
    done = system.loop.create_future()
    sink = await system.spawn(Sink, size, done)
    source = await system.spawn(Source, sink, size, CHUNK)
    watch = Watch()
    source.tell("go")
    await done
    return watch.rate(size)


async def fan_in(system: ActorSystem, size: int) -> Sample:
    done = system.loop.create_future()
    share = max(1, size // SOURCES)
    sink = await system.spawn(Sink, share * SOURCES, done)
    sources = [await system.spawn(Source, sink, share, CHUNK // 10) for _ in range(SOURCES)]
    watch = Watch()
    for source in sources:
        source.tell("go")
    await done
    return watch.rate(share * SOURCES)


async def from_a_thread(system: ActorSystem, size: int) -> Sample:
    done = system.loop.create_future()
    sink = await system.spawn(Sink, size, done)

    def send() -> None:
        for number in range(size):
            sink.tell(number)

    thread = threading.Thread(target=send)
    watch = Watch()
    thread.start()
    await done
    sample = watch.rate(size)
    thread.join()
    return sample


async def call(kind: type[Actor], system: ActorSystem, size: int) -> Sample:
    echo = await system.spawn(kind)
    times: list[float] = []
    watch = Watch()
    for _ in range(max(1, size // BATCH)):
        begun = time.perf_counter()
        for number in range(BATCH):
            await echo.call(number)
        times.append((time.perf_counter() - begun) / BATCH)
    return watch.median(times, len(times) * BATCH)


async def queued(system: ActorSystem, size: int) -> Sample:
    echo = await system.spawn(Echo)
    times: list[float] = []
    watch = Watch()
    for _ in range(max(1, size // BATCH)):
        begun = time.perf_counter()
        for number in range(BATCH):
            echo.tell(number)
            await echo.call(number)
        times.append((time.perf_counter() - begun) / BATCH)
    return watch.median(times, len(times) * BATCH)


async def ring(system: ActorSystem, size: int) -> Sample:
    done = system.loop.create_future()
    links = [await system.spawn(Link, done) for _ in range(RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        one.tell(other)
    await links[-1].call("are you linked?")
    links[-1].tell(links[0])  # the question was taken for a neighbour
    watch = Watch()
    links[0].tell(size)
    await done
    return watch.rate(size)


async def spawn(system: ActorSystem, size: int) -> Sample:
    watch = Watch()
    for _ in range(size):
        await system.spawn(Small)
    return watch.rate(size)


async def memory(system: ActorSystem, size: int) -> Sample:
    for _ in range(100):
        await system.spawn(Idle)
    before = settled()
    watch = Watch()
    for _ in range(size):
        await system.spawn(Idle)
    return Sample((settled() - before) / size, watch.rate(size).cpu)


async def alive(system: ActorSystem, size: int) -> Sample:
    first = await system.spawn(Echo)
    watch = Watch()
    for _ in range(size - 1):
        last = await system.spawn(Echo)
    cpu = watch.rate(size).cpu
    seconds = time.perf_counter() - watch.began
    assert [await first.call(1), await last.call(2)] == [1, 2]
    return Sample(size, cpu, f"{seconds:.1f} s, {resident() / 1e9:.2f} GB")


async def restart(system: ActorSystem, size: int) -> Sample:
    times: list[float] = []
    watch = Watch()
    for start in range(0, size, RESTARTS):
        supervisor = await system.spawn(Supervisor, [Child(Fragile, name="fragile")], intensity=RESTARTS)
        times += [await crash_to_answer(system) for _ in range(min(RESTARTS, size - start))]
        supervisor.stop()
        await supervisor.ended()
    return watch.median(times, size)


async def crash_to_answer(system: ActorSystem) -> float:
    """Seconds until the replacement has answered."""
    fragile = system.whereis("fragile")
    assert fragile is not None
    begun = time.perf_counter()
    fragile.tell("crash")
    await fragile.ended()
    while (replacement := system.whereis("fragile")) is None:  # noqa: ASYNC110 - to look is what a user does, too
        await asyncio.sleep(0)
    await replacement.call("there?")
    return time.perf_counter() - begun


async def crashes(system: ActorSystem, size: int) -> Sample:
    watch = Watch()
    for start in range(0, size, RESTARTS):
        supervisor = await system.spawn(Supervisor, [Child(Fragile, name="fragile")], intensity=RESTARTS)
        for _ in range(min(RESTARTS, size - start)):
            fragile = system.whereis("fragile")
            assert fragile is not None
            fragile.tell("crash")
            while system.whereis("fragile") in (fragile, None):  # noqa: ASYNC110
                await asyncio.sleep(0)
        supervisor.stop()
        await supervisor.ended()
    return watch.rate(size)


async def logged(system: ActorSystem, size: int) -> Sample:
    logging.disable(logging.NOTSET)
    return await restart(system, size)


def measured(case: Callable[[ActorSystem, int], Awaitable[Sample]], size: int) -> Sample:
    """Run a case in a system, loop and all, of its own."""
    samples: list[Sample] = []

    async def program() -> int:
        logging.disable(logging.CRITICAL)
        async with ActorSystem("benchmark") as system:
            samples.append(await case(system, size))
        return 0

    run(program())
    return samples[0]


CASES = {
    "tell": Case(partial(measured, tell), 1_000_000),
    "call": Case(partial(measured, partial(call, Echo)), 300_000),
    "queued": Case(partial(measured, queued), 60_000),
    "async": Case(partial(measured, partial(call, AsyncEcho)), 60_000),
    "ring": Case(partial(measured, ring), 800_000),
    "fan-in": Case(partial(measured, fan_in), 1_000_000),
    "thread": Case(partial(measured, from_a_thread), 300_000),
    "spawn": Case(partial(measured, spawn), 50_000),
    "memory": Case(partial(measured, memory), 100_000, once=True),
    "alive": Case(partial(measured, alive), 1_000_000, once=True),
    "restart": Case(partial(measured, restart), 3_000),
    "crashes": Case(partial(measured, crashes), 3_000),
    "logged": Case(partial(measured, logged), 1_000),
}

if __name__ == "__main__":
    main(CASES)

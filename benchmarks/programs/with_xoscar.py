"""The cases, done with xoscar: one pool of one process, local references."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop
import xoscar

from benchmarks.stopwatch import BATCH, Case, Sample, Watch, main, resident, settled

RING = 1_000
SOURCES = 100
CHUNK = 1_000


class Sink(xoscar.Actor):
    def __init__(self, expected: int, done: "asyncio.Future[None]") -> None:
        super().__init__()
        self.left = expected
        self.done = done

    def take(self, number: int) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


class Source(xoscar.Actor):
    def __init__(self, sink: Any, count: int, chunk: int) -> None:
        super().__init__()
        self.sink = sink
        self.left = count
        self.chunk = chunk

    async def go(self) -> None:
        take = self.sink.take
        now = min(self.left, self.chunk)
        for number in range(now):
            await take.tell(number)
        self.left -= now
        if self.left:
            await self.me.go.tell()

    def meet(self, me: Any) -> None:
        self.me = me


class Echo(xoscar.Actor):
    def plain(self, message: Any) -> Any:
        return message

    async def asynchronous(self, message: Any) -> Any:
        return message


class Link(xoscar.Actor):
    def __init__(self, done: "asyncio.Future[None]") -> None:
        super().__init__()
        self.done = done

    def meet(self, other: Any) -> None:
        self.next = other

    async def hop(self, left: int) -> None:
        if left:
            await self.next.hop.tell(left - 1)
        else:
            self.done.set_result(None)


class Small(xoscar.Actor):
    async def __post_create__(self) -> None:
        self.started = True


class Pool:
    """Makes actors, and gives out local references to them: the fastest that there are."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def create(self, kind: type[Any], *arguments: Any) -> Any:
        return await xoscar.actor_ref(await xoscar.create_actor(kind, *arguments, address=self.address))


async def tell(pool: Pool, size: int) -> Sample:
    return await told(pool, 1, size, CHUNK)


async def fan_in(pool: Pool, size: int) -> Sample:
    return await told(pool, SOURCES, max(1, size // SOURCES), CHUNK // 10)


async def told(pool: Pool, count: int, share: int, chunk: int) -> Sample:
    done = asyncio.get_running_loop().create_future()
    sink = await pool.create(Sink, share * count, done)
    sources = [await pool.create(Source, sink, share, chunk) for _ in range(count)]
    for source in sources:
        await source.meet(source)
    watch = Watch()
    for source in sources:
        await source.go.tell()
    await done
    return watch.rate(share * count)


async def call(method: str, pool: Pool, size: int) -> Sample:
    ask = getattr(await pool.create(Echo), method)
    times: list[float] = []
    watch = Watch()
    for _ in range(max(1, size // BATCH)):
        begun = time.perf_counter()
        for number in range(BATCH):
            await ask(number)
        times.append((time.perf_counter() - begun) / BATCH)
    return watch.median(times, len(times) * BATCH)


async def ring(pool: Pool, size: int) -> Sample:
    done = asyncio.get_running_loop().create_future()
    links = [await pool.create(Link, done) for _ in range(RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        await one.meet(other)
    watch = Watch()
    await links[0].hop.tell(size)
    await done
    return watch.rate(size)


async def spawn(pool: Pool, size: int) -> Sample:
    watch = Watch()
    for _ in range(size):
        await xoscar.create_actor(Small, address=pool.address)
    return watch.rate(size)


async def memory(pool: Pool, size: int) -> Sample:
    await xoscar.create_actor(Small, address=pool.address)
    before = settled()
    watch = Watch()
    for _ in range(size):
        await xoscar.create_actor(Small, address=pool.address)
    return Sample((settled() - before) / size, watch.rate(size).cpu)


async def alive(pool: Pool, size: int) -> Sample:
    watch = Watch()
    for _ in range(size):
        last = await xoscar.create_actor(Echo, address=pool.address)
    cpu = watch.rate(size).cpu
    seconds = time.perf_counter() - watch.began
    assert await last.plain(1) == 1
    return Sample(size, cpu, f"{seconds:.1f} s, {resident() / 1e9:.2f} GB; more were not tried")


def measured(case: Callable[[Pool, int], Awaitable[Sample]], size: int) -> Sample:
    async def program() -> Sample:
        pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        try:
            return await case(Pool(pool.external_address), size)
        finally:
            await pool.stop()

    sample: Sample = uvloop.run(program())
    return sample


CASES = {
    "tell": Case(partial(measured, tell), 20_000),
    "call": Case(partial(measured, partial(call, "plain")), 50_000),
    "async": Case(partial(measured, partial(call, "asynchronous")), 50_000),
    "ring": Case(partial(measured, ring), 20_000),
    "fan-in": Case(partial(measured, fan_in), 20_000),
    "spawn": Case(partial(measured, spawn), 10_000),
    "memory": Case(partial(measured, memory), 20_000, once=True),
    "alive": Case(partial(measured, alive), 50_000, once=True),
}

if __name__ == "__main__":
    main(CASES)

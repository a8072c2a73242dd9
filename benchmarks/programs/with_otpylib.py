"""The cases, done with otpylib: gen_servers, which are asynchronous throughout."""

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop
from otpylib import gen_server, process, supervisor
from otpylib.module import GEN_SERVER, SUPERVISOR, OTPModule
from otpylib.runtime import set_runtime
from otpylib.runtime.backends.asyncio_backend import AsyncIOBackend

from benchmarks.stopwatch import BATCH, Case, Sample, Watch, main, resident, settled

RING = 1_000
SOURCES = 100
CHUNK = 1_000
RESTARTS = 10**9


async def answers(self: Any, message: Any, caller: Any, state: Any) -> Any:
    return gen_server.Reply(message), state


async def ignores(self: Any, message: Any, state: Any) -> Any:
    return gen_server.NoReply(), state


async def ends(self: Any, reason: Any, state: Any) -> None:
    """Nothing is left to do."""


class Sink(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):
    async def init(self, given: Any) -> Any:
        self.left, self.done = given
        return None

    async def handle_info(self, message: Any, state: Any) -> Any:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)
        return gen_server.NoReply(), state

    handle_call = answers
    handle_cast = ignores
    terminate = ends


class Source(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):
    async def init(self, given: Any) -> Any:
        self.sink, self.left, self.chunk = given
        return None

    async def handle_info(self, message: Any, state: Any) -> Any:
        send, sink = process.send, self.sink
        now = min(self.left, self.chunk)
        for number in range(now):
            await send(sink, number)
        self.left -= now
        if self.left:
            await send(process.self(), message)
        return gen_server.NoReply(), state

    handle_call = answers
    handle_cast = ignores
    terminate = ends


class Link(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):
    async def init(self, given: Any) -> Any:
        self.done = given
        return None

    async def handle_info(self, message: Any, state: Any) -> Any:
        if message.__class__ is not int:
            self.next = message
        elif message:
            await process.send(self.next, message - 1)
        else:
            self.done.set_result(None)
        return gen_server.NoReply(), state

    handle_call = answers
    handle_cast = ignores
    terminate = ends


class Echo(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):
    async def init(self, given: Any) -> Any:
        self.started = True
        return None

    async def handle_info(self, message: Any, state: Any) -> Any:
        if message == "crash":
            raise RuntimeError(message)
        return gen_server.NoReply(), state

    handle_call = answers
    handle_cast = ignores
    terminate = ends


class Keeper(metaclass=OTPModule, behavior=SUPERVISOR, version="1.0.0"):
    async def init(self, given: Any) -> Any:
        children = [supervisor.child_spec(id="fragile", module=Echo, name="fragile")]
        return children, supervisor.options(max_restarts=RESTARTS, max_seconds=5)

    terminate = ends


async def tell(size: int) -> Sample:
    return await told(1, size, CHUNK)


async def fan_in(size: int) -> Sample:
    return await told(SOURCES, max(1, size // SOURCES), CHUNK // 10)


async def told(count: int, share: int, chunk: int) -> Sample:
    done = asyncio.get_running_loop().create_future()
    sink = await gen_server.start(Sink, (share * count, done))
    sources = [await gen_server.start(Source, (sink, share, chunk)) for _ in range(count)]
    watch = Watch()
    for source in sources:
        await process.send(source, "go")
    await done
    return watch.rate(share * count)


async def call(size: int) -> Sample:
    return await called(size, busy=False)


async def queued(size: int) -> Sample:
    return await called(size, busy=True)


async def called(size: int, busy: bool) -> Sample:
    name = f"echo {size}"
    await gen_server.start(Echo, name=name)  # it calls only what has a name
    echo = process.whereis(name)
    times: list[float] = []
    watch = Watch()
    for _ in range(max(1, size // BATCH)):
        begun = time.perf_counter()
        for number in range(BATCH):
            if busy:
                await process.send(echo, number)
            await gen_server.call(name, number)
        times.append((time.perf_counter() - begun) / BATCH)
    return watch.median(times, len(times) * BATCH)


async def ring(size: int) -> Sample:
    done = asyncio.get_running_loop().create_future()
    links = [await gen_server.start(Link, done) for _ in range(RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        await process.send(one, other)
    watch = Watch()
    await process.send(links[0], size)
    await done
    return watch.rate(size)


async def spawn(size: int) -> Sample:
    watch = Watch()
    for _ in range(size):
        await gen_server.start(Echo)
    return watch.rate(size)


async def memory(size: int) -> Sample:
    await gen_server.start(Echo)
    before = settled()
    watch = Watch()
    for _ in range(size):
        await gen_server.start(Echo)
    return Sample((settled() - before) / size, watch.rate(size).cpu)


async def alive(size: int) -> Sample:
    watch = Watch()
    for number in range(size):
        await gen_server.start(Echo, name="last" if number == size - 1 else None)
    cpu = watch.rate(size).cpu
    seconds = time.perf_counter() - watch.began
    assert await gen_server.call("last", 1) == 1
    return Sample(size, cpu, f"{seconds:.1f} s, {resident() / 1e9:.2f} GB; more were not tried")


async def restart(size: int) -> Sample:
    await supervisor.start_link(Keeper)
    watch = Watch()
    times = [await crash_to_answer() for _ in range(size)]
    return watch.median(times, size)


async def crash_to_answer() -> float:
    fragile = process.whereis("fragile")
    begun = time.perf_counter()
    await process.send(fragile, "crash")
    while process.whereis("fragile") in (None, fragile):  # noqa: ASYNC110
        await asyncio.sleep(0)
    await gen_server.call("fragile", "there?")
    spent = time.perf_counter() - begun
    await asyncio.sleep(0.001)  # its supervisor watches it only now: a crash before that is never noticed
    return spent


def measured(case: Callable[[int], Awaitable[Sample]], size: int) -> Sample:
    """Run a case inside a process: only there may one start a gen_server."""

    async def program() -> Sample:
        runtime = AsyncIOBackend()
        await runtime.initialize()
        set_runtime(runtime)
        outcome = asyncio.get_running_loop().create_future()

        async def inside() -> None:
            try:
                outcome.set_result(await case(size))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is to be seen
                outcome.set_exception(error)

        await process.spawn(inside)
        return await outcome

    said, sys.stdout = sys.stdout, io.StringIO()  # it prints each crash
    try:
        sample: Sample = uvloop.run(program())
    finally:
        sys.stdout = said
    return sample


CASES = {
    "tell": Case(partial(measured, tell), 50_000),
    "call": Case(partial(measured, call), 10_000),
    "queued": Case(partial(measured, queued), 10_000),
    "async": Case(partial(measured, call), 10_000),
    "ring": Case(partial(measured, ring), 40_000),
    "fan-in": Case(partial(measured, fan_in), 50_000),
    "spawn": Case(partial(measured, spawn), 4_000),
    "memory": Case(partial(measured, memory), 10_000, once=True),
    "alive": Case(partial(measured, alive), 50_000, once=True),
    "restart": Case(partial(measured, restart), 500),
}

if __name__ == "__main__":
    main(CASES)

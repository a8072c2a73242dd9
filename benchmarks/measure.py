"""One measurement in this process: `python -m benchmarks.measure understudy tell` prints its figure and nothing else.

| measure | unit         | what is timed                                                                  |
|---------|--------------|--------------------------------------------------------------------------------|
| tell    | messages/s   | one actor tells another, until the last message was handled                    |
| call    | microseconds | one request and its reply, callee idle: the mean of a batch                    |
| ring    | hops/s       | one message handed round a ring of actors (1,000 of ours; Pykka: 100 threads)  |
| spawn   | actors/s     | start an actor with an `on_start` that sets one attribute                      |
| memory  | bytes        | resident memory per idle actor                                                 |
"""

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pykka

from understudy import Actor, ActorRef, ActorSystem
from understudy.app import run

MESSAGES = 500_000
CALLS = 100_000
HOPS = 500_000
ACTORS = 100_000
RING = 1_000

PYKKA_MESSAGES = 50_000
PYKKA_CALLS = 10_000
PYKKA_HOPS = 20_000
PYKKA_ACTORS = 2_000
PYKKA_RING = 100


# --- Understudy ---


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
    def __init__(self, sink: ActorRef[Any], count: int) -> None:
        super().__init__()
        self.sink = sink
        self.left = count

    def on_receive(self, message: Any) -> None:
        for number in range(1_000):
            self.sink.tell(number)
        self.left -= 1_000
        if self.left > 0:
            self.actor_ref.tell(message)


class Echo(Actor):
    def on_receive(self, message: Any) -> Any:
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


async def tell(system: ActorSystem) -> float:
    done = system.loop.create_future()
    sink = await system.spawn(Sink, MESSAGES, done)
    source = await system.spawn(Source, sink, MESSAGES)
    begin = time.perf_counter()
    source.tell("go")
    await done
    return MESSAGES / (time.perf_counter() - begin)


async def call(system: ActorSystem) -> float:
    echo = await system.spawn(Echo)
    begin = time.perf_counter()
    for number in range(CALLS):
        await echo.call(number)
    return (time.perf_counter() - begin) / CALLS * 1e6


async def ring(system: ActorSystem) -> float:
    done = system.loop.create_future()
    links = [await system.spawn(Link, done) for _ in range(RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        one.tell(other)
    begin = time.perf_counter()
    links[0].tell(HOPS)
    await done
    return HOPS / (time.perf_counter() - begin)


async def spawn(system: ActorSystem) -> float:
    begin = time.perf_counter()
    for _ in range(ACTORS):
        await system.spawn(Small)
    return ACTORS / (time.perf_counter() - begin)


async def memory(system: ActorSystem) -> float:
    for _ in range(1_000):
        await system.spawn(Idle)
    gc.collect()
    before = resident()
    for _ in range(ACTORS):
        await system.spawn(Idle)
    gc.collect()
    return (resident() - before) / ACTORS


# --- Pykka ---


class PykkaSink(pykka.ThreadingActor):
    def __init__(self, expected: int, done: threading.Event) -> None:
        super().__init__()
        self.left = expected
        self.done = done

    def on_receive(self, message: Any) -> Any:
        self.left -= 1
        if not self.left:
            self.done.set()


class PykkaEcho(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


class PykkaLink(pykka.ThreadingActor):
    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self.done = done
        self.next: pykka.ActorRef[Any] = self.actor_ref

    def on_receive(self, message: Any) -> Any:
        if not isinstance(message, int):
            self.next = message
        elif message:
            self.next.tell(message - 1)
        else:
            self.done.set()


class PykkaSmall(pykka.ThreadingActor):
    def on_start(self) -> None:
        self.started = True


def pykka_tell() -> float:
    done = threading.Event()
    sink = PykkaSink.start(PYKKA_MESSAGES, done)
    begin = time.perf_counter()
    for number in range(PYKKA_MESSAGES):
        sink.tell(number)
    done.wait()
    return PYKKA_MESSAGES / (time.perf_counter() - begin)


def pykka_call() -> float:
    echo = PykkaEcho.start()
    begin = time.perf_counter()
    for number in range(PYKKA_CALLS):
        echo.ask(number)
    return (time.perf_counter() - begin) / PYKKA_CALLS * 1e6


def pykka_ring() -> float:
    done = threading.Event()
    links = [PykkaLink.start(done) for _ in range(PYKKA_RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        one.tell(other)
    begin = time.perf_counter()
    links[0].tell(PYKKA_HOPS)
    done.wait()
    return PYKKA_HOPS / (time.perf_counter() - begin)


def pykka_spawn() -> float:
    begin = time.perf_counter()
    for _ in range(PYKKA_ACTORS):
        PykkaSmall.start()
    return PYKKA_ACTORS / (time.perf_counter() - begin)


def pykka_memory() -> float:
    before = resident()
    for _ in range(PYKKA_ACTORS):
        PykkaSmall.start()
    return (resident() - before) / PYKKA_ACTORS


def resident() -> int:
    """Bytes of memory this process has in use."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


OURS: dict[str, Callable[[ActorSystem], Awaitable[float]]] = {
    "tell": tell,
    "call": call,
    "ring": ring,
    "spawn": spawn,
    "memory": memory,
}
PYKKAS: dict[str, Callable[[], float]] = {
    "tell": pykka_tell,
    "call": pykka_call,
    "ring": pykka_ring,
    "spawn": pykka_spawn,
    "memory": pykka_memory,
}


def main() -> None:
    who, what = sys.argv[1:]
    if who == "pykka":
        figure = PYKKAS[what]()
        pykka.ActorRegistry.stop_all()
    else:
        figures: list[float] = []

        async def measured() -> int:
            async with ActorSystem("benchmark") as system:
                figures.append(await OURS[what](system))
            return 0

        run(measured())
        figure = figures[0]
    sys.stdout.write(json.dumps(figure) + "\n")


if __name__ == "__main__":
    main()

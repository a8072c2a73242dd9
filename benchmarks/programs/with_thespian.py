"""The cases, done with Thespian's simple system base: no concurrency, all actors run within `ask` and `tell`."""

import time
from typing import Any

from thespian.actors import Actor, ActorSystem

from benchmarks.stopwatch import BATCH, Case, Sample, Watch, main, resident, settled

RING = 1_000
SOURCES = 100
CHUNK = 1_000


class Sink(Actor):
    seen = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        if message == "how many?":
            self.send(sender, self.seen)
        else:
            self.seen += 1


class Source(Actor):
    left = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        if message.__class__ is tuple:
            self.sink, self.left, self.chunk = message
            return
        now = min(self.left, self.chunk)
        for number in range(now):
            self.send(self.sink, number)
        self.left -= now
        if self.left:
            self.send(self.myAddress, message)


class Echo(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        if message.__class__ is int:
            self.send(sender, message)


class Link(Actor):
    next: Any = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        if message.__class__ is not int:
            self.next = message
        elif message:
            self.send(self.next, message - 1)


class Small(Actor):
    def __init__(self) -> None:
        self.started = True


def system() -> Any:
    return ActorSystem("simpleSystemBase", logDefs={"version": 1})


def tell(size: int) -> Sample:
    actors = system()
    sink, source = actors.createActor(Sink), actors.createActor(Source)
    actors.tell(source, (sink, size, CHUNK))
    watch = Watch()
    actors.tell(source, "go")
    assert actors.ask(sink, "how many?") == size
    return watch.rate(size)


def fan_in(size: int) -> Sample:
    actors = system()
    share = max(1, size // SOURCES)
    sink = actors.createActor(Sink)
    sources = [actors.createActor(Source) for _ in range(SOURCES)]
    for source in sources:
        actors.tell(source, (sink, share, CHUNK // 10))
    watch = Watch()
    for source in sources:
        actors.tell(source, "go")
    assert actors.ask(sink, "how many?") == share * SOURCES
    return watch.rate(share * SOURCES)


def call(size: int) -> Sample:
    actors = system()
    echo = actors.createActor(Echo)
    times: list[float] = []
    watch = Watch()
    for _ in range(max(1, size // BATCH)):
        begun = time.perf_counter()
        for number in range(BATCH):
            actors.ask(echo, number)
        times.append((time.perf_counter() - begun) / BATCH)
    return watch.median(times, len(times) * BATCH)


def ring(size: int) -> Sample:
    actors = system()
    links = [actors.createActor(Link) for _ in range(RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        actors.tell(one, other)
    watch = Watch()
    actors.tell(links[0], size)
    return watch.rate(size)


def spawn(size: int) -> Sample:
    actors = system()
    watch = Watch()
    for _ in range(size):
        actors.createActor(Small)
    return watch.rate(size)


def memory(size: int) -> Sample:
    actors = system()
    actors.createActor(Small)
    before = settled()
    watch = Watch()
    for _ in range(size):
        actors.createActor(Small)
    return Sample((settled() - before) / size, watch.rate(size).cpu)


def alive(size: int) -> Sample:
    actors = system()
    watch = Watch()
    for _ in range(size):
        last = actors.createActor(Echo)
    cpu = watch.rate(size).cpu
    seconds = time.perf_counter() - watch.began
    assert actors.ask(last, 1) == 1
    return Sample(size, cpu, f"{seconds:.1f} s, {resident() / 1e9:.2f} GB; more were not tried")


CASES = {
    "tell": Case(tell, 100_000),
    "call": Case(call, 50_000),
    "ring": Case(ring, 100_000),
    "fan-in": Case(fan_in, 100_000),
    "spawn": Case(spawn, 10_000),
    "memory": Case(memory, 50_000, once=True),
    "alive": Case(alive, 200_000, once=True),
}

if __name__ == "__main__":
    main(CASES)

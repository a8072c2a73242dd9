"""The cases, done with Pykka: a thread for each actor."""

import logging
import queue
import threading
import time
from typing import Any

import pykka

from benchmarks.stopwatch import BATCH, Case, Sample, Watch, main, resident

RING = 1_000
SOURCES = 100
CHUNK = 1_000


class Sink(pykka.ThreadingActor):
    def __init__(self, expected: int, done: threading.Event) -> None:
        super().__init__()
        self.left = expected
        self.done = done

    def on_receive(self, message: Any) -> Any:
        self.left -= 1
        if not self.left:
            self.done.set()


class Source(pykka.ThreadingActor):
    def __init__(self, sink: pykka.ActorRef[Any], count: int, chunk: int) -> None:
        super().__init__()
        self.sink = sink
        self.left = count
        self.chunk = chunk

    def on_receive(self, message: Any) -> Any:
        sink = self.sink
        now = min(self.left, self.chunk)
        for number in range(now):
            sink.tell(number)
        self.left -= now
        if self.left:
            self.actor_ref.tell(message)


class Echo(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


class Link(pykka.ThreadingActor):
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


class Small(pykka.ThreadingActor):
    def on_start(self) -> None:
        self.started = True


class Fragile(pykka.ThreadingActor):
    """Starts its replacement itself: there is no supervisor."""

    def __init__(self, replacements: "queue.SimpleQueue[pykka.ActorRef[Any]]") -> None:
        super().__init__()
        self.replacements = replacements

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError(message)
        return message

    def on_failure(self, *_: Any) -> None:
        self.replacements.put(Fragile.start(self.replacements))


def tell(size: int) -> Sample:
    done = threading.Event()
    source = Source.start(Sink.start(size, done), size, CHUNK)
    watch = Watch()
    source.tell("go")
    done.wait()
    return stopped(watch.rate(size))


def fan_in(size: int) -> Sample:
    done = threading.Event()
    share = max(1, size // SOURCES)
    sink = Sink.start(share * SOURCES, done)
    sources = [Source.start(sink, share, CHUNK // 10) for _ in range(SOURCES)]
    watch = Watch()
    for source in sources:
        source.tell("go")
    done.wait()
    return stopped(watch.rate(share * SOURCES))


def from_a_thread(size: int) -> Sample:
    done = threading.Event()
    sink = Sink.start(size, done)
    watch = Watch()
    for number in range(size):
        sink.tell(number)
    done.wait()
    return stopped(watch.rate(size))


def call(size: int) -> Sample:
    return asked(size, busy=False)


def queued(size: int) -> Sample:
    return asked(size, busy=True)


def asked(size: int, busy: bool) -> Sample:
    echo = Echo.start()
    times: list[float] = []
    watch = Watch()
    for _ in range(max(1, size // BATCH)):
        begun = time.perf_counter()
        for number in range(BATCH):
            if busy:
                echo.tell(number)
            echo.ask(number)
        times.append((time.perf_counter() - begun) / BATCH)
    return stopped(watch.median(times, len(times) * BATCH))


def ring(size: int) -> Sample:
    done = threading.Event()
    links = [Link.start(done) for _ in range(RING)]
    for one, other in zip(links, [*links[1:], links[0]]):
        one.tell(other)
    watch = Watch()
    links[0].tell(size)
    done.wait()
    return stopped(watch.rate(size))


def spawn(size: int) -> Sample:
    watch = Watch()
    for _ in range(size):
        Small.start()
    return stopped(watch.rate(size))


def memory(size: int) -> Sample:
    before = resident()
    watch = Watch()
    for _ in range(size):
        Small.start()
    return Sample((resident() - before) / size, watch.rate(size).cpu)


def alive(size: int) -> Sample:
    watch = Watch()
    count = 0
    try:
        for count in range(1, size + 1):  # noqa: B007 - how many there were is what is asked
            Small.start()
        end = ""
    except RuntimeError as error:  # "can't start new thread"
        end = f", then {error}"
    seconds = time.perf_counter() - watch.began
    return Sample(count, watch.rate(count).cpu, f"{seconds:.1f} s, {resident() / 1e9:.2f} GB{end}")


def restart(size: int) -> Sample:
    replacements: queue.SimpleQueue[pykka.ActorRef[Any]] = queue.SimpleQueue()
    fragile = Fragile.start(replacements)
    times: list[float] = []
    watch = Watch()
    for _ in range(size):
        begun = time.perf_counter()
        fragile.tell("crash")
        fragile = replacements.get()
        fragile.ask("there?")
        times.append(time.perf_counter() - begun)
    return stopped(watch.median(times, size))


def crashes(size: int) -> Sample:
    replacements: queue.SimpleQueue[pykka.ActorRef[Any]] = queue.SimpleQueue()
    fragile = Fragile.start(replacements)
    watch = Watch()
    for _ in range(size):
        fragile.tell("crash")
        fragile = replacements.get()
    return stopped(watch.rate(size))


def logged(size: int) -> Sample:
    logging.disable(logging.NOTSET)
    return restart(size)


def stopped(sample: Sample) -> Sample:
    pykka.ActorRegistry.stop_all()
    return sample


CASES = {
    "tell": Case(tell, 100_000),
    "call": Case(call, 10_000),
    "queued": Case(queued, 10_000),
    "ring": Case(ring, 20_000),
    "fan-in": Case(fan_in, 100_000),
    "thread": Case(from_a_thread, 100_000),
    "spawn": Case(spawn, 2_000),
    "memory": Case(memory, 2_000, once=True),
    "alive": Case(alive, 1_000_000, once=True),
    "restart": Case(restart, 1_000),
    "crashes": Case(crashes, 1_000),
    "logged": Case(logged, 1_000),
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(CASES)

"""Over a link of Understudy: two nodes in two processes, session layer on. `curve`: both have keys, in one folder.

    node "here" ── 100-byte messages of a registered class ──▶ node "there": Sinks

Tells go out in waves of 50,000, each followed by a call; no more than three waves are under way, so that the outbox never
fills up.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.wire import MEBIBYTE, PAYLOAD, arguments, latencies, say
from understudy import Actor, ActorRef, Node, Payload, Request, message
from understudy.app import run

MESSAGES = 1_000_000
WAVE = 50_000
CALLS = 5_000
DISTURBED = 1_000
"""Calls beside something else."""
RATE = 500_000
"""Tells a second beside calls."""
BURST = 0.002
"""Seconds between two bursts of them."""
BINARIES = 4_000
AT_ONCE = 4
"""Binaries that are under way."""
LARGE = 1 << 30


@message("benchmarks.blob")
class Blob:
    data: bytes


@message("benchmarks.film")
class Film(Request[int]):
    """Answered with its size, once it was read."""

    data: Payload


@message("benchmarks.seen")
class Seen(Request[tuple[int, float]]):
    """How many blobs came, and the process's seconds of processor time."""


@message("benchmarks.who")
class Who(Request[ActorRef[Any]]):
    pass


class Sink(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.memory = bytearray(MEBIBYTE)

    def on_receive(self, message: Any) -> Any:
        if message.__class__ is Blob:
            self.seen += 1
            return None
        if message.__class__ is Seen:
            return self.seen, time.process_time()
        return self.read(message.data) if message.__class__ is Film else self.actor_ref

    async def read(self, data: Payload) -> int:
        if data.size == MEBIBYTE:
            return await data.into(self.memory)
        total = 0
        async for chunk in data:
            total += len(chunk)
        return total


def keys(state: Path) -> Path | None:
    """Where the keys of both are, if they have some."""
    folder = state / "keys"
    return folder if folder.exists() else None


async def there(state: Path) -> int:
    async with Node("there", state=state, keys=keys(state)) as node:
        sinks = [await node.spawn(Sink, name=f"sink-{number}") for number in range(AT_ONCE)]
        print(node.address, flush=True)
        for sink in sinks:
            await sink.ended()
    return 0


async def here(state: Path, case: str, scale: float) -> int:
    async with Node("here", state=state, keys=keys(state)) as node:
        while len(node.members()) < 2:  # noqa: ASYNC110 - once, before anything is measured
            await asyncio.sleep(0.05)
        sinks = [await node.ref(f"sink-{number}@there").call(Who()) for number in range(AT_ONCE)]
        say(await CASES[case](sinks, scale))
        for sink in sinks:
            sink.stop()
            await sink.ended()
    return 0


async def tell(sinks: list[ActorRef[Any]], scale: float) -> dict[str, float]:
    sink, waves = sinks[0], max(1, int(MESSAGES * scale) // WAVE)
    await told(sink, 1)
    before, cpu_there = await sink.call(Seen())
    begun, cpu_here = time.perf_counter(), time.process_time()
    after, cpu_then = await told(sink, waves)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu_here
    count = waves * WAVE
    assert after - before == count, f"{after - before} of {count} messages arrived"
    return {"tell": count / took, "sender": cpu / count * 1e6, "receiver": (cpu_then - cpu_there) / count * 1e6}


async def told(sink: ActorRef[Any], waves: int) -> tuple[int, float]:
    """Tell so many waves; returns what the sink has seen then."""
    under_way: deque[asyncio.Future[tuple[int, float]]] = deque()
    for _ in range(waves):
        for _ in range(WAVE):
            sink.tell(Blob(PAYLOAD))
        under_way.append(asyncio.ensure_future(sink.call(Seen(), timeout=60.0)))
        await asyncio.sleep(0)
        if len(under_way) > 2:
            await under_way.popleft()
    return (await asyncio.gather(*under_way))[-1]


async def called(sink: ActorRef[Any], count: int) -> list[float]:
    """Seconds of each of `count` calls, one after the other, after some that nobody counts."""
    taken: list[float] = []
    for _ in range(count + count // 10):
        begun = time.perf_counter()
        await sink.call(Seen(), timeout=60.0)
        taken.append(time.perf_counter() - begun)
    return taken[-count:]


async def call(sinks: list[ActorRef[Any]], scale: float) -> dict[str, float]:
    return latencies("call", await called(sinks[0], int(CALLS * scale)))


async def loaded(sinks: list[ActorRef[Any]], scale: float) -> dict[str, float]:
    """Calls to one actor while another one is told RATE messages a second over the same link."""
    sent = 0

    async def flood() -> None:
        nonlocal sent
        due = time.perf_counter()
        while True:
            for _ in range(int(RATE * BURST)):
                sinks[1].tell(Blob(PAYLOAD))
            sent += int(RATE * BURST)
            due += BURST
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    begun = time.perf_counter()
    flooding = asyncio.create_task(flood())
    taken = await called(sinks[0], int(DISTURBED * scale))
    flooding.cancel()
    return {"loaded rate": sent / (time.perf_counter() - begun), **latencies("loaded", taken)}


async def binaries(sinks: list[ActorRef[Any]], scale: float) -> dict[str, float]:
    """Each is read to its end before it counts."""
    data, each = bytes(MEBIBYTE), max(1, int(BINARIES * scale) // AT_ONCE)

    async def to(sink: ActorRef[Any], count: int) -> None:
        for _ in range(count):
            assert await sink.call(Film(Payload(data)), timeout=60.0) == MEBIBYTE

    await asyncio.gather(*(to(sink, 1 + each // 10) for sink in sinks))
    begun = time.perf_counter()
    await asyncio.gather(*(to(sink, each) for sink in sinks))
    return {"binaries": each * AT_ONCE * MEBIBYTE / (time.perf_counter() - begun)}


async def beside(sinks: list[ActorRef[Any]], scale: float) -> dict[str, float]:
    """Calls while a payload of 1 GiB passes, over and over."""
    data = bytes(int(LARGE * scale))
    sent = 0

    async def stream() -> None:
        nonlocal sent
        while True:
            sent += await sinks[1].call(Film(Payload(data)), timeout=60.0)

    begun = time.perf_counter()
    streaming = asyncio.create_task(stream())
    taken = await called(sinks[0], int(DISTURBED * scale))
    while not sent:
        taken += await called(sinks[0], 100)
    streaming.cancel()
    return {"beside rate": sent / (time.perf_counter() - begun), **latencies("beside", taken)}


CASES = {"tell": tell, "call": call, "loaded": loaded, "binaries": binaries, "beside": beside}


def main(case: str, scale: float, *, encrypted: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if encrypted:
            (Path(folder) / "keys").mkdir(mode=0o700)
        other = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "there", folder], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        other.stdout.readline()
        run(here(Path(folder), case, scale))
        other.wait()


if __name__ == "__main__":
    if sys.argv[1] == "there":
        run(there(Path(sys.argv[2])))
    else:
        main(*arguments(), encrypted="curve" in sys.argv)

"""Two nodes, two processes, this machine: `python -m benchmarks.link` prints messages/s and microseconds a call.

    node "here" ── 100-byte messages of a registered class, session layer on ──▶ node "there": a Sink

Messages are told in waves of 50,000, each followed by a call; no more than three waves are under way, so that the outbox
never fills up. Processor time tells more than the clock on a machine that others use too.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from understudy import Actor, ActorRef, Node, Request, message
from understudy.app import run

MESSAGES = 1_000_000
WAVE = 50_000
CALLS = 5_000
PAYLOAD = bytes(85)
"""Makes an item of about 100 bytes."""


@message("benchmarks.blob")
class Blob:
    data: bytes


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

    def on_receive(self, message: Any) -> Any:
        if message.__class__ is Blob:
            self.seen += 1
            return None
        if message.__class__ is Seen:
            return self.seen, time.process_time()
        return self.actor_ref


async def there(state: Path) -> int:
    async with Node("there", state=state) as node:
        sink = await node.spawn(Sink, name="sink")
        print(node.address, flush=True)
        await sink.ended()
    return 0


async def here(state: Path) -> int:
    async with Node("here", state=state) as node:
        while len(node.members()) < 2:  # noqa: ASYNC110 - once, before anything is measured
            await asyncio.sleep(0.05)
        named = node.ref("sink@there")
        sink = await named.call(Who())
        calls: list[float] = []
        for _ in range(CALLS):
            begun = time.perf_counter()
            await sink.call(Seen())
            calls.append(time.perf_counter() - begun)
        before, cpu_there = await sink.call(Seen())
        begun, cpu_here = time.perf_counter(), time.process_time()
        under_way: deque[asyncio.Future[Any]] = deque()
        for _ in range(MESSAGES // WAVE):
            for _ in range(WAVE):
                sink.tell(Blob(PAYLOAD))
            under_way.append(asyncio.ensure_future(sink.call(Seen(), timeout=60.0)))
            await asyncio.sleep(0)
            if len(under_way) > 2:
                await under_way.popleft()
        for wave in under_way:
            after, cpu_then = await wave
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu_here
        assert after - before == MESSAGES, f"{after - before} of {MESSAGES} messages arrived"
        await sink.call(Seen())
        sink.stop()
        await sink.ended()
    calls.sort()
    figures = {
        "tells_per_second": MESSAGES / took,
        "sender_cpu_us_per_tell": cpu / MESSAGES * 1e6,
        "receiver_cpu_us_per_tell": (cpu_then - cpu_there) / MESSAGES * 1e6,
        "call_p50_us": statistics.median(calls) * 1e6,
        "call_p99_us": calls[CALLS * 99 // 100] * 1e6,
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    return 0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        other = subprocess.Popen([sys.executable, "-m", "benchmarks.link", folder], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        other.stdout.readline()
        run(here(Path(folder)))
        other.wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(there(Path(sys.argv[1])))
    else:
        main()

"""Payloads between two processes: `python -m benchmarks.payloads` prints GB/s, and what calls take beside a stream.

    node "here" ── binaries of 1 MiB, one of 1 GiB, and calls beside them ──▶ node "there": a Taker
    the floor: the same bytes in frames of 1 MiB through bare ZeroMQ sockets, nothing copied; and a copy in memory

Rounds alternate, so that a machine that others use too is unfair to none of them; the best round of each counts.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import zmq

from understudy import Actor, Node, Payload, Request, message
from understudy.app import run

MIB = 1024 * 1024
BINARIES = 1024
"""Of 1 MiB in a round."""

AHEAD = 8
"""Binaries that are told before the first of them was answered for."""

CALLS = 1_000
ROUNDS = 5


@message("benchmarks.binary")
class Binary(Request[int]):
    """Answered with its size, when all of it was read."""

    data: Payload


@message("benchmarks.watched")
class Watched(Request[int]):
    """Read chunk by chunk; answered with its size."""

    data: Payload


@message("benchmarks.nothing")
class Nothing(Request[None]):
    pass


class Taker(Actor):
    async def on_receive(self, message: Any) -> int | None:
        match message:
            case Binary(data):
                return len(await data.bytes())
            case Watched(data):
                return sum([len(chunk) async for chunk in data])
            case _:
                return None


class Echo(Actor):
    def on_receive(self, message: Any) -> None:
        return None


async def there(state: Path) -> int:
    async with Node("there", state=state) as node:
        taker = await node.spawn(Taker, name="taker")
        await node.spawn(Echo, name="echo")
        print(node.address, flush=True)
        await taker.ended()
    return 0


async def here(state: Path) -> int:
    figures: dict[str, list[float]] = {}
    async with Node("here", state=state) as node:
        while len(node.members()) < 2:  # noqa: ASYNC110 - once, before anything is measured
            await asyncio.sleep(0.05)
        taker, echo = node.ref("taker@there"), node.ref("echo@there")
        one, large = bytes(MIB), bytes(1024 * MIB)
        await taker.call(Binary(Payload(one)))
        for _ in range(ROUNDS):
            note(figures, "binaries_of_1_mib_gb_per_second", await binaries(taker, one))
            note(figures, "one_of_1_gib_gb_per_second", await stream(taker, large))
            note(figures, "floor_frames_of_1_mib_gb_per_second", await asyncio.to_thread(floor))
            note(figures, "floor_copy_in_memory_gb_per_second", copied(large))
            for name, beside in (("alone", False), ("beside_a_stream", True)):
                p50, p99 = await calls(echo, taker, large, beside)
                note(figures, f"call_p50_us_{name}", p50)
                note(figures, f"call_p99_us_{name}", p99)
        taker.stop()
        await taker.ended()
    best = {name: max(values) if "gb_per" in name else min(values) for name, values in figures.items()}
    print(json.dumps({name: round(value, 2) for name, value in best.items()}, indent=1))
    return 0


def note(figures: dict[str, list[float]], name: str, value: float) -> None:
    figures.setdefault(name, []).append(value)
    print(f"{name} {value:.2f}", file=sys.stderr, flush=True)


async def binaries(taker: Any, one: bytes) -> float:
    begun = time.perf_counter()
    under_way: deque[asyncio.Future[int]] = deque()
    for _ in range(BINARIES):
        under_way.append(asyncio.ensure_future(taker.call(Binary(Payload(one)), timeout=60.0)))
        if len(under_way) >= AHEAD:
            assert await under_way.popleft() == MIB
    for waiting in under_way:
        assert await waiting == MIB
    return BINARIES * MIB / (time.perf_counter() - begun) / 1e9


async def stream(taker: Any, large: bytes) -> float:
    begun = time.perf_counter()
    assert await taker.call(Watched(Payload(large)), timeout=60.0) == len(large)
    return len(large) / (time.perf_counter() - begun) / 1e9


async def calls(echo: Any, taker: Any, large: bytes, beside: bool) -> tuple[float, float]:
    streams = asyncio.ensure_future(endless(taker, large)) if beside else None
    took: list[float] = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        await echo.call(Nothing())
        took.append((time.perf_counter() - begun) * 1e6)
        await asyncio.sleep(0)
    if streams is not None:
        assert not streams.done()
        streams.cancel()
        await asyncio.wait([streams])
    took.sort()
    return took[CALLS // 2], took[CALLS * 99 // 100]


async def endless(taker: Any, large: bytes) -> None:
    while True:
        await taker.call(Watched(Payload(large)), timeout=60.0)


def floor() -> float:
    """Bare ZeroMQ between two processes, frames of 1 MiB, copied by neither, 16 under way."""
    other = subprocess.Popen([sys.executable, "-m", "benchmarks.payloads", "floor"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(other.stdout.readline().strip())
    one, head = memoryview(bytes(MIB)), bytes(33)
    dealer.send(head, zmq.SNDMORE)
    dealer.send(one, copy=False)
    dealer.recv()
    begun = time.perf_counter()
    for sent in range(BINARIES):
        dealer.send(head, zmq.SNDMORE)
        dealer.send(one, copy=False)
        if sent >= 16:
            dealer.recv()
    for _ in range(16):
        dealer.recv()
    took = time.perf_counter() - begun
    context.destroy(linger=0)
    other.kill()
    other.wait()
    return BINARIES * MIB / took / 1e9


def bottom() -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    print(router.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    while True:
        path, _ = router.recv(), router.recv()
        router.recv(copy=False)
        router.send_multipart([path, b"a"])


def copied(large: bytes) -> float:
    memory = bytearray(64 * MIB)
    view = memoryview(large)
    begun = time.perf_counter()
    for start in range(0, len(large), len(memory)):
        memory[:] = view[start : start + len(memory)]
    return len(large) / (time.perf_counter() - begun) / 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.payloads", folder]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        other.stdout.readline()
        run(here(Path(folder)))
        other.wait()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        main()
    elif sys.argv[1] == "floor":
        bottom()
    else:
        run(there(Path(sys.argv[1])))

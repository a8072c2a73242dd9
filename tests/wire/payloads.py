"""A large file from one process to another: whole, in little memory of either, and small calls beside it do not wait for it.

    "here": Payload(Path) ── stream ──▶ "there": save(path)
            calls         ◀────────────▶  an echo

`python -m tests.wire.payloads here FOLDER BYTES` is the one process, `... there FOLDER` the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.processes import running
from understudy import Actor, Node, Payload, Request, message
from understudy.app import run

GROWTH = 64
"""MiB by which neither process may grow, promised."""


@message("test.film")
class Film(Request[int]):
    """Saved under `path`; answered with its size."""

    data: Payload
    path: str


@message("test.growth")
class Growth(Request[float]):
    """MiB by which the peak of the process's memory lies above what it had when it was asked for the first time."""


@message("test.echo")
class Echo(Request[int]):
    number: int


class Cinema(Actor):
    async def on_receive(self, message: object) -> Any:
        assert isinstance(message, Film)
        return await message.data.save(message.path)


class Desk(Actor):
    """Answers small calls."""

    def __init__(self) -> None:
        super().__init__()
        self.before = 0.0

    def on_receive(self, message: object) -> Any:
        match message:
            case Echo(number):
                return number
            case Growth():
                self.before = self.before or memory("VmRSS")
                return memory("VmHWM") - self.before
            case _:
                return self.unhandled(message)


def memory(what: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(what))) / 1024


async def file_to_file(folder: Path, size: int, within: float) -> dict[str, Any]:
    """Stream a new file of `size` bytes between two processes; how both have grown, and what calls beside it took."""
    source, saved = folder / "source", folder / "saved"
    given = await asyncio.to_thread(_written, source, size)
    async with (
        running("tests.wire.payloads", "there", str(folder)) as there,
        running("tests.wire.payloads", "here", str(folder), str(size)) as here,
    ):
        assert await there.line() == "there"
        figures: dict[str, Any] = json.loads(await here.line(within))
    assert await asyncio.to_thread(_digest, saved) == given, "what was saved is not what was sent"
    await asyncio.to_thread(_cleared, folder)
    return figures


async def there(folder: Path) -> int:
    async with Node("there", state=folder) as node:
        await node.spawn(Cinema, name="cinema")
        desk = await node.spawn(Desk, name="desk")
        print("there", flush=True)
        await desk.ended()
    return 0


async def here(folder: Path, size: int) -> int:
    async with Node("here", state=folder) as node:
        while len(node.members()) < 2:  # noqa: ASYNC110 - until both have started
            await asyncio.sleep(0.05)
        cinema, desk = node.ref("cinema@there"), node.ref("desk@there")
        await cinema.call(Film(Payload(bytes(1 << 20)), str(folder / "warm")), timeout=30.0)
        alone = await calls(desk, 500)
        await desk.call(Growth())
        before = memory("VmRSS")
        begun = time.perf_counter()
        stream = asyncio.ensure_future(
            cinema.call(Film(Payload(folder / "source"), str(folder / "saved")), timeout=600.0)
        )
        beside: list[float] = []
        while not stream.done():
            beside += await calls(desk, 20)
        assert await stream == size
        took = time.perf_counter() - begun
        figures = {
            "bytes": size,
            "seconds": round(took, 2),
            "gb_per_second": round(size / took / 1e9, 2),
            "here_grew_mib": round(memory("VmHWM") - before, 1),
            "there_grew_mib": round(await desk.call(Growth()), 1),
            "call_p50_us_alone": round(middle(alone)),
            "call_p50_us_beside": round(middle(beside)),
            "call_longest_ms_beside": round(max(beside) / 1000, 1),
            "calls_beside": len(beside),
        }
        desk.stop()
        print(json.dumps(figures), flush=True)
        await desk.ended()
    return 0


async def calls(desk: Any, count: int) -> list[float]:
    """Microseconds of so many calls, one after the other."""
    took: list[float] = []
    for number in range(count):
        begun = time.perf_counter()
        assert await desk.call(Echo(number), timeout=30.0) == number
        took.append((time.perf_counter() - begun) * 1e6)
    return took


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _written(path: Path, size: int) -> str:
    digest, block = hashlib.sha256(), bytearray(range(256)) * 4096
    with path.open("wb") as file:
        for number in range(0, size, len(block)):
            block[:8] = number.to_bytes(8, "big")
            piece = memoryview(block)[: min(len(block), size - number)]
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def _cleared(folder: Path) -> None:
    assert not list(folder.glob(".saved*")), "something was left beside it"
    for name in ("source", "saved"):
        (folder / name).unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    role, folder, *rest = sys.argv[1:]
    raise SystemExit(run(here(Path(folder), int(rest[0])) if role == "here" else there(Path(folder))))

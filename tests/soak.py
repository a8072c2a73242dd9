"""The soak: many connections to one gateway for a long time, most of them idle, some in rooms where somebody speaks every second.

    python -m tests.soak                 the gateway, in a process of its own: prints its port, serves until told to end
    soak(idle=10_000, ...)               the clients: who is in a room counts each line of each other member

A client is a socket and a few numbers, so that twelve thousand of them take little. Each is in turn with its heartbeat; each
speaker numbers its lines, so that whoever misses one, or hears one twice, knows it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attackers import UPGRADE, frame, open_files
from tests.processes import Process, running, until_told_to_end
from understudy import ActorSystem
from understudy.app import run
from understudy.gateway import Gateway, GetUrl, Limits, Member, Room

ROOM = 20
"""Members of each room."""

SPEAKS_EVERY = 10.0
"""Seconds between two lines of one member."""

HEARTBEAT = 30.0

UNDER_WAY = 64
"""Clients that are let in at a time."""

WARM = 0.2
"""Part of the time after which the memory is looked at: until then logs fill and the allocator settles."""

ARRIVED_WITHIN = 30.0
"""Seconds that the last lines have."""


class Hall(Room):
    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        self.broadcast(event, payload)


async def serve() -> None:
    open_files(20_000)
    async with ActorSystem("soak") as system:
        gateway = await system.spawn(
            Gateway, "soak", port=0, topics={"hall:*": Hall}, limits=Limits(clients=19_000, sockets=19_000)
        )
        print((await gateway.call(GetUrl())).rpartition(":")[2], flush=True)
        await until_told_to_end()


# --- the clients ---


@dataclass
class Tally:
    """What all clients together heard. `late`: seconds from a line's words to each listener, some of them."""

    said: int = 0
    heard: int = 0
    lost: int = 0
    twice: int = 0
    cut: int = 0
    late: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection. `topic`: the room it is in, or none."""

    def __init__(self, number: int, topic: str, tally: Tally) -> None:
        self.number = number
        self.topic = topic
        self.tally = tally
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.spoken = 0
        self.over = False
        self._heard: dict[int, int] = {}
        self._bytes = b""
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        transport.write(UPGRADE)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over:
            self.tally.cut += 1
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("cut before it was let in"))

    def say(self, *parts: Any) -> None:
        self._transport.write(frame(json.dumps(parts).encode()))

    def heartbeat(self) -> None:
        self.say(None, "0", "phoenix", "heartbeat", {})

    def speak(self) -> None:
        self.spoken += 1
        self.tally.said += 1
        self.say("1", None, self.topic, "line", {"who": self.number, "n": self.spoken, "at": time.monotonic()})

    def end(self) -> None:
        self.over = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        if not self._upgraded:
            head, end, self._bytes = self._bytes.partition(b"\r\n\r\n")
            if not end:
                self._bytes = head
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._upgraded = True
            if self.topic:
                self.say("1", "1", self.topic, "phx_join", {})
            else:
                self.ready.set_result(None)
        for text in self._frames():
            self._told(*json.loads(text))

    def _frames(self) -> Iterator[bytes]:
        data, at = self._bytes, 0
        while len(data) - at >= 2:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            if size == 127 or len(data) - at < head + size:
                assert size != 127, "nothing here is as large"
                break
            if data[at] == 0x81:
                yield data[at + head : at + head + size]
            at += head + size
        self._bytes = data[at:]

    def _told(self, _join: Any, ref: Any, _topic: str, event: str, payload: Any) -> None:
        if event == "phx_reply" and ref == "1":
            self.ready.set_result(None)
        elif event == "line":
            who, number = payload["who"], payload["n"]
            expected = self._heard.get(who, 0) + 1
            self.tally.heard += 1
            if number < expected:
                self.tally.twice += 1
                return
            self.tally.lost += number - expected
            self._heard[who] = number
            if number % 16 == 1:
                self.tally.late.append(time.monotonic() - payload["at"])

    def missing(self, members: list[Client]) -> int:
        """How many of its room's lines it has not heard."""
        return sum(other.spoken - self._heard.get(other.number, 0) for other in members)


async def soak(*, idle: int, active: int, seconds: float, look_every: float = 5.0) -> dict[str, Any]:
    """What became of `idle` and `active` clients in so many seconds. Raises AssertionError if this user may not open enough files."""
    files = open_files(idle + active + 1_000)
    assert files >= idle + active + 100, f"ulimit -n is {files}: {idle + active} connections need more"
    tally = Tally()
    async with running("tests.soak") as server:
        port = int(await server.line(timeout=60.0))
        rooms = [f"hall:{number // ROOM}" for number in range(active)]
        clients = await _let_in(port, [*rooms, *([""] * idle)], tally)
        speakers = clients[:active]
        beating = asyncio.create_task(_in_turn(clients, HEARTBEAT, Client.heartbeat))
        talking = asyncio.create_task(_in_turn(speakers, SPEAKS_EVERY, Client.speak))
        memory = await _watch(server, seconds, look_every)
        talking.cancel()
        missing = await _all_heard(speakers)
        beating.cancel()
        for client in clients:
            client.end()
        await server.ended()
    late = sorted(tally.late) or [-1.0]
    return {
        "ulimit": files,
        "minutes": round(seconds / 60, 1),
        "idle": idle,
        "active": active,
        "lines_said": tally.said,
        "lines_heard": tally.heard,
        "lost": tally.lost + missing,
        "twice": tally.twice,
        "cut": tally.cut,
        "line_ms": {
            "p50": round(1e3 * late[len(late) // 2], 2),
            "p99": round(1e3 * late[-1 - len(late) // 100], 2),
        },
        "memory_mib": {"first": round(memory[0][1] / 2**20, 1), "last": round(memory[-1][1] / 2**20, 1)},
        "kib_per_connection": round(memory[-1][1] / 1024 / len(clients), 1),
        "memory_percent_an_hour": round(slope(memory[int(len(memory) * WARM) :]), 2),
    }


async def _let_in(port: int, topics: list[str], tally: Tally) -> list[Client]:
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(UNDER_WAY)

    async def connect(number: int, topic: str) -> Client:
        async with gate:
            source = (f"127.3.{number // 200 % 250}.{1 + number % 200}", 0)
            _, client = await loop.create_connection(
                lambda: Client(number, topic, tally), "127.0.0.1", port, local_addr=source
            )
            async with asyncio.timeout(60):
                await client.ready
            return client

    return list(await asyncio.gather(*(connect(number, topic) for number, topic in enumerate(topics))))


async def _in_turn(clients: list[Client], every: float, what: Any) -> None:
    """Each of them once in so many seconds, one after the other."""
    loop = asyncio.get_running_loop()
    begun, done = loop.time(), 0
    while True:
        due = int((loop.time() - begun) / every * len(clients))
        while done < due:
            what(clients[done % len(clients)])
            done += 1
        await asyncio.sleep(0.02)


async def _watch(server: Process, seconds: float, every: float) -> list[tuple[float, int]]:
    """The server's memory from time to time: (seconds, bytes)."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    seen = [(0.0, _resident(server.pid))]
    while (at := loop.time() - begun) < seconds:
        await asyncio.sleep(min(every, seconds - at))
        seen.append((loop.time() - begun, _resident(server.pid)))
    return seen


async def _all_heard(speakers: list[Client]) -> int:
    """How many lines have not come, once all have or time is over."""
    loop = asyncio.get_running_loop()
    rooms = [speakers[first : first + ROOM] for first in range(0, len(speakers), ROOM)]
    until = loop.time() + ARRIVED_WITHIN
    while missing := sum(client.missing(room) for room in rooms for client in room):
        if loop.time() > until:
            break
        await asyncio.sleep(0.1)
    return missing


def slope(memory: list[tuple[float, int]]) -> float:
    """By how many percent of itself it grows in an hour."""
    if len(memory) < 3:
        return 0.0
    at, of = [second for second, _ in memory], [size for _, size in memory]
    return 100 * statistics.linear_regression(at, of).slope * 3600 / statistics.mean(of)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    run(serve())

"""A proxy that cuts its connections, or lets little through, in a process of its own: `python -m tests.wire.proxy OPTIONS`.

    OPTIONS           {"cut_every": seconds, "bytes_per_second": towards the target, on each connection}
    standard output   its address
    standard input    the address to pass on to, once; then "cut", to do it now; the end of it ends the proxy
    at the end        {"connections": ..., "cuts": ..., "bytes": ...}

A cut is a reset, both ways at once, wherever the bytes happen to be: in the middle of a frame, as a rule. Only a
connection that bytes have passed through is counted as cut.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import sys

import uvloop

from tests.processes import orders
from understudy.transport.network import parse_address

CHUNK = 1 << 20
SIP = 1 << 16
"""Bytes at a time where only so many a second may pass, which is as much as waits in our own hands."""
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is under way is thrown away


class Pipe:
    """One connection: to us, and from us to the target."""

    def __init__(self, near: socket.socket, far: socket.socket, rate: float) -> None:
        self.ends = (near, far)
        self.rate = rate
        self.bytes = 0
        for end in self.ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self) -> None:
        near, far = self.ends
        ways = [
            asyncio.create_task(self._way(near, far, self.rate)),
            asyncio.create_task(self._way(far, near, math.inf)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in self.ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.close()

    async def _way(self, source: socket.socket, to: socket.socket, rate: float) -> None:
        loop, buffer = asyncio.get_running_loop(), memoryview(bytearray(CHUNK if rate == math.inf else SIP))
        due = loop.time()
        while size := await loop.sock_recv_into(source, buffer):
            await loop.sock_sendall(to, buffer[:size])
            self.bytes += size
            due = max(due, loop.time()) + size / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())


class Proxy:
    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.connections = 0
        self.cuts = 0
        self.bytes = 0
        self.open: dict[asyncio.Task[None], Pipe] = {}

    async def accept(self, door: socket.socket, target: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(door)
            far = socket.socket()
            far.setblocking(False)
            try:
                await loop.sock_connect(far, target)
            except OSError:  # whoever it is for is not there now
                near.close()
                far.close()
                continue
            pipe = Pipe(near, far, self.rate)
            self.connections += 1
            task = asyncio.create_task(pipe.run())
            self.open[task] = pipe
            task.add_done_callback(self.closed)

    def closed(self, task: asyncio.Task[None]) -> None:
        self.bytes += self.open.pop(task).bytes

    async def cut(self, every: float) -> None:
        """Cut whatever is open, every so many seconds."""
        while every < math.inf:
            await asyncio.sleep(every)
            self.cut_now()

    def cut_now(self) -> None:
        """Cut whatever is open."""
        for task, pipe in tuple(self.open.items()):
            self.cuts += pipe.bytes > 0
            task.cancel()


async def main(cut_every: float = math.inf, bytes_per_second: float = math.inf) -> None:
    proxy = Proxy(bytes_per_second)
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        print("tcp://{}:{}".format(*door.getsockname()), flush=True)
        tasks: list[asyncio.Task[None]] = []
        async for order in orders():
            if order == "cut":
                proxy.cut_now()
                continue
            tasks += [
                asyncio.create_task(proxy.accept(door, parse_address(order))),
                asyncio.create_task(proxy.cut(cut_every)),
            ]
        for task in (*tasks, *proxy.open):
            task.cancel()
        await asyncio.gather(*tasks, *proxy.open, return_exceptions=True)
    print(json.dumps({"connections": proxy.connections, "cuts": proxy.cuts, "bytes": proxy.bytes}))


if __name__ == "__main__":
    uvloop.run(main(**json.loads(sys.argv[1])))

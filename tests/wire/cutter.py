"""A proxy that cuts its connections again and again, in a process of its own: `python -m tests.wire.cutter SECONDS`.

    standard output   its address
    standard input    the address to pass on to, once; the end of it ends the proxy
    at the end        {"connections": ..., "cuts": ..., "bytes": ...}

A cut is a reset, both ways at once, wherever the bytes happen to be: in the middle of a frame, as a rule. Only a
connection that bytes have passed through is counted as cut.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys

import uvloop

from tests.processes import orders
from understudy.transport.network import parse_address

CHUNK = 1 << 20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is under way is thrown away


class Pipe:
    """One connection: to us, and from us to the target."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.ends = (near, far)
        self.bytes = 0
        for end in self.ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self) -> None:
        near, far = self.ends
        ways = [asyncio.create_task(self._way(near, far)), asyncio.create_task(self._way(far, near))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in self.ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.close()

    async def _way(self, source: socket.socket, to: socket.socket) -> None:
        loop, buffer = asyncio.get_running_loop(), memoryview(bytearray(CHUNK))
        while size := await loop.sock_recv_into(source, buffer):
            await loop.sock_sendall(to, buffer[:size])
            self.bytes += size


class Cutter:
    def __init__(self) -> None:
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
            await loop.sock_connect(far, target)
            pipe = Pipe(near, far)
            self.connections += 1
            task = asyncio.create_task(pipe.run())
            self.open[task] = pipe
            task.add_done_callback(self.closed)

    def closed(self, task: asyncio.Task[None]) -> None:
        self.bytes += self.open.pop(task).bytes

    async def cut(self, every: float) -> None:
        """Cut whatever is open, every so many seconds."""
        while True:
            await asyncio.sleep(every)
            for task, pipe in tuple(self.open.items()):
                self.cuts += pipe.bytes > 0
                task.cancel()


async def main(every: float) -> None:
    cutter = Cutter()
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        print("tcp://{}:{}".format(*door.getsockname()), flush=True)
        tasks: list[asyncio.Task[None]] = []
        async for target in orders():
            tasks += [
                asyncio.create_task(cutter.accept(door, parse_address(target))),
                asyncio.create_task(cutter.cut(every)),
            ]
        for task in (*tasks, *cutter.open):
            task.cancel()
        await asyncio.gather(*tasks, *cutter.open, return_exceptions=True)
    print(json.dumps({"connections": cutter.connections, "cuts": cutter.cuts, "bytes": cutter.bytes}))


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1])))

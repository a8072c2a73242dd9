"""A connection that came through an ASGI server: to aiohttp's protocol a transport like any other, in memory.

    ASGI server ──receive()──> inward ──data_received──> aiohttp's protocol, our endpoints
                <───send()──── outward <──── Pipe <────write─┘        SocketConnection

So one gateway has one set of endpoints, limits and manners, whatever it is reached through. What `send` has not taken yet is
what "waits for the client": a connection that finds too much of it here resets, as it does on a socket.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeAlias

Scope: TypeAlias = Mapping[str, Any]
Event: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
"""ASGI's own; a server's types for them are its own, too."""

HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024
"""Bytes that wait at which whoever writes is asked to pause, and to go on. asyncio's own for sockets."""

SECURE = object()
"""Stands where a socket's TLS context would: the request then knows that it came over https."""


class Pipe(asyncio.Transport):
    """What `protocol` writes is read with `read`; what is to be told to it, its owner tells it directly.

    What was read counts as waiting until the next read: whoever reads has not got rid of it before.
    """

    def __init__(self, protocol: asyncio.Protocol, scope: Scope) -> None:
        client = scope.get("client")
        secure = scope.get("scheme") in ("https", "wss")
        super().__init__({"peername": tuple(client) if client else None, "sslcontext": SECURE if secure else None})
        self.aborted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._protocol = protocol
        self._high, self._low = HIGH_WATER, LOW_WATER
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._carried = 0
        self._closing = False
        self._writing_paused = False
        self._written = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()

    # --- the protocol's end ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        self._chunks.append(bytes(data))
        self._waiting += len(data)
        self._written.set()
        if self._waiting > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else HIGH_WATER if low is None else 4 * low
        self._low = low if low is not None else self._high // 4

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written is read still, then the end."""
        self._closing = True
        self._written.set()

    def abort(self) -> None:
        """The end, also for a reader that is stuck with what it read last."""
        self.close()
        self._chunks.clear()
        if not self.aborted.done():
            self.aborted.set_result(None)

    def pause_reading(self) -> None:
        self._reads.clear()

    def resume_reading(self) -> None:
        self._reads.set()

    def is_reading(self) -> bool:
        return self._reads.is_set()

    @property
    def _sendfile_compatible(self) -> Any:
        """Asked for by `loop.sendfile`: only this error makes aiohttp read the file and write it."""
        raise NotImplementedError("there is no file descriptor here")

    # --- the other end ---

    async def read(self) -> bytes:
        """What was written since the last read, at least one byte; b"" at the end."""
        self._waiting -= self._carried
        self._carried = 0
        if self._writing_paused and self._waiting <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        while not self._chunks:
            if self._closing:
                return b""
            self._written.clear()
            await self._written.wait()
        data, self._chunks = b"".join(self._chunks), []
        self._carried = len(data)
        return data

    async def feed(self, data: bytes) -> None:
        """Tell the protocol what came, once it reads."""
        await self._reads.wait()
        self._protocol.data_received(data)

    def say(self, data: bytes) -> None:
        """Tell the protocol at once: what is small, and must not wait behind what it does not read."""
        self._protocol.data_received(data)


async def carry(
    connect: Callable[[], asyncio.Protocol],
    scope: Scope,
    inward: Callable[[Pipe], Awaitable[None]],
    outward: Callable[[Pipe], Awaitable[None]],
) -> None:
    """Serve one connection: until the client is gone (`inward` ends), all is said (`outward` ends) or it is reset."""
    protocol = connect()
    pipe = Pipe(protocol, scope)
    # The protocol's tasks must not act as the application's request, nor as an actor.
    Context().run(protocol.connection_made, pipe)
    ways = [asyncio.ensure_future(inward(pipe)), asyncio.ensure_future(outward(pipe))]
    try:
        done, _ = await asyncio.wait([*ways, pipe.aborted], return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            with suppress(OSError):  # how ASGI says from 2.4 on that nobody is there to be sent to
                way.result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        pipe.abort()
        protocol.connection_lost(None)

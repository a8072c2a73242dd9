"""A virtual socket between a server and a client that stands outside all processes, as a browser does.

    transport.write ──▶ waits here ──▶ kernel (at most `room` bytes) ──latency──▶ receive(bytes)
                        get_write_buffer_size()                          while the client reads

It is an asyncio transport, so what is written for sockets runs over it unmodified. When the client stops reading, the
kernel's buffer fills up, and then the transport's.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any

ROOM = 64 * 1024
"""Bytes that the kernels on both ends hold for a client that does not read."""

LATENCY = 0.001
"""Seconds that bytes are under way."""


class VirtualSocket(asyncio.Transport):
    """The server's end. `receive` gets the bytes at the client's, `lost` is called there once when the connection is over;
    both run in the context in which the socket was made, so a killed server cannot take its client along.
    """

    def __init__(
        self,
        receive: Callable[[bytes], None],
        lost: Callable[[], None],
        *,
        room: int = ROOM,
        latency: float = LATENCY,
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._receive = receive
        self._lost = lost
        self._room = room
        self._latency = latency
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        self._under_way: deque[bytes] = deque()
        self._under_way_size = 0
        self._reading = True
        self._carrying = False
        self._over = False

    # --- the server's end ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As uvloop's: writing to a closed one is an error."""
        if self._over:
            raise RuntimeError("unable to perform operation on a closed transport")
        self._waiting.append(bytes(data))
        self._waiting_size += len(data)
        self._fill()

    def get_write_buffer_size(self) -> int:
        return self._waiting_size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self._over

    def abort(self) -> None:
        """The connection is over for both ends; what was under way is lost."""
        if not self._over:
            self._over = True
            self._waiting.clear()
            self._under_way.clear()
            self._waiting_size = self._under_way_size = 0
            self._loop.call_soon(self._lost, context=self._context)

    # --- the client's end ---

    def pause_reading(self) -> None:
        """The client does not read from now on."""
        self._reading = False

    def resume_reading(self) -> None:
        """The client reads again."""
        self._reading = True
        self._carry()

    def _fill(self) -> None:
        while self._waiting and self._under_way_size < self._room:
            data = self._waiting.popleft()
            self._waiting_size -= len(data)
            self._under_way.append(data)
            self._under_way_size += len(data)
        self._carry()

    def _carry(self) -> None:
        if self._under_way and self._reading and not self._carrying:
            self._carrying = True
            self._loop.call_later(self._latency, self._arrive, context=self._context)

    def _arrive(self) -> None:
        self._carrying = False
        if not self._reading or self._over:
            return
        arrived = b"".join(self._under_way)
        self._under_way.clear()
        self._under_way_size = 0
        self._fill()
        self._receive(arrived)

"""A client's connection as the rest of the gateway sees it: somewhere to put bytes, without ever waiting.

    room ──> fan-out ──> connection.send(frame) ──> [this tick's frames] ──one write──> socket
                                                     at most 256 KiB wait, or the client is reset

Whoever sends to a hundred clients must not wait for one of them: a client that stops reading costs the others nothing
and costs us a bounded number of bytes. Frames of one loop tick leave in one write, which is the only thing that makes
sockets faster (gateway research: 260 thousand sends a second a core, but 1.7 million messages in joined ones).
"""

import asyncio
import socket
import struct
from typing import Protocol

GOING_AWAY = 1001
UNSUPPORTED = 1003
POLICY = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
"""WebSocket close codes. Never 1000 where a reconnect is wanted: clients take that as the end."""

BUFFER_LIMIT = 256 * 1024
"""Bytes that may wait for one client. More means that it does not read: it is reset."""

SEND_BUFFER = 64 * 1024
"""SO_SNDBUF of a client's socket. The kernel's own (up to 4 MiB) would hide a client that stopped reading."""

CLOSE_TIMEOUT = 2.0
"""Seconds a client has to answer our close before it is reset."""

WRITES_PER_TICK = 1000
"""Connections written to before the loop gets its turn: a few milliseconds."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds. Without it, abort() on a full socket leaves the peer believing in the connection."""


class Serializer(Protocol):
    """Turns what a topic says into the bytes of one kind of client. Pure, and one for all connections of its kind.

    `payload` and `response` are JSON text.
    """

    def reply(self, join_ref: str | None, ref: str | None, topic: str, status: str, response: bytes) -> bytes:
        """The answer to the client's message `ref`."""
        ...

    def push(self, join_ref: str | None, topic: str, event: str, payload: bytes) -> bytes:
        """An event for one member."""
        ...

    def broadcast(self, topic: str, event: str, payload: bytes, cursor: str) -> bytes:
        """An event for all members, the same bytes for each; `cursor` is its place in the topic's history."""
        ...


class Connection(Protocol):
    """What sessions and the fan-out know of a client's connection. Nothing here waits and nothing raises."""

    @property
    def serializer(self) -> Serializer:
        """How to speak to this client."""
        ...

    @property
    def closed(self) -> bool:
        """Whether sending has become pointless: closed by either side, or reset."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that wait for the client, the kernel's own buffer not counted."""
        ...

    def send(self, frame: bytes) -> None:
        """Send one frame, after all frames sent before; dropped if closed. Resets a client that has too much waiting."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what waits, say goodbye (`code` as in WebSocket), end. A client that does not answer is reset."""
        ...

    def reset(self) -> None:
        """End at once; what waits is lost."""
        ...


class Tick:
    """Writes, once per turn of the loop, what connections gathered in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._full: list[SocketConnection] = []

    def add(self, connection: "SocketConnection") -> None:
        """`connection` has something to write. Called once per tick and connection."""
        if not self._full:
            self.loop.call_soon(self._write)
        self._full.append(connection)

    def _write(self) -> None:
        now, self._full = self._full[:WRITES_PER_TICK], self._full[WRITES_PER_TICK:]
        if self._full:
            self.loop.call_soon(self._write)
        for connection in now:
            connection.flush()


class SocketConnection:
    """A Connection over an asyncio transport; a subclass knows how its protocol says goodbye."""

    __slots__ = ("_frames", "_limit", "_size", "_tick", "_timer", "_transport", "closed", "serializer")

    def __init__(
        self, transport: asyncio.Transport, serializer: Serializer, tick: Tick, limit: int = BUFFER_LIMIT
    ) -> None:
        self.serializer = serializer
        self.closed = False
        self._transport = transport
        self._tick = tick
        self._limit = limit
        self._frames: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    @property
    def buffered(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        if self.closed:
            return
        if not self._frames:
            self._tick.add(self)
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > self._limit:
            self.flush()

    def flush(self) -> None:
        """Write this tick's frames in one piece."""
        frames = self._frames
        if not frames:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        self._frames, self._size = [], 0
        try:
            waiting = self._transport.get_write_buffer_size()
            # Nothing waits: the client reads, and a frame larger than the limit is not its fault.
            if waiting and waiting + len(data) > self._limit:
                self.reset()
            else:
                self._transport.write(data)
        except (RuntimeError, OSError):
            # uvloop raises for a transport that was closed since; the reading side learns of that by itself.
            self.closed = True

    def close(self, code: int, reason: str) -> None:
        if self.closed:
            return
        self.flush()
        if self.closed:
            return
        self.closed = True
        self._timer = self._tick.loop.call_later(CLOSE_TIMEOUT, self.reset)
        self._say_goodbye(code, reason)

    def reset(self) -> None:
        self.ended()
        try:
            peer = self._transport.get_extra_info("socket")
            if peer is not None and peer.fileno() >= 0:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        except OSError:
            pass  # the peer was faster
        self._transport.abort()

    def ended(self) -> None:
        """The socket is gone: nothing is sent any more and no timer waits for it."""
        self.closed = True
        self._frames, self._size = [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say_goodbye(self, code: int, reason: str) -> None:
        raise NotImplementedError

"""A client's connection as the rest of the gateway sees it: somewhere to put bytes, without ever waiting.

    room ──> fan-out ──> connection.send(frame) ──> [this tick's frames] ──one write──> socket
                                                     at most 256 KiB wait, or the client is reset
                         send(frame, latest) ──> while the client is behind, one frame per `latest` is held here, the last

Whoever sends to a hundred clients must not wait for one of them: a client that stops reading costs the others nothing
and costs us a bounded number of bytes. Frames of one loop tick leave in one write, which is the only thing that makes
sockets faster (gateway research: 260 thousand sends a second a core, but 1.7 million messages in joined ones).
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress
from typing import Protocol

from understudy.gateway.log import Cursor
from understudy.gateway.phoenix import Ref

GOING_AWAY = 1001
POLICY = 1008
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
"""WebSocket close codes. Never 1000 where a reconnect is wanted: clients take that as the end."""

BUFFER_LIMIT = 256 * 1024
"""Bytes that may wait for one client. More means that it does not read: it is reset."""

LARGE_FRAME, LARGE_LIMIT = 64 * 1024, 4 * 1024 * 1024
"""Frames of more bytes than the first do not count among those, up to so many bytes: who comes back after a while has asked
for all that it missed, in each of its topics, and is not slow because that is much."""

SEND_BUFFER = 64 * 1024
"""SO_SNDBUF of a client's socket. The kernel's own (up to 4 MiB) would hide a client that stopped reading."""

CLOSE_TIMEOUT = 2.0
"""Seconds a client has to answer our close before it is reset."""

BEHIND = 16
"""A client is behind when more than this part (1/16) of what may wait does. Less is no sign: uvloop writes at the end of its
turn, so something waits for an instant for everybody.
"""

CATCH_UP = 0.02
"""Seconds between two looks at a client that is behind and for which something is held."""

STALLED = 10.0
"""Seconds without a byte taken, after which such a client is reset: it does not read."""

WRITES_PER_TICK = 1000
"""Connections written to before the loop gets its turn: a few milliseconds."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds. Without it, abort() on a full socket leaves the peer believing in the connection."""


class Serializer(Protocol):
    """Turns what a topic says into the bytes of one kind of client. Pure, and one for all connections of its kind.

    `payload` and `response` are JSON text, or anything if `binary`.
    """

    def reply(self, join_ref: Ref, ref: Ref, topic: str, status: str, response: bytes, binary: bool = False) -> bytes:
        """The answer to the client's message `ref`."""
        ...

    def push(self, join_ref: Ref, topic: str, event: str, payload: bytes, binary: bool = False) -> bytes:
        """An event for one member."""
        ...

    def broadcast(
        self, topic: str, event: str, payload: bytes, cursor: Cursor | None = None, binary: bool = False
    ) -> bytes:
        """An event for all members, the same bytes for each; `cursor` is its place in the log if it is a reliable one."""
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

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        """Send one frame, after all frames sent before; dropped if closed. Resets a client that has too much waiting.

        A frame with a `latest` is of worth until the next one with the same: while the client is behind, only the last of
        them is held, and sent once it has caught up. Others may pass it.
        """
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what waits, say goodbye (`code` as in WebSocket), end. A client that does not answer is reset."""
        ...

    def reset(self) -> None:
        """End at once; what waits is lost."""
        ...


class Tick:
    """Writes, once per turn of the loop, what connections gathered in it; and looks after those that are behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, refused: Counter[str] | None = None) -> None:
        self.loop = loop
        self.refused = Counter[str]() if refused is None else refused
        self._full: list[SocketConnection] = []
        self._behind: dict[SocketConnection, tuple[int, float]] = {}

    def add(self, connection: "SocketConnection") -> None:
        """`connection` has something to write. Called once per tick and connection."""
        if not self._full:
            self.loop.call_soon(self._write)
        self._full.append(connection)

    def watch(self, connection: "SocketConnection") -> None:
        """`connection` holds something until its client has caught up."""
        if not self._behind:
            self.loop.call_later(CATCH_UP, self._look)
        self._behind[connection] = (connection.taken, self.loop.time())

    def _write(self) -> None:
        now, self._full = self._full[:WRITES_PER_TICK], self._full[WRITES_PER_TICK:]
        if self._full:
            self.loop.call_soon(self._write)
        for connection in now:
            connection.flush()

    def _look(self) -> None:
        now = self.loop.time()
        for connection, (taken, at) in list(self._behind.items()):
            if connection.caught_up():
                del self._behind[connection]
            elif connection.taken > taken:
                self._behind[connection] = (connection.taken, now)
            elif now - at >= STALLED:
                del self._behind[connection]
                connection.evict()
        if self._behind:
            self.loop.call_later(CATCH_UP, self._look)


class SocketConnection:
    """A Connection over an asyncio transport; a subclass knows how its protocol says goodbye."""

    __slots__ = (
        "_excused",
        "_frames",
        "_large",
        "_latest",
        "_latest_size",
        "_limit",
        "_size",
        "_tick",
        "_timer",
        "_transport",
        "_written",
        "closed",
        "serializer",
    )

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
        self._large = 0
        self._excused = 0
        self._latest: dict[Hashable, bytes] | None = None
        self._latest_size = 0
        self._written = 0
        self._timer: asyncio.TimerHandle | None = None
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    @property
    def buffered(self) -> int:
        return self._size + self._latest_size + self._transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """Bytes that the kernel has taken since the connection began."""
        return self._written - self._transport.get_write_buffer_size()

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        if self.closed:
            return
        if latest is not None and (self._latest is not None or self._is_behind()):
            self._hold(frame, latest)
            return
        if not self._frames:
            self._tick.add(self)
        self._frames.append(frame)
        size = len(frame)
        self._size += size
        if size > LARGE_FRAME:
            self._large += size
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
            if waiting or self._large:
                self._excused = min(self._large + (self._excused if waiting else 0), LARGE_LIMIT)
                self._large = 0
            # Nothing waits: the client reads, and what is too much for one tick is not its fault.
            if waiting and waiting + len(data) > self._limit + self._excused:
                self.evict()
            else:
                self._written += len(data)
                self._transport.write(data)
        except (RuntimeError, OSError):
            # uvloop raises for a transport that was closed since; the reading side learns of that by itself.
            self.closed = True

    def caught_up(self) -> bool:
        """Send what was held if the client is not behind any more, and say whether nothing is held now."""
        if not self.closed and self._is_behind():
            return False
        self._release()
        return True

    def _is_behind(self) -> bool:
        return self._transport.get_write_buffer_size() * BEHIND > self._limit

    def _hold(self, frame: bytes, latest: Hashable) -> None:
        if self._latest is None:
            self._latest = {}
            self._tick.watch(self)
        self._latest_size += len(frame) - len(self._latest.pop(latest, b""))
        self._latest[latest] = frame
        if self._latest_size > self._limit:
            self.evict()

    def _release(self) -> None:
        held, self._latest, self._latest_size = self._latest, None, 0
        for frame in (held or {}).values():
            self.send(frame)

    def close(self, code: int, reason: str) -> None:
        if self.closed:
            return
        self._release()
        self.flush()
        if self.closed:
            return
        self.closed = True
        self._timer = self._tick.loop.call_later(CLOSE_TIMEOUT, self.reset)
        with suppress(RuntimeError, OSError):  # the socket is gone, as the reading side will learn
            self._say_goodbye(code, reason)

    def evict(self) -> None:
        """Reset a client that does not read what it is sent."""
        self._tick.refused["too_slow"] += 1
        self.reset()

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
        self._latest, self._latest_size = None, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say_goodbye(self, code: int, reason: str) -> None:
        raise NotImplementedError

"""The payloads that leave for one peer: each a stream of chunks, sent in turns, as fast as somebody there reads it.

    Departures                                                        Arrivals (arrivals.py)
    ──────────                                                        ────────
    a message is packed     ── stream 7, size ─── in the message ──▶  a Payload
    begun unread            ══ CHUNK 7/0, 7/1 ... up to EAGER ═════▶  kept; of all unread streams together up to POOL
                            ◀── WANTED 7, up to chunk 10 ───────────  somebody reads: a window ahead of where he is
                            ══ CHUNK 7/2 ... 7/9 ══════════════════▶
                            ◀── WANTED 7, up to chunk 14 ───────────
                            ══ CHUNK 7/10 last, or: failed, why ═══▶  whole, or PayloadError
    all has arrived: its source is let go
    forgotten               ◀── UNWANTED 7 ─────────────────────────  read to its end; closed, forgotten, its reader has died

    ── in the link's session, with the messages       ══ in the session of the lane beside it (lane.py)

Both sessions deliver once and in order, but know nothing of each other: a chunk may come before its message.
What is sent unread is what lets a payload be read without a wait for its sender; who never reads holds up no other stream.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from understudy.actors import Overloaded
from understudy.transport.payload import Payload
from understudy.transport.sources import CHUNK, Memory, PayloadError, Source, closed

WINDOW = 8
"""Chunks that a stream may be ahead of its reader."""

EAGER = 8
"""Chunks of a stream that are sent before anybody is known to read it."""

POOL = 32
"""Chunks of a link that are sent before anybody is known to read them, of all streams together: 8 MiB."""

STREAMS = 1024
"""Streams to one peer that may be open."""

HELD = 32 * 1024 * 1024
"""Bytes of memory that the open streams to one peer may hold on to, the largest payload apart, which may be of any size."""

PIECES = 64
"""Pieces of a source that are read ahead, if they do not make up a chunk before."""

MORE, LAST, FAILED = 0, 1, 2
"""What a chunk is: one of many, the last one, or in its place the reason why there is none."""

REASON = 2_000
"""Characters of such a reason."""


class Carrier(Protocol):
    """What takes the chunks of all streams."""

    def room(self) -> bool:
        """Whether it takes one now."""
        ...

    def put(self, stream: int, index: int, kind: int, body: memoryview | bytes) -> int:
        """Take a chunk; returns its sequence. `Departures.acknowledged` is told a higher one once it has arrived."""
        ...


class Departure:
    """One stream. Memory is cut where it is; any other source is read by a task, a chunk or so ahead."""

    __slots__ = (
        *("_at", "_ready", "_size", "_task", "_view", "_waiter", "arrived", "ended", "failure", "index"),
        *("last", "limit", "number", "payload", "pooled", "queued", "read"),
    )

    def __init__(self, number: int, payload: Payload) -> None:
        self.number = number
        self.payload: Payload | None = payload
        self.index = 0  # of the next chunk
        self.limit = 0  # the index up to which somebody wants them
        self.pooled = 0  # chunks that were sent before anybody was known to want them
        self.read = False  # somebody wants them
        self.last = -1  # the lane's sequence of the last one
        self.arrived = False
        self.queued = False
        self.ended = False  # its source: nothing comes after what is ready
        self.failure = ""
        source = payload.source
        self._view = source.view if isinstance(source, Memory) else None
        self._at = 0
        self._ready: deque[memoryview] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def chunk(self) -> tuple[int, memoryview | bytes] | None:
        """The next chunk and its kind; None if it must be waited for."""
        if self._view is not None:
            piece = self._view[self._at : self._at + CHUNK]
            self._at += CHUNK
            return (MORE if self._at < self._view.nbytes else LAST), piece
        if self._ready:
            body = self._gathered()
            return (LAST if self.ended and not self._ready and not self.failure else MORE), body
        if self.ended:
            return (FAILED, self.failure.encode()) if self.failure else (LAST, b"")
        return None

    def begin(self, loop: asyncio.AbstractEventLoop, context: Context, more: Callable[[Departure], None]) -> None:
        """Read the source, if that has to be done apart. `more` is told of every piece, and of the end."""
        if self._view is None and self._task is None and self.payload is not None:
            self._task = loop.create_task(self._run(self.payload.source, more), context=context)

    def close(self) -> None:
        """Let go of the source."""
        self.payload = self._view = None
        self._ready.clear()
        self.ended = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self, source: Source, more: Callable[[Departure], None]) -> None:
        try:
            await self._read(source, more)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader is told
            text = str(error) if isinstance(error, PayloadError) else f"{type(error).__name__}: {error}"
            self.failure = text[:REASON].encode(errors="backslashreplace").decode() or type(error).__name__
        self.ended = True
        more(self)

    async def _read(self, source: Source, more: Callable[[Departure], None]) -> None:
        iterator = aiter(source)
        try:
            async for piece in iterator:
                self._ready.append(piece)
                self._size += piece.nbytes
                more(self)
                if self._size >= CHUNK or len(self._ready) >= PIECES:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        finally:
            await closed(iterator)

    def _gathered(self) -> memoryview | bytes:
        """As much of what is ready as goes into one chunk."""
        pieces = [self._ready.popleft()]
        size = pieces[0].nbytes
        while self._ready and size + self._ready[0].nbytes <= CHUNK:
            pieces.append(self._ready.popleft())
            size += pieces[-1].nbytes
        self._size -= size
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Departures:
    """Of one link; used on the loop's thread only. `room_made` is called when one that was refused may be tried again."""

    def __init__(
        self,
        carrier: Carrier,
        loop: asyncio.AbstractEventLoop,
        context: Callable[[], Context],
        room_made: Callable[[], None],
    ) -> None:
        self._carrier = carrier
        self._loop = loop
        self._context = context
        self._room_made = room_made
        self._streams: dict[int, Departure] = {}
        self._numbers = 0
        self._turn: deque[Departure] = deque()  # who may have something to send
        self._unread: deque[Departure] = deque()  # who waits for the pool
        self._under_way: deque[Departure] = deque()  # whose last chunk was sent
        self._pooled = 0
        self._held: Counter[Payload] = Counter()
        self.held = 0  # bytes of memory
        self._packed: list[Departure] = []
        self._pumping = False  # soon
        self._closed = False

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def taken(self) -> int:
        """The number of the last stream that was opened."""
        return self._numbers

    def arrived(self, number: int) -> bool:
        """Whether all that left up to that stream has arrived."""
        return all(each.arrived for each in self._streams.values() if each.number <= number)

    # --- a message is packed ---

    def take(self, payload: Payload) -> int:
        """Open a stream for a payload of the message that is being packed; returns its number. Raises Overloaded."""
        source = payload.source
        if len(self._streams) >= STREAMS:
            raise Overloaded(
                f"{STREAMS:,} payloads to that node are under way, or wait to be read there: nothing was sent"
            )
        if isinstance(source, Memory):
            if payload not in self._held and self._too_much(source.size):
                raise Overloaded(
                    f"payloads under way to that node hold {self.held:,} bytes of memory, and {HELD:,} are the limit "
                    f"for all but the largest: nothing was sent; `await ref.offer(message)` waits for room"
                )
            if not self._held[payload]:
                self.held += source.size
            self._held[payload] += 1
        self._numbers += 1
        departure = self._streams[self._numbers] = Departure(self._numbers, payload)
        self._packed.append(departure)
        return self._numbers

    def packed(self, *, sent: bool) -> None:
        """The message is packed and leaves, or was not sent after all."""
        packed, self._packed = self._packed, []
        for departure in packed:
            if sent and not self._closed:
                self._wake(departure)
                if not self._pumping:
                    self._pumping = True
                    self._loop.call_soon(self._pump_once, context=self._context())
            else:
                self._forget(departure)

    # --- what the other side says ---

    def wanted(self, number: int, limit: int) -> None:
        """Somebody reads the stream and wants its chunks below `limit`."""
        departure = self._streams.get(number)
        if departure is not None:
            departure.read = True
            departure.limit = max(departure.limit, limit)
            self._give_back(departure)
            self._wake(departure)
            self.pump()

    def unwanted(self, number: int) -> None:
        """All of the stream was read, or nobody reads it any more."""
        departure = self._streams.get(number)
        if departure is not None:
            self._give_back(departure)
            self._forget(departure)
            self.pump()

    def acknowledged(self, sequence: int) -> None:
        """All that the lane took below that sequence has arrived."""
        while self._under_way and self._under_way[0].last < sequence:
            departure = self._under_way.popleft()
            departure.arrived = True
            self._release(departure)
        self.pump()

    def close(self) -> dict[int, Payload]:
        """There is nobody any more to send to. Returns what had not arrived, for dead letters."""
        self._closed = True
        lost = {number: each.payload for number, each in self._streams.items() if each.payload is not None}
        for departure in tuple(self._streams.values()):
            self._forget(departure)
        return lost

    # --- sending ---

    def pump(self) -> None:
        """One chunk of each stream that has one and may send it, over and over while the lane has room."""
        while self._turn and self._carrier.room():
            departure = self._turn.popleft()
            departure.queued = False
            if departure.last >= 0 or departure.number not in self._streams:
                continue
            if not departure.read and departure.pooled < EAGER and self._pooled >= POOL:
                self._unread.append(departure)
            elif departure.index < (departure.limit if departure.read else EAGER):
                departure.begin(self._loop, self._context(), self._more)
                chunk = departure.chunk()
                if chunk is not None:
                    self._send(departure, *chunk)

    def _pump_once(self) -> None:
        self._pumping = False
        self.pump()

    def _send(self, departure: Departure, kind: int, body: memoryview | bytes) -> None:
        if not departure.read:
            departure.pooled += 1
            self._pooled += 1
        sequence = self._carrier.put(departure.number, departure.index, kind, body)
        departure.index += 1
        if kind == MORE:
            self._wake(departure)
        else:
            departure.last = sequence
            self._under_way.append(departure)

    def _more(self, departure: Departure) -> None:
        """There is more of a source, or it has ended."""
        self._wake(departure)
        self.pump()

    def _wake(self, departure: Departure) -> None:
        if not departure.queued and departure.last < 0:
            departure.queued = True
            self._turn.append(departure)

    def _give_back(self, departure: Departure) -> None:
        """What it sent unread is read now, or thrown away: others may."""
        if departure.pooled:
            self._pooled -= departure.pooled
            departure.pooled = 0
            while self._unread:
                self._wake(self._unread.popleft())

    def _too_much(self, size: int) -> bool:
        """Whether payloads would hold on to more memory than they may, with one of that size."""
        if self.held + size <= HELD:
            return False
        largest = max((each.size or 0 for each in self._held), default=0)
        return self.held + size - max(size, largest) > HELD

    def _forget(self, departure: Departure) -> None:
        if self._streams.pop(departure.number, None) is not None:
            self._release(departure)
            self._room_made()

    def _release(self, departure: Departure) -> None:
        payload = departure.payload
        if payload is not None and isinstance(payload.source, Memory):
            self._held[payload] -= 1
            if not self._held[payload]:
                del self._held[payload]
                self.held -= payload.source.size
        departure.close()
        self._room_made()

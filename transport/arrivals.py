"""The payloads that come from one peer: the other half of what departures.py draws.

    in the message: stream 7, size ──▶ Incoming, the source of the Payload that the handler gets
    CHUNK                          ──▶ kept, unless nobody wants it any more
    the first read                 ──▶ WANTED: what may come unread is counted no more, a window ahead of the reader is open
    every half window              ──▶ WANTED: it moves on
    read to the end                ──▶ UNWANTED: the sender may forget it
    closed, or forgotten           ──▶ UNWANTED: not one more chunk
    the peer is gone               ──▶ NodeDown to whoever reads, unless all of it is here already

A stream that breaks the protocol fails with what was expected and what came, and harms no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from typing import Self
from weakref import ref

from understudy.transport.departures import EAGER, FAILED, LAST, POOL, STREAMS, WINDOW
from understudy.transport.schema import Unreadable
from understudy.transport.sources import PayloadError

CREDIT = 16 * WINDOW
"""Chunks that all streams of a link together may be ahead of their readers; each of them one at least."""


class Arrival:
    """One stream. `end`: nothing comes any more, True: it is whole, else why not."""

    __slots__ = (
        "chunks",
        "end",
        "handle",
        "index",
        "limit",
        "number",
        "received",
        "size",
        "taken",
        "unread",
        "waiter",
        "wanted",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.size: int | None = None
        self.handle: ref[Incoming] | None = None  # None: its message has not come yet
        self.chunks: deque[memoryview] = deque()
        self.index = 0  # of the next chunk to come
        self.received = 0  # bytes
        self.taken = 0  # chunks that were read
        self.limit = 0  # up to which chunks were asked for
        self.wanted = False
        self.unread = 0  # chunks that came before that
        self.end: Exception | bool = False
        self.waiter: asyncio.Future[None] | None = None

    def accept(self, index: int, kind: int, body: memoryview) -> None:
        """The next chunk. Raises PayloadError if it is not."""
        if index != self.index:
            raise PayloadError(f"expected chunk {self.index} of stream {self.number}, got chunk {index}")
        self.index += 1
        if kind == FAILED:
            self.end = PayloadError(f"its sender could not read it: {bytes(body[:2_000]).decode(errors='replace')}")
            return
        self.received += body.nbytes
        if self.size is not None and self.received > self.size:
            raise PayloadError(f"expected {self.size:,} bytes, got {self.received:,} so far")
        if body.nbytes:
            self.chunks.append(body)
        if kind == LAST:
            if self.size is not None and self.received != self.size:
                raise PayloadError(f"expected {self.size:,} bytes, got the end after {self.received:,}")
            self.end = True

    def fail(self, error: Exception) -> None:
        """Nothing more of it will be read."""
        self.chunks.clear()
        self.end = error
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Incoming:
    """The `Source` of a payload that came from another node. When nobody has it any more, its stream is ended."""

    __slots__ = ("__weakref__", "_arrival", "_arrivals", "_begun")

    def __init__(self, arrivals: Arrivals, arrival: Arrival) -> None:
        self._arrivals = arrivals
        self._arrival = arrival
        self._begun = False

    @property
    def size(self) -> int | None:
        return self._arrival.size

    def __aiter__(self) -> AsyncIterator[memoryview]:
        if self._begun:
            raise PayloadError(
                "this payload came from another node, and is being read or was read already: it can be read, or handed on, once"
            )
        self._arrivals.check_loop()
        self._begun = True
        return Reader(self._arrivals, self._arrival, self)

    def close(self) -> None:
        self._begun = True
        self._arrivals.closed(self._arrival)


class Reader:
    """Reads a stream. `_kept`: whoever reads it has it still."""

    __slots__ = ("_arrival", "_arrivals", "_kept")

    def __init__(self, arrivals: Arrivals, arrival: Arrival, incoming: Incoming) -> None:
        self._arrivals = arrivals
        self._arrival = arrival
        self._kept = incoming

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        arrival, arrivals = self._arrival, self._arrivals
        arrivals.want(arrival)
        while not arrival.chunks:
            if arrival.end is not False:
                arrivals.finish(arrival)
                if isinstance(arrival.end, Exception):
                    raise arrival.end
                raise StopAsyncIteration
            if arrival.waiter is not None:
                raise PayloadError("this payload is being read by another task")
            arrival.waiter = asyncio.get_running_loop().create_future()
            try:
                await arrival.waiter
            finally:
                arrival.waiter = None
        chunk = arrival.chunks.popleft()
        arrivals.took(arrival)
        return chunk

    async def aclose(self) -> None:
        """Whoever stops reading wants no more of it."""
        self._kept.close()


class Arrivals:
    """Of one link; used on the loop's thread only. `say` sends an operation, `report` tells of what made no sense."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Callable[[], Context],
        wanted: Callable[[int, int], None],
        unwanted: Callable[[int], None],
        report: Callable[[Exception], None],
    ) -> None:
        self._loop = loop
        self._context = context
        self._say_wanted = wanted
        self._say_unwanted = unwanted
        self._report = report
        self._streams: dict[int, Arrival] = {}
        self._early: set[int] = set()  # streams whose message has not come
        self._announced = 0  # the highest number that came in a message: a lower one that is not here is over
        self._unread = 0  # chunks of streams that nobody has read from
        self._readers = 0
        self._ahead = 0  # chunks that all readers together have asked for and not read

    def __len__(self) -> int:
        return len(self._streams)

    def announce(self, number: int, size: int | None) -> Incoming:
        """A message holds that stream. The same message may be decoded twice. Raises Unreadable."""
        arrival = self._streams.get(number)
        if arrival is None:
            if number <= self._announced:
                raise Unreadable(f"stream {number} is over, or comes out of turn: the last one was {self._announced}")
            if len(self._streams) - self._readers >= STREAMS + POOL:
                raise Unreadable(f"{STREAMS:,} payloads of this node wait to be read already")
            arrival = self._streams[number] = Arrival(number)
        if number > self._announced:
            self._announced = number
            self._early.discard(number)
            for lost in [early for early in self._early if early < number]:  # their messages made no sense
                self.unwant(self._streams[lost], PayloadError("its message made no sense"))
            arrival.size = size
        incoming = Incoming(self, arrival)
        arrival.handle = ref(incoming, lambda _: self._abandon(number))
        if (
            arrival.received
            and size is not None
            and (arrival.received > size or (arrival.end is True and arrival.received < size))
        ):
            self._broken(arrival, PayloadError(f"expected {size:,} bytes, got {arrival.received:,}"))
        return incoming

    def chunk(self, number: int, index: int, kind: int, body: memoryview) -> None:
        """A chunk came."""
        arrival = self._streams.get(number)
        if arrival is None:
            if number <= self._announced:
                return  # under way when we said that nobody wants it
            if len(self._early) >= POOL:
                self._report(
                    Unreadable(f"{POOL} streams have begun whose messages did not come; stream {number} is one more")
                )
                self._say_unwanted(number)
                return
            arrival = self._streams[number] = Arrival(number)
            self._early.add(number)
        if arrival.end is not False:
            self._broken(arrival, PayloadError(f"expected nothing after the end of stream {number}, got chunk {index}"))
            return
        try:
            if index >= max(arrival.limit, EAGER):
                raise PayloadError(
                    f"expected chunks below {max(arrival.limit, EAGER)}, got chunk {index} of stream {number}"
                )
            if not arrival.wanted:
                arrival.unread += 1
                self._unread += 1
                if self._unread > POOL:
                    raise PayloadError(
                        f"expected {POOL} chunks at most that nobody asked for, got one of stream {number} more"
                    )
            arrival.accept(index, kind, body)
        except PayloadError as error:
            self._broken(arrival, error)
        else:
            arrival.wake()

    def want(self, arrival: Arrival) -> None:
        """Somebody reads it, and has come as far as it is."""
        if arrival.number not in self._streams or (arrival.end is not False and arrival.wanted):
            return
        ahead = arrival.limit - arrival.taken
        window = max(1, min(WINDOW, CREDIT - self._ahead + ahead))
        if not arrival.wanted:
            arrival.wanted = True
            self._uncount(arrival)
            self._readers += 1
        elif ahead > window // 2:
            return
        limit = max(arrival.taken + window, arrival.index)
        self._ahead += limit - arrival.limit
        arrival.limit = limit
        if arrival.end is False:  # else nothing more will come
            self._say_wanted(arrival.number, limit)

    def took(self, arrival: Arrival) -> None:
        """A chunk was read."""
        arrival.taken += 1
        if arrival.number in self._streams:
            self._ahead -= 1
            self.want(arrival)

    def unwant(self, arrival: Arrival, why: PayloadError) -> None:
        """Nobody will read it any more. Twice is harmless."""
        if arrival.number in self._streams:
            self.finish(arrival)
            arrival.fail(why)

    def finish(self, arrival: Arrival) -> None:
        """It is read to its end, or over: its sender is told, before whatever the reader says next."""
        if arrival.number in self._streams:
            self._say_unwanted(arrival.number)
            self._forget(arrival)

    def _forget(self, arrival: Arrival) -> None:
        if self._streams.pop(arrival.number, None) is not None:
            arrival.handle = None
            self._early.discard(arrival.number)
            if arrival.wanted:
                self._readers -= 1
                self._ahead -= arrival.limit - arrival.taken
            else:
                self._uncount(arrival)

    def closed(self, arrival: Arrival) -> None:
        """Somebody closed it, in whatever thread."""
        why = PayloadError("the payload was closed")
        if asyncio._get_running_loop() is self._loop:
            self.unwant(arrival, why)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.unwant, arrival, why, context=self._context())

    def check_loop(self) -> None:
        """RuntimeError anywhere but on the loop of the system that it came to."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "a payload of another node is read on the loop of the system that it came to: from elsewhere, "
                "asyncio.run_coroutine_threadsafe(payload.bytes(), system.loop)"
            )

    def close(self, error: Callable[[], Exception]) -> None:
        """The peer is gone: nothing comes any more. What is here in whole can still be read."""
        for arrival in tuple(self._streams.values()):
            if arrival.end is False:
                self._forget(arrival)
                arrival.fail(error())

    def _broken(self, arrival: Arrival, error: PayloadError) -> None:
        self._report(error)
        self.unwant(arrival, error)

    def _uncount(self, arrival: Arrival) -> None:
        """What came of it unread is not unread any more."""
        self._unread -= arrival.unread
        arrival.unread = 0

    def _abandon(self, number: int) -> None:
        """A payload was garbage: anywhere, in any thread, in the middle of anything."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._abandoned, number, context=self._context())

    def _abandoned(self, number: int) -> None:
        arrival = self._streams.get(number)
        if arrival is not None and arrival.handle is not None and arrival.handle() is None:
            self.unwant(arrival, PayloadError("nobody had the payload any more"))

"""A trace: what one living actor receives and does, as it happens. Erlang's `sys:trace`, as an asynchronous iterator.

    async with system.trace(ref) as trace:
        async for event in trace:
            print(event)

What handles the actor's messages is wrapped for as long as the trace is open, and no longer. Messages and replies are sketched
(sketch.py): short and without secrets. Whoever reads too slowly loses the oldest events, and `trace.dropped` counts them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from understudy.actors.arguments import is_count
from understudy.actors.hooks import Ended, Linked, Spawned, Unlinked
from understudy.actors.message import message
from understudy.actors.observer import Receive, observed, outcome
from understudy.actors.signals import title
from understudy.actors.sketch import masked, sketch

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

LIMIT = 1_000
"""Events that wait to be read, unless told otherwise."""


@message("understudy.trace")
class TraceEvent:
    """`kind`: received, handled (a reply of None), replied, refused, failed, cancelled, spawned, linked, unlinked, ended.

    `at` in the loop's seconds; `what` the class of the message, of the error, or the other actor; `detail` a sketch.
    """

    at: float
    kind: str
    what: str
    detail: str


class Trace:
    """The events of one actor until it is closed or the actor ends. Read by one task."""

    def __init__(self, limit: int) -> None:
        if not is_count(limit):
            raise ValueError(f"a trace keeps a number of events from 1 up, not {limit!r}")
        self.dropped = 0
        """Events that nobody came to read in time."""
        self._limit = limit

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TraceEvent:
        raise NotImplementedError

    def close(self) -> None:
        """End it: what was not read yet can still be read. From any thread."""
        raise NotImplementedError


class CellTrace(Trace):
    """That of an actor of this process, from now on. Read on whichever loop."""

    def __init__(self, cell: Cell[Any], limit: int = LIMIT) -> None:
        super().__init__(limit)
        self._cell = cell
        self._events: deque[TraceEvent] = deque()
        self._over = False
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._wrapper = self._wrap  # one object, by which it is found again
        self._subscriptions: list[Callable[[], None]] = []
        cell.on_loop(self._begin)

    async def __anext__(self) -> TraceEvent:
        loop = asyncio.get_running_loop()
        while True:
            if self._events:
                return self._events.popleft()
            if self._over:
                raise StopAsyncIteration
            news: asyncio.Future[None] = loop.create_future()
            self._reader = loop, news
            if not self._events and not self._over:  # else it came between the two looks
                await news

    def close(self) -> None:
        self._finish()
        self._cell.on_loop(self._end)

    @property
    def waiting(self) -> int:
        """How many events wait to be read."""
        return len(self._events)

    # --- on the actor's loop ---

    def _begin(self) -> None:
        cell = self._cell
        if self._over:
            return
        if cell.reason is not None:
            self._note("ended", masked(str(cell.reason)))
            self._finish()
            return
        bonds = cell.tied()
        bonds.wrappers = (*bonds.wrappers, self._wrapper)
        if cell.actor is not None:
            cell.behave()
        subscribe = cell.system.hooks.subscribe
        self._subscriptions += [
            subscribe(Spawned, self._spawned),
            subscribe(Linked, self._linked),
            subscribe(Unlinked, self._linked),
            subscribe(Ended, self._ended),
        ]

    def _end(self) -> None:
        for unsubscribe in self._subscriptions:
            unsubscribe()
        self._subscriptions.clear()
        cell, bonds = self._cell, self._cell.bonds
        if bonds is not None and self._wrapper in bonds.wrappers:
            bonds.wrappers = tuple(wrapper for wrapper in bonds.wrappers if wrapper != self._wrapper)
            if cell.actor is not None:
                cell.behave()

    def _spawned(self, event: Spawned) -> None:
        if event.parent is self._cell:
            self._note("spawned", repr(event.ref))

    def _linked(self, event: Linked | Unlinked) -> None:
        if event.ref is self._cell:
            self._note("linked" if isinstance(event, Linked) else "unlinked", repr(event.other))

    def _ended(self, event: Ended) -> None:
        if event.ref is self._cell:
            self._note("ended", masked(str(event.reason)))
            self.close()

    # --- where the handler runs ---

    def _wrap(self, receive: Receive) -> Receive:
        return observed(receive, self)

    def begins(self, message: Any) -> None:
        """See Observer."""
        self._note("received", title(message), message)

    def returned(self, token: None, result: Any) -> None:
        """See Observer."""
        if result is None:
            self._note("handled", "None")
        else:
            self._note("replied", type(result).__qualname__, result)

    def failed(self, token: None, error: BaseException) -> None:
        """See Observer."""
        self._note(outcome(error), type(error).__qualname__, error)

    # --- from any thread ---

    def _note(self, kind: str, what: str, value: object = None) -> None:
        if self._over:
            return
        if len(self._events) >= self._limit:
            self._events.popleft()
            self.dropped += 1
        detail = "" if value is None else sketch(value)
        self._events.append(TraceEvent(self._cell.scheduler.loop.time(), kind, what, detail))
        self._wake()

    def _finish(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            loop, news = reader
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody reads any more
                loop.call_soon_threadsafe(_resolve, news)


def _resolve(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)

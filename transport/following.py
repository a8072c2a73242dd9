"""A trace across the wire: a follower beside the actor reads its events there, and hands them over when it is asked.

    system.trace(ref) ── async with ──▶ Follower there, a child of this node's steward ──▶ the actor's own trace
          anext       ── MoreEvents ──▶ waits for one, and answers with all that there are, up to BATCH

Events wait there, no more than `limit` of them, until somebody has come to read them: a trace of a busy actor fills neither
the link nor this process. The follower ends with the trace, with the actor, and with either node.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Self

from understudy.actors import (
    SPAWN_TIMEOUT,
    Actor,
    ActorDied,
    ActorRef,
    Cell,
    ExitReason,
    Later,
    NoProc,
    Request,
    StartFailed,
    Trace,
    TraceEvent,
    message,
)
from understudy.actors.tracing import CellTrace
from understudy.transport.steward import STEWARD

if TYPE_CHECKING:
    from understudy.transport.remote import RemoteRef

BATCH = 64
"""Events of one answer, at most."""


@message("understudy.nodes.Events")
class Events:
    """The next events of a trace. `dropped`: so far; `over`: no more will come."""

    events: tuple[TraceEvent, ...]
    dropped: int
    over: bool


@message("understudy.nodes.MoreEvents")
class MoreEvents(Request[Events]):
    """Ask a follower; answered when there is at least one, or no more will come."""


class Follower(Actor):
    """Reads the trace of `ref`, an actor of its own node."""

    def __init__(self, ref: ActorRef[Any], limit: int) -> None:
        super().__init__()
        self._ref = ref
        self._limit = limit

    def on_start(self) -> None:
        trace = self.system.trace(self._ref, self._limit)
        if not isinstance(trace, CellTrace):  # nobody of this node: it has ended, and been forgotten
            raise ActorDied(NoProc(), repr(self._ref))
        self._trace = trace

    def on_receive(self, message: Any) -> Any:
        if not isinstance(message, MoreEvents):
            return self.unhandled(message)
        later = Later()
        self.run(self._gather(later))
        return later

    def on_stop(self, reason: ExitReason) -> None:
        self._trace.close()

    async def _gather(self, later: Later) -> None:
        events: list[TraceEvent] = []
        with suppress(StopAsyncIteration):
            events.append(await anext(self._trace))
            while self._trace.waiting and len(events) < BATCH:
                events.append(await anext(self._trace))
        later.set(Events(tuple(events), self._trace.dropped, not events))
        if not events:
            self.stop()


class RemoteTrace(Trace):
    """That of an actor of another node, from the `async with` on, or else from the first event that is asked for.

    On the node's own loop. `at` is in the seconds of the other node's loop. Where that node is lost, an `ended` event says so.
    """

    def __init__(self, ref: RemoteRef[Any], limit: int) -> None:
        super().__init__(limit)
        self._ref = ref
        self._follower: ActorRef[Follower] | None = None
        self._asking: asyncio.Task[Events] | None = None
        self._events: deque[TraceEvent] = deque()
        self._over = False

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __anext__(self) -> TraceEvent:
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            if self._asking is None:
                follower = self._follower or await self._begin()
                # In a context of its own: it has no more to do with the request at hand, and its deadline.
                self._asking = asyncio.create_task(follower.call(MoreEvents(), math.inf), context=Context())
            await asyncio.wait((self._asking,))  # a reader that is cancelled loses nothing
            asking, self._asking = self._asking, None
            try:
                self._take(asking.result())
            except ActorDied as death:
                if not self._over:  # its node is lost, or an operator has ended the follower
                    now = self._ref.link.loop.time()
                    self._take(Events((TraceEvent(now, "ended", str(death.reason), ""),), self.dropped, True))
        return self._events.popleft()

    def close(self) -> None:
        self._over = True
        if self._follower is not None:
            self._follower.exit()

    async def _begin(self) -> ActorRef[Follower]:
        link = self._ref.link
        if link.lost is not None:
            raise link.death(self._ref)
        system = link.system
        steward = system.whereis(STEWARD)
        assert isinstance(steward, Cell), "a node has its steward while it lives"
        try:
            self._follower = await system.nodes.spawn_on(
                link.peer.node, Follower, (self._ref, self._limit), {}, name=None, timeout=SPAWN_TIMEOUT, owner=steward
            )
        except StartFailed as error:
            raise ActorDied(NoProc(), repr(self._ref)) from error
        return self._follower

    def _take(self, got: Events) -> None:
        self._events.extend(got.events)
        self.dropped = got.dropped
        self._over = self._over or got.over

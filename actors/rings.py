"""Who waits for whom in one system, so that a call that nobody could ever answer is refused at once.

    cart ── waits for ──> stock ── waits for ──> orders ── calls ──> cart        Deadlock: cart -> stock -> orders -> cart

An edge runs from an actor that takes no message before its request is answered to the one that has to answer it: its
handler's own task awaits a call, or its thread blocks in an ask. What may go on otherwise makes no edge: a sub-task, a
reentrant handler, a background task. A request that is answered later (`Later`), or in a reentrant handler, no longer holds
up its callee: its edge goes. What is left is exact: round a ring of edges nobody moves until one of them gives up.

Threads come and go here without a lock. The edge is put in before anybody looks, so of two that close a ring at once at
least one sees it; and a ring is believed when each edge of it is still the same one in a second look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from understudy.actors.deadlines import current_cell, seat
from understudy.actors.errors import Deadlock
from understudy.actors.replies import ThreadReply

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.envelope import Envelope, Reply
    from understudy.actors.ref import ActorRef

Edge: TypeAlias = "tuple[Cell[Any], Envelope | None]"
"""Who has to answer, and what; None while a parent waits for the start of its child. No two edges are the same object."""


class Waits:
    """The edges of one system, by who waits. An actor waits for one answer at a time."""

    __slots__ = ("_edges",)

    def __init__(self) -> None:
        self._edges: dict[Cell[Any], Edge] = {}

    def begin(self, caller: Cell[Any], callee: Cell[Any], entry: Envelope | None) -> Edge:
        """`caller` is about to wait for `callee`, and takes no message meanwhile. Raises Deadlock if that closes a ring."""
        edges = self._edges
        edge = edges[caller] = (callee, entry)
        if callee in edges:
            self._look(caller, edge)
        return edge

    def end(self, caller: Cell[Any], edge: Edge) -> None:
        """It waits no more."""
        if self._edges.get(caller) is edge:  # else its actor has gone on, and left behind a thread that waits in vain
            self._edges.pop(caller, None)

    def let_go(self, entry: Envelope) -> None:
        """The callee takes other messages again, whether it has answered this one or will do so later."""
        if isinstance(entry.reply, ThreadReply):  # whoever asked may wait for it only from now on
            entry.reply.let_go = True
        caller: Any = entry.sender
        edge = self._edges.get(caller)
        if edge is not None and edge[1] is entry:
            self.end(caller, edge)

    def upon(self, cells: Collection[Cell[Any]]) -> set[Cell[Any]]:
        """These, and all who take no message before one of these has answered them."""
        waiting, grown = set(cells), True
        while grown:
            more = {caller for caller, (callee, _) in self._edges.copy().items() if callee in waiting} - waiting
            waiting, grown = waiting | more, bool(more)
        return waiting

    def forget(self, caller: Cell[Any]) -> None:
        """It goes on, whatever it was waiting for."""
        self._edges.pop(caller, None)

    def _look(self, caller: Cell[Any], edge: Edge) -> None:
        ring = self._ring(caller)
        if not ring:
            return
        again = self._ring(caller)
        if len(again) == len(ring) and all(one is other for one, other in zip(ring, again)):
            self.end(caller, edge)
            raise Deadlock.of([repr(caller), *(repr(callee) for callee, _ in ring)])

    def _ring(self, caller: Cell[Any]) -> list[Edge]:
        """The edges from `caller` back to itself; none if somebody on the way can move."""
        ring: list[Edge] = []
        at = caller
        for _ in range(len(self._edges)):  # it may come into a ring that `caller` is not part of
            edge = self._edges.get(at)
            if edge is None or (edge[1] is not None and _holds_up_nobody(edge[1].reply)):
                return []
            ring.append(edge)
            at = edge[0]
            if at is caller:
                return ring
        return []


def _holds_up_nobody(reply: Reply | None) -> bool:
    return reply is None or reply.abandoned() or (isinstance(reply, ThreadReply) and reply.let_go)


def handler_here(callee: ActorRef[Any] | None) -> Cell[Any] | None:
    """The actor of the callee's system that takes no message while this task waits: it is that actor's handler itself."""
    caller = current_cell.get()
    if caller is None or caller.task is None or caller.scheduler is not getattr(callee, "scheduler", None):
        return None
    return caller if asyncio.current_task() is caller.task else None


@contextmanager
def held_up(
    waiter: Cell[Any] | None, callee: ActorRef[Any] | None, entry: Envelope | None
) -> Generator[None, None, None]:
    """While the calling code waits for `callee`, so does `waiter`, if any. Raises Deadlock if it would for ever."""
    if waiter is None:
        yield
        return
    waits = waiter.scheduler.waits
    edge = waits.begin(waiter, cast("Cell[Any]", callee), entry)
    try:
        yield
    finally:
        waits.end(waiter, edge)


@contextmanager
def thread_held_up(callee: ActorRef[Any] | None, entry: Envelope | None) -> Generator[None, None, None]:
    """The same for the actor whose thread this is, if it is one's."""
    mine = seat()
    waiter = mine.cell
    if waiter is not None and waiter.scheduler is not getattr(callee, "scheduler", None):
        waiter = None
    with held_up(waiter, callee, entry):
        if waiter is not None and mine.cell is not waiter:  # it has gone on without this thread just now
            waiter.scheduler.waits.forget(waiter)
        yield

"""The host: the entities that run on this node. It starts them under their names, and ends them when nobody needs them.

    Activate ──▶ claim the name ──▶ start the actor, with its fence ──▶ SEATED: it has an address
                   │ somebody has it    │ it does not start: the name is given up, and for a while
                   ▼                    ▼ whoever asks is told the same at once
              Elsewhere(node)       NotStarted
                                                                         idle, `stop()`, drain: CLOSING: no address any more,
                                                                         what is in its mailbox is still handled, then its hook
                                                                         crash, kill: over at once
                                                                            │
    the next Activate ◀── whoever asks meanwhile waits ── the name is given up ◀─┘

Each life of an entity has a claim of its own, and so a fence higher than that of every life before it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    SPAWN_TIMEOUT,
    Actor,
    ActorRef,
    Cell,
    Draining,
    ExitReason,
    Failure,
    StartFailed,
    UnderstudyError,
)
from understudy.actors.limiter import Limiter
from understudy.transport.activation import (
    Elsewhere,
    Trouble,
    Unwilling,
    unique_name,
)
from understudy.transport.steward import NotStarted
from understudy.transport.table import TableError

if TYPE_CHECKING:
    from understudy.transport.links import Links
    from understudy.transport.names import Names
    from understudy.transport.placement import Placement

log = logging.getLogger("understudy.entities")

LOOKS = 4
"""How often in its idle time an entity is looked at: it ends at most a quarter of that time late."""

AGAIN, AGAIN_LIMIT = 0.1, 5.0
"""Seconds after which one that did not start is tried again when somebody asks; doubles with each time, up to the limit."""

FAILURES = 10_000
"""Entities of which it is remembered that they did not start."""

Answer = Cell[Any] | Elsewhere | Unwilling | NotStarted | Trouble


@dataclass(eq=False, slots=True)
class Kind:
    """How entities of one kind are made here. `idle`: seconds without a message after which one is ended."""

    name: str
    cls: type[Actor]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    idle: float
    line: deque[Seat] = field(default_factory=lambda: deque["Seat"]())
    """Who is looked at when, in order: each at `look_at`."""
    timer: asyncio.TimerHandle | None = None


class Seat:
    """One life of an entity. `over` is made by who waits for its end, its name given up."""

    __slots__ = ("cell", "closing", "fence", "handled", "kind", "look_at", "name", "over", "since")

    def __init__(self, kind: Kind, name: str, cell: Cell[Any], fence: int) -> None:
        self.kind = kind
        self.name = name
        self.cell = cell
        self.fence = fence
        self.closing = False
        self.over: asyncio.Future[None] | None = None
        self.handled = 0
        self.since = 0.0
        self.look_at = 0.0


class Host:
    """Of one node; used on its loop only. `left(name, cell)` is called when an entity here takes no messages any more."""

    def __init__(
        self, links: Links, names: Names, placement: Placement, left: Callable[[str, Cell[Any]], None]
    ) -> None:
        self.kinds: dict[str, Kind] = {}
        self.parent: ActorRef[Any] | None = None
        """The actor whose children they are."""
        self._links = links
        self._system = links.system
        self._names = names
        self._placement = placement
        self._left = left
        self._seats: dict[str, Seat] = {}
        self._starting: dict[str, asyncio.Task[Answer]] = {}
        self._releasing: set[asyncio.Task[None]] = set()
        self._failed: dict[str, tuple[float, float, NotStarted]] = {}
        self._lost: set[tuple[str, int]] = set()
        self._limiter: Limiter[str] = Limiter(3, 10.0)
        names.on_lost(self._lose)

    # --- what runs here ---

    def __len__(self) -> int:
        return len(self._seats)

    def sits(self, name: str, cell: Cell[Any]) -> bool:
        """Whether that actor is the present life of that entity, and takes messages."""
        seat = self._seats.get(name)
        return seat is not None and seat.cell is cell and not seat.closing

    def seat(self, name: str) -> Seat | None:
        """The one with that name, if it runs here."""
        return self._seats.get(name)

    async def activate(self, kind: str, key: str) -> Answer:
        """The entity, which runs here now; or why it does not. Whoever asks together is answered together."""
        name = unique_name(kind, key)
        while (seat := self._seats.get(name)) is not None:
            if not seat.closing and seat.cell.reason is None:
                return seat.cell
            if seat.over is None:
                seat.over = self._system.loop.create_future()
            await asyncio.shield(seat.over)
        task = self._starting.get(name)
        if task is None:
            context = self._system.scheduler.neutral_context()
            task = self._system.loop.create_task(self._start(kind, key, name), context=context)
            self._starting[name] = task
            task.add_done_callback(lambda _: self._starting.pop(name, None))
        return await asyncio.shield(task)

    async def _start(self, kind: str, key: str, name: str) -> Answer:
        what = self.kinds.get(kind)
        if what is None:
            return Unwilling(f"does not host {kind!r}")
        if why := self._placement.refuses():
            return Unwilling(why)
        failed = self._failed.get(name)
        if failed is not None and self._system.loop.time() < failed[0]:
            return failed[2]
        try:
            row = await self._names.claim(name)
        except Draining:
            return Unwilling("drains")
        except TableError as error:
            return Trouble(str(error))
        if row is None:
            owner = self._names.owner(name)
            return Elsewhere(owner.node) if owner is not None else Trouble("it changes hands at this moment")
        hold = self._placement.hold("entity")
        try:
            if self.kinds.get(kind) is not what:
                raise _NotHosted
            assert isinstance(self.parent, Cell), "the host is there before it is asked"
            cell: Any = await self._system.spawn_child(
                self.parent, what.cls, (key, *what.args), what.kwargs, name, SPAWN_TIMEOUT, fence=row.fence
            )
        except BaseException as error:
            hold.drop()
            await self._release(name)
            if not isinstance(error, Exception):
                raise
            return Unwilling(f"does not host {kind!r}") if isinstance(error, _NotHosted) else self._fails(name, error)
        self._failed.pop(name, None)
        seat = Seat(what, name, cell, row.fence)
        self._seats[name] = seat
        self._links.exports.actors[address_of(cell)] = cell
        hold.until_end_of(cell)
        cell._monitor(self._system.next_token(), Ending(self, seat))
        if (name, row.fence) in self._lost:
            self._lost.discard((name, row.fence))
            cell.kill()
        else:
            self._attend(seat)
        return seat.cell

    def _fails(self, name: str, error: Exception) -> NotStarted:
        now = self._system.loop.time()
        _, pause, _ = self._failed.pop(name, (0.0, AGAIN / 2, None))
        pause = min(2 * pause, AGAIN_LIMIT)
        reason = error.reason if isinstance(error, StartFailed) else Failure.of(error)
        answer = NotStarted("failed", f"the entity {name!r}", reason)
        self._failed[name] = now + pause, pause, answer
        if len(self._failed) > FAILURES:
            del self._failed[next(iter(self._failed))]
        left_out = self._limiter.admit(name.partition("/")[0], now)
        if left_out is not None:
            more = f" ({left_out:,} more like it before)" if left_out else ""
            log.error("the entity %r does not start: %s%s", name, reason, more)
        return answer

    # --- their ends ---

    def close(self, seat: Seat) -> None:
        """End one in order: what it has been sent is handled, its hook runs, its name is given up; the next message starts it
        anew, and waits until then."""
        if not seat.closing:
            self._shut(seat)
            seat.cell.stop()

    async def ended(self, seat: Seat) -> None:
        """Wait until it has ended and its name is given up."""
        while self._seats.get(seat.name) is seat:
            if seat.over is None:
                seat.over = self._system.loop.create_future()
            await asyncio.shield(seat.over)

    async def close_all(self, kind: str | None = None, until: float = math.inf) -> list[str]:
        """End all of that kind, or of every kind, in order, until that time of the loop. The names of those that are left."""
        seats = [seat for seat in self._seats.values() if kind is None or seat.kind.name == kind]
        starting = [task for name, task in self._starting.items() if kind is None or name.startswith(f"{kind}/")]
        for seat in seats:
            self.close(seat)
        try:
            async with asyncio.timeout_at(until if until < math.inf else None):
                for task in starting:
                    answer = await asyncio.shield(task)
                    if isinstance(answer, Cell):
                        seats += [seat for seat in self._seats.values() if seat.cell is answer]
                        self.close(seats[-1])
                for seat in seats:
                    await self.ended(seat)
        except TimeoutError:
            pass
        return [seat.name for seat in seats if self._seats.get(seat.name) is seat]

    def _shut(self, seat: Seat) -> None:
        """What comes for it from now on is for its next life."""
        seat.closing = True
        self._links.exports.actors.pop(address_of(seat.cell), None)
        self._left(seat.name, seat.cell)

    def gone(self, seat: Seat, reason: ExitReason) -> None:
        """The actor has ended."""
        if not seat.closing:
            self._shut(seat)
        context = self._system.scheduler.neutral_context()
        task = self._system.loop.create_task(self._give_up(seat), context=context)
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _give_up(self, seat: Seat) -> None:
        await self._release(seat.name)
        del self._seats[seat.name]
        if seat.over is not None:
            seat.over.set_result(None)

    async def _release(self, name: str) -> None:
        try:
            await self._names.release(name)
        except TableError as error:  # it is given up as soon as the table is back
            log.debug("the name %r cannot be given up now: %s", name, error)

    def _lose(self, name: str, fence: int) -> None:
        """The name is not ours any more: whoever has it now must be alone."""
        seat = self._seats.get(name)
        if seat is not None and seat.fence == fence:
            log.warning("%s has lost the name %r: its entity ends", self._links.me.node, name)
            self._shut(seat)
            seat.cell.kill()
        elif name in self._starting:
            self._lost.add((name, fence))

    # --- who is idle ---

    def _attend(self, seat: Seat) -> None:
        kind = seat.kind
        if kind.idle == math.inf:
            return
        now = self._system.loop.time()
        seat.since = now
        seat.handled = seat.cell.handled
        self._enlist(seat, now)

    def _enlist(self, seat: Seat, now: float) -> None:
        kind = seat.kind
        seat.look_at = now + kind.idle / LOOKS
        kind.line.append(seat)
        if kind.timer is None:
            self._look_later(kind)

    def _look_later(self, kind: Kind) -> None:
        context = self._system.scheduler.neutral_context()
        kind.timer = self._system.loop.call_at(kind.line[0].look_at, self._look, kind, context=context)

    def _look(self, kind: Kind) -> None:
        kind.timer = None
        now = self._system.loop.time()
        while kind.line and kind.line[0].look_at <= now:
            seat = kind.line.popleft()
            if seat.closing:
                continue
            if seat.handled != seat.cell.handled or _busy(seat.cell):
                seat.handled = seat.cell.handled
                seat.since = now
            elif now - seat.since >= kind.idle:
                self.close(seat)
                continue
            self._enlist(seat, now)
        if kind.line and kind.timer is None:
            self._look_later(kind)

    # --- the end of the node ---

    def end(self) -> None:
        """This node ends: its actors end with it."""
        for kind in self.kinds.values():
            if kind.timer is not None:
                kind.timer.cancel()
        for task in tuple(self._starting.values()):
            task.cancel()


class _NotHosted(UnderstudyError):
    """The kind was given up while one of it was to start."""


class Ending:
    """The watcher of one life."""

    __slots__ = ("_host", "_seat")

    def __init__(self, host: Host, seat: Seat) -> None:
        self._host = host
        self._seat = seat

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """It has ended."""
        self._host.gone(self._seat, reason)


def address_of(cell: Cell[Any]) -> int:
    """The address of that life of an entity for other nodes: below zero, so that it is told from an actor's own."""
    return -cell.id


def _busy(cell: Cell[Any]) -> bool:
    """Whether it has something to do, or has work in the background."""
    bonds = cell.bonds
    return (
        bool(cell.mailbox)
        or cell.task is not None
        or (bonds is not None and bool(bonds.tasks or bonds.under_way or bonds.stashed or bonds.owed))
    )

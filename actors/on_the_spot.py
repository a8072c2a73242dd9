"""What is done for a caller on its own stack, instead of in a tick: its callee waits for work on the very same loop.

    call ──> callee idle ──────────────────────────────> hand-off: its handler runs now, and returns the answer
         └─> busy with nothing but what waits before ──> its turn now, if that is little: the answer is there after it
         └─> anything else ────────────────────────────> the caller waits (pending.py)

A caller that is answered like this never gave way to the loop. So it breathes now and then: every few calls it looks at the
clock, and gives way when a slice of time is used up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from understudy.actors.deadlines import cell_here
from understudy.actors.errors import ActorDied
from understudy.actors.pending import Pending
from understudy.actors.reentrant import Reentrant
from understudy.actors.signals import UNUSUAL
from understudy.actors.standby import DEPTH

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

SLICE = 0.003
"""Seconds after which the loop gets control back, however much is ready."""

CREDIT = 8
"""Answers on the spot between two looks at the clock."""

NEAR = 16
"""Entries before a request, itself included, that its caller has handled at once instead of waiting for a tick."""


class OnTheSpot:
    """`credit`: how many more answers a caller may have before it breathes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.credit = 0

    def hand_off(self, cell: Cell[Any], message: Any, timeout: float) -> Any:
        """Have an idle actor handle a request on its caller's stack. `Pending` when the answer is to be awaited."""
        scheduler = self._scheduler
        cell.idle = False
        cell.handled += 1
        here = scheduler._seat
        speaker, here.cell = here.cell, cell
        outside, scheduler._inside = not scheduler._inside, True
        context = cell.context
        error: BaseException | None = None
        result: Any = None
        try:
            result = (scheduler._side if context is None else context).run(cell.receive, message)
        except BaseException as raised:  # noqa: BLE001 - whatever a handler raises ends that actor alone
            error = raised
        here.cell = speaker
        if context is None and scheduler._side != scheduler._base:
            scheduler.keep_side(cell)
        if outside:
            scheduler._inside = False
            if scheduler.intake:
                scheduler.drain()
        if error is None and (result is None or result.__class__ not in UNUSUAL):
            if cell.free:
                cell.idle = True
                if cell.mailbox:
                    scheduler.rest(cell)
            return result
        pending = Pending(cell, timeout)
        entry = pending.envelope(message)
        if error is not None:
            scheduler.failed(cell, entry, error)
            error = None  # its traceback knows this frame
        elif cell.reason is not None:  # it was ended by what its handler did
            pending.fail(ActorDied(cell.reason, repr(cell)))
            if isinstance(result, CoroutineType | Reentrant):
                result.close()
        elif result.__class__ is CoroutineType:
            cell.envelope = entry
            if entry.sender is not None:
                pending.hold_up(entry)
            standbys = scheduler.standbys
            if standbys.depth < DEPTH:
                standbys.begin(cell, entry, result)
                if pending.answered and pending.error is None and cell.reason is None:
                    if pending.edge is not None:
                        pending.let_go()
                    return pending.value
            else:
                scheduler.begin_next(cell, entry, result)
                if scheduler.asleep:
                    scheduler.wake()
        else:
            scheduler.settle(cell, entry, result)
        if cell.free:
            scheduler.rest(cell)
        return pending

    def turn_now(self, cell: Cell[Any]) -> None:
        """Give a ready actor its turn on the stack of a caller who would only wait for it, unless much comes before."""
        scheduler = self._scheduler
        if scheduler._ticking or scheduler._inside:
            return
        if scheduler.intake:
            scheduler.drain()
        if not cell.free or len(cell.mailbox or ()) > NEAR:
            return
        ready = scheduler.ready
        if ready:
            last = ready.pop()
            if last is not cell:  # else it was put there for what it is given now
                ready.append(last)
        here, context = scheduler._seat, cell.context
        speaker, here.cell = here.cell, cell
        scheduler.now = scheduler.loop.time()
        scheduler._ticking = scheduler._inside = True
        numbers = iter(range(1, scheduler._stride + 1))
        try:
            (scheduler._side if context is None else context).run(scheduler._turn, cell, numbers, 0)
        finally:
            scheduler._inside = scheduler._ticking = False
            here.cell = speaker
            if context is None and scheduler._side != scheduler._base:
                scheduler.keep_side(cell)
            if scheduler.intake:
                scheduler.drain()
            if scheduler.ready and scheduler.asleep:
                scheduler.wake()

    def bring_in(self, deliver: Callable[..., object], *arguments: Any) -> None:
        """Have messages from outside delivered; those whom they wake take their turns at once, not at a later pass of the loop."""
        scheduler = self._scheduler
        if not scheduler.asleep or scheduler._ticking or scheduler._inside:
            deliver(*arguments)
            return
        scheduler.asleep = False
        try:
            deliver(*arguments)
        finally:
            if scheduler.ready or scheduler.intake:
                scheduler._base.run(scheduler._tick)
            else:
                scheduler.asleep = True
                if (scheduler.ready or scheduler.intake) and scheduler.asleep:  # another thread came in between
                    scheduler.wake()

    def isolated(self, cell: Cell[Any], function: Callable[..., Any], *arguments: Any) -> Any:
        """Run code of an actor outside a turn, as itself: in its own context, its signals after it."""
        scheduler = self._scheduler
        here = scheduler._seat
        outer, here.cell = here.cell, cell
        outside, scheduler._inside = not scheduler._inside, True
        context = cell.context
        try:
            return (context if context is not None else scheduler._side).run(function, *arguments)
        finally:
            here.cell = outer
            scheduler._inside = not outside
            if context is None and scheduler._side != scheduler._base:
                scheduler.keep_side(cell)
            if outside and scheduler.intake:
                scheduler.drain()

    def must_breathe(self) -> bool:
        """Asked when no credit is left: whether a slice of time is used up, or the caller has died of an answer."""
        self.credit = CREDIT
        caller = cell_here()
        return self._scheduler.loop.time() >= self._scheduler.slice_end or (
            caller is not None and caller.reason is not None
        )

    async def breathe(self) -> None:
        """Let the loop have its turn. A caller that has died ends here, as it would have waiting for its answer."""
        await asyncio.sleep(0)
        self._scheduler.slice_end = self._scheduler.loop.time() + SLICE

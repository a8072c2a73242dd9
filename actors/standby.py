"""Asynchronous handlers: each runs in a real task, and only one that really waits takes a task for itself.

    handler begins ──> its first step runs at once, on the spot, with a standby's task as the current one
                        │ it ended: the reply is there, and the standby goes on standing by
                        └ it waits: the task goes on with it, and the next handler finds another one standing by

So each handler runs inside a task from its first line to its last (`asyncio.timeout` works), and in its actor's own
context. There is one standby for each scheduler, or a few where handlers begin inside one another, made on first need;
unused for `LINGER` seconds, it goes.
"""

from __future__ import annotations

import asyncio
from asyncio import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from sys import getrefcount
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any
from weakref import getweakrefcount

from understudy.actors.behaviour import asynchronous
from understudy.actors.deadlines import current_request, set_request
from understudy.actors.envelope import Envelope
from understudy.actors.failure_rule import closed_under
from understudy.actors.signals import UNUSUAL

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

LINGER = 1.0
"""Seconds that a task stands by unused."""

TURN = 64
"""Handlers of one actor that it begins one after the other, while they end at once."""

DEPTH = 20
"""Asynchronous handlers that may begin inside one another, each on the stack of its caller."""

ENDED = object()
"""What a standby says when its handlers have ended. Anything else is what one of them waits for."""


class Standby:
    """`cell`, `entry` and `handler` are what it works for; `error` is what a handler's first step raised.

    `step` goes on with the handler. The task waits for `go`: set once a handler waits, cancelled to have it go away.
    """

    __slots__ = (
        "_play",
        "_scheduler",
        "_waits_for",
        "cell",
        "entry",
        "error",
        "go",
        "handler",
        "since",
        "started",
        "step",
        "taken",
        "task",
        "used",
        "weakly",
    )

    def __init__(self, scheduler: Scheduler, burst: Callable[[Standby], Coroutine[Any, Any, None]]) -> None:
        loop = scheduler.loop
        self._scheduler = scheduler
        self.cell: Cell[Any] | None = None
        self.entry: Any = None
        self.handler: Any = None
        self.started = False
        self.taken = False
        self.used = False
        self.since = 0.0
        self.error: BaseException | None = None
        self._waits_for: Any = None
        self._play: Any = self._plays()
        self.step: Any = self._play.send
        self.go: asyncio.Future[None] = loop.create_future()
        self.task: asyncio.Task[None] = loop.create_task(burst(self), context=scheduler.neutral_context())
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]  # as long as nobody's work is in it
        self.weakly = getweakrefcount(self.task)  # asyncio's own

    @coroutine
    def _plays(self) -> Generator[Any, Any, Any]:
        """One handler after the other. Yields what a handler waits for, or ENDED; the end of one that has waited is its own.

        A generator, since what it delegates to ends without an exception: half the price of a step from outside.
        """
        scheduler = self._scheduler
        intake, clock = scheduler.intake, scheduler.loop.time
        while True:
            cell, entry = self.cell, self.entry
            assert cell is not None, "it works for an actor"
            # Of a bounded mailbox the entry at the head may be another one, once it is taken: senders drop the oldest.
            mailbox: Any = cell.mailbox if cell.mailbox.__class__ is deque else None
            result: Any = None
            left = TURN
            while True:
                asked = entry.__class__ is Envelope
                value: Any = None
                if asked:
                    set_request(entry)
                try:
                    value = yield from self.handler
                except BaseException as error:  # whatever a handler raises ends that actor alone
                    if self.taken:
                        raise
                    self.error = error
                if self.taken:
                    return value
                if asked:
                    set_request(None)
                if self.error is not None:
                    break
                if value is not None and value.__class__ in UNUSUAL:
                    scheduler.settle(cell, entry, value)
                elif asked:
                    cell.envelope = None
                    if entry.reply is not None:
                        entry.reply.set(value)
                left -= 1
                if (
                    not mailbox
                    or not left
                    or intake
                    or cell.reason is not None
                    or mailbox[0].__class__ is Envelope
                    or clock() >= scheduler.slice_end
                ):
                    break
                self.entry = entry = mailbox.popleft()
                cell.handled += 1
                try:
                    result = cell.receive(entry)
                except BaseException as error:  # noqa: BLE001
                    self.error = error
                    break
                if result.__class__ is not CoroutineType:
                    if result is not None:
                        scheduler.settle(cell, entry, result)
                    break
                self.handler = result
            cell = entry = mailbox = value = result = self.handler = None  # so that it holds nothing while it stands by
            yield ENDED

    def take_over(self, waits_for: Any) -> None:
        """The handler waits: the task is its own from now on."""
        self.taken = True
        self._waits_for = waits_for
        self.task._log_destroy_pending = True  # type: ignore[attr-defined]
        if not self.go.done():  # else it was cancelled in its very first step
            self.go.set_result(None)

    def pass_on(self) -> None:
        """It was cancelled before it went on with its handler: that is to be told, when it waits as any other does."""
        self.task.uncancel()
        self.task.cancel()

    def dismiss(self) -> None:
        """It goes, and serves nobody any more."""
        self.go.cancel()
        self.close()

    def close(self) -> None:
        """A handler at its await is closed, and nothing is left that refers to itself."""
        self._play.close()
        self.step = self._play = None

    @coroutine
    def drive(self, context: Context) -> Generator[Any, Any, Any]:
        """Go on with the handler, from where its first step has come to, in its actor's context."""
        waits_for, self._waits_for = self._waits_for, None
        if getattr(waits_for, "_asyncio_future_blocking", None) is not None:
            waits_for._asyncio_future_blocking = True  # somebody else may have waited for it in between
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is for the handler
                step: Callable[[Any], Any] = self._play.throw
                argument: Any = error
            else:
                step, argument = self.step, value
            try:
                waits_for = context.run(step, argument)
            except StopIteration as done:
                return done.value
            finally:
                del argument  # an error's traceback knows this frame


class Standbys:
    """The standbys of one scheduler, and the handlers that it begins in them."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._free: list[Standby] = []  # several, where handlers begin inside one another
        self.depth = 0
        self.waiting: set[Cell[Any]] = set()
        """The actors whose handlers wait for something, and take no other message meanwhile."""
        self._lingering: asyncio.TimerHandle | None = None

    def begin(self, cell: Cell[Any], item: Any, handler: Coroutine[Any, Any, Any]) -> None:
        """Begin an asynchronous handler, here and now, outside any actor's context."""
        scheduler = self._scheduler
        if cell.reason is not None:  # it ended in between
            handler.close()
            if asynchronous(cell):  # else its plain part has run
                scheduler.mortician.bury_one(cell, item)
            return
        standby = self._free.pop() if self._free else Standby(scheduler, self.burst)
        if standby.go.done():  # somebody has cancelled it
            standby.close()
            standby = Standby(scheduler, self.burst)
        loop, task = scheduler.loop, standby.task
        standby.cell, standby.entry, standby.handler, standby.since, standby.used = (
            cell,
            item,
            handler,
            scheduler.now,
            True,
        )
        cell.free = False
        cell.task = task
        holders = getrefcount(task)
        here = scheduler._seat
        speaker, here.cell = here.cell, cell
        inside, scheduler._inside = scheduler._inside, False  # its signals run at once, as those of any task
        context = cell.context or scheduler.context_of(cell)
        outer = asyncio.current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)
        self.depth += 1
        try:
            waits_for = context.run(standby.step, None)
        finally:
            self.depth -= 1
            _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)
            here.cell, scheduler._inside = speaker, inside
        if waits_for is not ENDED:
            if cell.mailbox:
                scheduler.ages.mark(cell, scheduler.now)
                if len(cell.mailbox) > cell.kind.high_water:
                    scheduler.alarm.look(cell)
            self.waiting.add(cell)
            standby.take_over(waits_for)
            if not standby.started:
                task.add_done_callback(partial(self._never_began, standby), context=scheduler._base)
            return
        if (
            getrefcount(task) != holders - (cell.task is not task)
            or getweakrefcount(task) != standby.weakly
            or task.cancelling()
        ):
            standby.dismiss()  # somebody has kept it, and may cancel it: it serves nobody else
        else:
            self._free.append(standby)
            if self._lingering is None:
                self._lingering = loop.call_later(LINGER, self._look_after, context=scheduler._base)
        item, error = standby.entry, standby.error
        standby.cell = standby.entry = standby.error = None
        if error is not None and cell.reason is None:
            scheduler.failed(cell, item, error)
        self._done(cell, task)

    async def burst(self, standby: Standby) -> None:
        """What a standby's task runs: once a handler waits, the rest of it."""
        scheduler = self._scheduler
        standby.started = True
        try:
            await standby.go
        except asyncio.CancelledError:
            if not standby.taken:
                del standby  # the error knows this frame
                raise
            standby.pass_on()
        cell, item = standby.cell, standby.entry
        assert cell is not None, "it works for an actor"
        context = scheduler.context_of(cell)
        try:
            scheduler.settle(cell, item, await standby.drive(context))
        except BaseException as error:
            if closed_under(cell, error):
                raise
            # A cancellation that the system sent is how an exit signal ends a handler; any other is a failure.
            if cell.reason is None:
                scheduler.failed(cell, item, error)
        finally:
            context.run(current_request.set, None)
            standby.cell = standby.entry = standby.handler = None
            standby.close()
            self.waiting.discard(cell)
            self._done(cell, standby.task)

    def _never_began(self, standby: Standby, _: object) -> None:
        """The task was cancelled before its first step, by the handler's own doing: so is the handler."""
        cell = standby.cell
        if not standby.started and cell is not None:
            standby.close()
            self.waiting.discard(cell)
            if cell.reason is None:
                self._scheduler.failed(cell, standby.entry, asyncio.CancelledError())
            self._done(cell, standby.task)

    def _done(self, cell: Cell[Any], task: asyncio.Task[None]) -> None:
        """An asynchronous handler has ended."""
        scheduler = self._scheduler
        if cell.task is task:
            cell.task = None
        if cell.reason is None:
            cell.envelope = None
            cell.free = cell.idle = True
            if cell.mailbox:
                scheduler.rest(cell)
        else:  # in a step of the loop's of its own, outside this task
            scheduler.loop.call_soon(scheduler.signal, scheduler.mortician.bow_out, (cell,), context=scheduler._base)

    def _look_after(self) -> None:
        """Let those go that nobody has needed for a while."""
        self._lingering = None
        for standby in tuple(self._free):
            if standby.used:
                standby.used = False
            else:
                self._free.remove(standby)
                standby.dismiss()
        if self._free:
            self._lingering = self._scheduler.loop.call_later(LINGER, self._look_after, context=self._scheduler._base)

    async def stand_down(self) -> None:
        """The system is down: nobody stands by any more."""
        if self._lingering is not None:
            self._lingering.cancel()
        while self._free:
            standby = self._free.pop()
            standby.dismiss()
            await asyncio.wait((standby.task,))

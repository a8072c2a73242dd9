"""A task that stands by for asynchronous handlers, so that only one that really waits takes a task for itself.

    handler begins ──> its first step runs at once, on the spot, with the standby's task as the current one
                        │ it ended: the reply is there, and the task goes on standing by
                        └ it waits: the task goes on with it, and the next handler finds another one standing by

So each handler runs inside a real task from its first line to its last (`asyncio.timeout` works), and in its actor's own
context. There is one standby for each scheduler, or a few where handlers begin inside one another, made on first need;
unused for `LINGER` seconds, it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any

from understudy.actors.deadlines import current_request
from understudy.actors.envelope import Envelope
from understudy.actors.signals import UNUSUAL

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

LINGER = 1.0
"""Seconds that a task stands by unused."""

TURN = 64
"""Handlers of one actor that it begins one after the other, while they end at once."""


class Standby:
    """`cell`, `entry` and `handler` are what it works for; `error` is what a handler's first step raised.

    It waits for `go`: set once a handler waits, cancelled to have it go away.
    """

    __slots__ = ("_waits_for", "cell", "entry", "error", "go", "handler", "since", "started", "task", "used")

    def __init__(self, scheduler: Scheduler) -> None:
        loop = scheduler.loop
        self.cell: Cell[Any] | None = None
        self.entry: Any = None
        self.handler: Coroutine[Any, Any, Any] | None = None
        self.started = False
        self.used = False
        self.since = 0.0
        self.error: BaseException | None = None
        self._waits_for: Any = None
        self.go: asyncio.Future[None] = loop.create_future()
        self.task: asyncio.Task[None] = loop.create_task(scheduler.burst(self), context=scheduler.neutral_context())
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]  # as long as nobody's work is in it

    def serve(self, scheduler: Scheduler, cell: Cell[Any], handler: Coroutine[Any, Any, Any], entry: Any) -> bool:
        """Begin a handler in the actor's context, and if it ends at once those of what was told after it, a turn at most.

        True: a handler waits for something now, and `handler` and `entry` are that one.
        """
        mailbox: Any = cell.mailbox
        clock, end = scheduler.loop.time, scheduler.slice_end
        left = TURN
        while True:
            asked = entry.__class__ is Envelope
            value: Any = None
            if asked:
                current_request.set(entry)
            try:
                self._waits_for = handler.send(None)
                self.handler = handler
                return True
            except StopIteration as done:
                value = done.value
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends that actor alone
                self.error = error
            if asked:
                current_request.set(None)
            if self.error is not None:
                return False
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
                or scheduler.intake
                or cell.reason is not None
                or mailbox[0].__class__ is Envelope
            ):
                return False
            if clock() >= end:
                return False
            self.entry = entry = mailbox.popleft()
            cell.handled += 1
            try:
                result = cell.receive(entry)
            except BaseException as error:  # noqa: BLE001
                self.error = error
                return False
            if result.__class__ is not CoroutineType:
                if result is not None:
                    scheduler.settle(cell, entry, result)
                return False
            handler = result

    def take_over(self) -> None:
        """The handler waits: the task is its own from now on."""
        self.task._log_destroy_pending = True  # type: ignore[attr-defined]
        if not self.go.done():  # else it was cancelled in its very first step
            self.go.set_result(None)

    def pass_on(self) -> None:
        """It was cancelled before it went on with its handler: that is to be told, when it waits as any other does."""
        self.task.uncancel()
        self.task.cancel()

    @coroutine
    def drive(self, context: Context) -> Generator[Any, Any, Any]:
        """Go on with the handler, from where its first step has come to, in its actor's context."""
        handler = self.handler
        assert handler is not None, "it was taken over"
        waits_for, self._waits_for = self._waits_for, None
        if getattr(waits_for, "_asyncio_future_blocking", None) is not None:
            waits_for._asyncio_future_blocking = True  # somebody else may have waited for it in between
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is for the handler
                step: Callable[[Any], Any] = handler.throw
                argument: Any = error
            else:
                step, argument = handler.send, value
            try:
                waits_for = context.run(step, argument)
            except StopIteration as done:
                return done.value
            finally:
                del argument  # an error's traceback knows this frame

"""A call while its answer is to come, to an actor of the same loop or of another node: where the reply goes, and how its
caller waits for it.

It makes a future only if somebody really has to wait: a handler that answers on the spot needs none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from understudy.actors.deadlines import FOREVER, allowed, cell_here, request_here
from understudy.actors.envelope import Envelope
from understudy.actors.errors import DeadlineExceeded, Refused
from understudy.actors.replies import raisable

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.rings import Edge
    from understudy.actors.scheduler import Scheduler


class Callee(Protocol):
    """Whoever is called. `scheduler`: the one on whose loop the answer arrives."""

    @property
    def scheduler(self) -> Scheduler: ...


class Pending:
    """Raises as `allowance` does. `deadline` in the loop's seconds; `inherited`: it is that of the request being handled.

    `waiter` is the actor that takes no message meanwhile, since its handler waits (see `rings.py`).
    """

    __slots__ = (
        "answered",
        "callee",
        "deadline",
        "edge",
        "error",
        "future",
        "inherited",
        "timeout",
        "value",
        "waiter",
    )

    def __init__(self, callee: Callee, timeout: float) -> None:
        now = callee.scheduler.loop.time()
        if timeout.__class__ is float and 0.0 < timeout < FOREVER and request_here() is None:
            self.deadline, self.inherited = now + timeout, False  # as the next line says, at a third of the price
        else:
            self.deadline, self.inherited = allowed(timeout, now)
        self.callee = callee
        self.timeout = timeout
        self.answered = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.future: asyncio.Future[Any] | None = None
        self.waiter: Cell[Any] | None = None
        self.edge: Edge | None = None

    def envelope(self, message: Any) -> Envelope:
        """The entry that asks."""
        return Envelope(message, self, cell_here(), 0, self.deadline)

    # --- as a Reply ---

    def set(self, value: Any) -> None:
        if not self.answered:
            self.answered = True
            self.value = value
            if self.future is not None and not self.future.done():
                self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.answered:
            self.answered = True
            self.error = raisable(error)
            if self.future is not None and not self.future.done():
                self.future.set_result(None)

    def abandoned(self) -> bool:
        return self.answered

    # --- for the caller ---

    def time_is_up(self) -> None:
        """The deadline has passed."""
        whose = "the request being handled had no more time" if self.inherited else f"within {self.timeout} s"
        self.fail(DeadlineExceeded(f"{self.callee!r} did not answer: {whose}", inherited=self.inherited))

    def hold_up(self, entry: Envelope) -> None:
        """The caller waits for the callee from now on. Raises Deadlock."""
        caller: Any = entry.sender
        callee: Any = self.callee
        scheduler = callee.scheduler
        if (
            caller is not None
            and caller.task is not None
            and caller.scheduler is scheduler
            and asyncio.current_task(scheduler.loop) is caller.task
        ):  # else it is of another system, or not in its handler: it takes messages meanwhile
            self.edge = scheduler.waits.begin(caller, callee, entry)
            self.waiter = caller

    def let_go(self) -> None:
        """The caller waits no more, whatever comes is dropped."""
        self.answered = True
        if self.waiter is not None and self.edge is not None:
            self.waiter.scheduler.waits.end(self.waiter, self.edge)
            self.waiter = self.edge = None  # which know the request, and that this

    async def wait(self, handed_off: bool) -> Any:
        """Wait for the answer until it is due. Whatever comes after that is dropped.

        `handed_off`: the callee has run on the caller's own stack. Its death may have reached the caller through a link: let
        the loop have its turn first, so that the caller ends there.
        """
        try:
            if handed_off:
                await asyncio.sleep(0)
            if not self.answered:
                scheduler = self.callee.scheduler
                self.future = scheduler.loop.create_future()
                scheduler.expiries.add(self)
                await self.future
        finally:
            if self.future is not None:
                self.future = None
                self.callee.scheduler.expiries.forget(self)
            self.let_go()
        error, self.error = self.error, None
        if error is None:
            return self.value
        try:
            if isinstance(error, Refused):
                error.relayed = True
            elif isinstance(error, DeadlineExceeded):
                error.inherited = self.inherited  # whoever noticed first, it is the same deadline
            raise error
        finally:
            del error  # its traceback knows this frame

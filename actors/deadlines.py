"""Who is speaking, and until when: the actor and the request at hand, wherever in a handler's code one stands.

A call may wait for its own timeout, and never longer than what is left of the request being handled. Actor and request
are context variables of the handler's task. A plain handler has no task: the scheduler notes its actor in the thread's
seat, which costs less. Background tasks, timers and tells inherit no deadline.
"""

from __future__ import annotations

import math
import threading  # noqa: TID251 - each thread has a seat of its own
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.actors.errors import DeadlineExceeded

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.envelope import Envelope

current_cell: ContextVar[Cell[Any] | None] = ContextVar("current_cell", default=None)
"""The actor whose asynchronous code runs now; None outside any."""

current_request: ContextVar[Envelope | None] = ContextVar("current_request", default=None)
"""The entry that this code handles; None in background tasks."""


class Seat:
    """One per thread: the actor whose plain handler or hook runs there now."""

    __slots__ = ("cell",)

    def __init__(self) -> None:
        self.cell: Cell[Any] | None = None


class _Seats(threading.local):
    def __init__(self) -> None:
        self.mine = Seat()


_seats = _Seats()


def seat() -> Seat:
    """The calling thread's seat; every system on its loop shares it."""
    return _seats.mine


def speaker() -> Cell[Any] | None:
    """The actor whose code is running here, of whichever system; None outside any."""
    return _seats.mine.cell or current_cell.get()


class Allowance(NamedTuple):
    """`deadline` in the loop's seconds. `inherited`: it is the deadline of the request being handled."""

    deadline: float
    inherited: bool


def allowance(timeout: float, now: float) -> Allowance:
    """Until when a call begun `now` may wait. Raises as `unusable` says, and DeadlineExceeded if no time is left."""
    if not isinstance(timeout, int | float) or not timeout >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise unusable(timeout)
    due = due_by(timeout, now)
    if due.inherited and due.deadline <= now:
        raise DeadlineExceeded("no time is left of the request being handled", inherited=True)
    return due


def unusable(timeout: object) -> Exception:
    """The error for what is no timeout: ValueError for a number, TypeError for anything else."""
    kind = ValueError if isinstance(timeout, int | float) else TypeError
    return kind(f"a timeout is a number of seconds from 0 up, not {timeout!r}; math.inf waits as long as it takes")


def waiting_time(timeout: float | None) -> float | None:
    """How many seconds to wait, None as long as it takes. Raises as `unusable` says."""
    if timeout is None or timeout == math.inf:
        return None
    if not isinstance(timeout, int | float) or not timeout >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise unusable(timeout)
    return timeout


def due_by(timeout: float, now: float) -> Allowance:
    """Until when the answer to a call begun `now` has to come, be it too late already."""
    request = current_request.get()
    deadline = now + timeout
    if request is None or request.deadline is None or request.deadline > deadline:
        return Allowance(deadline, inherited=False)
    return Allowance(request.deadline, inherited=True)


def time_left(timeout: float | None) -> tuple[float | None, bool]:
    """How many seconds a thread may block, None for any number, and whether the request it handles has no more.

    Raises DeadlineExceeded if that has none left, and as `unusable` says.
    """
    timeout = waiting_time(timeout)
    cell, request = current_cell.get(), current_request.get()
    if cell is None or request is None or request.deadline is None or request.deadline == math.inf:
        return timeout, False
    left = request.deadline - cell.scheduler.loop.time()
    if timeout is not None and timeout <= left:
        return timeout, False
    if left <= 0:
        raise DeadlineExceeded("no time is left of the request being handled", inherited=True)
    return left, True

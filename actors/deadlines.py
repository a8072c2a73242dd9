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

FOREVER = threading.TIMEOUT_MAX
"""Seconds from which on a wait is one without end: some 292 years, the most that a thread can be told to wait."""

current_cell: ContextVar[Cell[Any] | None] = ContextVar("current_cell", default=None)
"""The actor whose asynchronous code runs now; None outside any."""

current_request: ContextVar[Envelope | None] = ContextVar("current_request", default=None)
"""The entry that this code handles; None in background tasks."""

cell_here, request_here, set_request = current_cell.get, current_request.get, current_request.set
"""For the hot paths. Python 3.11 makes a new bound method for each call of a method of what was imported by name."""


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
    return Allowance(*allowed(timeout, now))


def allowed(timeout: float, now: float) -> tuple[float, bool]:
    """The same as a plain tuple, which is made in no time."""
    if (timeout.__class__ is not float and not isinstance(timeout, int | float)) or not timeout >= 0:
        raise unusable(timeout)
    deadline = now + timeout if timeout < FOREVER else math.inf
    request = request_here()
    given = request.deadline if request is not None else None
    if given is None or given > deadline:
        return deadline, False
    if given <= now:
        raise DeadlineExceeded("no time is left of the request being handled", inherited=True)
    return given, True


def unusable(timeout: object) -> Exception:
    """The error for what is no timeout: ValueError for a number, TypeError for anything else."""
    kind = ValueError if isinstance(timeout, int | float) else TypeError
    return kind(f"a timeout is a number of seconds from 0 up, not {timeout!r}; math.inf waits as long as it takes")


def usable(timeout: float) -> float:
    """A call's timeout as a float. Raises as `unusable` says; what is below 0 or no number is refused by `allowed`."""
    if not isinstance(timeout, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise unusable(timeout)
    return float(timeout) if timeout < FOREVER else math.inf


def waiting_time(timeout: float | None) -> float | None:
    """How many seconds to wait, None as long as it takes. Raises as `unusable` says."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or not timeout >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise unusable(timeout)
    return timeout if timeout < FOREVER else None


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

"""How long a call may wait: its own timeout, and never longer than what is left of the request being handled.

The actor and the request at hand are context variables of its task, so a call finds them however deep in the
handler's code it stands. Background tasks, timers and tells inherit no deadline.
"""

from __future__ import annotations

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


class Allowance(NamedTuple):
    """`deadline` in the loop's seconds. `inherited`: it is the deadline of the request being handled."""

    deadline: float
    inherited: bool


def allowance(timeout: float, now: float) -> Allowance:
    """Until when a call begun `now` may wait. Raises ValueError for a negative timeout, DeadlineExceeded if none is left."""
    if not timeout >= 0:
        raise ValueError(f"a timeout is a number of seconds from 0 up, not {timeout!r}")
    request = current_request.get()
    deadline = now + timeout
    if request is None or request.deadline is None or request.deadline > deadline:
        return Allowance(deadline, inherited=False)
    if request.deadline <= now:
        raise DeadlineExceeded("no time is left of the request being handled", inherited=True)
    return Allowance(request.deadline, inherited=True)

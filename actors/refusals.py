"""How a request fails though its actor lives: by a refusal, by its own deadline, by an error given to its `Later`."""

from __future__ import annotations

from understudy.actors.errors import CallError, DeadlineExceeded, NotRegistered, Overloaded, Refused
from understudy.actors.reasons import Failure


def ends_request_only(error: BaseException) -> bool:
    """Whether what a handler raised ends its request and not its actor.

    A refusal of its own does; one that another actor sent it and that it let escape is a failure. So does the passing
    of the request's own deadline: a client's impatience must never kill a server.
    """
    if isinstance(error, Refused):
        return not error.relayed
    return isinstance(error, DeadlineExceeded) and error.inherited


def afresh(error: Refused | DeadlineExceeded) -> Exception:
    """The refusal as its caller gets it: a copy, since a handler may raise the same object again."""
    if isinstance(error, DeadlineExceeded):
        return DeadlineExceeded(str(error))
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def told(error: Exception) -> Exception:
    """The error as a caller may get it, here or on another node: one of those that a call ends in, or a CallError
    that says what failed. What broke at the callee must not pass for a fault of the caller's own code."""
    if isinstance(error, CallError | NotRegistered | Overloaded):
        return error
    failed = CallError(f"the request failed: {Failure.of(error)}")
    failed.__cause__ = error
    return failed

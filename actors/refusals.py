"""What a handler may raise and live on: its own refusal, or the passing of its request's deadline."""

from __future__ import annotations

from understudy.actors.errors import DeadlineExceeded, Refused


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

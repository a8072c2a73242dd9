"""What the kernel itself puts into mailboxes: the news of deaths, and the request to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from understudy.actors.message import message
from understudy.actors.reasons import ExitReason, Normal
from understudy.actors.ref import ActorRef


@message("understudy.down")
class Down:
    """A monitored actor ended. Exactly one comes per monitor; `token` is what `monitor` returned."""

    token: int
    ref: ActorRef[Any]
    reason: ExitReason


@message("understudy.exit")
class Exit:
    """An exit signal that an actor with `trap_exit` received, as a message. `sender` None: from outside any actor."""

    sender: ActorRef[Any] | None
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Stop:
    """Returned by a handler: end this actor after the message at hand, with `reason`; a call is answered with `reply`."""

    reason: ExitReason = Normal()  # noqa: RUF009 - reasons are immutable values
    reply: Any = None


class StopRequest:
    """The mailbox entry of `stop()`: kept in send order with everything else."""

    __slots__ = ()


class Unhandled:
    """What `Actor.unhandled` returns: a call gets Refused, a tell becomes a dead letter."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message

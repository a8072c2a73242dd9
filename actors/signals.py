"""What the kernel itself puts into mailboxes, and what a handler returns to it that is no plain reply."""

from __future__ import annotations

from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar

from understudy.actors.dead_letters import UNHANDLED
from understudy.actors.errors import Refused
from understudy.actors.message import message
from understudy.actors.reasons import ExitReason, Normal, checked_reason
from understudy.actors.ref import ActorRef

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.envelope import Envelope, Reply

UNUSUAL: set[type] = {CoroutineType}
"""The classes of what handlers return that is more than a reply. One look here, and the usual ones are told apart."""


class Order:
    """The message of an envelope which the kernel carries out itself, whatever the actor's behaviour is."""

    __slots__ = ()

    counted: ClassVar[bool] = False
    """Whether it was sent by others, and takes up room in a bounded mailbox."""

    @property
    def title(self) -> str:
        """What those who look on call it."""
        return type(self).__qualname__

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> Any:
        """Do it, in the actor's turn. What comes back is treated as if a handler had returned it."""
        raise NotImplementedError


def title(message: object) -> str:
    """What those who look on call a message: its class."""
    return message.title if isinstance(message, Order) else type(message).__qualname__


class Outcome:
    """What a handler returns when it means more than a reply. Each subclass, which must be final, is in `UNUSUAL`."""

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        UNUSUAL.add(cls)

    def settle(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        """Do what it means. `entry` is bare or an Envelope; `reply` is that of a call, None for a tell."""
        raise NotImplementedError


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
class Stop(Outcome):
    """Returned by a handler: end this actor after the message at hand, with `reason`; a call is answered with `reply`."""

    reason: ExitReason = Normal()  # noqa: RUF009 - reasons are immutable values
    reply: Any = None

    def __post_init__(self) -> None:
        checked_reason(self.reason)

    def settle(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        if reply is not None:
            reply.set(self.reply)
        cell.scheduler.mortician.close(cell, self.reason, self.reason)


class StopRequest:
    """The mailbox entry of `stop()`: kept in send order with everything else."""

    __slots__ = ()


class Unhandled(Outcome):
    """What `Actor.unhandled` returns: a call gets Refused, a tell becomes a dead letter."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message

    def settle(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        if reply is not None:
            reply.fail(Refused(f"{cell!r} does not know {type(self.message).__name__}"))
        else:
            cell.scheduler.mortician.dead_letter(cell, self.message, UNHANDLED)

"""What the kernel itself puts into mailboxes: the news of deaths, and the request to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.actors.message import message
from understudy.actors.reasons import ExitReason, Normal
from understudy.actors.ref import ActorRef
from understudy.actors.refusals import told

if TYPE_CHECKING:
    from understudy.actors.envelope import Reply


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


class Later:
    """Returned by a handler instead of an answer: the call is answered later, and others are served in between.

    `set(value)` or `fail(error)`, on the event loop; the first one counts. The request stays the actor's own: if the
    actor ends first, the caller gets ActorDied at once.
    """

    __slots__ = ("_answer", "_owed", "_reply")

    def __init__(self) -> None:
        self._answer: Callable[[Reply], None] | None = None
        self._reply: Reply | None = None
        self._owed: dict[Later, None] | None = None

    def set(self, value: Any) -> None:
        """Answer with `value`."""
        self._settle(lambda reply: reply.set(value))

    def fail(self, error: Exception) -> None:
        """Answer with an error. The caller's `call` raises it if it is a CallError, such as Refused; any other arrives as a
        CallError that says what failed."""
        if not isinstance(error, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Later.fail takes an exception, such as Refused('why not'), not {error!r}")
        failure = told(error)
        self._settle(lambda reply: reply.fail(failure))

    def owe(self, reply: Reply, owed: dict[Later, None]) -> None:
        """The handler has returned this. For the kernel."""
        if self._answer is not None:
            self._answer(reply)
        else:
            self._reply, self._owed = reply, owed
            owed[self] = None

    def _settle(self, answer: Callable[[Reply], None]) -> None:
        if self._answer is not None:
            return
        self._answer = answer
        if self._reply is not None and self._owed is not None:
            self._owed.pop(self, None)
            answer(self._reply)


class StopRequest:
    """The mailbox entry of `stop()`: kept in send order with everything else."""

    __slots__ = ()


class Unhandled:
    """What `Actor.unhandled` returns: a call gets Refused, a tell becomes a dead letter."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message

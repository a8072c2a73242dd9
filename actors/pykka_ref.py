"""What Pykka's `start()` returns: a reference to an actor of ours that behaves as Pykka's do, too.

`tell` to a dead actor raises, `stop()` blocks and says whether it was this that ended the actor, and Pykka's registry
knows it while the actor lives. Everything else is as with any other reference: call it, link it, monitor it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, overload

import pykka

from understudy.actors.answer import Answer
from understudy.actors.cell import Cell
from understudy.actors.deadlines import speaker
from understudy.actors.envelope import Envelope
from understudy.actors.errors import ActorDied
from understudy.actors.ref import A, ActorRef
from understudy.actors.replies import ThreadReply
from understudy.actors.signals import Order, StopRequest

if TYPE_CHECKING:
    from understudy.actors.inbox import Inbox, Stopped

logger = logging.getLogger("pykka")


class PykkaRef(ActorRef[A]):
    """The reference that `start` returns."""

    __slots__ = ()

    @overload  # type: ignore[override]  # Pykka's, which differs from ours
    def stop(self, *, block: Literal[True] = True, timeout: float | None = None) -> bool: ...
    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None) -> Answer[bool]: ...
    def stop(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, block: bool = True, timeout: float | None = None
    ) -> Any:
        """Pykka's: end it once it has handled what was sent before, and wait until it has. False if it was dead already.

        On the event loop: `await ref.stop(block=False)`.
        """
        raise NotImplementedError

    @property
    def actor_class(self) -> type[A]:
        """The actor's class."""
        raise NotImplementedError

    @property
    def actor_urn(self) -> str:
        """The name that Pykka's registry knows it by."""
        raise NotImplementedError

    @property
    def actor_inbox(self) -> Inbox:
        """How much waits."""
        raise NotImplementedError

    @property
    def actor_stopped(self) -> Stopped:
        """Whether it has ended."""
        raise NotImplementedError


class PykkaCell(Cell[A], PykkaRef[A]):
    """The reference to a loop actor that Pykka's `start` began."""

    __slots__ = ()

    registered: ClassVar[bool] = True

    def tell(self, message: Any) -> None:
        if self.reason is not None and message.__class__ is not Envelope:  # what the kernel sends is never refused
            raise self._nobody()
        super().tell(message)

    def _nobody(self) -> ActorDied:
        error = super()._nobody()
        error.args = (f"{self} not found",)
        return error

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        answer: Answer[bool] = Answer(self.scheduler, "stop()", "await ref.stop(block=False)", self)
        if block:
            answer.refuse_on_loop()
        if self.reason is not None or self.scheduler.lost():
            answer.set(False)
        else:
            self.tell(Envelope(StopRequest(), _Stopped(answer), sender=speaker()))
        return answer.get(timeout=timeout) if block else answer

    def __repr__(self) -> str:
        return f"<ActorRef for {self}>"

    def __str__(self) -> str:
        return f"{self.kind.__name__} ({self.actor_urn})"

    def _order(self, order: Order) -> None:
        if self.reason is not None:
            raise self._nobody()
        super()._order(order)

    def closed(self) -> None:
        pykka.ActorRegistry.unregister(cast("Any", self))  # it asks for no more than a reference's face
        logger.debug("Stopped %s", self)


class _Stopped(ThreadReply):
    """Whoever asks an actor to stop that is stopping already is told True by Pykka."""

    def set(self, value: Any) -> None:
        super().set(True)

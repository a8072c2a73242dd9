"""Messages that reached nobody: counted, with the reason, and shown to whoever subscribed. Nothing is lost silently."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.actors.ref import ActorRef

logger = logging.getLogger("understudy.dead_letters")

DEAD = "dead"
"""It reached an actor that had ended, or waited in its mailbox or stash when it did."""

NO_SUCH_NAME = "no such name"
"""Nobody had the name it was sent to."""

NO_SUCH_ACTOR = "no such actor"
"""It came from another node, for an actor or a name that is not here any more."""

NO_WORKER = "no worker"
"""It was sent through a router, to a place that nobody filled at the moment."""

UNHANDLED = "unhandled"
"""The handler did not know it: `return self.unhandled(message)`."""

REFUSED = "refused"
"""The handler raised `Refused`, and nobody had asked."""

OVERLOADED = "overloaded"
"""There was no room for it, and nobody left to be told so."""

DROPPED_OLDEST = "dropped oldest"
"""A newer one came while a mailbox that is `Bounded(..., "drop_oldest")` was full."""

DROPPED_NEWEST = "dropped newest"
"""A mailbox that is `Bounded(..., "drop_newest")` was full."""

CONFLATED = "conflated"
"""A newer one with the same key took its place."""

UNREADABLE = "unreadable"
"""It came from another node and could not be decoded."""

REASONS = (
    DEAD,
    NO_SUCH_NAME,
    NO_SUCH_ACTOR,
    NO_WORKER,
    UNHANDLED,
    REFUSED,
    OVERLOADED,
    DROPPED_OLDEST,
    DROPPED_NEWEST,
    CONFLATED,
    UNREADABLE,
)
"""Every reason there is, but for the loss of a node: there it is the text of its `NoConnection` or `Shutdown`."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`fate_unknown`: it was sent to another node and may have arrived before that node was declared dead."""

    target: ActorRef[Any]
    message: Any
    reason: str
    fate_unknown: bool = False


def checked_callback(callback: object) -> None:
    """Raise TypeError for what cannot be called, or would have to be awaited."""
    if not callable(callback) or inspect.iscoroutinefunction(callback):
        raise TypeError(
            f"a subscriber is a plain function of one event, which may tell an actor of it, not {callback!r}"
        )


class DeadLetters:
    """The dead letters of one system. `count` is all of them, `by_reason` splits it, `fates_unknown` are counted apart."""

    def __init__(self) -> None:
        self.count = 0
        self.fates_unknown = 0
        self.by_reason: Counter[str] = Counter()
        self._subscribers: list[Callable[[DeadLetter], None]] = []

    def subscribe(self, callback: Callable[[DeadLetter], None]) -> Callable[[], None]:
        """Call `callback` with every dead letter, on the system's loop; the returned function ends that."""
        checked_callback(callback)
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def add(self, letter: DeadLetter) -> None:
        """Count a letter and show it. A subscriber that fails is reported and harms neither the others nor the sender."""
        self.count += 1
        self.by_reason[letter.reason] += 1
        if letter.fate_unknown:
            self.fates_unknown += 1
        for callback in tuple(self._subscribers):
            try:
                callback(letter)
            except Exception:
                logger.exception("a subscriber of dead letters failed")

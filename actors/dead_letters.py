"""Messages that reached nobody: counted, with the reason, and shown to whoever subscribed. Nothing is lost silently."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.actors.ref import ActorRef

logger = logging.getLogger("understudy.dead_letters")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`fate_unknown`: it was sent to another node and may have arrived before that node was declared dead."""

    target: ActorRef[Any]
    message: Any
    reason: str
    fate_unknown: bool = False


class DeadLetters:
    """The dead letters of one system. `count` is all of them, `by_reason` splits it, `fates_unknown` are counted apart."""

    def __init__(self) -> None:
        self.count = 0
        self.fates_unknown = 0
        self.by_reason: Counter[str] = Counter()
        self._subscribers: list[Callable[[DeadLetter], None]] = []

    def subscribe(self, callback: Callable[[DeadLetter], None]) -> Callable[[], None]:
        """Call `callback` with every dead letter, on the system's loop; the returned function ends that."""
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

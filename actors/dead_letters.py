"""Messages that reached nobody: counted, with the reason, and told to whoever subscribed. Nothing is lost silently."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.actors.hooks import Hooks
    from understudy.actors.ref import ActorRef
    from understudy.actors.scheduler import Scheduler

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

BURST = 100
"""Dead letters that are told at once; what comes after these waits until PAUSE seconds have passed since the first."""

PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`fate_unknown`: it was sent to another node and may have arrived before that node was declared dead."""

    target: ActorRef[Any]
    message: Any
    reason: str
    fate_unknown: bool = False


class DeadLetters:
    """The dead letters of one system. `count` is all of them, `by_reason` splits it, `fates_unknown` are counted apart.

    Each of them is told as well: `system.hooks.subscribe(DeadLetter, callback)`, at once, but of many at once all above BURST
    after a PAUSE: a callback that loses messages itself hears of them too, for ever, and holds up nobody. A dead letter that is lost
    in turn is counted and not told, so that an actor that is told of all of them may end.
    """

    def __init__(self, hooks: Hooks, scheduler: Scheduler) -> None:
        self.count = 0
        self.fates_unknown = 0
        self.by_reason: Counter[str] = Counter()
        self._hooks = hooks
        self._scheduler = scheduler
        self._news: list[DeadLetter] = []
        self._told = 0  # since the pause began
        self._pause: asyncio.TimerHandle | None = None
        self._afterwards = False  # told after the end of the system

    def add(self, letter: DeadLetter) -> None:
        """Count a letter, and tell it to whoever subscribed, once the signal at hand is done. On the system's loop."""
        self.count += 1
        self.by_reason[letter.reason] += 1
        if letter.fate_unknown:
            self.fates_unknown += 1
        if self._afterwards or isinstance(letter.message, DeadLetter) or not self._hooks.wants(DeadLetter):
            return
        self._news.append(letter)
        if len(self._news) == 1 and (self._told < BURST or self._scheduler.closed):
            self._scheduler.signal(self._tell, ())

    def tell_the_rest(self) -> None:
        """The system ends: say now what was to be said after the pause."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._emit()

    def _tell(self) -> None:
        """A signal of its own, so that nobody is in the middle of anything."""
        if self._scheduler.closed:
            self._tell_afterwards()
            return
        if self._pause is None:
            scheduler = self._scheduler
            self._pause = scheduler.loop.call_later(PAUSE, self._pause_is_over, context=scheduler.neutral_context())
        self._told += len(self._news)
        self._emit()

    def _pause_is_over(self) -> None:
        self._told = 0
        self._pause = None
        if self._news:
            self._scheduler.signal(self._tell, ())

    def _tell_afterwards(self) -> None:
        """The system is down, and no pause comes any more: what the callbacks send is counted alone, here and now."""
        ready = self._scheduler.ready
        woken = len(ready)
        self._afterwards = True
        try:
            self._emit()
            for index in range(woken, len(ready)):
                self._scheduler.mortician.bury_late(ready[index])
        finally:
            self._afterwards = False

    def _emit(self) -> None:
        news, self._news = self._news, []
        for letter in news:
            self._hooks.emit(letter)

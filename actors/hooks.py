"""Hooks: what happens to actors, told to whoever subscribed. While nobody has, they cost nothing.

    stop = system.hooks.subscribe(Ended, lambda end: print(end.ref, end.reason))

A callback gets the event on the system's own loop, between two messages; it is to be quick. One that raises is reported and
harms nobody. Spawned, Ended, Restarted, Linked, Unlinked and Handled are below; CrashReport, SlowHandler, HighWater,
UnseenDeath and DeadLetter stand where they are made.

`Handled` comes after every message: for it, what receives an actor's messages (`Cell.receive`) is wrapped, and only as long
as somebody listens.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors.arguments import takes
from understudy.actors.message import message
from understudy.actors.observer import Receive, observed, outcome
from understudy.actors.reasons import ExitReason
from understudy.actors.ref import ActorRef
from understudy.actors.signals import title

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler

E = TypeVar("E")

logger = logging.getLogger("understudy.actors")

BATCH = 1_000
"""Living actors that are wrapped or unwrapped at once; between two batches the loop has its turn."""


@message("understudy.spawned")
class Spawned:
    """An actor has started. `cls` is its class's name; `parent` None: `system.spawn` started it."""

    ref: ActorRef[Any]
    cls: str
    name: str | None
    parent: ActorRef[Any] | None


@message("understudy.ended")
class Ended:
    """An actor is dead, whatever the reason; those that watch it are being told."""

    ref: ActorRef[Any]
    cls: str
    name: str | None
    reason: ExitReason


@message("understudy.restarted")
class Restarted:
    """A supervisor has started a child again: `ref` is the new one, `reason` the end of the one before, `restarts` how often."""

    ref: ActorRef[Any]
    supervisor: ActorRef[Any]
    id: str
    reason: ExitReason | None
    restarts: int


@message("understudy.linked")
class Linked:
    """Two lives were tied; told once for each of them that lives in this system."""

    ref: ActorRef[Any]
    other: ActorRef[Any]


@message("understudy.unlinked")
class Unlinked:
    """A link was undone on purpose."""

    ref: ActorRef[Any]
    other: ActorRef[Any]


@message("understudy.handled")
class Handled:
    """A handler has ended: the message's class, the seconds it took, waiting included, and how: ok, refused, failed, cancelled.

    Told of every message that a handler was given, whoever sent it: others, a timer, `then`, `self.run`, the kernel (`Down`, `Exit`);
    and of every use of a proxy, as "proxy.volume". Not of what no handler sees: a stop, an operator's requests, and requests that
    were dropped before they began (`system.expired`).
    """

    ref: ActorRef[Any]
    message: str
    seconds: float
    outcome: str


class Hooks:
    """The subscriptions of one system. The kernel asks `wants` first, so that an event is made only for somebody."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._listeners: dict[type, tuple[Callable[[Any], object], ...]] = {}
        self.timing = False

    def subscribe(self, event: type[E], callback: Callable[[E], object]) -> Callable[[], None]:
        """Call `callback` with every event of that class from now on; the returned function ends that. From any thread."""
        if not isinstance(event, type):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"subscribe takes a class of events, such as Ended, and a callback, not {event!r}")
        if not takes(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError(
                f"a subscriber is a plain function of one event, which may tell an actor of it, not {callback!r}"
            )
        signal = self._scheduler.signal
        signal(self._add, (event, callback))
        return lambda: signal(self._remove, (event, callback))

    def wants(self, event: type) -> bool:
        """Whether anybody listens. For the kernel, which asks at rare events only."""
        return event in self._listeners

    def emit(self, event: object) -> None:
        """Show an event to whoever listens to its class. For the kernel."""
        for callback in self._listeners.get(type(event), ()):
            try:
                callback(event)
            except Exception:
                logger.exception("a subscriber of %s failed", type(event).__name__)

    def timed(self, cell: Cell[Any], receive: Receive) -> Receive:
        """Wrap what handles an actor's messages, so that each is told as `Handled`. For `Cell.surrounded`."""
        return observed(receive, _Stopwatch(self, cell))

    # --- on the loop ---

    def _add(self, event: type, callback: Callable[[Any], object]) -> None:
        self._listeners[event] = (*self._listeners.get(event, ()), callback)
        self._wrap()

    def _remove(self, event: type, callback: Callable[[Any], object]) -> None:
        left = list(self._listeners.get(event, ()))
        if callback in left:
            left.remove(callback)
        self._listeners[event] = tuple(left)
        if not left:
            del self._listeners[event]
        self._wrap()

    def _wrap(self) -> None:
        """Have every living actor's `receive` as it is to be now. One that has none yet gets it with its first message."""
        if self.timing != (Handled in self._listeners):
            self.timing = not self.timing
            self._rewrap(self._scheduler.system.actors())

    def _rewrap(self, left: list[Any]) -> None:
        for cell in left[-BATCH:]:
            if cell.receive is not None and cell.actor is not None:
                cell.behave()
        del left[-BATCH:]
        if left and not self._scheduler.closed:
            self._scheduler.loop.call_soon(self._scheduler.signal, self._rewrap, (left,))


class _Stopwatch:
    """Times the handlers of one actor."""

    def __init__(self, hooks: Hooks, cell: Cell[Any]) -> None:
        self._hooks = hooks
        self._cell = cell
        self._clock = cell.scheduler.loop.time

    def begins(self, message: Any) -> tuple[Any, float]:
        return message, self._clock()

    def returned(self, token: tuple[Any, float], result: Any) -> None:
        self._tell(token, "ok")

    def failed(self, token: tuple[Any, float], error: BaseException) -> None:
        self._tell(token, outcome(error))

    def _tell(self, token: tuple[Any, float], how: str) -> None:
        message, begun = token
        event = Handled(self._cell, title(message), self._clock() - begun, how)
        self._cell.on_loop(self._hooks.emit, event)

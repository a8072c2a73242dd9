"""An audience: the actors that an actor tells its news. Those that die drop out by themselves."""

import logging
from typing import Any

from understudy.actors import Actor, ActorRef, Overloaded

logger = logging.getLogger("understudy.engine")


class Audience:
    """Listeners of one actor. That actor hands in the `Down` messages it gets."""

    def __init__(self, owner: Actor) -> None:
        self._owner = owner
        self._monitors: dict[ActorRef[Any], int] = {}
        self._listeners: dict[int, ActorRef[Any]] = {}

    def __len__(self) -> int:
        return len(self._monitors)

    def add(self, listener: ActorRef[Any]) -> None:
        """One more; a second time changes nothing."""
        if listener not in self._monitors:
            token = self._monitors[listener] = self._owner.monitor(listener)
            self._listeners[token] = listener

    def remove(self, listener: ActorRef[Any]) -> None:
        """One less, if it was there."""
        token = self._monitors.pop(listener, None)
        if token is not None:
            del self._listeners[token]
            self._owner.demonitor(token, flush=True)

    def clear(self) -> None:
        """Nobody listens any more."""
        for listener in tuple(self._monitors):
            self.remove(listener)

    def down(self, token: int) -> bool:
        """A `Down` came; True if it was that of a listener."""
        listener = self._listeners.pop(token, None)
        return listener is not None and self._monitors.pop(listener) == token

    def tell(self, message: Any) -> None:
        """Tell everybody."""
        for listener in self._monitors:
            tell(listener, message)


def tell(listener: ActorRef[Any], message: Any) -> None:
    """Tell one; where the way to it is jammed, it misses this message. Frames are complete in themselves, so that is no gap to mend."""
    try:
        listener.tell(message)
    except Overloaded:
        logger.warning("%r missed a %s: the way to it is full", listener, type(message).__name__)

"""The actors of this node that other nodes hold references to, by id. An entry is freed when its actor dies.

A reference that comes back is the one that was sent, of a dead actor too: somebody here may have a registry by it. Whom nobody
remembers, it cannot be told from another that is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from understudy.actors import ActorRef, ActorSystem, ExitReason

UNIQUE = "@"
"""What a target begins with that is a name of the cluster, not of its node. No name of a node's own has one."""


class Exports:
    """Only what was once sent in a message can be reached by its id: nobody can guess at the others."""

    __slots__ = ("_dead", "_system", "actors", "unique")

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self.actors: dict[int, ActorRef[Any]] = {}
        self.unique: Callable[[str], ActorRef[Any] | None] = _nobody
        """Who has a name of the cluster here."""
        self._dead: WeakValueDictionary[int, ActorRef[Any]] = WeakValueDictionary()

    def add(self, ref: ActorRef[Any]) -> int:
        """Make a local actor reachable, and return its id."""
        number = ref.address.id
        if number not in self.actors:
            self.actors[number] = ref
            ref._monitor(self._system.next_token(), self)  # it leaves at once if it is dead already
        return number

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """The actor ended."""
        number = ref.address.id
        self._dead[number] = self.actors.pop(number, ref)

    def find(self, target: Any) -> ActorRef[Any] | None:
        """The actor of that id, that name, or, with an "@" before it, that name of the cluster; None if there is none here."""
        if type(target) is not str:
            return self.actors.get(target)
        return self.unique(target[1:]) if target[:1] == UNIQUE else self._system.whereis(target)

    def dead(self, number: int) -> ActorRef[Any] | None:
        """The actor that once had that id, if somebody here still has its reference."""
        return self._dead.get(number)


def _nobody(name: str) -> None:
    """This node is in no cluster."""

"""What is done with an entity in its turn among the messages: found, monitored, linked to, ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, ExitReason, NoProc, Watcher
from understudy.actors.replies import ThreadReply
from understudy.transport.entity_mail import Deed
from understudy.transport.remote import RemoteRef

if TYPE_CHECKING:
    from understudy.transport.entities import Entities
    from understudy.transport.entity_ref import EntityRef


class Finding(Deed):
    """Tells whoever waits where the entity is."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[ActorRef[Any]]) -> None:
        self._future = future

    def do(self, ref: ActorRef[Any]) -> None:
        if not self._future.done():
            self._future.set_result(ref)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


class Doing(Deed):
    """Something that is done with it and needs no answer."""

    __slots__ = ("_what",)

    def __init__(self, what: Any) -> None:
        self._what = what

    def do(self, ref: ActorRef[Any]) -> None:
        self._what(ref)


class Retiring(Deed):
    """`stop()`: its host ends it in order."""

    __slots__ = ("_entities", "_name", "_reply")

    def __init__(self, entities: Entities, name: str, reply: ThreadReply) -> None:
        self._entities = entities
        self._name = name
        self._reply = reply

    def do(self, ref: ActorRef[Any]) -> None:
        self._entities.retire(self._name, ref if isinstance(ref, RemoteRef) else None, self._reply)

    def failed(self, error: Exception) -> None:
        self._reply.set(False)


class Watched(Deed):
    """A monitor of an entity: of the life that it has when it is its turn. `Down` names the entity."""

    __slots__ = ("_at", "over", "ref", "token", "watcher")

    def __init__(self, ref: EntityRef[Any], token: int, watcher: Watcher) -> None:
        self.ref = ref
        self.token = token
        self.watcher = watcher
        self.over = False
        self._at: ActorRef[Any] | None = None

    def do(self, ref: ActorRef[Any]) -> None:
        if not self.over:
            self._at = ref
            ref._monitor(self.token, self)

    def failed(self, error: Exception) -> None:
        self._fire(NoProc())

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """The life that was watched is over. If it was when the monitor came, the next one is watched."""
        if self.over:
            return
        if isinstance(reason, NoProc):
            at, self._at = self._at, None
            if not (isinstance(at, RemoteRef) and self.ref._entities.routes.came_back(at, self)):
                self.ref._send(self)
        else:
            self._fire(reason)

    def end(self) -> None:
        """Nobody watches any more."""
        if not self.over:
            self.over = True
            if self._at is not None:
                self._at._demonitor(self.token, self)

    def _fire(self, reason: ExitReason) -> None:
        if not self.over:
            self.over = True
            self.ref._entities.fired(self)
            self.watcher.down(self.token, self.ref, reason)


class Tie:
    """What a link to an entity is on this side: its end is that of a link's other end."""

    __slots__ = ("_ref", "sender")

    def __init__(self, ref: EntityRef[Any], sender: ActorRef[Any]) -> None:
        self._ref = ref
        self.sender = sender

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """It has ended."""
        self.sender._linked_exit(self._ref, reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tie) and (other._ref, other.sender) == (self._ref, self.sender)

    def __hash__(self) -> int:
        return hash((self._ref, self.sender))

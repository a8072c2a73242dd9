"""The fan-out of a node: one message from a room becomes one write to every member's socket.

    room ──Broadcast──> fan-out ──frame, encoded once per kind of client──> connection, connection, connection ...

It runs past the session actors: a thousand members cost a thousand buffer appends and, at the end of the tick, a
thousand writes, but not a thousand mailbox entries. All that a client gets about its topics comes through here in
the order it was sent, so a reply never overtakes an event that was broadcast before it.
"""

from dataclasses import dataclass
from typing import Any

from understudy.actors import Actor, ActorRef, Down
from understudy.gateway import phoenix
from understudy.gateway.connection import GOING_AWAY, INTERNAL_ERROR, Connection, Serializer
from understudy.gateway.messages import Admit, Attach, Broadcast, Conclude, Detach, Push, Reply


@dataclass(frozen=True, slots=True)
class Watch:
    """A session tells its fan-out, first of all: this connection is mine. When the session ends, so does the connection."""

    session: ActorRef[Any]
    connection: Connection


@dataclass(frozen=True, slots=True)
class Say:
    """A session sends one frame of its own, in turn with those of the rooms."""

    connection: Connection
    frame: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A session lets its client go, once all is said that was to be said before. `code` as in WebSocket."""

    connection: Connection
    code: int
    reason: str


class Fanout(Actor):
    """Knows which connection every member on this node is reached over."""

    def __init__(self) -> None:
        super().__init__()
        self._attached: dict[str, Attach] = {}
        self._audience: dict[str, dict[Serializer, dict[str, Connection]]] = {}
        self._stays: dict[ActorRef[Any], set[str]] = {}
        self._connections: dict[int, Connection] = {}

    def on_receive(self, message: object) -> Any:
        match message:
            case Broadcast():
                self._broadcast(message)
            case Push(member, event, payload):
                if to := self._attached.get(member):
                    to.connection.send(to.connection.serializer.push(to.join_ref, to.topic, event, payload))
            case Reply(member, ref, status, response):
                if to := self._attached.get(member):
                    self._reply(to, ref, status, response)
            case Admit(member, response):
                if to := self._attached.get(member):
                    self._reply(to, to.ref, "ok", response)
                    groups = self._audience.setdefault(to.topic, {})
                    groups.setdefault(to.connection.serializer, {})[member] = to.connection
            case Attach():
                self._attached[message.member.id] = message
                self._stays.setdefault(message.member.session, set()).add(message.member.id)
            case Detach(member, last):
                self._detach(member, last)
            case Say(connection, frame):
                connection.send(frame)
            case Part(connection, code, reason):
                connection.close(code, reason)
            case Conclude(topic):
                self._conclude(topic)
            case Watch(session, connection):
                self._connections[self.monitor(session)] = connection
            case Down(token, session):
                self._connections.pop(token).close(INTERNAL_ERROR, "the session ended")
                for member in list(self._stays.get(session, ())):
                    self._detach(member, None)
            case _:
                return self.unhandled(message)
        return None

    def _broadcast(self, message: Broadcast) -> None:
        for serializer, connections in self._audience.get(message.topic, {}).items():
            frame = serializer.broadcast(message.topic, message.event, message.payload, message.cursor)
            if message.only or message.excluding:
                chosen = (set(message.only) or connections.keys()) - set(message.excluding)
                for member in chosen & connections.keys():
                    connections[member].send(frame)
            else:
                for connection in connections.values():
                    connection.send(frame)

    def _conclude(self, topic: str) -> None:
        for connections in self._audience.get(topic, {}).values():
            for member, connection in connections.items():
                if self._attached[member].alone:
                    connection.close(GOING_AWAY, "the topic is concluded")

    def _reply(self, to: Attach, ref: str | None, status: str, response: bytes) -> None:
        to.connection.send(to.connection.serializer.reply(to.join_ref, ref, to.topic, status, response))

    def _detach(self, member: str, last: str | None) -> None:
        stay = self._attached.pop(member, None)
        if stay is None:
            return
        if last is not None:
            stay.connection.send(stay.connection.serializer.push(stay.join_ref, stay.topic, last, phoenix.EMPTY))
        stays = self._stays[stay.member.session]
        stays.discard(member)
        if not stays:
            del self._stays[stay.member.session]
        groups = self._audience.get(stay.topic, {})
        if connections := groups.get(stay.connection.serializer):
            connections.pop(member, None)
            if not connections:
                del groups[stay.connection.serializer]
            if not groups:
                del self._audience[stay.topic]

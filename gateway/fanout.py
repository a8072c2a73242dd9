"""The fan-out of a node: one message from a room becomes one write to every member's socket.

    room ──Broadcast──> fan-out ──frame, encoded once per kind of client──> connection, connection, connection ...

It runs past the session actors: a thousand members cost a thousand buffer appends and, at the end of the tick, a
thousand writes, but not a thousand mailbox entries. All that a client gets about its topics comes through here in
the order it was sent, so a reply never overtakes an event that was broadcast before it.

What a room says is numbered (`Said`). When a number is missing, a full outbox or a cut link having eaten it, the stays
that listened end with `phx_error`, and their clients join again with how far they have come: a gap is never silent.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from understudy.actors import Actor, ActorRef, Down
from understudy.gateway import phoenix, refusals
from understudy.gateway.connection import GOING_AWAY, INTERNAL_ERROR, Connection, Serializer
from understudy.gateway.log import Cursor
from understudy.gateway.messages import (
    Admit,
    Attach,
    Broadcast,
    Conclude,
    Detach,
    Lapsed,
    Position,
    Push,
    Reply,
    Said,
)
from understudy.gateway.phoenix import Ref
from understudy.gateway.watchman import Reached

log = logging.getLogger("understudy.gateway")


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


@dataclass(slots=True)
class _Line:
    """What one life of a room says to this fan-out: which members hear it, and the number of what it said last."""

    topic: str
    said: int
    groups: dict[Serializer, dict[str, Connection]] = field(default_factory=dict)


class Fanout(Actor):
    """Knows which connection every member on this node is reached over, and notices what it was not told."""

    def __init__(self, refused: Counter[str] | None = None) -> None:
        super().__init__()
        self._refused = refused
        self._attached: dict[str, Attach] = {}
        self._lines: dict[str, _Line] = {}
        self._line_of: dict[str, str] = {}
        self._stays: dict[ActorRef[Any], set[str]] = {}
        self._connections: dict[int, Connection] = {}

    def on_receive(self, message: object) -> Any:
        match message:
            case Said():
                return self._said(message)
            case Reply(member, ref, status, response, binary):
                if to := self._attached.get(member):
                    self._reply(to, ref, status, response, binary)
            case Attach():
                self._attached[message.member.id] = message
                self._stays.setdefault(message.member.session, set()).add(message.member.id)
            case Detach(member, last, payload):
                self._detach(member, last, payload)
            case Say(connection, frame):
                connection.send(frame)
            case Part(connection, code, reason):
                connection.close(code, reason)
            case Reached(members):
                return tuple(member for member in members if self._reaches(member))
            case Watch(session, connection):
                self._connections[self.monitor(session)] = connection
            case Down(token, session):
                self._connections.pop(token).close(INTERNAL_ERROR, "the session ended")
                for member in list(self._stays.get(session, ())):
                    self._detach(member, None)
            case _:
                return self.unhandled(message)
        return None

    def _said(self, said: Said) -> Any:
        line = self._lines.get(said.life)
        if line is not None and line.said != said.previous:
            self._lapse(line.topic, line, said.what.member if isinstance(said.what, Admit) else None)
            line = None
        if line is not None:
            line.said = said.number
        match said.what:
            case Broadcast():
                if line is not None:
                    _broadcast(line, said.what)
            case Admit():
                self._admit(said, said.what)
            case Reply(member, ref, status, response, binary):
                if to := self._attached.get(member):
                    self._reply(to, ref, status, response, binary)
            case Push(member, event, payload, binary):
                if to := self._attached.get(member):
                    serializer = to.connection.serializer
                    to.connection.send(serializer.push(to.join_ref, to.topic, event, payload, binary))
            case Conclude():
                if line is not None:
                    self._conclude(line)
            case Position(topic):
                if line is None:
                    self._lapse(topic)
            case what:
                return self.unhandled(what)
        return None

    def _admit(self, said: Said, admit: Admit) -> None:
        to = self._attached.get(admit.member)
        if to is None:
            return
        line = self._lines.get(said.life)
        if line is None:
            line = self._lines[said.life] = _Line(to.topic, said.number)
        connection, serializer = to.connection, to.connection.serializer
        self._reply(to, to.ref, "ok", admit.response)
        for kept in admit.kept:
            frame = serializer.broadcast(to.topic, kept.event, kept.payload, None, kept.binary)
            connection.send(frame, (to.topic, kept.event, kept.key))
        line.groups.setdefault(serializer, {})[admit.member] = connection
        self._line_of[admit.member] = said.life

    def _conclude(self, line: _Line) -> None:
        for connections in line.groups.values():
            for member, connection in connections.items():
                if self._attached[member].alone:
                    connection.close(GOING_AWAY, "the topic is concluded")

    def _reaches(self, member: str) -> bool:
        stay = self._attached.get(member)
        return stay is not None and not stay.connection.closed

    def _lapse(self, topic: str, line: _Line | None = None, admitted: str | None = None) -> None:
        """Something is missing: whoever listened joins again, and says how far it has come. So does whoever waits to be
        let in, but for one who is just `admitted`: perhaps that is what is missing.
        """
        members = [
            member
            for member, to in self._attached.items()
            if to.topic == topic and member not in self._line_of and member != admitted
        ]
        if line is not None:
            members += [member for connections in line.groups.values() for member in connections]
        if members:
            log.warning("something that was said in %s did not arrive: %s members join again", topic, len(members))
        for member in members:
            session = self._attached[member].member.session
            self._detach(member, phoenix.ERROR)
            session.tell(Lapsed(member))

    def _reply(self, to: Attach, ref: Ref, status: str, response: bytes, binary: bool = False) -> None:
        to.connection.send(to.connection.serializer.reply(to.join_ref, ref, to.topic, status, response, binary))
        if status == "error" and self._refused is not None:
            self._refused[refusals.code_of(response)] += 1

    def _detach(self, member: str, last: str | None, payload: bytes = phoenix.EMPTY) -> None:
        stay = self._attached.pop(member, None)
        if stay is None:
            return
        if last is not None:
            stay.connection.send(stay.connection.serializer.push(stay.join_ref, stay.topic, last, payload))
        stays = self._stays[stay.member.session]
        stays.discard(member)
        if not stays:
            del self._stays[stay.member.session]
        life = self._line_of.pop(member, None)
        if life is None:
            return
        groups = self._lines[life].groups
        connections = groups[stay.connection.serializer]
        del connections[member]
        if not connections:
            del groups[stay.connection.serializer]
        if not groups:
            del self._lines[life]


def _broadcast(line: _Line, message: Broadcast) -> None:
    cursor = Cursor(message.epoch, message.offset) if message.offset else None
    latest = None if message.key is None else (line.topic, message.event, message.key)
    for serializer, connections in line.groups.items():
        frame = serializer.broadcast(line.topic, message.event, message.payload, cursor, message.binary)
        if message.only or message.excluding:
            chosen = (set(message.only) or connections.keys()) - set(message.excluding)
            for member in chosen & connections.keys():
                connections[member].send(frame, latest)
        else:
            for connection in connections.values():
                connection.send(frame, latest)

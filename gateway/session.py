"""The session: one actor per client connection, which speaks Phoenix Channels with it.

    socket ──Received──> session ──OpenRoom──> rooms          opening
                                 <─RoomOpened─
                                 ──Join──────> room           joining     what the client pushes now waits here
                                 <─Admitted───                joined
                                 ──Event─────> room

It never waits: a join that takes long is an entry in its table, so heartbeats and other topics go on. What a client
hears comes through the fan-out, in order: from the rooms, and from the session what no room can answer.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from understudy.actors import Actor, ActorRef, Down, Failure, NoProc, Normal
from understudy.gateway import phoenix, refusals
from understudy.gateway.auth import Unauthorized
from understudy.gateway.connection import Connection
from understudy.gateway.fanout import Part, Say, Watch
from understudy.gateway.messages import (
    Admitted,
    Attach,
    Denied,
    Detach,
    Dismissed,
    Event,
    Join,
    Lapsed,
    Leave,
    Member,
    OpenRoom,
    Reply,
    RoomOpened,
    RoomRefused,
)
from understudy.gateway.phoenix import Frame, Ref
from understudy.gateway.principal import Principal
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.visitor import ANYBODY, Permissions, Visitor

IDLE_TIMEOUT = 60.0
"""Seconds without a word after which a client is let go; Phoenix clients send a heartbeat every 30."""

TOPIC_LIMIT = 100
"""Topics a client may be in at a time."""

RENEW_AHEAD = 30.0
"""Seconds before the end of what a client was let in with that it is asked for something new."""

EARLY_LIMIT = 64
"""Messages kept for a topic whose join is under way; further ones are refused."""

STUBBORN = 200
"""Messages in a row that were more than it may send after which a client is let go."""

PATIENCE = 10
"""Malformed frames after which a client is no client of this protocol."""


@dataclass(frozen=True, slots=True)
class Received:
    """The client said something, in text or bytes. Calling instead of telling makes one that floods wait for its session."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """The socket is gone."""


@dataclass(frozen=True, slots=True)
class _LookAtTheClock:
    """Has the client been silent for too long?"""


@dataclass(slots=True)
class Stay:
    """The client in one topic, from its join to the end of it."""

    topic: str
    join_ref: Ref
    ref: Ref
    payload: dict[str, Any]
    member: Member
    room: ActorRef[Any] | None = None
    monitor: int | None = None
    joined: bool = False
    early: list[Frame] = field(default_factory=list)
    retried: bool = False
    shared: bool = False
    may_publish: bool = True


@dataclass(frozen=True, slots=True)
class _Permitted:
    """What `may` said of a stay at the door, when the client was `visitor`."""

    stay: Stay
    visitor: Visitor
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class _LookAtTheToken:
    """What the client was let in with ends soon. `asked`: it was told so."""

    of: Principal
    asked: bool


@dataclass(frozen=True, slots=True)
class _Renewed:
    """What became of a new token: who the client is by it, or why it is refused."""

    frame: Frame
    renewed: Visitor | Unauthorized


@dataclass(frozen=True, slots=True)
class _AskedAgain:
    """What `may` says of each stay, now that the client is `visitor`."""

    frame: Frame
    visitor: Visitor
    said: list[tuple[Stay, Permissions]]


class PhoenixConnection(Connection, Protocol):
    """A connection to a client of this protocol."""

    @property
    def serializer(self) -> PhoenixSerializer:
        """How it is spoken to and understood."""
        ...


class Session(Actor):
    """Owns `connection` until either ends. Started under a supervisor, never restarted: a client reconnects instead.

    `idle`: seconds of silence after which the client is let go; None if its connection sees to that.
    """

    def __init__(
        self,
        connection: PhoenixConnection,
        rooms: ActorRef[Any],
        fanout: ActorRef[Any],
        node: str,
        idle: float | None = IDLE_TIMEOUT,
        visitor: Visitor = ANYBODY,
    ) -> None:
        super().__init__()
        self.connection = connection
        self.rooms = rooms
        self.fanout = fanout
        self.node = node
        self.idle = idle
        self.visitor = visitor
        self.stays: dict[str, Stay] = {}
        self._by_member: dict[str, Stay] = {}
        self._by_monitor: dict[int, Stay] = {}
        self._count = 0
        self._malformed = 0
        self._in_excess = 0
        self._heard_at = 0.0

    def on_start(self) -> None:
        self._id = self.system.world.token()
        self._heard_at = self.system.loop.time()
        if self.idle is not None:
            self.send_after(self.idle, _LookAtTheClock())
        self.fanout.tell(Watch(self.actor_ref, self.connection))
        self._look_at_the_token(self.visitor.principal, False)

    def on_receive(self, message: object) -> Any:
        match message:
            case Received(data):
                self._heard(data)
            case RoomOpened(member, room, shared):
                if stay := self._by_member.get(member):
                    stay.shared = shared
                    self._knock(stay, room)
            case RoomRefused(member, reason) | Denied(member, reason):
                if stay := self._by_member.get(member):
                    self._refused(stay, reason)
            case Admitted(member):
                if stay := self._by_member.get(member):
                    stay.joined = True
                    early, stay.early = stay.early, []
                    for frame in early:
                        self._push(stay, frame)
            case Dismissed(member, detail):
                if stay := self._by_member.get(member):
                    payload = phoenix.to_json(refusals.reply("kicked", detail or None))
                    self.fanout.tell(Detach(member, phoenix.CLOSE, payload))
                    self._end(stay, None)
            case Lapsed(member):
                if stay := self._by_member.get(member):
                    self._end(stay, None, returning=True)
            case Down(token, _, reason) if stay := self._by_monitor.get(token):
                self._room_ended(stay, reason)
            case _Permitted(stay, visitor, permissions):
                self._permitted(stay, visitor, permissions)
            case _Renewed(frame, renewed):
                self._renewed(frame, renewed)
            case _AskedAgain(frame, visitor, said):
                self._asked_again(frame, visitor, said)
            case _LookAtTheToken(of, asked):
                self._look_at_the_token(of, asked)
            case _LookAtTheClock() if self.idle is not None:
                self._let_go_if_idle(self.idle)
            case HangUp():
                self.stop()
            case _:
                return self.unhandled(message)
        return None

    # --- what the client says ---

    def _heard(self, data: str | bytes) -> None:
        self._heard_at = self.system.loop.time()
        try:
            frame = self.connection.serializer.decode(data)
        except phoenix.Malformed as error:
            frame = Frame(None, error.ref, error.topic, "", None)
            self._decline(frame, "malformed frame", str(error))
            self._malformed += 1
            if self._malformed >= PATIENCE:
                self._part("too_many_malformed_frames")
            return
        if wait := self.visitor.meter.take(len(data), self._heard_at):
            self._too_much(frame, wait)
            return
        self._in_excess = 0
        stay = self.stays.get(frame.topic)
        if frame.topic == phoenix.SOCKET_TOPIC:
            if frame.event == phoenix.HEARTBEAT:
                self._answer(frame, None)
            elif frame.event == phoenix.ACCESS_TOKEN:
                self.run(self._renew(frame))
            else:
                self._decline(frame, "unknown event")
        elif frame.event == phoenix.JOIN:
            self._join(frame)
        elif frame.event == phoenix.LEAVE:
            self._leave(stay, frame)
        elif stay is None:
            self._decline(frame, "unmatched topic")
        elif frame.join_ref is not None and frame.join_ref != stay.join_ref:
            pass  # meant for a stay that ended; Phoenix ignores it too
        elif stay.joined:
            self._push(stay, frame)
        elif len(stay.early) < EARLY_LIMIT:
            stay.early.append(frame)
        else:
            self._decline(frame, "join under way")

    def _too_much(self, frame: Frame, wait: float) -> None:
        self._decline(frame, "rate limited", f"wait {wait:.1f} s")
        self._in_excess += 1
        if self._in_excess >= STUBBORN:
            self._part("rate_limited")

    def _join(self, frame: Frame) -> None:
        payload = frame.payload
        if old := self.stays.get(frame.topic):
            self._end(old, phoenix.CLOSE, returning=True)
        if not isinstance(payload, dict):
            self._decline(frame, "malformed frame", "expected the payload of phx_join to be an object")
        elif len(self.stays) >= TOPIC_LIMIT:
            self._decline(frame, "too many channels joined")
        else:
            self._count += 1
            member = Member(f"{self._id}.{self._count}", self.actor_ref, self.fanout, self.node, self.visitor.principal)
            stay = Stay(frame.topic, frame.join_ref, frame.ref, payload, member)
            self.stays[frame.topic] = self._by_member[member.id] = stay
            self.fanout.tell(Attach(member, frame.topic, frame.join_ref, frame.ref, self.connection))
            if self.visitor.door.asks:
                self.run(self._ask_permissions(stay))
            else:
                self.rooms.tell(OpenRoom(frame.topic, member.id, self.actor_ref))

    async def _ask_permissions(self, stay: Stay) -> _Permitted:
        visitor = self.visitor
        return _Permitted(stay, visitor, await visitor.permissions(stay.topic))

    def _permitted(self, stay: Stay, visitor: Visitor, permissions: Permissions) -> None:
        if self._by_member.get(stay.member.id) is not stay:
            return  # it left, or joined anew
        if visitor is not self.visitor:
            self.run(self._ask_permissions(stay))
            return
        stay.may_publish = permissions.publish
        if permissions.join:
            self.rooms.tell(OpenRoom(stay.topic, stay.member.id, self.actor_ref))
        else:
            self._refused(stay, "forbidden")

    def _leave(self, stay: Stay | None, frame: Frame) -> None:
        if stay is None:
            self._answer(frame, None)
        elif frame.join_ref is None or frame.join_ref == stay.join_ref:
            self._reply(stay, frame.ref, "ok", {})
            self._end(stay, phoenix.CLOSE)

    def _push(self, stay: Stay, frame: Frame) -> None:
        if not stay.may_publish:
            self._reply(stay, frame.ref, "error", refusals.reply("forbidden"))
            return
        assert stay.room is not None
        stay.room.tell(Event(stay.member.id, frame.ref, frame.event, frame.payload))

    # --- who it is ---

    def _look_at_the_token(self, of: Principal, asked: bool) -> None:
        """Ask for a new one in time; let go of who brings none."""
        if of.expires is None or of is not self.visitor.principal:
            return
        left = of.expires - self.system.world.wall()
        if left <= 0:
            self._part("token_expired")
        elif left > RENEW_AHEAD:
            self.send_after(left - RENEW_AHEAD, _LookAtTheToken(of, False))
        else:
            if not asked:
                within = phoenix.to_json({"within": int(left * 1000)})
                said = self.connection.serializer.push(None, phoenix.SOCKET_TOPIC, phoenix.ACCESS_TOKEN, within)
                self.fanout.tell(Say(self.connection, said))
            self.send_after(left, _LookAtTheToken(of, True))

    async def _renew(self, frame: Frame) -> _Renewed:
        try:
            return _Renewed(frame, await self.visitor.renewed(frame.payload))
        except Unauthorized as error:
            return _Renewed(frame, error)

    def _renewed(self, frame: Frame, renewed: Visitor | Unauthorized) -> None:
        if isinstance(renewed, Unauthorized):
            self._decline(frame, refusals.REFUSALS[renewed.code].reason, renewed.sentence)
            return
        visitor = renewed
        self.visitor = visitor
        self._look_at_the_token(visitor.principal, False)
        self.run(self._ask_again(frame, visitor, list(self._by_member.values())))

    async def _ask_again(self, frame: Frame, visitor: Visitor, stays: list[Stay]) -> _AskedAgain:
        return _AskedAgain(frame, visitor, [(stay, await visitor.permissions(stay.topic)) for stay in stays])

    def _asked_again(self, frame: Frame, visitor: Visitor, said: list[tuple[Stay, Permissions]]) -> None:
        """What it may no longer do ends here; the reply says in which topics."""
        ended: list[str] = []
        for stay, permissions in said:
            if visitor is self.visitor and self._by_member.get(stay.member.id) is stay:
                stay.may_publish = permissions.publish
                if not permissions.join:
                    ended.append(stay.topic)
                    if stay.joined:
                        self._end(stay, phoenix.CLOSE)
                    else:
                        self._turn_away(stay)
        expires = visitor.principal.expires
        left = None if expires is None else int(1000 * (expires - self.system.world.wall()))
        self._answer(frame, {"expires_in": left, "ended": ended})

    def _turn_away(self, stay: Stay) -> None:
        """Whoever is at the door still."""
        if stay.room is not None:
            stay.room.tell(Leave(stay.member.id))
        self._refused(stay, "forbidden")

    # --- what becomes of a stay ---

    def _knock(self, stay: Stay, room: ActorRef[Any]) -> None:
        stay.room = room
        stay.monitor = self.monitor(room)
        self._by_monitor[stay.monitor] = stay
        room.tell(Join(stay.member, stay.payload))

    def _refused(self, stay: Stay, reason: str) -> None:
        self._reply(stay, stay.ref, "error", refusals.reply(reason))
        for frame in stay.early:
            self._reply(stay, frame.ref, "error", refusals.reply("unmatched topic"))
        self._forget(stay, None)

    def _room_ended(self, stay: Stay, reason: object) -> None:
        if stay.joined:
            # Clients take phx_close as the end, and join again after phx_error. A room that finished is the end of its
            # topic; one that crashed, was shut down with its node, or was handed over to another node, is not.
            over = isinstance(reason, Normal) and not stay.shared
            self._forget(stay, phoenix.CLOSE if over else phoenix.ERROR)
        elif isinstance(reason, Normal | NoProc) and not stay.retried:
            # It ended between being found and being asked: that room is gone, but not the topic.
            self._lose_room(stay)
            stay.retried = True
            self.rooms.tell(OpenRoom(stay.topic, stay.member.id, self.actor_ref))
        else:
            self._refused(stay, "join crashed" if isinstance(reason, Failure) else "room unavailable")

    def _end(self, stay: Stay, last: str | None, returning: bool = False) -> None:
        """It ends on this side, and is to be begun anew or not; the room is told."""
        if stay.room is not None:
            stay.room.tell(Leave(stay.member.id, returning))
        self._forget(stay, last)

    def _forget(self, stay: Stay, last: str | None) -> None:
        self.fanout.tell(Detach(stay.member.id, last))
        self._lose_room(stay)
        del self.stays[stay.topic], self._by_member[stay.member.id]

    def _lose_room(self, stay: Stay) -> None:
        if stay.monitor is not None:
            self.demonitor(stay.monitor, flush=True)
            del self._by_monitor[stay.monitor]
            stay.monitor = None

    # --- the connection ---

    def _reply(self, stay: Stay, ref: Ref, status: str, response: dict[str, Any]) -> None:
        """An answer about a topic the client is in, or at the door of."""
        if ref is not None:
            self.fanout.tell(Reply(stay.member.id, ref, status, phoenix.to_json(response)))

    def _answer(self, frame: Frame, response: dict[str, Any] | None, status: str = "ok") -> None:
        """An answer that has to do with no stay. In turn with everything else the client hears.

        As in Phoenix it names a `join_ref` only where it is about joining and leaving.
        """
        body = phoenix.EMPTY if response is None else phoenix.to_json(response)
        join_ref = frame.join_ref if frame.event in (phoenix.JOIN, phoenix.LEAVE) else None
        said = self.connection.serializer.reply(join_ref, frame.ref, frame.topic, status, body)
        self.fanout.tell(Say(self.connection, said))

    def _decline(self, frame: Frame, reason: str, detail: str | None = None) -> None:
        response = refusals.reply(reason, detail)
        self.visitor.refused[response["code"]] += 1
        self._answer(frame, response, "error")

    def _part(self, code: str) -> None:
        self.visitor.refused[code] += 1
        self.fanout.tell(Part(self.connection, *refusals.close(code)))

    def _let_go_if_idle(self, idle: float) -> None:
        left = self._heard_at + idle - self.system.loop.time()
        if left > 0:
            self.send_after(left, _LookAtTheClock())
        else:
            self._part("idle")
            self.stop()

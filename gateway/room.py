"""The room of a topic: the actor whose members are clients.

    class Cafe(Room):
        def on_join(self, member, payload):
            self.track(member, {"name": payload["name"]})
            return {"menu": ["tea"]}                          the reply to the join

        def on_event(self, member, event, payload):
            match event:
                case "order":
                    self.broadcast("ordered", payload)        to all members, on whatever node
                    return {"ok": True}                       the reply to the push
                case _:
                    return super().on_event(member, event, payload)

What a hook raises:
    Refused(reason)       on_join, on_event: the client gets {"reason": reason}; nothing else happens. A refusal that
                          came from another actor the hook called is passed on in the same way.
    anything else         on_join: the client gets {"reason": "join crashed"} and the room goes on: who is still at the
                          door cannot tear the house down. Elsewhere the room crashes; its members are told (phx_error)
                          and join again, which starts it anew.
"""

import inspect
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from understudy.actors import Actor, Down, Later, Overloaded, Refused, Stop, Timer
from understudy.actors.held import Held
from understudy.gateway import phoenix, refusals, views
from understudy.gateway.attendance import GRACE, Answered, Attendance, Changed, Due
from understudy.gateway.delivery import RELIABLE, Delivery, Payload
from understudy.gateway.feed import RESERVED, Feed
from understudy.gateway.limits import Rate
from understudy.gateway.log import Cursor, Log, MemoryLog
from understudy.gateway.messages import (
    Admitted,
    Denied,
    Dismissed,
    Event,
    Join,
    Leave,
    Locate,
    Member,
    Settle,
)
from understudy.gateway.moderation import Moderation
from understudy.gateway.outside import answer
from understudy.gateway.presence import Entries, Meta
from understudy.gateway.principal import Principal
from understudy.gateway.requests import GetHistory, GetPresence, GetState, Publish
from understudy.gateway.watchman import Silent

log = logging.getLogger("understudy.gateway")

CRASHED = "on_join of %s crashed; its client was told 'join crashed'"

IDLE_AFTER = 300.0
"""Seconds that a room without members is kept: as long as its log, and no more. Strangers choose topics."""

UNUSED_AFTER = 1.0
"""Seconds that a room is kept that nobody has come into, or been answered by."""

POSITION_EVERY = 5.0
"""Seconds between two words to the fan-outs of a room's members, so that they notice when the last one is missing."""


@dataclass(frozen=True, slots=True)
class _TellPosition:
    """A room to itself: time to tell its position."""


@dataclass(frozen=True, slots=True)
class _Rested:
    """A room to itself: perhaps nobody needs it any more."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """An async `on_join` came to its end: the reply, or None and the reason."""

    member: Member
    cursor: Cursor | None
    response: bytes | None
    reason: str


class _PushReply:
    """Where a `Later` puts the answer to a push."""

    def __init__(self, room: "Room", member: Member, ref: phoenix.Ref) -> None:
        self._room = room
        self._member = member
        self._ref = ref

    def set(self, value: Payload | None) -> None:
        self._room._reply(self._member, self._ref, "ok", value)

    def fail(self, error: Exception) -> None:
        """A refusal is passed on; any other error is not the client's business."""
        if isinstance(error, Refused):
            self._room._refuse(self._member, self._ref, error)
        else:
            log.error("what %s was to answer later failed: %s", self._room.topic, error)
            self._room._reply(self._member, self._ref, "error", refusals.reply("failed"))

    def abandoned(self) -> bool:
        return self._member.id not in self._room.members


class Room(Actor):
    """Subclass it and give the class a topic pattern in `Gateway(topics={"cafe:*": Cafe})`. One is started per topic."""

    grace: float = GRACE
    """Seconds for which the presence shows a person whose connection was lost."""

    intercept: Collection[str] = ()
    """Events of which each member sees what `on_outgoing` says."""

    idle_after: float = IDLE_AFTER
    """Seconds after which a room ends that has no members and that nobody asks anything; math.inf: it stays."""

    roles: Sequence[str] = ("member", "moderator", "owner")
    """What somebody can be here, the lowest first."""

    rates: Mapping[str, Rate] = {}
    """How much of each event a member may push; "*" is for those that are not named. No entry: as much as the gateway lets in."""

    def __init__(self, topic: str) -> None:
        super().__init__()
        self.topic = topic
        self.members: dict[str, Member] = {}
        self._door: dict[str, Member] = {}
        self._monitors: dict[str, int] = {}
        self._watched: dict[int, str] = {}
        self._used = False
        self._concluded = False
        self._vacated = False
        self._said: Feed | None = None
        self._telling_position = False
        self._attendance: Attendance | None = None
        self._moderation = Moderation(self.roles, self.rates)
        self._sent_out: dict[str, Member] = {}
        self._rest: Timer | None = None

    # --- hooks ---

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        """Let `member` in and return the reply (a dict), or raise Refused(reason). Plain, or `async def`.

        While an async one waits, the room goes on: others join, leave and push. Until it returned, broadcasts pass
        `member` by; what is pushed to it arrives before the reply.
        """
        return {}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        """A member pushed `event`; `payload` is JSON, or bytes. Return the reply (a dict, any other JSON value or bytes; None
        is an empty dict) or raise Refused(reason).

        Plain, or `async def`; the room does nothing else meanwhile. What takes long is answered with a `Later`: return
        it, work in the background (`self.run`), then `set` the reply or `fail` with Refused.
        """
        raise Refused("unknown event")

    def on_outgoing(self, member: Member | None, event: str, payload: Payload) -> Payload | None:
        """What `member` sees of an event that is named in `intercept`: `payload`, another one, or None: nothing.

        Asked for each member of each broadcast, and again for what it missed. None is somebody who reads the history and
        is no member (`on_read`). Not `async`.
        """
        return payload

    def on_leave(self, member: Member) -> Any:
        """A member left, or its connection ended. Plain, or `async def`.

        It is not among the members any more. Who has left is in the presence no more either; who was lost may be, for `grace`.
        """

    def on_empty(self) -> Any:
        """The last member left. A room that is worth nothing without members returns `Stop()`: the next join starts it anew.

        (`self.stop()` would let in those who wait at the door and then end with them inside.) One that does not is kept for
        `idle_after` seconds.
        """

    def role_of(self, member: Member) -> str:
        """What `member` is unless it was appointed: what its credentials say, or the lowest of the roles."""
        return str(member.principal.claims.get("role", ""))

    def snapshot(self, member: Member | None) -> phoenix.Json | None:
        """All that a member, or who reads and is none (`on_read`), must know of the topic to begin with, which then stands in the reply to its join; None if that
        is what `on_join` returns. Asked at the moment from which the member hears events, unless it is given all that it
        missed since it was here.
        """
        return None

    def make_log(self) -> Log:
        """Where the reliable events are kept for those who come back; asked once."""
        return MemoryLog(self.system)

    def on_read(self, principal: Principal) -> Any:
        """May somebody who is no member read the state, the history and the presence of this topic, over plain HTTP for
        example? Raise Refused(reason) if not, which is what this does: they have not come past `on_join`. Plain, or `async def`.
        """
        raise Refused("this topic can be read by its members only")

    def on_publish(self, principal: Principal, event: str, payload: Any) -> Any:
        """Somebody who is no member publishes an event. Do with it what is right (`self.broadcast(event, payload)`) and return
        the reply (a dict, None for an empty one), or raise Refused(reason), which is what this does. Plain, or `async def`.
        """
        raise Refused("this topic takes events of its members only")

    def on_message(self, message: object) -> Any:
        """Any other message to this actor: what `on_receive` is elsewhere."""
        return self.unhandled(message)

    # --- what a room does ---

    @property
    def feed(self) -> Feed:
        """What this room says, and its log. Not there before the room starts."""
        if self._said is None:
            self._said = Feed(self.topic, self.make_log(), self.system.world.token())
        return self._said

    def broadcast(
        self, event: str, payload: Payload, *, delivery: Delivery = RELIABLE, excluding: Member | None = None
    ) -> None:
        """Send an event to all members, but for one perhaps: a JSON object, any other JSON value, or bytes.

        Reliable unless told otherwise (`conflate`, `SNAPSHOT`). Who is excluded gets it all the same when it comes back
        and is given what it missed: perhaps it does not know yet that what it did was done.
        Raises TypeError or ValueError for what JSON cannot say.
        """
        if event in self.intercept:
            unseen = None if excluding is None else excluding.id
            self.feed.broadcast(event, payload, delivery, (), lambda body: views.views(self, event, body, unseen))
        else:
            self.feed.broadcast(event, payload, delivery, () if excluding is None else (excluding.id,))

    def push(self, member: Member, event: str, payload: Payload) -> None:
        """Send an event to one member. Raises TypeError or ValueError for what JSON cannot say."""
        self.feed.push(member, event, payload)

    def forget(self, event: str, key: str = "") -> None:
        """Who joins from now on is not given the latest value of that conflated event any more."""
        self.feed.forget(event, key)

    def conclude(self) -> None:
        """Nothing more will be broadcast. Streams of server-sent events end, those of later listeners after the reply to
        their join; who came over a WebSocket stays.
        """
        self._concluded = True
        self.feed.conclude()

    def track(self, member: Member, meta: Meta, *, key: str | None = None) -> None:
        """Show `member` in the topic's presence under `key`, or replace what is shown of it. None: under the id of its
        principal; somebody anonymous under its own id, which nobody will have again.

        Each member may show once; members with the same key are one person with several connections. A person who has a
        key and loses the connection is shown for `grace` seconds more: nobody sees a leave if it is back by then. Allowed
        in `on_join` already, and without effect for who has left. The members get one `presence_diff` for all that changed
        at a time.
        """
        if member.id not in self.members and member.id not in self._door:
            return
        if self._attendance is None:
            self._attendance = Attendance(self, self.system.world.token())
        if key is None and not member.principal.anonymous:
            key = member.principal.id
        self._attendance.track(member, meta, key)

    @property
    def presence(self) -> Entries:
        """Who is shown to be there, as in `presence_state`: `{key: {"metas": [...]}}`."""
        return {} if self._attendance is None else self._attendance.state()

    def untrack(self, member: Member) -> None:
        """Show `member` no more. Leaving does this by itself."""
        if self._attendance is not None:
            self._attendance.untrack(member.id)

    # --- whom a room keeps in order ---

    def role(self, member: Member) -> str:
        """Which of the `roles` it has."""
        return self._moderation.role(member, self.role_of(member))

    def appoint(self, who: Member | str, role: str) -> None:
        """Give a role to a member, or to whoever has that principal id, for as long as this room lives. A role given to
        somebody anonymous ends with the stay. Raises ValueError if there is no such role.
        """
        self._moderation.appoint(who, role)

    def demand(self, member: Member, role: str) -> None:
        """Raise Refused, "forbidden", unless it has that role or a higher one."""
        if not self._moderation.may(self.role(member), role):
            raise Refused("forbidden")

    def kick(self, member: Member, detail: str = "") -> None:
        """Send a member out, or away from the door. Its client gets `phx_close` with the code "kicked" and `detail`, for
        people; nothing keeps it from coming back. Of one that is not there nothing is seen. `on_leave` follows.
        """
        if self.members.pop(member.id, None) is not None:
            self._sent_out[member.id] = member
            if self._attendance is not None:
                self._attendance.left(member.id)
            told: Any = Dismissed(member.id, detail)
        elif self._door.pop(member.id, None) is not None:
            self._unwatch(member.id)
            told = Denied(member.id, "kicked")
        else:
            return
        with suppress(Overloaded):
            member.session.tell(told)

    def ban(self, who: Member | str, seconds: float = math.inf, detail: str = "") -> None:
        """Kick a member, or all with that principal id, and let nobody in under that id for so long, as long as this room
        lives. Somebody anonymous gets a new id with each connection: a ban lasts as long as this one.
        """
        id = who if isinstance(who, str) else who.principal.id  # noqa: A001
        self._moderation.ban(id, self.system.loop.time() + seconds)
        for member in [*self.members.values(), *self._door.values()]:
            if member.principal.id == id:
                self.kick(member, detail)

    def unban(self, id: str) -> None:  # noqa: A002
        """Let whoever has that principal id in again."""
        self._moderation.unban(id)

    def is_banned(self, principal: Principal) -> bool:
        """Whether it may not come in at present."""
        return self._moderation.banned(principal.id, self.system.loop.time())

    @property
    def bans(self) -> dict[str, float]:
        """Which principal ids are banned, and for how many seconds more."""
        return self._moderation.bans(self.system.loop.time())

    # --- what members do ---

    def on_receive(self, message: object) -> Any:
        match message:
            case Event():
                return self._event(message)
            case Join(member, payload):
                return self._join(member, payload)
            case Leave(member, returning):
                return self._leave(member, returning)
            case Down(token) if token in self._watched:
                return self._leave(self._watched[token], returning=True)
            case Changed() | Due() | Answered() | Silent():
                assert self._attendance is not None
                self._attendance.on_news(message)
            case _TellPosition():
                self._telling_position = False
                if self.feed.position():
                    self._tell_position_soon()
            case _Decided(member, cursor, response, reason):
                return self._decided(member, cursor, response, reason)
            case GetState() | GetHistory() | GetPresence() | Publish():
                self._settle()
                return answer(self, message)
            case Locate():
                self._settle()
                return self.actor_ref
            case Settle():
                self._settle()
            case _Rested():
                return Stop() if self._is_empty else None
            case _:
                self.needed()
                return self.on_message(message)
        return None

    @property
    def _is_empty(self) -> bool:
        return not self.members and not self._door

    def _settle(self) -> None:
        """Somebody comes, goes or asks: if the room is empty, it rests before it ends. Not for long if it was never needed:
        strangers who are turned away must not leave a room behind for every topic they think of.
        """
        if self._is_empty:
            if self._rest is not None:
                self._rest.cancel()
            rest = self.idle_after if self._used else UNUSED_AFTER
            self._rest = self.send_after(rest, _Rested()) if rest < math.inf else None

    def needed(self) -> None:
        """Somebody who is no member was let in to what this room knows."""
        self._used = True
        self._settle()

    def _join(self, member: Member, payload: dict[str, Any]) -> Any:
        self._door[member.id] = member
        token = self.monitor(member.session)
        self._monitors[member.id] = token
        self._watched[token] = member.id
        try:
            if self.is_banned(member.principal):
                raise Refused("banned")
            payload = dict(payload)
            cursor = Cursor.read(payload.pop("resume", None))
            response = self.on_join(member, payload)
            if inspect.isawaitable(response):
                self.run(self._wait_at_door(member, cursor, Held(response)))
                return None
            answer = _response(response)
        except Refused as refusal:
            return self._deny(member, refusal.detail)
        except Exception:
            log.exception(CRASHED, self.topic)
            return self._deny(member, "join crashed")
        return self._admit(member, cursor, answer)

    async def _wait_at_door(self, member: Member, cursor: Cursor | None, response: Held[Any]) -> _Decided:
        try:
            return _Decided(member, cursor, _response(await response.coroutine), "")
        except Refused as refusal:
            return _Decided(member, cursor, None, refusal.detail)
        except Exception:
            log.exception(CRASHED, self.topic)
            return _Decided(member, cursor, None, "join crashed")

    def _decided(self, member: Member, cursor: Cursor | None, response: bytes | None, reason: str) -> Any:
        if response is None:
            return self._deny(member, reason)
        if member.id not in self._door:
            return self._depart(member)
        return self._admit(member, cursor, response)

    def _admit(self, member: Member, cursor: Cursor | None, response: bytes) -> Any:
        """Let it in. Nothing is said between what the reply says and the first event that the member hears."""
        missed = self.feed.missed(cursor)
        try:
            state = None if missed is not None else self.snapshot(member)
            snapshot = None if state is None else phoenix.to_json(state)
            missed = None if missed is None else views.entries(self, member, missed)
            kept = views.kept(self, member, self.feed.kept)
            # The session hears of it first, so that it knows of the stay before the client can use it.
            count = None if missed is None else len(missed)
            member.session.tell(Admitted(member.id, over=self._concluded, missed=count))
        except Refused as refusal:
            return self._deny(member, refusal.detail)
        except Overloaded:
            return self._deny(member, "room unavailable")
        except Exception:
            log.exception(CRASHED, self.topic)
            return self._deny(member, "join crashed")
        del self._door[member.id]
        self._used = True
        self._vacated = False
        self.members[member.id] = member
        self.feed.admit(member, response, missed, snapshot, kept)
        self._tell_position_soon()
        if self._attendance is not None:
            from_before = cursor is not None and cursor.epoch != self.feed.log.epoch
            self._attendance.admitted(member, from_before=from_before)
        return None

    def _tell_position_soon(self) -> None:
        if not self._telling_position:
            self._telling_position = True
            self.send_after(POSITION_EVERY, _TellPosition())

    def _deny(self, member: Member, reason: str) -> Any:
        if self._door.pop(member.id, None) is not None:
            self._unwatch(member.id)
            with suppress(Overloaded):  # then its client asks again when its patience is at an end
                member.session.tell(Denied(member.id, reason))
        self.untrack(member)
        # Strangers who are turned away must not leave a room behind for every topic they think of.
        if not self._used:
            return Stop() if not self._door else None
        return self._departed() if self._vacated else None

    def _leave(self, member_id: str, returning: bool) -> Any:
        self._unwatch(member_id)
        if self._door.pop(member_id, None) is not None:
            return None  # an async on_join is under way for it: see _decided
        member = self.members.pop(member_id, None) or self._sent_out.pop(member_id, None)
        if member is None:
            return None
        self.feed.leave(member)
        self._moderation.forget(member_id)
        return self._depart(member, returning)

    def _depart(self, member: Member, returning: bool = False) -> Any:
        if self._attendance is not None:
            (self._attendance.lost if returning else self._attendance.left)(member.id)
        pending = self.on_leave(member)
        return self._depart_later(Held(pending)) if inspect.isawaitable(pending) else self._departed()

    async def _depart_later(self, pending: Held[Any]) -> Any:
        await pending.coroutine
        return self._departed()

    def _departed(self) -> Any:
        """Whoever stands at the door may still be let in: the room is empty once that is decided."""
        self._vacated = not self.members and bool(self._door)
        self._settle()
        return self.on_empty() if self._is_empty else None

    def _event(self, message: Event) -> Any:
        member = self.members.get(message.member)
        if member is None:
            return None
        try:
            if self.rates and not self._moderation.admits(member, message.event, self.system.loop.time()):
                raise Refused("rate limited")
            response = self.on_event(member, message.event, message.payload)
        except Refused as refusal:
            self._refuse(member, message.ref, refusal)
            return None
        if inspect.isawaitable(response):
            return self._event_later(member, message.ref, Held(response))
        self._answer(member, message.ref, response)
        return None

    async def _event_later(self, member: Member, ref: phoenix.Ref, response: Held[Any]) -> None:
        try:
            self._answer(member, ref, await response.coroutine)
        except Refused as refusal:
            self._refuse(member, ref, refusal)

    def _answer(self, member: Member, ref: phoenix.Ref, response: Payload | Later | None) -> None:
        if isinstance(response, Later):
            response.owe(self._cell, _PushReply(self, member, ref))
        else:
            self._reply(member, ref, "ok", response)

    def _refuse(self, member: Member, ref: phoenix.Ref, refusal: Refused) -> None:
        self._reply(member, ref, "error", refusals.reply(refusal.detail))

    def _reply(self, member: Member, ref: phoenix.Ref, status: str, response: Payload | None) -> None:
        if ref is not None:
            self.feed.reply(member, ref, status, {} if response is None else response)

    def _unwatch(self, member_id: str) -> None:
        token = self._monitors.pop(member_id, None)
        if token is not None:
            del self._watched[token]
            self.demonitor(token, flush=True)


def _response(response: Any) -> bytes:
    """JSON text of what `on_join` returned."""
    if response is None:
        return phoenix.EMPTY
    if not isinstance(response, dict):
        raise TypeError(f"on_join returns a dict or None, not {response!r}")
    if not RESERVED.isdisjoint(response):
        taken = ", ".join(sorted(RESERVED.intersection(response)))
        raise ValueError(f"the reply to a join has these keys from the gateway: name {taken} otherwise")
    return phoenix.to_json(response)

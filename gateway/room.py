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
from dataclasses import dataclass
from typing import Any

from understudy.actors import Actor, ActorRef, Down, Later, Refused, Stop
from understudy.actors.held import Held
from understudy.gateway import phoenix
from understudy.gateway.messages import (
    Admit,
    Admitted,
    Broadcast,
    Conclude,
    Denied,
    Event,
    Join,
    Leave,
    Locate,
    Member,
    Push,
    Reply,
)
from understudy.gateway.presence import Meta, Presence

log = logging.getLogger("understudy.gateway")


@dataclass(frozen=True, slots=True)
class _PresenceChanged:
    """A room to itself, behind whatever waits in its mailbox: tell everybody what changed until now, in one diff."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """An async `on_join` came to its end: the reply, or None and the reason."""

    member: Member
    response: bytes | None
    reason: str


class _PushReply:
    """Where a `Later` puts the answer to a push."""

    def __init__(self, room: "Room", member: Member, ref: str | None) -> None:
        self._room = room
        self._member = member
        self._ref = ref

    def set(self, value: dict[str, Any] | None) -> None:
        self._room._reply(self._member, self._ref, "ok", value)

    def fail(self, error: Exception) -> None:
        """A refusal is passed on; any other error is not the client's business."""
        if isinstance(error, Refused):
            self._room._refuse(self._member, self._ref, error)
        else:
            log.error("what %s was to answer later failed: %s", self._room.topic, error)
            self._room._reply(self._member, self._ref, "error", {"reason": "failed"})

    def abandoned(self) -> bool:
        return self._member.id not in self._room.members


class Room(Actor):
    """Subclass it and give the class a topic pattern in `Gateway(topics={"cafe:*": Cafe})`. One is started per topic."""

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
        self._nodes: dict[ActorRef[Any], int] = {}
        self._epoch = ""
        self._offset = 0
        self._presence: Presence | None = None
        self._without_state: set[str] = set()
        self._presence_told = True

    # --- hooks ---

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        """Let `member` in and return the reply (a dict), or raise Refused(reason). Plain, or `async def`.

        While an async one waits, the room goes on: others join, leave and push. Until it returned, broadcasts pass
        `member` by; what is pushed to it arrives before the reply.
        """
        return {}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        """A member pushed `event`. Return the reply (a dict, None for an empty one) or raise Refused(reason).

        Plain, or `async def`; the room does nothing else meanwhile. What takes long is answered with a `Later`: return
        it, work in the background (`self.run`), then `set` the reply or `fail` with Refused.
        """
        raise Refused("unknown event")

    def on_leave(self, member: Member) -> Any:
        """A member left, or its connection ended. Its presence is gone already. Plain, or `async def`."""

    def on_empty(self) -> Any:
        """The last member left. A room that is worth nothing without members returns `Stop()`: the next join starts it anew.

        (`self.stop()` would let in those who wait at the door and then end with them inside.)
        """

    def on_message(self, message: object) -> Any:
        """Any other message to this actor: what `on_receive` is elsewhere."""
        return self.unhandled(message)

    # --- what a room does ---

    def broadcast(self, event: str, payload: dict[str, Any], *, excluding: Member | None = None) -> None:
        """Send an event to all members, but for one perhaps. Raises TypeError or ValueError if `payload` is not JSON."""
        self._say(event, payload, excluding=() if excluding is None else (excluding.id,))

    def push(self, member: Member, event: str, payload: dict[str, Any]) -> None:
        """Send an event to one member. Raises TypeError or ValueError if `payload` is not JSON."""
        member.fanout.tell(Push(member.id, event, phoenix.to_json(payload)))

    def conclude(self) -> None:
        """Nothing more will be broadcast. Streams of server-sent events end, those of later listeners after the reply to
        their join; who came over a WebSocket stays.
        """
        self._concluded = True
        for fanout in self._nodes:
            fanout.tell(Conclude(self.topic))

    def track(self, member: Member, meta: Meta, *, key: str | None = None) -> None:
        """Show `member` in the topic's presence under `key` (its id if None), or replace what is shown of it.

        Each member may show once; members with the same key are one person with several connections. Allowed in
        `on_join` already. The members get one `presence_diff` for all that changed at a time.
        """
        if self._presence is None:
            self._presence = Presence(self._cursor_epoch())
            self._without_state.update(self.members)
        phoenix.to_json(meta)
        self._presence.track(member.id, key or member.id, meta)
        self._tell_presence_soon()

    def untrack(self, member: Member) -> None:
        """Show `member` no more. Leaving does this by itself."""
        if self._presence is not None:
            self._presence.untrack(member.id)
            self._tell_presence_soon()

    # --- what members do ---

    def on_receive(self, message: object) -> Any:
        match message:
            case Event():
                return self._event(message)
            case Join(member, payload):
                return self._join(member, payload)
            case Leave(member):
                return self._leave(member)
            case Down(token) if token in self._watched:
                return self._leave(self._watched[token])
            case _PresenceChanged():
                return self._tell_presence()
            case _Decided(member, response, reason):
                return self._decided(member, response, reason)
            case Locate():
                return self.actor_ref
            case _:
                return self.on_message(message)

    def _join(self, member: Member, payload: dict[str, Any]) -> Any:
        self._door[member.id] = member
        token = self.monitor(member.session)
        self._monitors[member.id] = token
        self._watched[token] = member.id
        try:
            response = self.on_join(member, payload)
            if inspect.isawaitable(response):
                self.run(self._wait_at_door(member, Held(response)))
            else:
                self._admit(member, phoenix.to_json(response or {}))
        except Refused as refusal:
            return self._deny(member, refusal.detail)
        except Exception:
            log.exception("on_join of %s crashed; its client was told 'join crashed'", self.topic)
            return self._deny(member, "join crashed")
        return None

    async def _wait_at_door(self, member: Member, response: Held[Any]) -> _Decided:
        try:
            return _Decided(member, phoenix.to_json(await response.coroutine or {}), "")
        except Refused as refusal:
            return _Decided(member, None, refusal.detail)
        except Exception:
            log.exception("on_join of %s crashed; its client was told 'join crashed'", self.topic)
            return _Decided(member, None, "join crashed")

    def _decided(self, member: Member, response: bytes | None, reason: str) -> Any:
        if response is None:
            return self._deny(member, reason)
        if member.id not in self._door:
            return self._depart(member)
        self._admit(member, response)
        return None

    def _admit(self, member: Member, response: bytes) -> None:
        del self._door[member.id]
        self._used = True
        self._vacated = False
        self.members[member.id] = member
        self._nodes[member.fanout] = self._nodes.get(member.fanout, 0) + 1
        # The session hears of it first, so that it knows of the stay before the client can use it.
        member.session.tell(Admitted(member.id, over=self._concluded))
        member.fanout.tell(Admit(member.id, response))
        if self._concluded:
            member.fanout.tell(Conclude(self.topic))
        if self._presence is not None:
            self._without_state.add(member.id)
            self._tell_presence_soon()

    def _deny(self, member: Member, reason: str) -> Any:
        if self._door.pop(member.id, None) is not None:
            self._unwatch(member.id)
            member.session.tell(Denied(member.id, reason))
        self.untrack(member)
        # Strangers who are turned away must not leave a room behind for every topic they think of.
        if not self._used:
            return Stop() if not self._door else None
        return self._departed() if self._vacated else None

    def _leave(self, member_id: str) -> Any:
        self._unwatch(member_id)
        if self._door.pop(member_id, None) is not None:
            return None  # an async on_join is under way for it: see _decided
        member = self.members.pop(member_id, None)
        if member is None:
            return None
        self._nodes[member.fanout] -= 1
        if not self._nodes[member.fanout]:
            del self._nodes[member.fanout]
        self._without_state.discard(member_id)
        return self._depart(member)

    def _depart(self, member: Member) -> Any:
        self.untrack(member)
        pending = self.on_leave(member)
        return self._depart_later(Held(pending)) if inspect.isawaitable(pending) else self._departed()

    async def _depart_later(self, pending: Held[Any]) -> Any:
        await pending.coroutine
        return self._departed()

    def _departed(self) -> Any:
        """Whoever stands at the door may still be let in: the room is empty once that is decided."""
        self._vacated = not self.members and bool(self._door)
        return self.on_empty() if not self.members and not self._door else None

    def _event(self, message: Event) -> Any:
        member = self.members.get(message.member)
        if member is None:
            return None
        try:
            response = self.on_event(member, message.event, message.payload)
        except Refused as refusal:
            self._refuse(member, message.ref, refusal)
            return None
        if inspect.isawaitable(response):
            return self._event_later(member, message.ref, Held(response))
        self._answer(member, message.ref, response)
        return None

    async def _event_later(self, member: Member, ref: str | None, response: Held[Any]) -> None:
        try:
            self._answer(member, ref, await response.coroutine)
        except Refused as refusal:
            self._refuse(member, ref, refusal)

    def _answer(self, member: Member, ref: str | None, response: dict[str, Any] | Later | None) -> None:
        if isinstance(response, Later):
            response.owe(self._cell, _PushReply(self, member, ref))
        else:
            self._reply(member, ref, "ok", response)

    def _refuse(self, member: Member, ref: str | None, refusal: Refused) -> None:
        self._reply(member, ref, "error", {"reason": refusal.detail})

    def _reply(self, member: Member, ref: str | None, status: str, response: dict[str, Any] | None) -> None:
        if ref is not None:
            member.fanout.tell(Reply(member.id, ref, status, phoenix.to_json(response or {})))

    # --- saying it ---

    def _say(
        self, event: str, payload: dict[str, Any], *, only: tuple[str, ...] = (), excluding: tuple[str, ...] = ()
    ) -> None:
        body = phoenix.to_json(payload)
        self._offset += 1
        message = Broadcast(self.topic, event, body, f"{self._cursor_epoch()}-{self._offset}", only, excluding)
        for fanout in self._nodes:
            fanout.tell(message)

    def _cursor_epoch(self) -> str:
        if not self._epoch:
            self._epoch = self.system.world.token()
        return self._epoch

    def _tell_presence_soon(self) -> None:
        if self._presence_told:
            self._presence_told = False
            self.actor_ref.tell(_PresenceChanged())

    def _tell_presence(self) -> None:
        """Those who knew get the diff; those who came since get the state, which has the diff in it."""
        self._presence_told = True
        assert self._presence is not None
        new, self._without_state = tuple(self._without_state & self.members.keys()), set()
        diff = self._presence.take_diff()
        if diff is not None and len(new) < len(self.members):
            self._say(phoenix.PRESENCE_DIFF, diff, excluding=new)
        if new:
            self._say(phoenix.PRESENCE_STATE, self._presence.state(), only=new)

    def _unwatch(self, member_id: str) -> None:
        token = self._monitors.pop(member_id, None)
        if token is not None:
            del self._watched[token]
            self.demonitor(token, flush=True)

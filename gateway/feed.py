"""What a room says: to whom, in which order, and what of it is said again to those who come later.

    broadcast ──> log (reliable), kept values (conflated) ──┐
    push, reply ────────────────────────────────────────────┤ Said(life, number, previous, ...) ──> fan-out of each node
    admit ──> reply: what was missed, or a snapshot ────────┘                                       that has members

Everything goes to the fan-outs, numbered: a fan-out that is not told something notices at the next word, or when the room
tells its position, and lets its members join again. So the room need not know whether anything arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from understudy.actors import ActorRef, Overloaded
from understudy.gateway import phoenix
from understudy.gateway.delivery import RELIABLE, Delivery, Payload, as_json, encoded
from understudy.gateway.log import Cursor, Entry, Log
from understudy.gateway.messages import Admit, Broadcast, Conclude, Kept, Member, Position, Push, Reply, Said
from understudy.gateway.phoenix import Ref

KEPT_LIMIT = 1_000
"""Values that a room keeps for those who join; with more, the one that was said least recently goes."""

RESERVED = frozenset(("epoch", "offset", "recovered", "events", "snapshot"))
"""What the gateway adds to the reply to a join."""


class _Audience:
    """The members behind one fan-out, and the number of what was said to it last."""

    __slots__ = ("members", "said")

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.said = 0


class Feed:
    """The saying side of one life of a room."""

    def __init__(self, topic: str, log: Log, life: str) -> None:
        self.topic = topic
        self.log = log
        self._life = life
        self._number = 0
        self._audiences: dict[ActorRef[Any], _Audience] = {}
        self._kept: dict[tuple[str, str], tuple[Kept, str | None]] = {}
        self._concluded = False

    # --- who listens ---

    def missed(self, cursor: Cursor | None) -> list[Entry] | None:
        """Everything that was said since; None if that is not known any more, or no cursor was shown."""
        return None if cursor is None or cursor.epoch != self.log.epoch else self.log.since(cursor.offset)

    @property
    def kept(self) -> list[Kept]:
        """The latest values, for somebody who joins."""
        return [kept for kept, _ in self._kept.values()]

    def admit(
        self,
        member: Member,
        response: bytes,
        missed: Sequence[Entry] | None,
        snapshot: bytes | None,
        kept: tuple[Kept, ...] | None = None,
    ) -> None:
        """Let `member` hear what is said from here on, after a reply that tells it where here is. `response` is the JSON
        text of an object. `kept` is told next: None is all that there is.
        """
        audience = self._audiences.setdefault(member.fanout, _Audience())
        audience.members.add(member.id)
        reply = b'%b%b"epoch":%b,"offset":%d,%b}' % (
            response[:-1],
            b"" if response == phoenix.EMPTY else b",",
            phoenix.to_json(self.log.epoch),
            self.log.offset,
            _recovery(missed, snapshot),
        )
        self._tell(member.fanout, Admit(member.id, reply, tuple(self.kept) if kept is None else kept))
        if self._concluded:
            self._tell(member.fanout, Conclude())

    def leave(self, member: Member) -> None:
        """`member` is gone, and with it what was kept because it was there."""
        audience = self._audiences.get(member.fanout)
        if audience is not None:
            audience.members.discard(member.id)
            if not audience.members:
                del self._audiences[member.fanout]
        for place in [place for place, (_, of) in self._kept.items() if of == member.id]:
            del self._kept[place]

    # --- saying it ---

    def broadcast(
        self,
        event: str,
        payload: Payload,
        delivery: Delivery = RELIABLE,
        excluding: tuple[str, ...] = (),
        views: Callable[[tuple[bytes, bool]], Mapping[tuple[bytes, bool], tuple[str, ...]]] | None = None,
    ) -> None:
        """Say it to all members but those. Raises TypeError or ValueError for a payload that cannot be said.

        With `views`, which is given the payload as it is sent: what is told to whom in its place.
        """
        body, binary = encoded(payload)
        told = {(body, binary): ()} if views is None else views((body, binary))
        if delivery.key is None:
            offset = self.log.append(event, body, binary)
            for (seen, kind), only in told.items():
                self._tell_all(Broadcast(event, seen, kind, self.log.epoch, offset, None, only, excluding))
        else:
            place = (event, delivery.key)
            self._kept.pop(place, None)
            self._kept[place] = Kept(event, delivery.key, body, binary), delivery.of
            if len(self._kept) > KEPT_LIMIT:
                del self._kept[next(iter(self._kept))]
            for (seen, kind), only in told.items():
                self._tell_all(Broadcast(event, seen, kind, key=delivery.key, only=only, excluding=excluding))

    def forget(self, event: str, key: str = "") -> None:
        """Do not keep that value for those who join."""
        self._kept.pop((event, key), None)

    def mention(
        self, event: str, payload: Payload, *, only: tuple[str, ...] = (), excluding: tuple[str, ...] = ()
    ) -> None:
        """Say it to those who are there now, and never again."""
        body, binary = encoded(payload)
        self._tell_all(Broadcast(event, body, binary, only=only, excluding=excluding))

    def push(self, member: Member, event: str, payload: Payload) -> None:
        """Say it to one, who may still be at the door."""
        body, binary = encoded(payload)
        self._tell(member.fanout, Push(member.id, event, body, binary))

    def reply(self, member: Member, ref: Ref, status: str, response: Payload) -> None:
        """Answer what a member pushed."""
        body, binary = (bytes(response), True) if isinstance(response, bytes) else (phoenix.to_json(response), False)
        self._tell(member.fanout, Reply(member.id, ref, status, body, binary))

    def conclude(self) -> None:
        """Nothing more will be broadcast."""
        self._concluded = True
        self._tell_all(Conclude())

    def position(self) -> bool:
        """Let the fan-outs see whether they were told everything. Whether there is any."""
        self._tell_all(Position(self.topic))
        return bool(self._audiences)

    def _tell_all(self, what: Any) -> None:
        for fanout in self._audiences:
            self._tell(fanout, what)

    def _tell(self, fanout: ActorRef[Any], what: Any) -> None:
        audience = self._audiences.get(fanout)
        self._number += 1
        previous = 0
        if audience is not None:
            previous, audience.said = audience.said, self._number
        with suppress(Overloaded):  # then the fan-out misses it at our next word
            fanout.tell(Said(self._life, self._number, previous, what))


def _recovery(missed: Sequence[Entry] | None, snapshot: bytes | None) -> bytes:
    if missed is not None:
        events = (
            b"[%d,%b,%b]" % (entry.offset, phoenix.to_json(entry.event), as_json(entry.payload, entry.binary))
            for entry in missed
        )
        return b'"recovered":true,"events":[%b]' % b",".join(events)
    return b'"recovered":false' + (b"" if snapshot is None else b',"snapshot":%b' % snapshot)

"""What each member sees of an event that its room intercepts: the same, something else, or nothing.

    broadcast ──> log: as it was said
              ──> on_outgoing(member, event, payload), for each member ──> one Broadcast for those who see the same
    a join    ──> on_outgoing, for what was missed and what is kept

An event that is not intercepted costs one message for each node; this one a call for each member, in the room.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from understudy.gateway.delivery import encoded
from understudy.gateway.log import Entry
from understudy.gateway.messages import Kept, Member

if TYPE_CHECKING:
    from understudy.gateway.room import Room

Body: TypeAlias = tuple[bytes, bool]
"""A payload as it is sent, and whether it is a binary one."""


def view(room: "Room", member: Member | None, event: str, body: Body) -> Body | None:
    """What `member` sees of it; None: nothing."""
    if event not in room.intercept:
        return body
    payload, binary = body
    seen = room.on_outgoing(member, event, payload if binary else json.loads(payload))
    return None if seen is None else encoded(seen)


def views(room: "Room", event: str, body: Body, excluding: str | None) -> dict[Body, tuple[str, ...]]:
    """Which members see what; those are in no group who see nothing."""
    groups: dict[Body, list[str]] = {}
    for member in room.members.values():
        if member.id != excluding and (seen := view(room, member, event, body)) is not None:
            groups.setdefault(seen, []).append(member.id)
    return {seen: tuple(members) for seen, members in groups.items()}


def entries(room: "Room", member: Member | None, said: Iterable[Entry]) -> list[Entry]:
    """What `member` sees of events in the log. None: somebody who reads and is no member."""
    if not room.intercept:
        return list(said)
    seen = ((entry, view(room, member, entry.event, (entry.payload, entry.binary))) for entry in said)
    return [entry._replace(payload=body[0], binary=body[1]) for entry, body in seen if body is not None]


def kept(room: "Room", member: Member, values: Iterable[Kept]) -> tuple[Kept, ...]:
    """What `member` sees of the latest values of conflated events."""
    if not room.intercept:
        return tuple(values)
    seen = ((value, view(room, member, value.event, (value.payload, value.binary))) for value in values)
    return tuple(Kept(value.event, value.key, *body) for value, body in seen if body is not None)

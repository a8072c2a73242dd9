"""What may be asked of a room by those who are no members of it: plain HTTP, an application beside the gateway, other actors.

    room = await rooms.call(FindRoom("room:lobby"))          on whatever node; started if it is nowhere
    await room.call(GetState(principal))                     -> {"epoch": "6f0c", "offset": 42, "members": 3, "snapshot": {...}}
    await room.call(GetHistory(principal, limit=2))          -> {..., "events": [[41, "line", {...}], [42, "line", {...}]]}
    await room.call(Publish(principal, (("line", {...}),)))  -> [{"status": "ok", "response": {...}}]

A room is asked first: `Room.on_read` and `Room.on_publish` refuse unless it says otherwise, since whoever asks here has not
come past its `on_join`. All answers are JSON, as clients get them.
"""

from typing import Any, TypeAlias

from understudy.actors import ActorRef, Request, message
from understudy.gateway.principal import Principal

HISTORY_LIMIT = 1_000
"""Events in one answer, at most."""

PUBLISH_LIMIT = 100
"""Events in one request, at most."""

Answer: TypeAlias = dict[str, Any]


@message("gateway.find_room")
class FindRoom(Request[ActorRef[Any]]):
    """To the gateway's `rooms`: the room of `topic`. Refused with the reason for which no session would get one either."""

    topic: str


@message("gateway.get_state")
class GetState(Request[Answer]):
    """`{"epoch", "offset", "members", "snapshot"}`: where the room's log stands, how many members it has, and what
    `Room.snapshot(None)` says; without "snapshot" if that is None. Refused by `on_read`.
    """

    principal: Principal


@message("gateway.get_history")
class GetHistory(Request[Answer]):
    """`{"epoch", "offset", "recovered", "events": [[offset, event, payload], ...]}`, at most `limit` events, oldest first.

    `epoch` and `offset` say where the log stands now. Without `since`, a cursor, the last events, and recovered is false.
    With it the first after it and recovered is true, if none of them is lost; else no events, and recovered is
    false: what came after cannot be told from what is missing. Refused by `on_read`.
    """

    principal: Principal
    since: tuple[str, int] | None = None
    limit: int = 100


@message("gateway.get_presence")
class GetPresence(Request[Answer]):
    """Who is there: `{key: {"metas": [...]}}`, as in `presence_state`. Refused by `on_read`."""

    principal: Principal


@message("gateway.publish")
class Publish(Request[list[Answer]]):
    """Events, each `(event, payload)`, given to `Room.on_publish` one after the other.

    The answer has one `{"status": "ok", "response": {...}}` or `{"status": "error", "response": {"reason": ...}}` for
    each, in order: one that is refused does not stop those after it.
    """

    principal: Principal
    events: tuple[tuple[str, Any], ...]

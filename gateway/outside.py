"""What a room answers to those who are no members of it (`requests.py`).

They have not come past `on_join`, so the room decides anew: `on_read` and `on_publish` refuse unless it says otherwise. And
they cannot tear the house down: a hook that crashes for one of them is logged and refused, as at the door.
"""

import inspect
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from understudy.actors import Refused
from understudy.gateway import phoenix, refusals, views
from understudy.gateway.delivery import as_json
from understudy.gateway.log import Cursor, Entry
from understudy.gateway.requests import HISTORY_LIMIT, Answer, GetHistory, GetPresence, GetState, Publish

if TYPE_CHECKING:
    from understudy.gateway.room import Room

log = logging.getLogger("understudy.gateway")

Reading: TypeAlias = GetState | GetHistory | GetPresence


async def answer(room: "Room", request: Reading | Publish) -> Any:
    """The answer to `request`. Raises Refused, and "failed" in place of what a hook of the room raised."""
    if room.is_banned(request.principal):
        raise Refused("banned")
    if isinstance(request, Publish):
        return [await _publish(room, request, event, payload) for event, payload in request.events]
    await _asked(room, lambda: room.on_read(request.principal))
    room.needed()
    match request:
        case GetState():
            return await _state(room)
        case GetHistory(_, since, limit):
            return _history(room, since, min(max(limit, 0), HISTORY_LIMIT))
        case GetPresence():
            return room.presence


async def _publish(room: "Room", request: Publish, event: str, payload: Any) -> Answer:
    try:
        response = await _asked(room, lambda: room.on_publish(request.principal, event, payload))
        phoenix.to_json(response)
        room.needed()
    except Refused as refusal:
        return {"status": "error", "response": refusals.reply(refusal.detail)}
    except (TypeError, ValueError) as error:
        log.error("on_publish of %s returned what JSON cannot say: %s", room.topic, error)
        return {"status": "error", "response": refusals.reply("failed")}
    return {"status": "ok", "response": response or {}}


async def _state(room: "Room") -> Answer:
    snapshot = await _asked(room, lambda: room.snapshot(None))
    state: Answer = {"epoch": room.feed.log.epoch, "offset": room.feed.log.offset, "members": len(room.members)}
    return state if snapshot is None else {**state, "snapshot": snapshot}


def _history(room: "Room", since: tuple[str, int] | None, limit: int) -> Answer:
    kept = room.feed.log
    missed = None if since is None else room.feed.missed(Cursor(*since))
    entries = views.entries(room, None, kept.last(limit) if since is None else (missed or [])[:limit])
    return {
        "epoch": kept.epoch,
        "offset": kept.offset,
        "recovered": missed is not None,
        "events": [_as_event(entry) for entry in entries],
    }


def _as_event(entry: Entry) -> list[Any]:
    return [entry.offset, entry.event, json.loads(as_json(entry.payload, entry.binary))]


async def _asked(room: "Room", hook: Callable[[], Any]) -> Any:
    """What a hook says, plain or `async def`."""
    try:
        said = hook()
        return await said if inspect.isawaitable(said) else said
    except Refused:
        raise
    except Exception:
        log.exception("%s failed for somebody who is no member of it", room.topic)
        raise Refused("failed") from None

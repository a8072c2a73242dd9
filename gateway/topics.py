"""Topics over plain HTTP, for scripts, servers and pages that need no connection.

    GET  /topics/{topic}/state                         {"topic", "epoch", "offset", "members", "snapshot"}
    GET  /topics/{topic}/history?since=6f0c-40&limit=2 {"topic", "epoch", "offset", "recovered", "events": [[41, "line", {...}], ...]}
    GET  /topics/{topic}/presence                      {"topic", "presence": {"ada": {"metas": [...]}}}
    POST /topics/{topic}/publish                       {"event", "payload"} -> {"response"}
                                                       {"events": [{"event", "payload"}, ...]} -> {"results": [...]}
    POST /publish                                      {"events": [{"topic", "event", "payload"}, ...]} -> {"results": [...]}

A room answers all of them, or refuses (`Room.on_read`, `Room.on_publish`). Of many events each has its own result, in order:
`{"status": "ok", "response"}` or `{"status": "error", "response": {"reason", "code", "retry"}}`, as in replies to a push.
"""

import asyncio
import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from understudy.actors import ActorDied, ActorRef, CallError, NoProc, Refused, Request
from understudy.gateway import phoenix, refusals
from understudy.gateway.http import HttpError, json_answer, refused
from understudy.gateway.log import Cursor
from understudy.gateway.requests import (
    HISTORY_LIMIT,
    PUBLISH_LIMIT,
    FindRoom,
    GetHistory,
    GetPresence,
    GetState,
    Publish,
)
from understudy.gateway.services import SERVICES, Services
from understudy.gateway.visitor import Visitor

R = TypeVar("R")

DEFAULT_HISTORY = 100
"""Events in an answer to who does not say how many."""

FRESH = {"Cache-Control": "no-store"}


class Said(NamedTuple):
    """One event that somebody wants published."""

    topic: str
    event: str
    payload: Any


async def ask(rooms: ActorRef[Any], topic: str, request: Request[R]) -> R:
    """What the room of `topic` answers; it is started if it is nowhere. Raises Refused and other CallErrors."""
    room = await rooms.call(FindRoom(topic))
    try:
        return await room.call(request)
    except ActorDied as error:
        if not isinstance(error.reason, NoProc):
            raise
    room = await rooms.call(FindRoom(topic))  # it ended between being found and being asked, and has heard nothing
    return await room.call(request)


def refusal_of(reason: str) -> HttpError:
    """A room's own reason is its sentence; for one of the table the table has it."""
    refusal = refusals.find(reason)
    return refused(refusal.code, reason if refusal.code == "refused" else None)


async def state(request: web.Request) -> web.StreamResponse:
    """GET /topics/{topic}/state"""
    services, topic, visitor = await _enter(request)
    return _answer(topic, await _ask(services, topic, GetState(visitor.principal)))


async def history(request: web.Request) -> web.StreamResponse:
    """GET /topics/{topic}/history"""
    since, limit = _place(request.query.get("since")), _limit(request.query.get("limit"))
    services, topic, visitor = await _enter(request)
    return _answer(topic, await _ask(services, topic, GetHistory(visitor.principal, since, limit)))


async def presence(request: web.Request) -> web.StreamResponse:
    """GET /topics/{topic}/presence"""
    services, topic, visitor = await _enter(request)
    return _answer(topic, {"presence": await _ask(services, topic, GetPresence(visitor.principal))})


async def publish(request: web.Request) -> web.StreamResponse:
    """POST /topics/{topic}/publish"""
    topic = _topic(request)
    body = await _body(request)
    services, visitor = request.app[SERVICES], await request.app[SERVICES].enter(request)
    if "events" in body:
        said = [_said({**_object(event), "topic": topic}) for event in _events(body)]
        return json_answer({"results": await _publish(services, visitor, said)}, headers=FRESH)
    (result,) = await _publish(services, visitor, [_said({**body, "topic": topic})])
    if result["status"] == "error":
        raise refusal_of(result["response"]["reason"])
    return json_answer({"response": result["response"]}, headers=FRESH)


async def publish_many(request: web.Request) -> web.StreamResponse:
    """POST /publish"""
    said = [_said(_object(event)) for event in _events(await _body(request))]
    services, visitor = request.app[SERVICES], await request.app[SERVICES].enter(request)
    return json_answer({"results": await _publish(services, visitor, said)}, headers=FRESH)


ROUTES = [
    web.get("/topics/{topic}/state", state),
    web.get("/topics/{topic}/history", history),
    web.get("/topics/{topic}/presence", presence),
    web.post("/topics/{topic}/publish", publish),
    web.post("/publish", publish_many),
]


async def _enter(request: web.Request) -> tuple[Services, str, Visitor]:
    """Who wants to read which topic, if it may."""
    services, topic = request.app[SERVICES], _topic(request)
    services.origins.check(request)
    visitor = await services.enter(request)
    if not await visitor.may(topic, "read"):
        raise refused("forbidden", f"you may not read {topic}")
    return services, topic, visitor


async def _ask(services: Services, topic: str, request: Request[R]) -> R:
    try:
        return await ask(services.rooms, topic, request)
    except Refused as refusal:
        raise refusal_of(refusal.detail) from None


async def _publish(services: Services, visitor: Visitor, said: list[Said]) -> list[dict[str, Any]]:
    """The results, in the order of the events. What one topic takes its time for, another does not wait for."""
    _count(services, visitor, said)
    numbers: dict[str, list[int]] = {}
    for number, event in enumerate(said):
        numbers.setdefault(event.topic, []).append(number)

    async def tell(topic: str) -> list[dict[str, Any]]:
        events = tuple((said[number].event, said[number].payload) for number in numbers[topic])
        try:
            if not await visitor.may(topic, "publish"):
                raise Refused("forbidden")
            return await ask(services.rooms, topic, Publish(visitor.principal, events))
        except CallError as error:
            reason = error.detail if isinstance(error, Refused) else "unavailable"
            return [{"status": "error", "response": refusals.reply(reason)}] * len(events)

    told = await asyncio.gather(*(tell(topic) for topic in numbers))
    results = {
        number: result for places, answers in zip(numbers.values(), told) for number, result in zip(places, answers)
    }
    return [results[number] for number in range(len(said))]


def _count(services: Services, visitor: Visitor, said: list[Said]) -> None:
    """Each event is a message of whoever sent it, like one over a connection. All are told, or none."""
    now = services.loop.time()
    for event in said:
        if wait := visitor.meter.take(len(phoenix.to_json(event.payload)), now):
            raise refused("rate_limited", retry_after=math.ceil(wait))


def _answer(topic: str, answer: dict[str, Any]) -> web.Response:
    return json_answer({"topic": topic, **answer}, headers=FRESH)


def _topic(request: web.Request) -> str:
    return _name(request.match_info["topic"], "topic", phoenix.TOPIC_LIMIT)


def _name(value: Any, what: str, limit: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise refused("malformed", f"expected {what} to be a string of 1 to {limit} characters")
    return value


def _place(text: str | None) -> Cursor | None:
    if text is None:
        return None
    cursor = Cursor.parse(text)
    if cursor is None:
        raise refused("malformed", f"expected since to be EPOCH-OFFSET, got {text[:60]!r}")
    return cursor


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_HISTORY
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= HISTORY_LIMIT):
        raise refused("malformed", f"expected limit to be a number from 1 to {HISTORY_LIMIT}, got {text[:20]!r}")
    return int(text)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        value = phoenix.parse((await request.read()).decode())
        phoenix.to_json(value)  # half of a surrogate pair can be read, but never be written again
    except phoenix.Malformed as error:
        raise refused("malformed", str(error)) from None
    except ValueError as error:
        raise refused("malformed", f"expected the body to be JSON: {error}") from None
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refused("malformed", 'expected an object: {"event": ..., "payload": ...} or {"events": [...]}')
    return value


def _events(body: dict[str, Any]) -> Iterable[Any]:
    events = body.get("events")
    if not isinstance(events, list) or not 0 < len(events) <= PUBLISH_LIMIT:
        raise refused("malformed", f"expected events to be an array of 1 to {PUBLISH_LIMIT}")
    return events


def _said(event: dict[str, Any]) -> Said:
    topic = _name(event.get("topic"), "topic", phoenix.TOPIC_LIMIT)
    name = _name(event.get("event"), "event", phoenix.EVENT_LIMIT)
    payload = event.get("payload", {})
    if phoenix.depth(payload) > phoenix.DEPTH_LIMIT:
        raise refused("malformed", f"expected at most {phoenix.DEPTH_LIMIT} levels of nesting, got more")
    return Said(topic, name, payload)

"""Server-sent events, `GET /topics/{topic}/events`: a topic's broadcasts for curl, scripts and `EventSource`.

The listener joins the topic's room like any other member, with the query's parameters as its payload, and can be
refused like any other: then the answer is an HTTP error, and no `EventSource` tries again. What it is sent is the text of
`event_stream.py`. It resumes where it was: by the header `Last-Event-ID`, which an `EventSource` sends by itself, or by
`?resume=EPOCH-OFFSET`.

The stream ends with its room, and after the last event of a topic that the room concluded (`Room.conclude`). An
`EventSource` takes any end for an accident and comes back, with the last id it saw; if it has all that there was of a
concluded topic it is answered with 204, which tells it to stay away.
"""

import asyncio
from typing import Any

from aiohttp import web

from understudy.actors import Actor, ActorRef, Down, ExitReason
from understudy.gateway import phoenix
from understudy.gateway.connection import SocketConnection, Tick
from understudy.gateway.event_stream import CHUNKED, PLAIN, EventSerializer
from understudy.gateway.fanout import Watch
from understudy.gateway.http import HttpError, refused
from understudy.gateway.log import Cursor
from understudy.gateway.messages import (
    Admitted,
    Attach,
    Denied,
    Dismissed,
    Join,
    Lapsed,
    Member,
    OpenRoom,
    RoomOpened,
    RoomRefused,
)
from understudy.gateway.services import SERVICES, Services
from understudy.gateway.session import HangUp
from understudy.gateway.topics import refusal_of
from understudy.gateway.visitor import Visitor

KEEP_ALIVE = 15.0
"""Seconds between comments, so that neither proxies nor clients take a quiet stream for a dead one."""


class EventConnection(SocketConnection):
    """A listener's HTTP response. Holds back what is sent until the response has begun; `over` is done once closed."""

    __slots__ = ("_held", "over")

    serializer: EventSerializer

    def __init__(self, transport: asyncio.Transport, serializer: EventSerializer, tick: Tick) -> None:
        super().__init__(transport, serializer, tick)
        self._held = True
        self.over: asyncio.Future[None] = tick.loop.create_future()

    def begin(self) -> None:
        """The response's headers are out."""
        self._held = False
        self.flush()

    def flush(self) -> None:
        if not self._held:
            super().flush()

    def _say_goodbye(self, code: int, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(None)


class _KeepAlive:
    """Time for a comment."""


class Listener(Actor):
    """The session of a listener: one topic, nothing to say.

    `outcome` is set once: to what the room said when it let the listener in, or to the reason why it did not.
    """

    def __init__(
        self,
        connection: EventConnection,
        services: Services,
        topic: str,
        payload: dict[str, Any],
        outcome: asyncio.Future[Admitted | str],
        visitor: Visitor,
    ) -> None:
        super().__init__()
        self.connection = connection
        self.services = services
        self.topic = topic
        self.payload = payload
        self.outcome = outcome
        self.visitor = visitor

    def on_start(self) -> None:
        fanout = self.services.fanout
        self.member = Member(
            self.system.world.token(), self.actor_ref, fanout, self.services.node, self.visitor.principal
        )
        fanout.tell(Watch(self.actor_ref, self.connection))
        fanout.tell(Attach(self.member, self.topic, None, None, self.connection, alone=True))
        self.services.rooms.tell(OpenRoom(self.topic, self.member.id, self.actor_ref))
        self.send_every(KEEP_ALIVE, _KeepAlive())

    def on_receive(self, message: object) -> Any:
        match message:
            case RoomOpened(_, room):
                self.monitor(room)
                room.tell(Join(self.member, self.payload))
            case Admitted():
                self._decide(message)
            case RoomRefused(_, reason) | Denied(_, reason):
                self._decide(reason)
                self.stop()
            case _KeepAlive() if self.connection.closed:
                self.stop()
            case _KeepAlive():
                self.connection.send(self.connection.serializer.keep_alive())
            case Down() | Lapsed() | Dismissed() | HangUp():
                # The room's end is the end of the stream; an EventSource then opens a new one.
                self._decide("room unavailable")
                self.stop()
            case _:
                return self.unhandled(message)
        return None

    def on_stop(self, reason: ExitReason) -> None:
        self._decide("room unavailable")

    def _decide(self, outcome: Admitted | str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


async def events(request: web.Request) -> web.StreamResponse:
    """The endpoint for any topic."""
    payload: dict[str, Any] = dict(request.query)
    place = payload.pop("resume", None)
    if place is not None:
        cursor = Cursor.parse(place)
        if cursor is None:
            raise refused("malformed", f"expected resume to be EPOCH-OFFSET, an event's id, got {place[:60]!r}")
        payload["resume"] = cursor._asdict()
    return await stream(request, request.match_info["topic"], payload)


async def stream(request: web.Request, topic: str, payload: dict[str, Any] | None = None) -> web.StreamResponse:
    """Answer `request` with the events of `topic` until either side ends it; for routes of an application's own.

    `payload` is what the room's `on_join` gets. Raises HttpError when the topic is unknown or the room refuses.
    """
    payload = {**(payload or {}), **_resume(request)}
    services = request.app[SERVICES]
    services.origins.check(request)
    if not 0 < len(topic) <= phoenix.TOPIC_LIMIT:
        raise HttpError(404, "unmatched_topic", f"a topic has 1 to {phoenix.TOPIC_LIMIT} characters")
    services.check_capacity(request)
    visitor = await services.enter(request)
    if not await visitor.may(topic, "read"):
        raise refused("forbidden", f"you may not listen to {topic}")
    transport = request.transport
    if transport is None:
        raise HttpError(499, "client_gone", "the client closed the connection")
    connection = EventConnection(transport, CHUNKED if request.version >= (1, 1) else PLAIN, services.tick)
    services.opened(connection, visitor.credentials.address)
    listener: ActorRef[Any] | None = None
    try:
        outcome: asyncio.Future[Admitted | str] = services.loop.create_future()
        listener = await services.start_actor(Listener, connection, services, topic, payload, outcome, visitor)
        match await outcome:
            case str(reason):
                connection.ended()
                raise refusal_of(reason)
            case Admitted(over=True, missed=0):
                connection.ended()
                return web.Response(status=204)
            case Admitted():
                pass
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        connection.begin()
        await connection.over
        connection.ended()
        return response
    finally:
        if listener is not None:
            listener.tell(HangUp())
        services.closed(connection)


def _resume(request: web.Request) -> dict[str, Any]:
    """How far an `EventSource` was. An id that is none of ours it has from somewhere else, and can do nothing about."""
    cursor = Cursor.parse(request.headers.get("Last-Event-ID", ""))
    return {} if cursor is None else {"resume": cursor._asdict()}

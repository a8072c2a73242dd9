"""The long-poll endpoint, `/socket/longpoll?vsn=2.0.0`: Phoenix's way for clients whose network lets no WebSocket through.

    client                                            gateway
      | GET ?vsn=2.0.0                                  |
      |<-- {"status": 410, "token": T, "messages": []}  |   a session of its own; T is how it is asked for
      | POST ?token=T      messages, one in a line      |   text as it is, bytes in base64
      |<-- {"status": 200}                              |   all of them were taken
      | GET ?token=T                                    |   waits, 10 s at most
      |<-- {"status": 200, "token": T, "messages": ["[null,null,...", ...]}
      |<-- {"status": 204, "token": T, "messages": []}  |   nothing was said: ask again
      |<-- {"status": 410}                              |   the session is gone: begin anew

The status that Phoenix's client looks at stands in the body. It understands 403 as for good, and comes back after 500: one of
these stands beside the `error` of whatever we refuse.

Between two polls frames wait here, as many bytes as for any client. One that does not ask for 15 s is gone. Its session lives
in this process: a balancer has to send all requests of a client to the same gateway.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from understudy.actors import ActorRef, CallError
from understudy.gateway import phoenix
from understudy.gateway.connection import BUFFER_LIMIT, CLOSE_TIMEOUT
from understudy.gateway.http import Handler, json_answer, refused
from understudy.gateway.serializers import VERSIONS, PhoenixSerializer, for_polls
from understudy.gateway.services import SERVICES, Services
from understudy.gateway.session import HangUp, Received, Session
from understudy.gateway.visitor import Visitor

PATH = "/socket/longpoll"

WINDOW = 10.0
"""Seconds that a poll waits for something to be said."""

PATIENCE = 15.0
"""Seconds without a poll after which a client is gone."""

OK, NOTHING, FORBIDDEN, GONE, FAILED = 200, 204, 403, 410, 500
"""Statuses in the body."""


class PolledConnection:
    """A Connection to a client that has to ask. `on_end` is called once, when it is over."""

    __slots__ = ("_frames", "_limit", "_loop", "_on_end", "_size", "_timer", "_waiter", "closed", "serializer")

    def __init__(
        self,
        serializer: PhoenixSerializer,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[], None],
        limit: int = BUFFER_LIMIT,
    ) -> None:
        self.serializer = serializer
        self.closed = False
        self._loop = loop
        self._on_end = on_end
        self._limit = limit
        self._frames: dict[Hashable, bytes] = {}
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = loop.call_later(PATIENCE, self.reset)

    @property
    def buffered(self) -> int:
        return self._size

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        if self.closed:
            return
        key = object() if latest is None else latest
        self._size += len(frame) - len(self._frames.pop(key, b""))
        self._frames[key] = frame
        # Alone, it is not the client's fault that it is large.
        if self._size > self._limit and len(self._frames) > 1:
            self.reset()
        else:
            self._wake()

    def close(self, code: int, reason: str) -> None:
        """What waits is there for one more poll, if it comes soon. `code` and `reason` have no place in the protocol."""
        if not self.closed:
            self.closed = True
            self._expire_in(CLOSE_TIMEOUT if self._frames or self._waiter else 0)
            self._wake()

    def reset(self) -> None:
        self._frames, self._size = {}, 0
        self.ended()

    def ended(self) -> None:
        """It is over: nobody is waited for."""
        self.closed = True
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._on_end()

    async def poll(self, window: float) -> list[bytes] | None:
        """The frames there are, or that come within `window` seconds; None if there will be none any more.

        Of several polls at a time the last one gets them.
        """
        if not self._frames and not self.closed:
            self._expire_in(window + PATIENCE)
            if not await self._something(window):
                return []
        frames = list(self._frames.values())
        self._frames, self._size = {}, 0
        if not self.closed:
            self._expire_in(PATIENCE)
        elif not frames:
            self.ended()
            return None
        return frames

    async def _something(self, window: float) -> bool:
        """Wait for something to be said, for `window` seconds, or for the end. False: another poll waits for it now."""
        waiter = self._waiter = self._loop.create_future()
        try:
            async with asyncio.timeout(window):
                await waiter
        except TimeoutError:
            pass
        finally:
            mine = self._waiter is waiter
            if mine:
                self._waiter = None
        return mine

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self.reset)


@dataclass(slots=True)
class _Polled:
    connection: PolledConnection
    session: ActorRef[Any]


class LongPolls:
    """The long-poll clients of a gateway, by the tokens they show."""

    def __init__(self) -> None:
        self._polled: dict[str, _Polled] = {}

    def find(self, request: web.Request) -> _Polled | None:
        """Whose request it is, if that client is known (still)."""
        return self._polled.get(shown(request))

    async def begin(self, services: Services, serializer: PhoenixSerializer, visitor: Visitor) -> str:
        """A session for a new client, and its token. Raises CallError."""
        token = services.world.token()

        def end() -> None:
            services.closed(connection)
            if polled := self._polled.pop(token, None):
                polled.session.tell(HangUp())

        connection = PolledConnection(serializer, services.loop, end)
        services.opened(connection, visitor.credentials.address)
        try:
            session = await services.start_actor(
                Session, connection, services.rooms, services.fanout, services.node, None, visitor
            )
        except BaseException:
            connection.reset()
            raise
        self._polled[token] = _Polled(connection, session)
        return token


def shown(request: web.Request) -> str:
    """The token in a request's address: the last one, since a client's own parameters, of whatever name, stand before it."""
    return request.query.getall("token", [""])[-1]


LONG_POLLS = web.AppKey("long_polls", LongPolls)


async def longpoll(request: web.Request) -> web.StreamResponse:
    """Serve one request of a client."""
    services, polls = request.app[SERVICES], request.app[LONG_POLLS]
    services.origins.check(request)
    polled = polls.find(request)
    if request.method == "POST":
        return _answer(GONE if polled is None else await _take(request, polled))
    if polled is not None:
        return await _listen(request, polled, min(WINDOW, services.limits.answer_deadline / 2))
    return await _begin(request, services, polls)


@web.middleware
async def say_in_the_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The middleware around all others: a refusal of what a poll asked for, whoever refused it, has a status in its body."""
    response = await handler(request)
    if request.path == PATH and response.status >= 400 and isinstance(response, web.Response) and response.text:
        said = json.loads(response.text)
        response.text = json.dumps({"status": FAILED if said["error"]["retry"] else FORBIDDEN, **said}) + "\n"
    return response


async def _begin(request: web.Request, services: Services, polls: LongPolls) -> web.Response:
    version = request.query.get("vsn", phoenix.OLDEST)
    serializer = for_polls(version)
    if serializer is None:
        raise refused(
            "version_unsupported", f"this gateway speaks Phoenix Channels with ?vsn={VERSIONS}, not {version[:40]}"
        )
    services.check_capacity(request)
    visitor = await services.enter(request)
    try:
        token = await polls.begin(services, serializer, visitor)
    except CallError:
        raise refused("unavailable") from None
    return _answer(GONE, token=token, messages=[])


async def _listen(request: web.Request, polled: _Polled, window: float) -> web.Response:
    frames = await polled.connection.poll(window)
    if frames is None:
        return _answer(GONE)
    token = shown(request)
    if not frames:
        return _answer(NOTHING, token=token, messages=[])
    body = b'{"status":%d,"token":%b,"messages":[%b]}\n' % (OK, phoenix.to_json(token), b",".join(frames))
    return web.Response(body=body, headers=HEADERS)


async def _take(request: web.Request, polled: _Polled) -> int:
    """Hand what the client says to its session, one message after the other."""
    try:
        body = (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise refused("malformed", f"expected UTF-8, got {error.reason} at byte {error.start}") from None
    for message in _messages(request.content_type, body):
        try:
            await polled.session.call(Received(message))
        except CallError:
            return GONE
    return OK


def _messages(content_type: str, body: str) -> list[str | bytes]:
    """A batch is one message in a line; those that are no JSON are bytes in base64."""
    if content_type != "application/x-ndjson":
        return [body]
    messages: list[str | bytes] = []
    for line in filter(None, body.replace("\r\n", "\n").split("\n")):
        try:
            messages.append(line if line[:1] in ("[", "{") else base64.b64decode(line, validate=True))
        except (binascii.Error, ValueError):
            messages.append(line)
    return messages


HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


def _answer(status: int, **said: Any) -> web.Response:
    return json_answer({"status": status, **said}, headers={"Cache-Control": "no-store"})

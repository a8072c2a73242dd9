"""The WebSocket endpoint, `/socket/websocket?vsn=2.0.0`: messages in to the session, bytes out past aiohttp.

Incoming frames are aiohttp's to parse. Outgoing ones are built here once for all their receivers and written to the
transport as they are: that is what makes the fan-out fast (gateway research: 210 against 151 thousand deliveries/s).
"""

import asyncio
from typing import Any

from aiohttp import WSMsgType, web

from understudy.actors import CallError
from understudy.gateway import phoenix
from understudy.gateway.connection import (
    CLOSE_TIMEOUT,
    GOING_AWAY,
    SERVICE_RESTART,
    SocketConnection,
    Tick,
)
from understudy.gateway.http import HttpError, refused
from understudy.gateway.masks import MaskedSocket
from understudy.gateway.refusals import REFUSALS, close
from understudy.gateway.serializers import VERSIONS, PhoenixSerializer, for_socket
from understudy.gateway.services import SERVICES, Services
from understudy.gateway.session import HangUp, Received, Session
from understudy.gateway.visitor import Visitor

NORMAL, PROTOCOL_ERROR, ABNORMAL = 1000, 1002, 1006
"""WebSocket close codes; 1006 stands for an end without a close and is never sent."""


class WebSocketConnection(SocketConnection):
    """A browser's WebSocket."""

    __slots__ = ("_goodbye", "_socket")

    serializer: PhoenixSerializer

    def __init__(
        self,
        transport: asyncio.Transport,
        serializer: PhoenixSerializer,
        socket: web.WebSocketResponse,
        tick: Tick,
    ) -> None:
        super().__init__(transport, serializer, tick)
        self._socket = socket
        self._goodbye: asyncio.Task[bool] | None = None

    def _say_goodbye(self, code: int, reason: str) -> None:
        self._goodbye = self._tick.loop.create_task(self._socket.close(code=code, message=reason.encode()[:123]))

    async def parted(self) -> None:
        """Wait for a goodbye that is under way, CLOSE_TIMEOUT at most."""
        if self._goodbye is not None:
            await asyncio.wait([self._goodbye])


def farewell(code: int) -> int:
    """What a client's close is answered with: its own code; 1000 if it has none; 1002 if nobody may send that one."""
    if code in (0, NORMAL):
        return NORMAL
    return PROTOCOL_ERROR if code == ABNORMAL or code > 4999 else code


async def websocket(request: web.Request) -> web.StreamResponse:
    """Serve one client until it or we close the connection.

    Browsers hide from a page why its WebSocket was not opened. A client with `refusals=close` in its address has it opened
    and closed at once instead, with the code and the sentence.
    """
    services = request.app[SERVICES]
    services.origins.check(request)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise refused("upgrade_required")
    try:
        return await _serve(services, request)
    except HttpError as error:
        if request.query.get("refusals") != "close" or error.code not in REFUSALS:
            raise
        services.refused[error.code] += 1
        socket = _opened(services)
        await socket.prepare(request)
        code, reason = close(error.code, error.message)
        await socket.close(code=code, message=reason.encode())
        return socket


def _opened(services: Services) -> web.WebSocketResponse:
    return MaskedSocket(
        protocols=("phoenix",),
        compress=False,
        max_msg_size=services.limits.message,
        timeout=CLOSE_TIMEOUT,
        autoclose=False,
    )


async def _serve(services: Services, request: web.Request) -> web.StreamResponse:
    version = request.query.get("vsn", phoenix.OLDEST)
    serializer = for_socket(version, request.query.get("offsets") == "1")
    if serializer is None:
        raise refused(
            "version_unsupported", f"this gateway speaks Phoenix Channels with ?vsn={VERSIONS}, not {version[:40]}"
        )
    services.check_capacity(request)
    visitor = await services.enter(request)

    socket = _opened(services)
    await socket.prepare(request)
    transport = request.transport
    if transport is None:
        return socket
    connection = WebSocketConnection(transport, serializer, socket, services.tick)
    services.opened(connection, visitor.credentials.address)
    try:
        await _converse(services, socket, connection, visitor)
    finally:
        try:
            await connection.parted()
        finally:  # the client's end of it cancels this handler
            services.closed(connection)
    return socket


async def _converse(
    services: Services, socket: web.WebSocketResponse, connection: WebSocketConnection, visitor: Visitor
) -> None:
    session: Any = None
    try:
        session = await services.start_actor(
            Session, connection, services.rooms, services.fanout, services.node, services.limits.idle, visitor
        )
        while True:
            message = await socket.receive()
            if message.type is WSMsgType.CLOSE:
                await socket.close(code=farewell(message.data), drain=False)
            if message.type is not WSMsgType.TEXT and message.type is not WSMsgType.BINARY:
                return
            await session.call(Received(message.data))
    except CallError:
        # The session is gone or its supervisor is: the client comes back to a new one.
        connection.close(SERVICE_RESTART if services.draining else GOING_AWAY, "the session ended")
    finally:
        if session is not None:
            session.tell(HangUp())

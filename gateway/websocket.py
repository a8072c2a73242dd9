"""The WebSocket endpoint, `/socket/websocket?vsn=2.0.0`: frames in to the session, bytes out past aiohttp.

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
    UNSUPPORTED,
    SocketConnection,
    Tick,
)
from understudy.gateway.delivery import as_json, stamped
from understudy.gateway.http import HttpError
from understudy.gateway.log import Cursor
from understudy.gateway.services import SERVICES, Services
from understudy.gateway.session import HangUp, Received, Session
from understudy.gateway.visitor import Visitor

MESSAGE_LIMIT = 64 * 1024
"""Bytes of a client's message; a longer one closes the connection with 1009."""


def text_frame(text: bytes) -> bytes:
    """An unmasked WebSocket text frame, uncompressed (allowed on any connection): FIN and opcode 1, length, text."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


class PhoenixSerializer:
    """Phoenix Channels V2 in WebSocket text frames."""

    def reply(
        self, join_ref: phoenix.Ref, ref: phoenix.Ref, topic: str, status: str, response: bytes, binary: bool = False
    ) -> bytes:
        return text_frame(phoenix.encode_reply(join_ref, ref, topic, status, as_json(response, binary)))

    def push(self, join_ref: phoenix.Ref, topic: str, event: str, payload: bytes, binary: bool = False) -> bytes:
        return text_frame(phoenix.encode(join_ref, None, topic, event, as_json(payload, binary)))

    def broadcast(
        self, topic: str, event: str, payload: bytes, cursor: Cursor | None = None, binary: bool = False
    ) -> bytes:
        body = as_json(payload, binary)
        return text_frame(phoenix.encode(None, None, topic, event, stamped(body, cursor.offset) if cursor else body))


PHOENIX = PhoenixSerializer()


class WebSocketConnection(SocketConnection):
    """A browser's WebSocket."""

    __slots__ = ("_goodbye", "_socket")

    def __init__(self, transport: asyncio.Transport, socket: web.WebSocketResponse, tick: Tick) -> None:
        super().__init__(transport, PHOENIX, tick)
        self._socket = socket
        self._goodbye: asyncio.Task[bool] | None = None

    def _say_goodbye(self, code: int, reason: str) -> None:
        self._goodbye = self._tick.loop.create_task(self._socket.close(code=code, message=reason.encode()[:123]))

    async def parted(self) -> None:
        """Wait for a goodbye that is under way, CLOSE_TIMEOUT at most."""
        if self._goodbye is not None:
            await asyncio.wait([self._goodbye])


async def websocket(request: web.Request) -> web.StreamResponse:
    """Serve one client until it or we close the connection."""
    services = request.app[SERVICES]
    services.origins.check(request)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise HttpError(426, "upgrade_required", "this address is for WebSocket clients")
    version = request.query.get("vsn", "1.0.0")
    if version != phoenix.VERSION:
        raise HttpError(
            400,
            "version_unsupported",
            f"this gateway speaks Phoenix Channels with ?vsn={phoenix.VERSION}, not {version[:40]}",
        )
    services.check_capacity()
    visitor = await services.enter(request)

    socket = web.WebSocketResponse(
        protocols=("phoenix",), compress=False, max_msg_size=MESSAGE_LIMIT, timeout=CLOSE_TIMEOUT
    )
    await socket.prepare(request)
    transport = request.transport
    if transport is None:
        return socket
    connection = WebSocketConnection(transport, socket, services.tick)
    services.opened(connection)
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
            Session, connection, services.rooms, services.fanout, services.node, services.idle_timeout, visitor
        )
        while True:
            message = await socket.receive()
            if message.type is WSMsgType.TEXT:
                await session.call(Received(message.data))
            elif message.type is WSMsgType.BINARY:
                connection.close(UNSUPPORTED, "binary frames are not supported; send text frames")
            else:
                return
    except CallError:
        # The session is gone or its supervisor is: the client comes back to a new one.
        connection.close(SERVICE_RESTART if services.draining else GOING_AWAY, "the session ended")
    finally:
        if session is not None:
            session.tell(HangUp())

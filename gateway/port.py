"""The port: who may hold a connection at all, before a word is said. aiohttp's protocol does the rest.

    connect ──> too many in all, or from there? ──yes──> HTTP/1.1 503 or 429, with the code, and the end
                                                └─no───> aiohttp: headers within the deadline, then a request

A connection that says nothing costs a descriptor and some memory until its deadline. So they are counted, those of strangers by
address; those of this machine and of trusted proxies, behind which many stand, in all only.
"""

import asyncio
import logging
import resource
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import web

from understudy.gateway.certificate import Certificate
from understudy.gateway.http import SERVER, HttpError, error_response, refused
from understudy.gateway.limits import Crowd
from understudy.gateway.services import Services

log = logging.getLogger("understudy.gateway")

BACKLOG = 1024
"""Connections that the kernel keeps for us while the loop is busy: after a restart all clients come at once."""

RESERVE = 64
"""File descriptors that are left for everything else."""


class Sockets:
    """The connections of a port."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._limit = min(services.limits.sockets, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVE))
        self._count = 0
        self._crowd = Crowd(services.limits.sockets_per_address)
        self._said = False

    def come(self, address: str) -> str | None:
        """One more from `address`; None if it may stay, else the code of the refusal."""
        if self._count >= self._limit:
            self._say()
            return "too_many_connections"
        if self._crowd.full(address):
            return "too_many_from_address"
        self._count += 1
        self._crowd.come(address)
        return None

    def go(self, address: str) -> None:
        """One that came has gone."""
        self._count -= 1
        self._crowd.go(address)

    def address(self, transport: asyncio.BaseTransport) -> str:
        """Who connected; "" if it stands for others."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        return "" if self.services.proxies.trusts(address) else address

    def refuse(self, transport: asyncio.Transport, code: str) -> None:
        """Say so, and end it."""
        self.services.refused[code] += 1
        body = error_response(refused(code)).body
        assert isinstance(body, bytes)
        head = (
            f"HTTP/1.1 {refused(code).status} Refused\r\nContent-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()

    def _say(self) -> None:
        if not self._said:
            self._said = True
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            why = f"; `ulimit -n` is {files}, raise it for more" if self._limit < self.services.limits.sockets else ""
            log.warning("the gateway holds %d connections and takes no more now%s", self._count, why)


class Entrance(web.RequestHandler):
    """aiohttp's protocol for one connection, if that may stay."""

    __slots__ = ("_address", "_sockets")

    def __init__(self, sockets: Sockets, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._sockets = sockets
        self._address: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = self._sockets.address(transport)
        code = self._sockets.come(address)
        if code is None:
            self._address = address
            super().connection_made(transport)
        else:
            self._sockets.refuse(cast(asyncio.Transport, transport), code)  # uvloop's are no subclass

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is answered in our words; aiohttp's say which version of it this is."""
        super().handle_error(request, status, exc, message)  # it logs, and raises when an answer has begun
        code = "malformed" if status < 500 else "internal_error"
        self._sockets.services.refused[code] += 1
        response = error_response(HttpError(status, code, message or refused(code).message))
        response.headers["Server"] = SERVER
        response.force_close()
        return response

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._address is not None:
            self._sockets.go(self._address)
            super().connection_lost(exc)


class Port(web.TCPSite):
    """Listens on `host`:`port`. `options` are those of aiohttp's protocol."""

    __slots__ = ("_options", "_services")

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        services: Services,
        certificate: Certificate | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(runner, host, port, ssl_context=certificate.context if certificate else None, backlog=BACKLOG)
        self._services = services
        self._options = options

    async def start(self) -> None:
        await web.BaseSite.start(self)
        loop = self._services.loop
        server = self._runner.server
        assert server is not None
        sockets = Sockets(self._services)
        self._server = await loop.create_server(
            lambda: Entrance(sockets, server, loop=loop, **self._options),
            self._host,
            self._port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=self._services.limits.header_deadline if self._ssl_context else None,
            backlog=self._backlog,
        )
        self._bound_port = self._server.sockets[0].getsockname()[1]

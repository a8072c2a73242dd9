"""The HTTP server: aiohttp on the gateway actor's loop, with our endpoints, limits and manners.

/socket/websocket?vsn=2.0.0      Phoenix Channels                       websocket.py
/socket/longpoll?vsn=2.0.0       the same for who cannot have WebSocket  longpoll.py
/topics/{topic}/events           server-sent events                     events.py
/topics/{topic}/state, history, presence, publish; /publish             topics.py
/healthz                         {"status": "ok", "node", "pid", ...}
/readyz                          {"ready": true}, or why not: it takes no more clients
routes of the application
/understudy/...                  our JavaScript client and style        gateway/web
pages of the application
"""

import asyncio
import errno
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any

from aiohttp import web

from understudy.gateway import cors, phoenix, topics
from understudy.gateway.certificate import Certificate
from understudy.gateway.connection import SERVICE_RESTART
from understudy.gateway.events import events
from understudy.gateway.guard import guard, prepare
from understudy.gateway.http import Mount, json_answer, page_routes, server_log
from understudy.gateway.longpoll import LONG_POLLS, PATH, LongPolls, longpoll, say_in_the_body
from understudy.gateway.port import Port
from understudy.gateway.serializers import PHOENIX_OFFSETS
from understudy.gateway.services import SERVICES, Client, Services
from understudy.gateway.websocket import websocket

BATCH, BATCH_EVERY, SPREAD = 50, 0.25, 5.0
"""When the node drains, so many clients are sent away at a time, every so many seconds; more at a time if all would take longer than
SPREAD seconds."""

DRAIN_TIMEOUT = 2.5
"""Seconds within which clients have said goodbye or are reset."""

HANDLER_TIMEOUT = 1.0
"""Seconds that a request under way may still take once the server stops."""

LINGERING = 2.0
"""Seconds for which what is still sent of a request that was answered already is read and dropped."""

OUR_PAGES = Mount("/understudy", Path(__file__).parent / "web")


class Server:
    """Serves from `start` to `stop`."""

    def __init__(
        self,
        services: Services,
        *,
        routes: Sequence[web.AbstractRouteDef] = (),
        pages: Sequence[Mount] = (),
        tls: Certificate | None = None,
    ) -> None:
        self.services = services
        self.url = ""
        self._tls = tls
        middlewares = [say_in_the_body, guard, cors.answer_preflights(services.origins)]
        app = web.Application(middlewares=middlewares, client_max_size=services.limits.body)
        app[SERVICES] = services
        app[LONG_POLLS] = LongPolls()
        app.on_response_prepare.extend((prepare, cors.grant(services.origins)))
        app.add_routes(
            [
                web.get("/socket/websocket", websocket, allow_head=False),
                web.get(PATH, longpoll, allow_head=False),
                web.post(PATH, longpoll),
                web.get("/topics/{topic}/events", events, allow_head=False),
                *topics.ROUTES,
                web.get("/healthz", healthz),
                web.get("/readyz", readyz),
                *routes,
                *page_routes([OUR_PAGES, *pages]),
            ]
        )
        # aiohttp has no deadline for headers, but one for idle connections, which runs from the connection's start and
        # is not put off by bytes that dribble in: the same thing under another name.
        # handler_cancellation: a listener who leaves must end its stream at once, not at the next write.
        self._options: dict[str, Any] = {
            "keepalive_timeout": services.limits.header_deadline,
            "auto_decompress": False,
            "lingering_time": LINGERING,
            "access_log": None,
            "logger": server_log,
        }
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=HANDLER_TIMEOUT, **self._options)

    async def start(self, host: str, port: int | None) -> None:
        """Listen, unless `port` is None. Raises OSError with a sentence that says what to do."""
        # Connections inherit the context their listener was made in; they must not act as the gateway actor.
        loop = asyncio.get_running_loop()
        await loop.create_task(self._listen(host, port), context=Context())

    def entry(self) -> asyncio.Protocol:
        """Our end of a connection that comes by another way than the port."""
        server = self._runner.server
        if server is None:
            raise RuntimeError("the server is not started")
        return server()

    async def _listen(self, host: str, port: int | None) -> None:
        await self._runner.setup()
        if port is None:
            return
        try:
            if self._tls is not None:
                self._tls.load()
            site = Port(self._runner, host, port, self.services, self._tls, self._options)
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(_why(host, port, error)) from None
        self.url = site.name

    async def drain(self) -> None:
        """Take no more connections and let go of those there are, in words that mean 'come back'."""
        self.services.draining = True
        connections = self.services.connections
        leaving = list(connections)
        self._name_window(leaving, _window(len(leaving)))
        for connection in leaving:
            connection.close(SERVICE_RESTART, "the server restarts; connect again")
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT):
                await self.services.wait_until_empty()
        except TimeoutError:
            for connection in list(connections):
                connection.reset()

    async def send_away(self, deadline: float) -> list[str]:
        """Let go of the clients in batches, in words that mean 'come back', since the node drains and another one has them then.
        Those who understand it are told within which time to go instead, and are let go at its end.

        New ones are refused meanwhile (`Services.check_capacity`). Returns what is left at the deadline, in the loop's seconds.
        """
        services, clock = self.services, self.services.loop.time
        leaving = list(services.connections)
        end = min(clock() + _window(len(leaving)), deadline)
        asked = self._name_window(leaving, end - clock())
        others = [connection for connection in leaving if connection not in asked]
        batch = max(BATCH, math.ceil(len(leaving) * BATCH_EVERY / SPREAD))
        for first in range(0, len(others), batch):
            if first and clock() < deadline:  # they come back elsewhere in the same rhythm
                await asyncio.sleep(min(BATCH_EVERY, deadline - clock()))
            for connection in others[first : first + batch]:
                connection.close(SERVICE_RESTART, "this server is to be stopped; connect again")
        if asked:
            await asyncio.sleep(end - clock())
        for connection in asked:
            connection.close(SERVICE_RESTART, "this server is to be stopped; connect again")
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline if deadline < math.inf else None):
                await services.wait_until_empty()
        left = len(services.connections)
        return [f"{left} clients have not gone"] if left else []

    def _name_window(self, leaving: Iterable[Client], window: float) -> set[Client]:
        """Ask our own clients to be back at a moment of their own within `window` seconds; which those are."""
        said = phoenix.to_json({"within": int(window * 1000)})
        frame = PHOENIX_OFFSETS.push(None, phoenix.SOCKET_TOPIC, phoenix.RECONNECT, said)
        asked = {connection for connection in leaving if connection.serializer is PHOENIX_OFFSETS}
        for connection in asked:
            connection.send(frame)
        return asked

    async def stop(self) -> None:
        """Stop listening and end what is left. May be called again."""
        self.services.draining = True
        for connection in list(self.services.connections):
            connection.reset()
        await self._runner.cleanup()


def _window(clients: int) -> float:
    """Seconds over which so many clients come back, in the rhythm of the batches."""
    return min(SPREAD, clients / BATCH * BATCH_EVERY)


async def healthz(request: web.Request) -> web.StreamResponse:
    """Whether this gateway takes clients, and which process it is."""
    services = request.app[SERVICES]
    draining = services.draining
    return json_answer(
        {
            "status": "draining" if draining else "ok",
            "node": services.node,
            "pid": services.pid,
            "connections": len(services.connections),
        },
        status=503 if draining else 200,
    )


async def readyz(request: web.Request) -> web.StreamResponse:
    """Whether clients should be sent here: not while the gateway, or its node, hands over what it has."""
    services = request.app[SERVICES]
    why = [
        *(["the gateway is draining"] if services.draining else []),
        *(["its node is draining"] if services.node_draining() else []),
    ]
    return json_answer({"ready": not why, "why": why, "node": services.node}, status=503 if why else 200)


def _why(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{host}:{port} is in use by another program: end that one, or choose another port"
        case errno.EACCES:
            return f"{host}:{port} may not be opened by this user: choose a port from 1024 up"
        case errno.EADDRNOTAVAIL:
            return f"this machine has no address {host}: choose 127.0.0.1, or one it has"
        case _:
            return f"cannot listen on {host}:{port}: {error.strerror or error}"

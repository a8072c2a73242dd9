"""The gateway actor: owns the HTTP server and the actors behind it.

    gateway ── fan-out
            ── rooms ────────────────── room, room, room ...        one per topic
            ── supervisor of sessions ── session, session ...       one per connection
            ── server                                               aiohttp, on the same loop

It starts when the port is bound. When it stops, clients get close code 1012, "service restart", and come back; when it
crashes or is killed they lose the connection, and come back too. When its node drains it refuses new clients and sends those it
has away with 1012, in batches.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from understudy.actors import Actor, ExitReason, Refused, Request, message
from understudy.gateway.auth import Auths, Door, May
from understudy.gateway.fanout import Fanout
from understudy.gateway.http import HEADER_DEADLINE, Hosts, Mount, Origins
from understudy.gateway.rooms import Rooms, Topics
from understudy.gateway.server import Server
from understudy.gateway.services import Services
from understudy.gateway.session import IDLE_TIMEOUT
from understudy.supervisors import Supervisor

CONNECTION_LIMIT = 10_000
"""Clients at a time."""


@message("gateway.get_url")
class GetUrl(Request[str]):
    """Where the gateway listens, like "http://127.0.0.1:4000". Refused if it does not."""


@dataclass(frozen=True, slots=True)
class GetEntry(Request[Callable[[], asyncio.Protocol]]):
    """How connections get in that come by another way than the gateway's port: what makes our end of one (`asgi.py`)."""


class Gateway(Actor):
    """Serves `topics` to browsers and programs on `host`:`port` (0: any free port; ask with GetUrl; None: it listens
    nowhere, and what connects comes by GetEntry).

    `node` is the name of the node that clients are told they are served by. `pages` are folders of static files,
    `routes` further aiohttp routes, `origins` foreign pages that may connect ("https://chat.example.org"), `hosts`
    further names that the gateway is asked under ("chat.example.org", behind a proxy). `auth` says who a client is, `may`
    what it may do (auth.py); without them everybody is a stranger, and may do everything.
    Does not start (StartFailed) when the port cannot be bound, with a sentence that says why.
    """

    def __init__(
        self,
        node: str,
        *,
        host: str = "127.0.0.1",
        port: int | None = 4000,
        topics: Topics | None = None,
        pages: Sequence[Mount] = (),
        routes: Sequence[web.AbstractRouteDef] = (),
        origins: Iterable[str] = (),
        hosts: Iterable[str] = (),
        auth: Auths | None = None,
        may: May | None = None,
        connection_limit: int = CONNECTION_LIMIT,
        idle_timeout: float = IDLE_TIMEOUT,
        header_deadline: float = HEADER_DEADLINE,
    ) -> None:
        super().__init__()
        if not isinstance(node, str):
            raise TypeError(f"Gateway takes the name of its node (a str), not {node!r}")
        self.node = node
        self.host = host
        self.port = port
        self.topics = topics or {}
        self.pages = pages
        self.routes = routes
        self.origins = Origins(origins)
        self.hosts = Hosts(host if port is not None else "", hosts, self.origins)
        self.door = Door(auth, may)
        self.connection_limit = connection_limit
        self.idle_timeout = idle_timeout
        self.header_deadline = header_deadline

    async def on_start(self) -> None:
        fanout = await self.spawn(Fanout)
        rooms = await self.spawn(Rooms, self.topics, name=self._below("rooms"))
        sessions = await self.spawn(Supervisor, name=self._below("sessions"))
        services = Services(
            node=self.node,
            loop=self.system.loop,
            sessions=sessions,
            rooms=rooms,
            fanout=fanout,
            hosts=self.hosts,
            origins=self.origins,
            connection_limit=self.connection_limit,
            idle_timeout=self.idle_timeout,
            door=self.door,
            world=self.system.world,
            node_draining=lambda: self.system.nodes.draining,
        )
        self.server = Server(services, routes=self.routes, pages=self.pages, header_deadline=self.header_deadline)
        await self.server.start(self.host, self.port)
        self.run(self._hold())

    def _below(self, what: str) -> str | None:
        """A gateway with a name gives what is below it names, so that an operator can ask them: "gateway/rooms"."""
        return f"{self.name}/{what}" if self.name is not None else None

    async def _hold(self) -> None:
        """Ends with the actor, however that ends: even killed, it leaves no listening socket behind."""
        stay = self.system.nodes.at_drain("clients", self.name or "gateway", self.server.send_away)
        try:
            await asyncio.Event().wait()
        finally:
            stay()
            await self.server.stop()

    def on_receive(self, message: object) -> Any:
        match message:
            case GetUrl():
                if not self.server.url:
                    raise Refused("this gateway listens nowhere itself")
                return self.server.url
            case GetEntry():
                return self.server.entry
            case _:
                return self.unhandled(message)

    async def on_stop(self, reason: ExitReason) -> None:
        await self.server.drain()
        await self.server.stop()

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
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from understudy.actors import Actor, ExitReason, Refused, Request, message
from understudy.gateway.auth import Auths, Door, May
from understudy.gateway.certificate import LOOK_EVERY, Certificate
from understudy.gateway.fanout import Fanout
from understudy.gateway.http import Hosts, Mount, Origins
from understudy.gateway.limits import Limits
from understudy.gateway.proxies import Proxies
from understudy.gateway.rooms import Rooms, Topics
from understudy.gateway.server import Server
from understudy.gateway.services import Services
from understudy.supervisors import Supervisor


@message("gateway.get_url")
class GetUrl(Request[str]):
    """Where the gateway listens, like "http://127.0.0.1:4000". Refused if it does not."""


@dataclass(frozen=True, slots=True)
class GetEntry(Request[Callable[[], asyncio.Protocol]]):
    """How connections get in that come by another way than the gateway's port: what makes our end of one (`asgi.py`)."""


@message("gateway.get_refused")
class GetRefused(Request[dict[str, int]]):
    """How often the gateway refused something, by the code it gave (refusals.py)."""


class _LookAtTheCertificate:
    """Has it been renewed?"""


class Gateway(Actor):
    """Serves `topics` to browsers and programs on `host`:`port` (0: any free port; ask with GetUrl; None: it listens
    nowhere, and what connects comes by GetEntry).

    `node` is the name of the node that clients are told they are served by. `pages` are folders of static files,
    `routes` further aiohttp routes, `origins` foreign pages that may connect ("https://chat.example.org"), `hosts`
    further names that the gateway is asked under ("chat.example.org", behind a proxy). `auth` says who a client is, `may`
    what it may do (auth.py); without them everybody is a stranger, and may do everything. `token_in_url` takes a token
    from an address, too, which logs and histories keep. `trusted_proxies` are those whose X-Forwarded-For is believed
    ("127.0.0.1", "10.0.0.0/8"), `tls` is the certificate, `limits` how much one client may ask.
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
        token_in_url: bool = False,
        trusted_proxies: Iterable[str] = (),
        tls: Certificate | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
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
        self.token_in_url = token_in_url
        self.proxies = Proxies(trusted_proxies)
        self.tls = tls
        self.limits = limits
        self.refused = Counter[str]()

    async def on_start(self) -> None:
        fanout = await self.spawn(Fanout, self.refused)
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
            door=self.door,
            limits=self.limits,
            proxies=self.proxies,
            refused=self.refused,
            token_in_url=self.token_in_url,
            world=self.system.world,
            node_draining=lambda: self.system.nodes.draining,
        )
        self.server = Server(services, routes=self.routes, pages=self.pages, tls=self.tls)
        await self.server.start(self.host, self.port)
        if self.tls is not None:
            self.send_every(LOOK_EVERY, _LookAtTheCertificate())
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
            case GetRefused():
                return dict(self.refused)
            case _LookAtTheCertificate():
                if self.tls is not None:
                    self.tls.look()
            case GetEntry():
                return self.server.entry
            case _:
                return self.unhandled(message)
        return None

    async def on_stop(self, reason: ExitReason) -> None:
        await self.server.drain()
        await self.server.stop()

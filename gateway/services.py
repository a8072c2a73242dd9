"""What the gateway's HTTP endpoints have in common: whom they talk to, and who is connected."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from understudy.actors import Actor, ActorRef
from understudy.actors.world import World
from understudy.gateway.auth import Door, Unauthorized
from understudy.gateway.connection import SocketConnection, Tick
from understudy.gateway.credentials import read_credentials
from understudy.gateway.http import Hosts, HttpError, Origins, refused
from understudy.gateway.visitor import Visitor
from understudy.supervisors import Child, StartChild


@dataclass
class Services:
    """One per gateway. `sessions` is the dynamic supervisor under which connections get their actors."""

    node: str
    loop: asyncio.AbstractEventLoop
    sessions: ActorRef[Any]
    rooms: ActorRef[Any]
    fanout: ActorRef[Any]
    hosts: Hosts
    origins: Origins
    connection_limit: int
    idle_timeout: float
    door: Door = field(default_factory=Door)
    world: World = field(default_factory=World)
    node_draining: Callable[[], bool] = lambda: False
    pid: int = field(default_factory=os.getpid)
    connections: set[SocketConnection] = field(default_factory=set)
    draining: bool = False

    def __post_init__(self) -> None:
        self.tick = Tick(self.loop)
        self._empty = asyncio.Event()
        self._count = 0

    def opened(self, connection: SocketConnection) -> None:
        """A client connected."""
        self.connections.add(connection)
        self._empty.clear()

    def closed(self, connection: SocketConnection) -> None:
        """A client is gone."""
        connection.ended()
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Until no client is connected."""
        if self.connections:
            await self._empty.wait()

    def check_capacity(self) -> None:
        """Raise HttpError when no further connection is taken."""
        if self.node_draining():
            raise HttpError(
                503, "draining", "this server takes no new clients, since it is to be stopped", retry_after=1
            )
        if self.draining or len(self.connections) >= self.connection_limit:
            raise HttpError(503, "too_many_connections", "the gateway takes no more connections now; try again later")

    async def enter(self, request: web.Request) -> Visitor:
        """Who asks, once it is known. Raises HttpError."""
        credentials = read_credentials(request.headers, request.query, request.remote or "")
        try:
            principal = await self.door.authenticate(credentials, self.world)
        except Unauthorized as error:
            raise refused(error.code, error.sentence) from None
        return Visitor(self.door, principal, credentials, self.world)

    async def start_actor(self, cls: type[Actor], *args: Any) -> ActorRef[Any]:
        """Start the actor of a connection. Raises CallError."""
        self._count += 1
        child = Child(cls, args=args, id=f"{cls.__name__.lower()}-{self._count}", restart="temporary")
        return await self.sessions.call(StartChild(child))


SERVICES = web.AppKey("services", Services)
"""Where an endpoint finds them: `request.app[SERVICES]`."""

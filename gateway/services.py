"""What the gateway's HTTP endpoints have in common: whom they talk to, who is connected, and how much is allowed."""

import asyncio
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from understudy.actors import Actor, ActorRef
from understudy.actors.world import World
from understudy.gateway.auth import Door, Unauthorized
from understudy.gateway.connection import Connection, Tick
from understudy.gateway.credentials import Credentials, read_credentials
from understudy.gateway.http import Hosts, Origins, refused
from understudy.gateway.limits import Bucket, Buckets, Crowd, Limits, Meter, block, is_local
from understudy.gateway.principal import Principal
from understudy.gateway.proxies import Proxies
from understudy.gateway.visitor import Visitor
from understudy.supervisors import Child, StartChild


class Client(Connection, Protocol):
    """A connection as whoever opened it knows it."""

    def ended(self) -> None:
        """The client is gone: nothing is sent any more and nothing is waited for."""
        ...


@dataclass
class Services:
    """One per gateway. `sessions` is the dynamic supervisor under which connections get their actors.

    `refused` counts refusals by their code, however they were said.
    """

    node: str
    loop: asyncio.AbstractEventLoop
    world: World
    sessions: ActorRef[Any]
    rooms: ActorRef[Any]
    fanout: ActorRef[Any]
    hosts: Hosts
    origins: Origins
    door: Door
    limits: Limits
    proxies: Proxies
    refused: Counter[str]
    token_in_url: bool = False
    node_draining: Callable[[], bool] = lambda: False
    pid: int = field(default_factory=os.getpid)
    connections: dict[Client, str] = field(default_factory=dict[Client, str])
    draining: bool = False

    def __post_init__(self) -> None:
        self.tick = Tick(self.loop, self.refused)
        self.requests = Buckets(self.limits.requests)
        self._failures = Buckets(self.limits.failures)
        self._messages = Buckets(self.limits.messages_of_one)
        self._bytes = Buckets(self.limits.bytes_of_one)
        self._crowd = Crowd(self.limits.clients_per_address)
        self._empty = asyncio.Event()
        self._count = 0

    def opened(self, connection: Client, address: str) -> None:
        """A client connected from `address`."""
        self.connections[connection] = address
        self._crowd.come(address)
        self._empty.clear()

    def closed(self, connection: Client) -> None:
        """A client is gone."""
        connection.ended()
        address = self.connections.pop(connection, None)
        if address is not None:
            self._crowd.go(address)
        if not self.connections:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Until no client is connected."""
        if self.connections:
            await self._empty.wait()

    def address(self, request: web.Request) -> str:
        """Where the client is."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return self.proxies.client(request.remote or "", forwarded)

    def check_capacity(self, request: web.Request) -> None:
        """Raise HttpError when no further client is taken, or none from there."""
        if self.node_draining():
            sentence = "this server takes no new clients, since it is to be stopped"
            raise refused("draining", sentence, retry_after=1)
        if self.draining or len(self.connections) >= self.limits.clients:
            raise refused("too_many_connections", retry_after=1)
        if self._crowd.full(self.address(request)):
            raise refused("too_many_from_address", retry_after=1)

    async def enter(self, request: web.Request) -> Visitor:
        """Who asks, once it is known. Raises HttpError."""
        address = self.address(request)
        credentials = read_credentials(request.headers, request.query, address, token_in_url=self.token_in_url)
        if not self.origins.knows(request):
            credentials = credentials.meant()
        now = self.loop.time()
        failures = None if is_local(address) else self._failures.of(block(address), now)
        if failures is not None and (wait := failures.wait(1, now)):
            raise refused("rate_limited", "too much that was wrong came from there", retry_after=math.ceil(wait))
        try:
            principal = await self.door.authenticate(credentials, self.world)
        except Unauthorized as error:
            if failures is not None and error.code != "unauthorized":
                failures.take(1, now)
            raise refused(error.code, error.sentence, headers={"WWW-Authenticate": self.door.challenge}) from None
        return self._visitor(principal, credentials)

    def _visitor(self, principal: Principal, credentials: Credentials) -> Visitor:
        """Strangers share what one may send by their address, as far as it says who they are."""
        now, limits = self.loop.time(), self.limits
        address = block(credentials.address)
        one = principal.id if not principal.anonymous else None if is_local(address) else (address,)
        messages = [Bucket(limits.messages, now) if limits.messages else None]
        size = [Bucket(limits.bytes, now) if limits.bytes else None]
        if one is not None:
            messages.append(self._messages.of(one, now))
            size.append(self._bytes.of(one, now))
        return Visitor(self.door, principal, credentials, self.world, Meter(messages, size), self.refused)

    async def start_actor(self, cls: type[Actor], *args: Any) -> ActorRef[Any]:
        """Start the actor of a connection. Raises CallError."""
        self._count += 1
        child = Child(cls, args=args, id=f"{cls.__name__.lower()}-{self._count}", restart="temporary")
        return await self.sessions.call(StartChild(child))


SERVICES = web.AppKey("services", Services)
"""Where an endpoint finds them: `request.app[SERVICES]`."""

"""Health, for whoever watches over the process: a service manager, Kubernetes, a load balancer.

    GET /healthz   200 {"status": "ok", ...}                      the process is there, and its event loop turns
    GET /readyz    200 {"ready": true, "why": [], ...}            it has joined, its application runs, it takes work
                   503 {"ready": false, "why": ["..."], ...}      in sentences, why not

Who is not live is to be killed and started again; who is not ready is to be left alone, and sent nothing. A table that is away
makes a node neither: what runs there goes on.

Nobody who connects can hold it up: a request has DEADLINE seconds, and of many connections at a time the last ones are closed.
"""

import asyncio
import os
from collections.abc import Callable
from contextvars import Context
from importlib.metadata import version
from typing import Any

from aiohttp import web

from understudy.transport import Node

DEADLINE = 5.0
"""Seconds that a connection has, from its start or its last request, until a request is complete."""

CONNECTIONS = 64
"""At a time."""

ENDS_WITHIN = 0.2
"""Seconds that a request under way may still take once the process ends."""


class Health:
    """Answers at `address` (HOST:PORT) from `start` to `stop`. `phase`: what the process is doing; `trouble`: what keeps it from it."""

    def __init__(self, name: str) -> None:
        self.phase: Callable[[], str] = lambda: "joining"
        self.trouble = ""
        self.node: Node | None = None
        self.url = ""
        self._name = name
        app = web.Application(client_max_size=1024)
        app.add_routes([web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)])
        self._runner = web.AppRunner(
            app, keepalive_timeout=DEADLINE, shutdown_timeout=ENDS_WITHIN, access_log=None, handle_signals=False
        )
        self._listening: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen; nowhere, if the address is empty. OSError with a sentence that says what to do."""
        if not address:
            return
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        await self._runner.setup()
        server = self._runner.server
        assert server is not None, "it was set up"

        def admit() -> asyncio.Protocol:
            return server() if len(server.connections) < CONNECTIONS else _Closed()

        try:
            self._listening = await loop.create_task(
                loop.create_server(admit, host.removeprefix("[").removesuffix("]"), int(port)), context=Context()
            )
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(f"health cannot be answered at {address}: {error.strerror or error}") from None
        where = self._listening.sockets[0].getsockname()
        self.url = f"http://[{where[0]}]:{where[1]}" if ":" in where[0] else f"http://{where[0]}:{where[1]}"

    async def stop(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.close()
            await self._runner.cleanup()

    def why_not(self) -> list[str]:
        """Why nothing should be sent to this node; empty: it is ready."""
        phase, node = self.phase(), self.node
        if node is None:
            return [f"it has not joined yet: {self.trouble}" if self.trouble else "it has not joined yet"]
        if node.put_out:
            return [f"it is out of the cluster: {node.put_out}"]
        if phase == "starting":
            return ["its application has not started yet"]
        if phase != "running" or node.draining:
            return ["it is ending" if phase == "stopping" else "it hands over what it has, and takes nothing new"]
        return []

    async def _healthz(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok", **self._identity()})

    async def _readyz(self, _: web.Request) -> web.StreamResponse:
        why = self.why_not()
        table = {"table": self.node.trouble or "reached"} if self.node is not None else {}
        answer = {"ready": not why, "why": why, "phase": self.phase(), **table, **self._identity()}
        return web.json_response(answer, status=503 if why else 200)

    def _identity(self) -> dict[str, Any]:
        life = {"incarnation": self.node.incarnation} if self.node is not None else {}
        return {"node": self._name, **life, "pid": os.getpid(), "version": version("understudy")}


class _Closed(asyncio.Protocol):
    """For whoever is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close at once."""
        transport.close()

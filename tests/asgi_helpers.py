"""An ASGI server of real sockets, and one of none: a client that hands an application its events itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.gateway_helpers import PATIENCE


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """`app` behind uvicorn on a free port; where it is."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", ws="websockets-sansio", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with config.bind_socket() as listening:
        # `serve` would take the test's signals; it does no more than that.
        running = asyncio.create_task(server._serve([listening]))
        while not server.started:
            assert not running.done(), running
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


class Exchange:
    """One connection to an ASGI application, with nobody in between. `stuck`: while set, `send` takes nothing more."""

    def __init__(self, app: Any, kind: str, path: str, **scope: Any) -> None:
        self.app = app
        self.scope: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": {"http": "http", "websocket": "ws"}[kind],
            "path": path,
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            **({"method": "GET"} if kind == "http" else {"subprotocols": []}),
            **scope,
        }
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Exchange"]:
        """Between the application's start and its end, which a client brings about that goes."""
        self.running = asyncio.ensure_future(self.app(self.scope, self.said.get, self._send))
        try:
            yield self
        finally:
            self.say(f"{self.scope['type']}.disconnect", code=1006)
            async with asyncio.timeout(PATIENCE):
                await self.running

    async def _send(self, event: dict[str, Any]) -> None:
        await self.takes.wait()
        self.heard.put_nowait(event)

    def say(self, kind: str, **event: Any) -> None:
        self.said.put_nowait({"type": kind, **event})

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event, which has to be of that kind."""
        async with asyncio.timeout(PATIENCE):
            event = await self.heard.get()
        assert event["type"] == kind, event
        return event

    async def take(self) -> dict[str, Any] | None:
        """The next event from an application that `send` keeps waiting otherwise; None at its end."""
        if self.heard.empty():
            self.takes.set()
            hearing = asyncio.ensure_future(self.heard.get())
            await asyncio.wait([hearing, self.running], return_when=asyncio.FIRST_COMPLETED)
            self.takes.clear()
            if not hearing.done():
                hearing.cancel()
                return None
            return hearing.result()
        return self.heard.get_nowait()

    async def answer(self, body: bytes = b"") -> tuple[int, dict[bytes, bytes], bytes]:
        """Say the body, and wait for the whole answer: status, headers, body."""
        self.say("http.request", body=body)
        start = await self.hear("http.response.start")
        read = b""
        while True:
            event = await self.hear("http.response.body")
            read += event.get("body", b"")
            if not event.get("more_body", False):
                return start["status"], dict(start["headers"]), read

"""The gateway inside a web application: an ASGI application for FastAPI, Starlette, Django and their like.

    live = AsgiGateway("shop", topics={"cafe:*": Cafe})      what Gateway takes, but for the address

    app = FastAPI(lifespan=live.lifespan)                    Starlette: the same
    app.mount("/live", live)                                 /live/socket/websocket, /live/topics/..., all of docs/gateway.md

    application = live.beside(get_asgi_application(), at="/live")        Django, which mounts nothing

    await live.publish("cafe:corner", "announced", {"text": "tea!"}, principal=Principal("site", {"role": "house"}))

It opens an actor system of its own, or what `within` makes, such as a Node of a cluster; `live.system` is that, for the
application's own requests. Behind a server with several processes each has a gateway, and rooms are shared as in any cluster.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from understudy.actors import ActorRef, ActorSystem, CallError, Refused, Request
from understudy.gateway.asgi_http import NotHttp, serve_http
from understudy.gateway.asgi_pipe import Receive, Scope, Send
from understudy.gateway.asgi_websocket import serve_websocket
from understudy.gateway.gateway import Gateway, GetEntry
from understudy.gateway.principal import Principal
from understudy.gateway.requests import Publish
from understudy.gateway.topics import ask
from understudy.supervisors import Child, Supervisor

R = TypeVar("R")

log = logging.getLogger("understudy.gateway")

Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]

TRY_AGAIN_LATER = 1013
"""What a WebSocket is closed with while the gateway starts anew."""


class Home(Protocol):
    """Where the gateway is started: an ActorSystem, or a Node."""

    async def spawn(self, cls: type[Any], *args: Any, name: str | None = None) -> ActorRef[Any]:
        """Start an actor."""
        ...

    def ref(self, name: str) -> ActorRef[Any]:
        """The actor of this name."""
        ...


class AsgiGateway:
    """A Gateway that listens nowhere itself. `node` and `options` are its arguments.

    It starts with the application's lifespan, or with the first request where nobody tells it of that, and belongs to
    the event loop it was started in. One that crashes is started again.
    """

    def __init__(
        self,
        node: str,
        *,
        within: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
        name: str = "gateway",
        **options: Any,
    ) -> None:
        if clash := {"host", "port"} & options.keys():
            raise TypeError(f"AsgiGateway listens nowhere itself, so it takes no {' and no '.join(sorted(clash))}")
        inspect.signature(Gateway).bind(node, **options)  # what is wrong is said where it is written
        self.node = node
        self.name = name
        self.options = options
        self._within = within if within is not None else lambda: ActorSystem(node)
        self._open: AsyncExitStack | None = None
        self._system: Home | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()

    @property
    def system(self) -> Any:
        """What the gateway runs in: the ActorSystem, or what `within` opened. RuntimeError before it is started."""
        if self._system is None:
            raise RuntimeError("the gateway is not started: see its `lifespan`")
        return self._system

    async def start(self) -> None:
        """Open the system and start the gateway in it; nothing if that is done. Raises StartFailed."""
        loop = asyncio.get_running_loop()
        if self._system is not None and self._loop is not loop:
            raise RuntimeError(
                "the gateway runs in another event loop: use one server, or one test client, from start to stop"
            )
        async with self._starting:
            if self._system is not None:
                return
            async with AsyncExitStack() as stack:
                system = await stack.enter_async_context(self._within())
                gateway = Child(Gateway, args=(self.node,), kwargs={**self.options, "port": None}, name=self.name)
                await system.spawn(Supervisor, [gateway], name=f"{self.name}/keeper")
                self._open = stack.pop_all()
            self._system, self._loop = system, loop

    async def stop(self) -> None:
        """Let go of the clients, stop the gateway and close the system. It may be started again."""
        self._system = None
        if self._open is not None:
            stack, self._open = self._open, None
            await stack.aclose()

    async def ask(self, topic: str, request: Request[R]) -> R:
        """What the room of `topic` answers: GetState, GetHistory, GetPresence, Publish, or a message of its own. Raises
        Refused and other CallErrors.
        """
        return await ask(self.system.ref(f"{self.name}/rooms"), topic, request)

    async def publish(self, topic: str, event: str, payload: Any, *, principal: Principal) -> dict[str, Any]:
        """Give one event to the room of `topic` (`Room.on_publish`); its reply. Raises Refused and other CallErrors."""
        (result,) = await self.ask(topic, Publish(principal, ((event, payload),)))
        if result["status"] != "ok":
            raise Refused(result["response"]["reason"])
        response: dict[str, Any] = result["response"]
        return response

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None]:
        """Started within, stopped after: what FastAPI and Starlette take as `lifespan`, and part of one of your own."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def beside(self, application: Application, at: str) -> Application:
        """An ASGI application that has the gateway below `at`, like "/live", and is `application` everywhere else."""
        if not at.startswith("/") or at.endswith("/"):
            raise ValueError(f"a gateway is reached below a path like '/live', not {at!r}")

        async def both(scope: Any, receive: Any, send: Any) -> None:
            root = scope.get("root_path", "")
            if scope["type"] == "lifespan":
                await self(scope, receive, send)
            elif scope["path"].removeprefix(root).startswith(at + "/"):
                await self({**scope, "root_path": root + at}, receive, send)
            else:
                await application(scope, receive, send)

        return both

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"this ASGI application serves 'http' and 'websocket', not {scope['type']!r}")
        try:
            await self.start()
            connect: Callable[[], asyncio.Protocol] = await self.system.ref(self.name).call(GetEntry())
        except CallError as error:
            log.warning("the gateway cannot be reached: %s", error)
            await _turn_away(scope, receive, send, 503, "unavailable", "the gateway starts again; try again later")
            return
        try:
            await (serve_http if scope["type"] == "http" else serve_websocket)(connect, scope, receive, send)
        except NotHttp as error:
            await _turn_away(scope, receive, send, 400, "bad_request", str(error))

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            match (await receive())["type"]:
                case "lifespan.startup":
                    try:
                        await self.start()
                    except Exception as error:
                        await send({"type": "lifespan.startup.failed", "message": str(error)})
                        raise
                    await send({"type": "lifespan.startup.complete"})
                case "lifespan.shutdown":
                    await self.stop()
                    await send({"type": "lifespan.shutdown.complete"})
                    return
                case _:
                    pass


async def _turn_away(scope: Scope, receive: Receive, send: Send, status: int, code: str, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": f"{code}: {why}"})
        return
    body = json.dumps({"error": {"code": code, "message": why, "retry": status == 503}}).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

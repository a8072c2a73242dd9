"""An ASGI application on uvicorn: a loop that awaits the sending to each."""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]

SUBSCRIBERS: set[Send] = set()


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    SUBSCRIBERS.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for subscriber in list(SUBSCRIBERS):
                await subscriber({"type": "websocket.send", "text": event["text"]})
    finally:
        SUBSCRIBERS.discard(send)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, ws="websockets-sansio", loop="uvloop", lifespan="off", log_level="critical", ws_per_message_deflate=False
    )
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(uvicorn.Server(config).serve([listening]))

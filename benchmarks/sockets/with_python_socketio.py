"""python-socketio on uvicorn: a room that everybody is in."""

import asyncio
import resource
import socket
from typing import Any

import socketio
import uvicorn

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")


@server.event
async def connect(sid: str, _environ: Any, _auth: Any = None) -> None:
    await server.enter_room(sid, "hall")


@server.event
async def shout(_sid: str, text: str) -> None:
    await server.emit("said", text, room="hall")


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(
        socketio.ASGIApp(server),
        ws="websockets-sansio",
        loop="uvloop",
        lifespan="off",
        log_level="critical",
        ws_per_message_deflate=False,
    )
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(uvicorn.Server(config).serve([listening]))

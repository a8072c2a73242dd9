"""Understudy's gateway once more, mounted into an ASGI application on uvicorn: what that costs."""

import asyncio
import socket

import uvicorn

from benchmarks.sockets import open_files
from benchmarks.sockets.with_understudy import LIMITS, Hall
from understudy.gateway import AsgiGateway

if __name__ == "__main__":
    open_files()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(
        AsgiGateway("hall", topics={"hall": Hall}, **LIMITS),
        ws="websockets-sansio",
        loop="uvloop",
        log_level="critical",
        ws_per_message_deflate=False,
    )
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(uvicorn.Server(config).serve([listening]))

"""aiohttp as it is used most: a loop that awaits the sending to each."""

import asyncio
import resource

import uvloop
from aiohttp import WSMsgType, web

SUBSCRIBERS: set[web.WebSocketResponse] = set()


async def serve(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    SUBSCRIBERS.add(socket)
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                for subscriber in list(SUBSCRIBERS):
                    await subscriber.send_str(message.data)
    finally:
        SUBSCRIBERS.discard(socket)
    return socket


async def main() -> None:
    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(main())

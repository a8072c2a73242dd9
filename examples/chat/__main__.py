"""A chat server in one process: `python -m understudy.examples.chat --port 4000`, then open the page in two windows."""

import argparse
import asyncio
import signal
import sys

from aiohttp import web

from understudy.actors import ActorSystem, StartFailed
from understudy.examples.chat import PAGES, ChatRoom
from understudy.gateway import Gateway, GetUrl


async def to_chat(_: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/chat/"})


async def serve(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    enough = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, enough.set)
    async with ActorSystem("chat") as system:
        gateway = await system.spawn(
            Gateway,
            "chat",
            host=host,
            port=port,
            topics={"room:*": ChatRoom},
            pages=[PAGES],
            routes=[web.get("/", to_chat)],
        )
        print(f"chat at {await gateway.call(GetUrl())}/chat/ (Ctrl-C ends it)", flush=True)
        await enough.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4000, help="0 takes any free one (default: 4000)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.host, options.port))
    except StartFailed as error:
        sys.exit(str(error.__cause__ or error))


if __name__ == "__main__":
    main()

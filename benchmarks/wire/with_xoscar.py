"""Over xoscar: two pools in two processes. Its tell waits until the other side has taken the message."""

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import uvloop
import xoscar

from benchmarks.wire import MEBIBYTE, PAYLOAD, arguments, latencies, say

MESSAGES = 50_000
CALLS = 5_000
BINARIES = 1_000


class Sink(xoscar.Actor):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def take(self, message: Any) -> int:
        self.seen += 1
        return self.seen


async def there(end: Connection) -> None:
    pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
    async with pool:
        await xoscar.create_actor(Sink, address=pool.external_address, uid="sink")
        end.send(pool.external_address)
        await asyncio.to_thread(end.recv)


async def here(address: str, case: str, scale: float) -> None:
    pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
    async with pool:
        take = (await xoscar.actor_ref(address=address, uid="sink")).take

        async def each(send: Callable[[Any], Awaitable[Any]], message: Any, count: int) -> list[float]:
            taken: list[float] = []
            for _ in range(count + count // 10):
                begun = time.perf_counter()
                await send(message)
                taken.append(time.perf_counter() - begun)
            return taken[-count:]

        if case == "tell":
            count = int(MESSAGES * scale)
            say({"tell": count / sum(await each(take.tell, {"data": PAYLOAD}, count))})
        elif case == "call":
            say(latencies("call", await each(take, None, int(CALLS * scale))))
        else:
            count = int(BINARIES * scale)
            say({"binaries": count * MEBIBYTE / sum(await each(take, bytes(MEBIBYTE), count))})


def serve(end: Connection) -> None:
    uvloop.run(there(end))


def main(case: str, scale: float) -> None:
    mine, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    other.start()
    uvloop.run(here(mine.recv(), case, scale))
    mine.send("done")
    other.join()


if __name__ == "__main__":
    main(*arguments())

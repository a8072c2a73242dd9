"""Clients that mean harm, at the level of bytes, and the good client beside whom they do it.

Each attacker is a connection from an address of its own, so that it is not the count of connections from one address that
stops it.
"""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tests.gateway_helpers import Served
from tests.patience import PATIENCE

UPGRADE = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

SERVED_WITHIN = 5.0 * PATIENCE
"""Seconds in which the good client has its answer, whatever is going on."""

PAGE = os.sysconf("SC_PAGE_SIZE")


def frame(payload: bytes, opcode: int = 1, *, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A WebSocket frame as a client sends it, or as none should. The mask is zero: it changes nothing."""
    first = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes([bit | size])
    elif size < 65536:
        head = bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([bit | 127]) + size.to_bytes(8, "big")
    return first + head + (b"\0\0\0\0" if masked else b"") + payload


class Attacker(asyncio.Protocol):
    """A connection that keeps the last of what it is told, and knows when it was cut."""

    def __init__(self) -> None:
        self.heard = b""
        self.cut = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard = (self.heard + data)[-4096:]
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._news.set()
        if not self.cut.done():
            self.cut.set_result(None)

    def say(self, data: bytes) -> None:
        """Send it, if there is still somebody to send it to."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def until_heard(self, what: bytes) -> None:
        async with asyncio.timeout(SERVED_WITHIN):
            while what not in self.heard and not self.cut.done():
                self._news.clear()
                await self._news.wait()
        assert what in self.heard, self.heard

    async def until_cut(self, within: float) -> None:
        async with asyncio.timeout(within * PATIENCE):
            await asyncio.shield(self.cut)

    @property
    def close_code(self) -> int | None:
        """The code of a WebSocket close, if that was the last frame it was sent."""
        at = self.heard.rfind(b"\x88")
        return int.from_bytes(self.heard[at + 2 : at + 4], "big") if at >= 0 else None


@asynccontextmanager
async def attackers(served: Served, count: int, first: Callable[[int], bytes]) -> AsyncIterator[list[Attacker]]:
    """So many connections; what each of them has said `first`."""
    loop = asyncio.get_running_loop()
    made: list[Attacker] = []

    async def connect(number: int) -> None:
        source = (f"127.2.{number // 200 % 250}.{1 + number % 200}", 0)
        _, attacker = await loop.create_connection(Attacker, "127.0.0.1", served.port, local_addr=source)
        made.append(attacker)
        attacker.say(first(number))

    try:
        for wave in range(0, count, 100):
            await asyncio.gather(*(connect(number) for number in range(wave, min(wave + 100, count))))
        yield made
    finally:
        for attacker in made:
            attacker.transport.abort()
        await asyncio.gather(*(attacker.cut for attacker in made))


@asynccontextmanager
async def upgraded(served: Served) -> AsyncIterator[Attacker]:
    """One that has a WebSocket."""
    async with attackers(served, 1, lambda _: UPGRADE) as (one,):
        await one.until_heard(b"\r\n\r\n")
        one.heard = b""
        yield one


class Witness:
    """Counts the answers that the good client had."""

    def __init__(self) -> None:
        self.answers = 0
        self._more = asyncio.Event()

    def answered(self) -> None:
        self.answers += 1
        self._more.set()

    async def another(self) -> None:
        """Until it has one more."""
        self._more.clear()
        async with asyncio.timeout(2 * SERVED_WITHIN):
            await self._more.wait()


@asynccontextmanager
async def good_client(served: Served) -> AsyncIterator[Witness]:
    """Asks something of a room again and again, and fails the test if one answer does not come."""
    witness = Witness()

    async def ask() -> None:
        async with served.client() as client:
            assert (await client.join("room:good"))[0] == "ok"
            while True:
                async with asyncio.timeout(SERVED_WITHIN):
                    assert await client.ask("room:good", "echo", {"n": witness.answers}) == (
                        "ok",
                        {"n": witness.answers},
                    )
                witness.answered()
                await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())

    async def one_more() -> None:
        more = asyncio.create_task(witness.another())
        await asyncio.wait([asking, more], return_when=asyncio.FIRST_COMPLETED)
        more.cancel()
        if asking.done():
            asking.result()

    try:
        await one_more()
        yield witness
        await one_more()
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def all_cut(those: Iterable[Attacker], within: float) -> None:
    """Until the server has let go of all of them."""
    left: set[asyncio.Future[None]] = {one.cut for one in those if not one.cut.done()}
    if left:
        _, left = await asyncio.wait(left, timeout=within * PATIENCE)
    assert not left, f"{len(left)} are still connected"


def open_files(wanted: int) -> int:
    """How many files this process may have open: raised to `wanted` if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE

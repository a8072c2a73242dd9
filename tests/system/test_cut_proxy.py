"""Two processes, and a proxy between them that cuts their connection again and again under load."""

from __future__ import annotations

import ast
import asyncio
from contextlib import suppress

from tests.processes import running
from understudy.transport.network import parse_address

MESSAGES = 200_000
CUTS = 20
BYTES = MESSAGES * 95
"""What the messages come to on the wire, about: a cut falls every BYTES / (CUTS + 1)."""


class CuttingProxy:
    """Passes bytes between whoever connects and `target`; cuts the connection, both ways at once, after each `stretch` bytes."""

    def __init__(self, target: str, cuts: int, stretch: int) -> None:
        self.target = parse_address(target)
        self.cuts = 0
        self._cuts_left = cuts
        self._stretch = stretch
        self._passed = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"tcp://{host}:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        there_reader, there_writer = await asyncio.open_connection(*self.target)
        ways = [
            asyncio.ensure_future(self._pass(reader, there_writer, counted=True)),
            asyncio.ensure_future(self._pass(there_reader, writer, counted=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            there_writer.transport.abort()
            self._connections.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        """Pass bytes on until the connection ends, or is to be cut in the middle of what was read."""
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if counted:
                    self._passed += len(data)
                    if self._cuts_left and self._passed > self._stretch:
                        writer.write(data[: len(data) // 2])
                        self._passed = 0
                        self._cuts_left -= 1
                        self.cuts += 1
                        return
                writer.write(data)
                await writer.drain()


async def test_a_link_cut_twenty_times_under_two_hundred_thousand_messages_loses_doubles_and_reorders_none() -> None:
    async with running("tests.system.cut_link", "receive") as receiver:
        proxy = CuttingProxy(await receiver.line(), CUTS, BYTES // (CUTS + 1))
        address = await proxy.start()
        try:
            async with running("tests.system.cut_link", "send", address, str(MESSAGES)) as sender:
                report = ast.literal_eval(await sender.line(timeout=55.0))
                assert await sender.ended() == 0
        finally:
            await proxy.stop()
        assert proxy.cuts == CUTS
        assert report.pop("resent") > 0
        assert report == {"received": MESSAGES, "lost": 0, "doubled": 0, "reordered": 0}
        assert await receiver.ended() == 0

"""Two processes, and a proxy between them that cuts their connection again and again under load."""

from __future__ import annotations

import ast
import asyncio
from contextlib import suppress

from tests.processes import running
from understudy.transport.network import parse_address

CUTS = 20
MESSAGES_A_CUT = 10_000
BYTES_BEFORE_A_CUT = 300_000
"""About a third of what 10,000 messages come to on the wire: each cut falls into the middle of them, and of a frame."""


class CuttingProxy:
    """Passes bytes between whoever connects and `target`, and cuts the connection, both ways at once, when told to."""

    def __init__(self, target: str) -> None:
        self.cuts = 0
        self._target = parse_address(target)
        self._before_cut = 0
        self._cut: asyncio.Future[None] | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"tcp://{host}:{port}"

    def cut_after(self, count: int) -> asyncio.Future[None]:
        """Cut once `count` more bytes came from whoever connects; the future is done then."""
        self._before_cut = count
        self._cut = asyncio.get_running_loop().create_future()
        return self._cut

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
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        ways = [
            asyncio.ensure_future(self._forth(reader, there_writer)),
            asyncio.ensure_future(self._back(there_reader, writer)),
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

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                self._before_cut -= len(data)
                if self._before_cut < 0 and self._cut is not None:
                    writer.write(data[: len(data) // 2])
                    self.cuts += 1
                    self._cut.set_result(None)
                    self._cut = None
                    return
                writer.write(data)
                await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()


async def cut_under_load(cuts: int) -> dict[str, int]:
    """Send MESSAGES_A_CUT messages per cut through a proxy that cuts the connection amid each lot; the receiver's report."""
    async with running("tests.system.cut_link", "receive") as receiver:
        proxy = CuttingProxy(await receiver.line())
        address = await proxy.start()
        try:
            async with running("tests.system.cut_link", "send", address) as sender:
                for _ in range(cuts):
                    cut = proxy.cut_after(BYTES_BEFORE_A_CUT)
                    await sender.say(str(MESSAGES_A_CUT))
                    await cut
                assert await sender.ended() == 0
                report: dict[str, int] = ast.literal_eval(sender.output)
        finally:
            await proxy.stop()
        assert await receiver.ended() == 0
        return report | {"sent": cuts * MESSAGES_A_CUT, "cuts": proxy.cuts}


async def test_a_link_cut_twenty_times_under_two_hundred_thousand_messages_loses_doubles_and_reorders_none() -> None:
    report = await cut_under_load(CUTS)
    assert report.pop("resent") > 0
    sent = CUTS * MESSAGES_A_CUT
    assert report == {"received": sent, "sent": sent, "cuts": CUTS, "lost": 0, "doubled": 0, "reordered": 0}

"""What every Connection promises to sessions, rooms and the fan-out, whatever client is at its other end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.asgi_helpers import Exchange
from tests.gateway_helpers import House, gateway
from tests.helpers import eventually
from tests.simulation.crowd import LINES, GuestConnection
from understudy.gateway import AsgiGateway
from understudy.gateway.connection import BEHIND, BUFFER_LIMIT, GOING_AWAY, LARGE_LIMIT, Connection, Tick
from understudy.simulation.sockets import VirtualSocket

FILLING = "x" * 16_000

UPGRADE = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
LISTEN = b"GET /topics/room:a/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Pair:
    """A connection, and the client at the other end, who reads only when `read` is called."""

    def __init__(self, connection: Connection, read: Callable[[], Awaitable[Any]]) -> None:
        self.connection = connection
        self._read = read

    def send(self, value: Any, latest: str | None = None) -> None:
        """An event whose payload is `{"v": value}`."""
        payload = json.dumps({"v": value}).encode()
        self.connection.send(self.connection.serializer.push(None, "room:a", "event", payload), latest)

    async def read(self) -> Any:
        """The value of the next event; None at the end of the connection."""
        async with asyncio.timeout(10.0):
            return await self._read()

    async def until(self, last: Any) -> list[Any]:
        """The values up to that one, without the filling."""
        values: list[Any] = []
        while (value := await self.read()) != last:
            assert value is not None, f"the connection ended after {values}"
            if value != FILLING:
                values.append(value)
        return values

    async def fall_behind(self) -> None:
        """Send filling until so much of it waits that the client is behind."""
        await asyncio.sleep(0)
        while True:
            for _ in range(3):
                await asyncio.sleep(0)
            if self.connection.buffered > BUFFER_LIMIT / BEHIND:
                return
            self.send(FILLING)


@asynccontextmanager
async def _raw(port: int, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """What the server says to a client whose kernel holds little. Reading goes on only while somebody reads."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=peer, limit=2048)
    try:
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        yield reader
    finally:
        writer.transport.abort()


@asynccontextmanager
async def websocket() -> AsyncIterator[Pair]:
    async with gateway() as served, _raw(served.port, UPGRADE) as reader:

        async def read() -> Any:
            try:
                opcode, size = await reader.readexactly(2)
                if size > 125:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
                text = await reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return None
            return None if opcode == 0x88 else json.loads(text)[4]["v"]

        await eventually(lambda: served.services.connections)
        (connection,) = served.services.connections
        yield Pair(connection, read)


@asynccontextmanager
async def event_stream() -> AsyncIterator[Pair]:
    async with gateway() as served, _raw(served.port, LISTEN) as reader:

        async def read() -> Any:
            try:
                size = int(await reader.readuntil(b"\r\n"), 16)
                text = (await reader.readexactly(size + 2)).decode()
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return None
            if not size:
                return None
            fields = dict(line.split(": ", 1) for line in text.strip().splitlines() if line)
            return json.loads(fields["data"])["v"] if fields["event"] == "event" else await read()

        (connection,) = served.services.connections
        yield Pair(connection, read)


@asynccontextmanager
async def simulated() -> AsyncIterator[Pair]:
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    rest = b""

    def receive(data: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            frame = json.loads(line)
            arrived.put_nowait(None if frame[3] == "goodbye" else frame[4]["v"])

    end = VirtualSocket(receive, lambda: arrived.put_nowait(None))
    end.pause_reading()

    async def read() -> Any:
        end.resume_reading()
        value = await arrived.get()
        end.pause_reading()
        return value

    yield Pair(GuestConnection(end, LINES, Tick(asyncio.get_running_loop())), read)


@asynccontextmanager
async def asgi_websocket() -> AsyncIterator[Pair]:
    async with _asgi("websocket", "/socket/websocket", "vsn=2.0.0") as (exchange, connection):

        async def read() -> Any:
            event = await exchange.take()
            return json.loads(event["text"])[4]["v"] if event and event["type"] == "websocket.send" else None

        yield Pair(connection, read)


@asynccontextmanager
async def asgi_event_stream() -> AsyncIterator[Pair]:
    async with _asgi("http", "/topics/room:a/events", "") as (exchange, connection):
        rest = b""

        async def read() -> Any:
            nonlocal rest
            while b"\n\n" not in rest:
                event = await exchange.take()
                if event is None or not event.get("more_body"):
                    return None
                rest += event["body"]
            text, _, rest = rest.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in text.decode().splitlines())
            return json.loads(fields["data"])["v"] if fields["event"] == "event" else await read()

        yield Pair(connection, read)


@asynccontextmanager
async def _asgi(kind: str, path: str, query: str) -> AsyncIterator[tuple[Exchange, Connection]]:
    """A connection through an ASGI server that takes nothing more unless somebody reads."""
    House.gates = {"at the door": asyncio.Event()}
    live = AsgiGateway("stage", topics={"room:*": House})
    exchange = Exchange(live, kind, path, query_string=query.encode())
    async with live.lifespan(), exchange.open():
        exchange.say("websocket.connect" if kind == "websocket" else "http.request", body=b"")
        await exchange.hear("websocket.accept" if kind == "websocket" else "http.response.start")
        exchange.takes.clear()
        services = live.system.whereis("gateway").actor.server.services
        await eventually(lambda: services.connections)
        (connection,) = services.connections
        yield exchange, connection


CONNECTIONS: dict[str, Callable[[], AbstractAsyncContextManager[Pair]]] = {
    "websocket": websocket,
    "event stream": event_stream,
    "WebSocket through ASGI": asgi_websocket,
    "event stream through ASGI": asgi_event_stream,
    "simulated": simulated,
}
"""Every implementation there is."""


@pytest.fixture(params=CONNECTIONS)
def kind(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Pair]]:
    return CONNECTIONS[request.param]


Kind = Callable[[], AbstractAsyncContextManager[Pair]]


async def test_frames_arrive_in_the_order_in_which_they_were_sent(kind: Kind) -> None:
    async with kind() as pair:
        for number in range(50):
            pair.send(number)
            if number % 7 == 0:
                await asyncio.sleep(0)
        assert [await pair.read() for _ in range(50)] == list(range(50))


async def test_who_reads_gets_every_value_of_a_conflated_event_in_order(kind: Kind) -> None:
    async with kind() as pair:
        for number in range(10):
            pair.send(number, latest="a")
            assert await pair.read() == number


async def test_who_is_behind_gets_the_latest_of_each_key_once_and_everything_else_in_order(kind: Kind) -> None:
    async with kind() as pair:
        await pair.fall_behind()
        for number in range(20):
            pair.send(f"a{number}", latest="a")
            pair.send(f"b{number}", latest="b")
            if number % 5 == 0:
                pair.send(number)
        held = pair.connection.buffered
        for number in range(20, 1000):
            pair.send(f"a{number}", latest="a")
        assert pair.connection.buffered < held + 100, "one frame is held per key"
        heard = await pair.until("a999")
        assert [value for value in heard if isinstance(value, int)] == [0, 5, 10, 15]
        assert [value for value in heard if isinstance(value, str)] in (["b19"], []), "only the latest of each"
        if "b19" not in heard:
            assert await pair.read() == "b19"
        pair.send("again", latest="a")
        assert await pair.read() == "again"


async def test_large_answers_that_are_read_slowly_are_not_taken_for_a_client_that_does_not_read(kind: Kind) -> None:
    async with kind() as pair:
        for number in range(3):
            pair.send(str(number) * (2 * BUFFER_LIMIT))
            pair.send(number)
            await asyncio.sleep(0)
        for number in range(3):
            assert await pair.read() == str(number) * (2 * BUFFER_LIMIT)
            assert await pair.read() == number


async def test_large_answers_are_bounded_too(kind: Kind) -> None:
    async with kind() as pair:
        await pair.fall_behind()
        for _ in range(100):
            pair.send("x" * BUFFER_LIMIT)
            assert pair.connection.buffered <= LARGE_LIMIT + 2 * BUFFER_LIMIT
            await asyncio.sleep(0)
        assert pair.connection.closed


async def test_a_client_that_does_not_read_costs_a_bounded_number_of_bytes_and_is_reset(kind: Kind) -> None:
    async with kind() as pair:
        await pair.fall_behind()
        most = 0
        while not pair.connection.closed:
            pair.send(FILLING)
            most = max(most, pair.connection.buffered)
            await asyncio.sleep(0)
        assert most <= BUFFER_LIMIT + 2 * len(FILLING)
        pair.send("late")
        while (value := await pair.read()) is not None:
            assert value != "late"


async def test_a_client_that_does_not_read_cannot_be_made_to_hold_much_by_keys_either(kind: Kind) -> None:
    async with kind() as pair:
        await pair.fall_behind()
        for number in range(100):
            pair.send(FILLING, latest=str(number))
            assert pair.connection.buffered <= 2 * BUFFER_LIMIT
        assert pair.connection.closed


async def test_a_goodbye_comes_after_all_that_was_said_before_it_held_values_too(kind: Kind) -> None:
    async with kind() as pair:
        await pair.fall_behind()
        pair.send("held", latest="a")
        pair.send("last")
        pair.connection.close(GOING_AWAY, "that was all")
        assert pair.connection.closed
        pair.send("late")
        heard = []
        while (value := await pair.read()) is not None:
            heard.append(value)
        assert sorted(value for value in heard if value != FILLING) == ["held", "last"]


async def test_after_a_reset_nothing_is_sent_and_nothing_raises(kind: Kind) -> None:
    async with kind() as pair:
        pair.connection.reset()
        pair.send("late")
        pair.send("late", latest="a")
        pair.connection.close(GOING_AWAY, "once more")
        pair.connection.reset()
        assert pair.connection.closed
        assert pair.connection.buffered == 0
        assert await pair.read() is None

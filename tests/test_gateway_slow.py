"""A client that does not read: it delays nobody, costs a bounded number of bytes, and is reset."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from tests.gateway_helpers import Served, gateway
from understudy.gateway import GetRefused, phoenix
from understudy.gateway.connection import BUFFER_LIMIT, SEND_BUFFER, SocketConnection, Tick
from understudy.gateway.serializers import PHOENIX, text_frame


async def deaf_member(served: Served, topic: str) -> socket.socket:
    """A WebSocket that joins and never reads a byte again. Its receive buffer is small, so that it is full soon."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(peer, ("127.0.0.1", served.port))
    await loop.sock_sendall(
        peer,
        b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )
    text = phoenix.encode("1", "1", topic, "phx_join", b"{}")
    masked = struct.pack("!BB4x", 0x81, 0x80 | len(text)) + text
    await loop.sock_sendall(peer, masked)
    return peer


async def test_clients_that_never_read_delay_nobody_cost_a_bounded_memory_and_are_reset() -> None:
    async with gateway() as served, served.client() as reader, served.client() as writer:
        await reader.join("room:a")
        await writer.join("room:a")
        deaf = [await deaf_member(served, "room:a") for _ in range(5)]
        while (await writer.join("room:a", join_ref="again"))[1]["members"] < 6:
            pass
        services = served.services
        largest = 0
        for round_ in range(400):  # 400 x 16 KiB: 6.4 MB for each, much more than its buffers hold
            await writer.send(None, str(round_), "room:a", "flood", {"times": 1, "size": 16_000})
            assert (await reader.event("room:a", "heard"))["number"] == 0
            largest = max(largest, max(connection.buffered for connection in services.connections))
        assert len(services.connections) == 2, "the deaf ones are gone"
        assert largest <= BUFFER_LIMIT
        assert await served.ref.call(GetRefused()) == {"too_slow": 5}
        for peer in deaf:
            assert await read_to_the_end(peer) == "reset"
            peer.close()
        await writer.ask("room:a", "shout", {})
        assert (await reader.join("room:b", join_ref="2"))[0] == "ok"


async def read_to_the_end(peer: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(peer, 1 << 16):
            pass
    except ConnectionResetError:
        return "reset"
    return "closed"


class Wire(asyncio.Transport):
    """A transport that takes what it is given and can be told how much of that still waits."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.waiting = 0
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.aborted:
            raise RuntimeError("unable to perform operation on a closed transport")
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def next_turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_is_sent_in_one_tick_is_one_write_in_order(wire: Wire) -> None:
    connection = SocketConnection(wire, PHOENIX, Tick(asyncio.get_running_loop()))
    for frame in (b"one ", b"two ", b"three"):
        connection.send(frame)
    assert wire.written == []
    await next_turn()
    assert wire.written == [b"one two three"]
    connection.send(b"four")
    await next_turn()
    assert wire.written == [b"one two three", b"four"]


async def test_a_connection_over_its_limit_is_reset_and_takes_nothing_more(wire: Wire) -> None:
    connection = SocketConnection(wire, PHOENIX, Tick(asyncio.get_running_loop()), limit=100)
    wire.waiting = 90
    connection.send(b"x" * 20)
    await next_turn()
    assert (wire.aborted, connection.closed, wire.written) == (True, True, [])
    connection.send(b"late")
    await next_turn()
    assert connection.buffered == 90


async def test_a_frame_larger_than_the_limit_reaches_a_client_that_reads(wire: Wire) -> None:
    connection = SocketConnection(wire, PHOENIX, Tick(asyncio.get_running_loop()), limit=100)
    connection.send(b"x" * 500)
    await next_turn()
    assert wire.written == [b"x" * 500]
    assert not connection.closed


async def test_a_transport_that_was_closed_meanwhile_harms_nobody(wire: Wire) -> None:
    tick = Tick(asyncio.get_running_loop())
    gone, here = SocketConnection(wire, PHOENIX, tick), SocketConnection(Wire(), PHOENIX, tick)
    gone.send(b"x")
    here.send(b"x")
    wire.abort()
    await next_turn()
    assert gone.closed
    assert not here.closed


async def test_ten_thousand_writes_give_the_loop_its_turn_in_between() -> None:
    loop = asyncio.get_running_loop()
    tick = Tick(loop)
    connections = [SocketConnection(Wire(), PHOENIX, tick) for _ in range(2500)]
    for connection in connections:
        connection.send(b"x")
    await asyncio.sleep(0)
    assert sum(not connection.buffered for connection in connections) in range(1, 2500)
    await next_turn()
    await next_turn()
    assert all(connection.buffered == 0 for connection in connections)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_text_frame_says_its_length_as_websocket_does(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    match frame[1]:
        case 126:
            head, length = 4, int.from_bytes(frame[2:4], "big")
        case 127:
            head, length = 10, int.from_bytes(frame[2:10], "big")
        case short:
            head, length = 2, short
    assert length == size == len(frame) - head


def test_the_kernel_is_not_to_hide_a_deaf_client() -> None:
    assert SEND_BUFFER < BUFFER_LIMIT


async def test_what_waits_for_an_instant_is_no_client_that_is_behind(wire: Wire) -> None:
    """uvloop writes at the end of its turn: a keystroke of that turn must not be held for that."""
    connection = SocketConnection(wire, PHOENIX, Tick(asyncio.get_running_loop()))
    wire.waiting = 2_000
    connection.send(b"one", latest="key")
    connection.send(b"two", latest="key")
    await next_turn()
    assert wire.written == [b"onetwo"]

"""WebSocket framing at the real port: the cases of fixtures/framing.json, made after the Autobahn list (1 to 7).

A case sends frames and says what has to come back. A frame is `{"opcode", "hex", "fin", "rsv"}`, or a message of the protocol:
`{"echo": n}` a push of n bytes in all (filled with `of`), `{"bytes": n}` a binary one with n bytes of data; `part` takes
some of its bytes. `chop` sends so many bytes at a time, `apart` a frame at a time, `then` follows once all that came back. What comes back is "echo" or "bytes", the
answer to such a push; `{"pong": hex}`; or `{"close": code}`, one of several perhaps, and then the end of the connection.
"""

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_helpers import PATIENCE, Served, gateway

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures" / "framing.json").read_text())

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

UPGRADE = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Raw:
    """A client that sends what it is told, and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes, chop: int | None = None) -> None:
        size = chop or len(data)
        for at in range(0, len(data), size):
            self.writer.write(data[at : at + size])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def receive(self) -> tuple[int, bytes]:
        """The opcode and the payload of the next frame."""
        async with asyncio.timeout(PATIENCE):
            first, size = await self.reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 15, await self.reader.readexactly(size)

    async def ended(self) -> bool:
        """Whether the server says nothing more and ends the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def raw(served: Served, room: str) -> AsyncIterator[Raw]:
    """A client that is through the handshake and in a room."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        client = Raw(reader, writer)
        await client.send(frame({"opcode": TEXT, "hex": f'["j","j","{room}","phx_join",{{}}]'.encode().hex()}))
        assert b'"status":"ok"' in (await client.receive())[1]
        yield client
    finally:
        writer.close()


def message(spec: dict[str, Any]) -> tuple[int, bytes]:
    """The opcode and the whole payload of what a frame is, or is a part of."""
    if "echo" in spec:
        head, tail = b'["j","1","room:a","echo",{"x":"', b'"}]'
        filling = spec.get("of", "*").encode()
        room = spec["echo"] - len(head) - len(tail)
        return TEXT, head + filling + b"." * (room - len(filling)) + tail
    if "bytes" in spec:
        return BINARY, b"\x00\x01\x01\x06\x04j1room:aecho" + data_of(spec["bytes"])
    return spec["opcode"], bytes.fromhex(spec["hex"])


def data_of(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def frame(spec: dict[str, Any]) -> bytes:
    """The frame as a client sends it, masked."""
    opcode, payload = message(spec)
    if "part" in spec:
        payload = payload[slice(*spec["part"])]
    first = (spec.get("fin", True) << 7) | (spec.get("rsv", 0) << 4) | spec.get("opcode", opcode)
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 128 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 128 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 128 | 127, size)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def check(client: Raw, expected: Any, sent: dict[str, Any]) -> None:
    """That this, and nothing else, is what comes next; `sent` is the push it may answer."""
    opcode, payload = await client.receive()
    match expected:
        case "echo":
            assert opcode == TEXT
            assert json.loads(payload)[4] == {"status": "ok", "response": json.loads(message(sent)[1])[4]}
        case "bytes":
            assert (opcode, payload) == (BINARY, b"\x01\x01\x01\x06\x02j1room:aok" + data_of(sent["bytes"]))
        case {"pong": hex_}:
            assert (opcode, payload.hex()) == (PONG, hex_)
        case {"close": codes}:
            code = int.from_bytes(payload[:2], "big") if payload else 1005
            assert opcode == CLOSE
            assert code in (codes if isinstance(codes, list) else [codes])
            assert await client.ended(), "nothing follows a close"


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
async def test_framing_is_as_the_standard_says(case: dict[str, Any]) -> None:
    async with gateway() as served, raw(served, "room:a") as client, raw(served, "room:b") as bystander:
        for step in (case, case["then"]) if "then" in case else (case,):
            await take(step, client)
        await bystander.send(frame({"opcode": PING, "hex": "70"}))
        await check(bystander, {"pong": "70"}, {})


async def take(step: dict[str, Any], client: Raw) -> None:
    """Send what a step of a case sends, and see that what comes back is right."""
    frames = [frame(spec) for spec in step["send"]]
    try:
        for data in frames if step.get("apart") else [b"".join(frames)]:
            await client.send(data, step.get("chop"))
    except ConnectionError:
        pass  # it was cut before the end
    push: dict[str, Any] = next((spec for spec in step["send"] if "echo" in spec or "bytes" in spec), {})
    for expected in step["expect"]:
        await check(client, expected, push)

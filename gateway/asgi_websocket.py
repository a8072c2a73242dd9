"""One WebSocket that came through an ASGI server. Frames are taken apart here and put together there once more.

    websocket.connect   ──>  GET /socket/websocket HTTP/1.1, Upgrade
    websocket.accept    <──  HTTP/1.1 101
    websocket.receive   ──>  a masked frame
    websocket.send      <──  frames, however many the fan-out wrote in one piece
    websocket.close     <──  a close frame, which is answered at once: the client's own answer the server keeps to itself

That is part of the price: ASGI has no word for bytes that are a frame already.
"""

import asyncio
from collections.abc import Callable, Iterator

from understudy.gateway.asgi_http import HOP_BY_HOP, Head, answer, read_head, request_head
from understudy.gateway.asgi_pipe import Pipe, Receive, Scope, Send, carry

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
"""Opcodes."""

KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
"""Any key will do: the handshake with the client is the server's."""

NO_CODE = 1005
"""What a close without a code is called."""

DENIED = 1008
"""What a refused handshake is closed with; where the server knows no better the client sees a plain 403."""


async def serve_websocket(connect: Callable[[], asyncio.Protocol], scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket until either side closes it."""
    headers = [
        (bytes(name), bytes(value))
        for name, value in scope["headers"]
        if bytes(name).lower() not in HOP_BY_HOP and not bytes(name).lower().startswith(b"sec-websocket-")
    ]
    headers += [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", KEY),
    ]
    if protocols := scope.get("subprotocols"):
        headers.append((b"sec-websocket-protocol", ", ".join(protocols).encode()))
    head = request_head(scope, "GET", headers, b"1.1")

    async def inward(pipe: Pipe) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        await pipe.feed(head)
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text")
            if text is not None:
                await pipe.feed(masked(TEXT, text.encode()))
            else:
                await pipe.feed(masked(BINARY, event["bytes"]))

    async def outward(pipe: Pipe) -> None:
        head = await read_head(pipe)
        if head is None or head.status != 101:
            await _deny(pipe, scope, send, head)
            return
        protocol = next((value.decode() for name, value in head.headers if name == b"sec-websocket-protocol"), None)
        others = [(name, value) for name, value in head.headers if name not in HANDSHAKE]
        await send({"type": "websocket.accept", "subprotocol": protocol, "headers": others})
        frames, closed, rest = Frames(), False, head.rest
        while rest or (rest := await pipe.read()):
            for opcode, payload in frames.feed(rest):
                if opcode == TEXT:
                    await send({"type": "websocket.send", "text": payload.decode()})
                elif opcode == BINARY:
                    await send({"type": "websocket.send", "bytes": payload})
                elif opcode == PING:  # the server in front has its own way to find out whether the client lives
                    pipe.say(masked(PONG, payload))
                elif opcode == CLOSE and not closed:
                    closed = True
                    pipe.say(masked(CLOSE, payload))
                    code = int.from_bytes(payload[:2], "big") if payload else NO_CODE
                    await send({"type": "websocket.close", "code": code, "reason": payload[2:].decode()})
            rest = b""

    await carry(connect, scope, inward, outward)


HANDSHAKE = frozenset(
    (
        b"connection",
        b"content-length",
        b"content-type",
        b"date",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"server",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers of our handshake that are not the client's business."""


async def _deny(pipe: Pipe, scope: Scope, send: Send, head: Head | None) -> None:
    """The handshake was answered with an HTTP error, which the client gets where the server can say it."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await answer(pipe, send, "websocket.http.response", head)
    else:
        reason = f"HTTP status {head.status}" if head is not None else "cut off"
        await send({"type": "websocket.close", "code": DENIED, "reason": reason})


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame. Masked with zeros: it is the form that counts, nobody stands in between."""
    size = len(payload)
    if size < 126:
        return b"%c%c\0\0\0\0%b" % (0x80 | opcode, 0x80 | size, payload)
    if size < 65536:
        return b"%c\xfe%b\0\0\0\0%b" % (0x80 | opcode, size.to_bytes(2, "big"), payload)
    return b"%c\xff%b\0\0\0\0%b" % (0x80 | opcode, size.to_bytes(8, "big"), payload)


class Frames:
    """Takes apart what a server writes: whole messages, unmasked, uncompressed, in pieces of whatever size."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are complete now: opcode and payload."""
        data, self._rest = self._rest + data, b""
        at = 0
        while len(data) >= at + 2:
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if len(data) < begin + size:
                break
            yield data[at] & 0x0F, data[begin : begin + size]
            at = begin + size
        self._rest = data[at:]

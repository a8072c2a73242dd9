"""Clients mask what they send, or they are no WebSocket clients: RFC 6455, 5.1. aiohttp takes unmasked frames, too.

    socket ──> Masks: walks from one frame's head to the next ──> aiohttp's reader ──> messages
                 │
                 └─ a head without a mask: close code 1002, and nothing more is read

The mask keeps a page from choosing the bytes that go out of a browser, and so from speaking to a proxy that takes them for
requests. Whoever leaves it out is no browser, and where the next frame begins is then anybody's guess.
"""

from typing import Any, cast

from aiohttp import WebSocketError, WSCloseCode, web
from aiohttp.web_request import BaseRequest

MASKED, SIZE = 0x80, 0x7F
"""Of a head's second byte."""

SHORT, LONG = 126, 127
"""Sizes that stand for two, and for eight bytes of size that follow."""


class Masks:
    """Passes on to `reader` what comes, as long as each frame in it is masked. It and `messages`, its queue, are aiohttp's."""

    def __init__(self, reader: Any, messages: Any) -> None:
        self._reader = reader
        self._messages = messages
        self._head = b""
        self._left = 0
        self._refused = False

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """What aiohttp calls with whatever the socket had."""
        if self._refused:
            return True, b""
        if not self._masked(data):
            self._refused = True
            self._messages.set_exception(WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a client masks its frames"))
            return True, b""
        return cast("tuple[bool, bytes]", self._reader.feed_data(data))

    def _masked(self, data: bytes) -> bool:
        data = self._head + data  # a head that has come in part, or nothing: then this copies nothing
        at, end = self._left, len(data)
        while end - at >= 2:
            second = data[at + 1]
            if not second & MASKED:
                return False
            size, head = second & SIZE, 6
            if size == SHORT:
                size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 8
            elif size == LONG:
                size, head = int.from_bytes(data[at + 2 : at + 10], "big"), 14
            if end - at < head:
                break
            at += head + size
        self._head = data[at:]
        self._left = max(0, at - end)
        return True


class MaskedSocket(web.WebSocketResponse):
    """A WebSocket whose client masks its frames."""

    def _post_start(self, request: BaseRequest, protocol: str | None, writer: Any) -> None:
        # Where aiohttp gives its reader what came together with the request, and all that comes later.
        connection = request.protocol
        early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, protocol, writer)
        masks = Masks(self._parser, self._reader)
        connection._payload_parser = cast("Any", masks)
        if early:
            masks.feed_data(early)

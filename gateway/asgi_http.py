"""One HTTP request that came through an ASGI server, said to aiohttp as HTTP/1.0.

    scope, http.request ...  ──>  POST /topics/lobby/publish HTTP/1.0 ... body
    http.response.start, .body ...  <──  HTTP/1.0 200 OK ... body, up to the end of the connection

1.0, since then neither side has anything to do with chunks: the server in front puts them around what we say, if at all.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

from understudy.gateway.asgi_pipe import Pipe, Receive, Scope, Send, carry

HOP_BY_HOP = frozenset(
    (b"connection", b"expect", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""Headers between the client and the server in front, which has seen to them."""

OURS_ALONE = frozenset((b"connection", b"date", b"keep-alive", b"server", b"transfer-encoding"))
"""Headers of an answer that the server in front gives its own of."""


class NotHttp(ValueError):
    """A request that cannot be written down as one."""


async def serve_http(connect: Callable[[], asyncio.Protocol], scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request. Raises NotHttp for one that has line ends where none can be."""
    chunked = _is_chunked(scope)
    extra = [(b"transfer-encoding", b"chunked")] if chunked else []
    head = request_head(scope, scope["method"], [*_passed_on(scope["headers"], HOP_BY_HOP), *extra])

    async def inward(pipe: Pipe) -> None:
        await pipe.feed(head)
        while (event := await receive())["type"] == "http.request":
            body, more = event.get("body", b""), event.get("more_body", False)
            if chunked:
                body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
            if body:
                await pipe.feed(body)

    async def outward(pipe: Pipe) -> None:
        await answer(pipe, send, "http.response", await read_head(pipe))

    await carry(connect, scope, inward, outward)


def request_head(scope: Scope, method: str, headers: Iterable[tuple[bytes, bytes]], version: bytes = b"1.0") -> bytes:
    """The first line and the headers of a request, up to the empty line. Raises NotHttp."""
    query = scope.get("query_string", b"")
    lines = [b"%b %b%b HTTP/%b" % (method.encode(), target(scope), b"?" + query if query else b"", version)]
    lines += [b"%b: %b" % header for header in headers]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise NotHttp("a line end in a request's address or headers")
    return b"\r\n".join([*lines, b"", b""])


def target(scope: Scope) -> bytes:
    """The path below that at which we are mounted, percent-encoded as the client wrote it if that is known."""
    root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    raw: bytes | None = scope.get("raw_path")
    if raw is not None:
        raw = raw.partition(b"?")[0]
        encoded = quote(root).encode()
        if raw.startswith(encoded) and raw[len(encoded) : len(encoded) + 1] == b"/":
            return raw[len(encoded) :]
    below = path[len(root) :] if path == root or path.startswith(root + "/") else path
    return quote(below, safe="/:@!$&'()*+,;=~").encode() or b"/"


class Head(NamedTuple):
    """An answer's status, its headers with names in lower case, and what was read of what follows."""

    status: int
    headers: list[tuple[bytes, bytes]]
    rest: bytes


async def answer(pipe: Pipe, send: Send, kind: str, head: Head | None) -> None:
    """Pass on an answer as `kind`.start and `kind`.body events; nothing if it was cut off before it began."""
    if head is None:
        return
    status, headers, body = head
    await send({"type": f"{kind}.start", "status": status, "headers": _passed_on(headers, OURS_ALONE)})
    while body or (body := await pipe.read()):
        await send({"type": f"{kind}.body", "body": body, "more_body": True})
        body = b""
    await send({"type": f"{kind}.body", "body": b"", "more_body": False})


async def read_head(pipe: Pipe) -> Head | None:
    """The beginning of an answer, up to its empty line; None if the connection ended before."""
    read = b""
    while (end := read.find(b"\r\n\r\n")) < 0:
        more = await pipe.read()
        if not more:
            return None
        read += more
    line, *lines = read[:end].split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return Head(int(line.split(b" ", 2)[1]), headers, read[end + 4 :])


def _is_chunked(scope: Scope) -> bool:
    """Whether a body of unknown length may come. Without both headers HTTP/1 has none; later versions need neither."""
    names = {name for name, _ in scope["headers"]}
    if b"content-length" in names:
        return False
    later = not scope.get("http_version", "1.1").startswith("1") and scope["method"] not in ("GET", "HEAD", "OPTIONS")
    return later or b"transfer-encoding" in names


def _passed_on(headers: Any, without: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in headers if bytes(name).lower() not in without]

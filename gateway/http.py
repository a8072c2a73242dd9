"""What the HTTP endpoints share: who may ask from where, and how errors and pages look.

An error is JSON with a code for programs and a sentence for people:
    {"error": {"code": "not_found", "message": "GET /nothing: Not Found", "retry": false}}
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from understudy.gateway.refusals import REFUSALS


class _OnlyOurMistakes(logging.Filter):
    """A client that speaks no HTTP is answered with 400. That is no error of ours, and a log that strangers fill is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


server_log = logging.getLogger("understudy.gateway.server")
"""aiohttp's own."""
server_log.addFilter(_OnlyOurMistakes())

TEXT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
"""What the standard library knows of these differs between versions and machines; browsers go by it, told not to sniff."""

SERVER = "understudy"
"""What responses say they come from: not which version of what, for those who look for old ones."""

PASSING = frozenset({408, 425, 429, 502, 503, 504})
"""HTTP's statuses that say: try again."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpError(Exception):
    """Raised by a handler: the client gets `status` and `{"error": {"code": code, "message": message, "retry": retry}}`.

    `retry_after`: seconds after which it may try again, another server first. `retry` is what the table says of the code;
    of one that is not in it: true for what HTTP takes for passing (408, 425, 429, 502, 503, 504).
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        self.retry = REFUSALS[code].retry if code in REFUSALS else status in PASSING


def refused(
    code: str, message: str | None = None, *, retry_after: int | None = None, headers: Mapping[str, str] | None = None
) -> HttpError:
    """A refusal of the table, for whoever asked over HTTP."""
    refusal = REFUSALS[code]
    return HttpError(refusal.status, code, message or refusal.sentence, retry_after=retry_after, headers=headers)


class Origins:
    """Which pages may use the gateway from a browser: those of the gateway's own host, and the allowed ones.

    `allowed` holds origins like "https://chat.example.org", or "*" for any. Programs that send no Origin may.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(allowed)
        for origin in self.allowed - {"*"}:
            url = URL(origin)
            if not url.scheme or not url.host or str(url.origin()) != origin:
                raise ValueError(f"an allowed origin looks like 'https://example.org' or is '*', not {origin!r}")

    def hosts(self) -> set[str]:
        """The hosts of the allowed origins."""
        return {URL(origin).host_subcomponent or "" for origin in self.allowed - {"*"}}

    def check(self, request: web.Request) -> None:
        """Raise HttpError for a request from a foreign page."""
        if "*" not in self.allowed and not self.knows(request):
            origin = request.headers["Origin"]
            raise refused(
                "origin_refused",
                f"pages of {origin[:200]} may not use this gateway; its owner can allow them with origins=[...]",
            )

    def knows(self, request: web.Request) -> bool:
        """Whether it is from no page, one of our own or one that is allowed by name: what browsers send along unasked counts."""
        origin = request.headers.get("Origin")
        # The host is compared, not the scheme: a proxy that speaks TLS stands between https:// there and http:// here.
        return origin is None or origin in self.allowed or origin.partition("://")[2] == request.host


HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^][:/@?#\s]+)(?::\d*)?")
"""A Host header: a name or an address, and perhaps a port."""


class Hosts:
    """Under which names the gateway may be asked.

    A page elsewhere can have its own name resolve to 127.0.0.1 (DNS rebinding): for the browser it then talks to its own
    server, and its Origin agrees with its Host. So while the gateway listens on a loopback address, `bound`, it answers
    to loopback names only, to `allowed` ones like "chat.example.org", and to the hosts of allowed origins. Elsewhere it
    answers to any, unless some are named.
    """

    def __init__(self, bound: str, allowed: Iterable[str], origins: Origins) -> None:
        named = {name.lower() for name in allowed}
        for name in named:
            match = HOST.fullmatch(name)
            if match is None or match[1] != name:
                raise ValueError(f"an allowed host is a name without scheme and port like 'example.org', not {name!r}")
        self.allowed = named | origins.hosts()
        self.any = not is_loopback(bound) and not named

    def check(self, request: web.Request) -> None:
        """Raise HttpError for a request to a foreign name. One that names no host comes from no browser."""
        host = request.headers.get("Host")
        if self.any or host is None:
            return
        match = HOST.fullmatch(host)
        if match is None or not (is_loopback(match[1]) or match[1].lower() in self.allowed):
            raise refused(
                "host_refused",
                f"this gateway does not answer as {host[:200]}; its owner can allow that name with hosts=[...]",
            )


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in an address, can only be this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class Mount:
    """The files of `folder` are served under `prefix` ("/" or "/chat"); a folder's page is its index.html."""

    prefix: str
    folder: Path

    def __post_init__(self) -> None:
        if not self.prefix.startswith("/") or (len(self.prefix) > 1 and self.prefix.endswith("/")):
            raise ValueError(f"a mount's prefix is '/' or like '/chat', not {self.prefix!r}")
        if not self.folder.is_dir():
            raise ValueError(f"the pages for {self.prefix} should be in {self.folder}, which is no folder")


def page_routes(mounts: Sequence[Mount]) -> list[web.RouteDef]:
    """Routes for static pages, the longest prefix first."""
    routes: list[web.RouteDef] = []
    for mount in sorted(mounts, key=lambda mount: -len(mount.prefix)):
        beginning = mount.prefix.rstrip("/")
        if beginning:
            routes.append(web.get(beginning, _redirect_to(beginning + "/")))
        routes.append(web.get(beginning + "/{path:.*}", _serve(mount.folder.resolve())))
    return routes


def _redirect_to(location: str) -> Handler:
    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=308, headers={"Location": location})

    return redirect


def _serve(folder: Path) -> Handler:
    async def page(request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if not path or path.endswith("/"):
            path += "index.html"
        file = _find(folder, path)
        if file is None:
            raise HttpError(404, "not_found", f"there is no page {request.path}")
        # Asked for again each time and answered with 304 while it is the same: no build step, no stale scripts.
        headers = {"Cache-Control": "no-cache"}
        if file.suffix in TEXT_TYPES:
            headers["Content-Type"] = f"{TEXT_TYPES[file.suffix]}; charset=utf-8"
        return web.FileResponse(file, headers=headers)

    return page


def _find(folder: Path, path: str) -> Path | None:
    """The file, if it is one, is inside of `folder` and none of its names begins with a dot."""
    try:
        file = (folder / path).resolve()
        hidden = any(name.startswith(".") for name in path.split("/"))
        return file if file.is_relative_to(folder) and file.is_file() and not hidden else None
    except (ValueError, OSError):  # a zero byte, a name too long for the file system
        return None


def json_answer(data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`data` as JSON, ended by a newline: `curl` then leaves the terminal's prompt on a line of its own."""
    return web.json_response(text=json.dumps(data) + "\n", status=status, headers=headers)


def error_response(error: HttpError) -> web.Response:
    """An HttpError as the client gets it."""
    said = {"code": error.code, "message": error.message, "retry": error.retry}
    return json_answer({"error": said}, status=error.status, headers=error.headers)

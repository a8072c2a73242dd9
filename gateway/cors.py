"""Pages of other origins: what a browser has to be told so that it lets them read our answers.

    page of https://shop.example      browser                                    gateway, origins=["https://shop.example"]
      fetch(publish, token) ──────────> OPTIONS, may it? ──────────────────────> 204, Access-Control-Allow-...
                                        POST ──────────────────────────────────> 200, Access-Control-Allow-Origin

The allow-list is that of `Origins`, which also refuses what foreign pages send; this only lets allowed ones read. Cookies go
with it for origins that are listed by name, never for "*". WebSockets know nothing of all this.
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from understudy.gateway.http import Handler, Origins

MAX_AGE = 600
"""Seconds for which a browser remembers what it was allowed. Chromium's own limit is two hours."""

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"

HEADERS = "Authorization, Content-Type, Last-Event-ID"
"""Headers that a page may send, beside those that any page may."""

EXPOSED = "Retry-After"
"""Headers of an answer that a page may read, beside those that any page may."""


def grants(origins: Origins, request: web.BaseRequest) -> dict[str, str]:
    """The headers by which a browser lets the page read the answer; none for a page that may not."""
    if not origins.allowed:
        return {}
    origin = request.headers.get(hdrs.ORIGIN)
    said: dict[str, str] = {hdrs.VARY: hdrs.ORIGIN}  # a cache must not give one page's answer to another
    if origin is not None and origin in origins.allowed:
        said |= {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin, hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS: "true"}
    elif origin is not None and "*" in origins.allowed:
        said |= {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
    if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in said:
        said[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED
    return said


def answer_preflights(origins: Origins) -> Middleware:
    """A middleware: OPTIONS by which a browser asks on behalf of a page is answered here, whatever the address."""

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != hdrs.METH_OPTIONS or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return await handler(request)
        response = web.Response(status=204)
        if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in grants(origins, request):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = METHODS
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = HEADERS
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(MAX_AGE)
        return response

    return answered


def grant(origins: Origins) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """For `app.on_response_prepare`: errors, pages and streams too."""

    async def granted(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in grants(origins, request).items():
            if name == hdrs.VARY and name in response.headers:
                value = f"{response.headers[name]}, {value}"
            response.headers[name] = value

    return granted

"""What is done around every HTTP request, a WebSocket's first one included.

    under which name, from which page, how often ──> body, in time ──> handler, in time ──> answer, or error as JSON
                        421, 403, 429                 408, 413, 415        503                  counted by code

A handler has a deadline until its answer begins. It is the deadline of the calls it makes, too (a call never waits longer than
the request at hand may), so what a slow answer waited for is known by name and stands in the log.
"""

import asyncio
import logging
import math

from aiohttp import web

from understudy.actors import CallError, DeadlineExceeded, current_request
from understudy.actors.envelope import Envelope
from understudy.gateway.http import SERVER, Handler, HttpError, error_response, refused
from understudy.gateway.limits import block, is_local
from understudy.gateway.services import SERVICES, Services

log = logging.getLogger("understudy.gateway")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every response; one that a handler set itself stays."""

MARGIN = 0.25
"""Seconds that a handler has to answer after a call of its own has failed for lack of time."""

TIMEOUT: web.RequestKey[asyncio.Timeout] = web.RequestKey("timeout", asyncio.Timeout)
"""Of a request whose answer has not begun."""


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The middleware."""
    services = request.app[SERVICES]
    try:
        services.hosts.check(request)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            services.origins.check(request)
        _check_rate(services, request)
        if request.can_read_body:
            await _read_body(services, request)
        return await _answer(services, request, handler)
    except HttpError as error:
        return _refuse(services, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        said = f"{request.method} {request.path}: {error.reason}"
        response = _refuse(services, HttpError(error.status, code, said))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except CallError as error:
        log.warning("%s %s: %s", request.method, request.path, error)
        code = "handler_too_slow" if isinstance(error, DeadlineExceeded) and error.inherited else "unavailable"
        return _refuse(services, refused(code, f"try again later: {error}"))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _refuse(services, refused("internal_error"))


def _refuse(services: Services, error: HttpError) -> web.Response:
    services.refused[error.code] += 1
    return error_response(error)


def _check_rate(services: Services, request: web.Request) -> None:
    address = services.address(request)
    now = services.loop.time()
    if not is_local(address) and (bucket := services.requests.of(block(address), now)) and not bucket.take(1, now):
        raise refused("rate_limited", retry_after=math.ceil(bucket.wait(1, now)))


async def _read_body(services: Services, request: web.Request) -> None:
    """Read it here, where it is timed: handlers then find it read."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise refused("encoding_unsupported")  # what is small here may be huge once it is unpacked
    try:
        async with asyncio.timeout(services.limits.body_deadline):
            await request.read()
    except TimeoutError:
        sentence = f"the body was not complete within {services.limits.body_deadline:g} s"
        raise refused("body_too_slow", sentence) from None


async def _answer(services: Services, request: web.Request, handler: Handler) -> web.StreamResponse:
    allowed = services.limits.answer_deadline
    token = current_request.set(Envelope(request, deadline=services.loop.time() + allowed))
    timeout = asyncio.timeout(allowed + MARGIN)
    try:
        async with timeout:
            request[TIMEOUT] = timeout
            return await handler(request)
    except TimeoutError as error:
        if isinstance(error, CallError) or not timeout.expired():
            raise
        log.warning("%s %s: no answer within %g s; no actor was waited for", request.method, request.path, allowed)
        raise refused("handler_too_slow") from None
    finally:
        del request[TIMEOUT]
        current_request.reset(token)


async def prepare(request: web.Request, response: web.StreamResponse) -> None:
    """For `app.on_response_prepare`: the answer begins, and may take as long as it takes."""
    if (timeout := request.get(TIMEOUT)) and not timeout.expired():
        timeout.reschedule(None)
        current_request.set(None)
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER

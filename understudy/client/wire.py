"""What a socket needs of a WebSocket, and the real one. Tests put their own in its place (`connect(url, dial=...)`)."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import aiohttp

from understudy.client.errors import NotConnected
from understudy.client.patience import after_status

AUTH_PROTOCOL = "base64url.bearer.phx."
"""What Phoenix writes before a token that travels among the sub-protocols, where no log of addresses sees it."""

CLOSE_TIMEOUT = 2.0
"""Seconds that the server has to answer our goodbye."""

ABNORMAL = 1006
"""The close code of a connection that ended without a goodbye."""


CODE = re.compile("[a-z]+(?:_[a-z]+)*")


class Closed(NamedTuple):
    """The connection ended: a WebSocket close code, and what was said with it."""

    code: int
    reason: str

    def error(self, *, retry: bool) -> NotConnected:
        """The end as an error. A reason is "code: sentence" where the gateway refused something, else any text."""
        code, colon, sentence = self.reason.partition(": ")
        if not colon or not CODE.fullmatch(code):
            code, sentence = "", self.reason or "connection lost"
        return NotConnected(sentence, status=self.code, code=code, retry=retry)


class Wire(Protocol):
    """One open connection."""

    async def send(self, data: str | bytes) -> None:
        """Send a frame; waits while the server does not read. Raises ConnectionError when it is closed."""
        ...

    async def receive(self) -> str | bytes | Closed:
        """The next frame, or the end."""
        ...

    async def close(self) -> None:
        """Say goodbye, and end."""
        ...


Dial: TypeAlias = Callable[[str, Mapping[str, str], str | None], Awaitable[Wire]]
"""Opens a connection to an address, with headers and a token. Raises NotConnected."""


class WebSocket:
    """A Wire over aiohttp's client."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket

    async def send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            await self._socket.send_str(data)
        else:
            await self._socket.send_bytes(data)

    async def receive(self) -> str | bytes | Closed:
        message = await self._socket.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                data: str | bytes = message.data
                return data
            case aiohttp.WSMsgType.CLOSE:
                return Closed(message.data, message.extra or "")
            case _:
                return Closed(self._socket.close_code or ABNORMAL, "connection lost")

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._socket.close()
        except TimeoutError:
            pass  # it does not answer; the socket is closed by now
        finally:
            await self._session.close()


async def dial(url: str, headers: Mapping[str, str], token: str | None) -> Wire:
    """A WebSocket to a gateway. Raises NotConnected."""
    protocols = ["phoenix"]
    if token is not None:
        protocols.append(AUTH_PROTOCOL + base64.urlsafe_b64encode(token.encode()).decode().rstrip("="))
    session = aiohttp.ClientSession(headers=headers)
    try:
        socket = await session.ws_connect(
            url,
            protocols=protocols,
            max_msg_size=0,
        )
    except aiohttp.WSServerHandshakeError as error:
        await session.close()
        why = f"{url} refused the connection with HTTP {error.status} {error.message}"
        raise NotConnected(why, status=error.status, retry=after_status(error.status) == "retry") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        await session.close()
        raise NotConnected(f"cannot connect to {url}: {error}") from error
    except asyncio.CancelledError:
        await session.close()
        raise
    return WebSocket(session, socket)

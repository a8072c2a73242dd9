"""One connection to a gateway, kept alive: heartbeats, reconnection, and the joins of its channels after each.

    connect ──> open ──cut──> waiting (backoff with chance in it) ──> open ...
                  │                 └─ the server does not want us back ──> closed
                  │ "reconnect" {"within": ms}: a server that is about to go asks everybody to come back at a moment of
                  │                             their own within that time
                  └─ close() ──> closed

A lost connection is nobody's error: it shows in `state`, and in what takes longer.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

from yarl import URL

from understudy.actors.world import World
from understudy.client import wire as real
from understudy.client.channel import Channel, Cursor, settle
from understudy.client.errors import NotConnected, PushRefused, PushTimeout
from understudy.client.frames import Frame, decode, encode
from understudy.client.patience import SPREAD, after_close, backoff
from understudy.client.wire import ABNORMAL, Closed, Dial, Wire

SOCKET_TOPIC = "phoenix"
"""The topic of the connection itself."""

QUERY = {
    "vsn": "2.0.0",
    "offsets": "1",  # binary events with their place in the log
    "refusals": "close",  # a close says more than the status of a refused upgrade
}

NOT_A_FRAME, SERVICE_RESTART = 1002, 1012

State: TypeAlias = Literal["connecting", "open", "waiting", "closed"]

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or what makes one: asked for at each connection, and when the server says that the one in use ends soon."""


class Options(TypedDict, total=False):
    """What `connect` may be told; see `Socket`."""

    token: Token | None
    headers: Mapping[str, str]
    timeout: float
    heartbeat: float
    patience: float
    backlog: int
    dial: Dial


def connect(url: str, **options: Unpack[Options]) -> "Socket":
    """A connection to the gateway at `url`, to be opened by `async with`; see `Socket` for the options."""
    return Socket(url, **options)


class Socket:
    """Opened by `async with`, which raises NotConnected if that fails. From then on a lost connection is made again.

    `url`: "http://127.0.0.1:4000", or the whole address of a socket ("ws://host/socket").
    `timeout`: seconds that a connection, a join or a push may take. `heartbeat`: seconds between questions whether the server
    is there, `patience`: seconds it has to answer. `backlog`: events that wait in a channel until they are taken.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        heartbeat: float = 15.0,
        patience: float = 10.0,
        backlog: int = 10_000,
        dial: Dial = real.dial,
    ) -> None:
        self.url = address(url)
        self.timeout = timeout
        self.backlog = backlog
        self.state: State = "connecting"
        self.channels: dict[str, Channel] = {}
        self._token = token
        self._headers = dict(headers or {})
        self._heartbeat = heartbeat
        self._patience = patience
        self._dial = dial
        self._random = World().random
        self._count = 0
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._outbox: deque[str | bytes] = deque()
        self._posted = asyncio.Event()
        self._flushed = asyncio.Event()
        self._heard_at = 0.0
        self._back_at: float | None = None
        self._summoned = asyncio.Event()
        self._token_wanted = asyncio.Event()
        self._end: NotConnected | None = None
        self._life: asyncio.Task[None] | None = None

    async def open(self) -> Self:
        """Connect, and stay connected until `close`; what `async with` does. Raises NotConnected."""
        if self._life is not None:
            raise RuntimeError("a socket is opened once; connect() anew")
        wire, first = await self._connect()
        self.state = "open"
        self._life = asyncio.create_task(self._live(wire, first), name=f"client of {self.url}")
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close for good. Iterations over its channels end."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        self._over(None)

    async def join(
        self,
        topic: str,
        payload: Mapping[str, Any] | None = None,
        *,
        resume: Cursor | None = None,
    ) -> Channel:
        """Join a topic and stay in it. `payload` is what the room's `on_join` gets.

        `resume`: a cursor from an earlier stay; what was said since then is brought, or a `Resync` if it is not known.
        Raises PushRefused, PushTimeout or NotConnected, and ValueError for a topic that is joined already.
        """
        if self._end is not None or self.state in ("connecting", "closed"):
            raise self._end or NotConnected("the socket is not open: use it inside of `async with`")
        if topic in self.channels:
            raise ValueError(f"{topic} is joined already on this socket; leave it first, or use that channel")
        channel = self.channels[topic] = Channel(self, topic, payload or {}, resume)
        try:
            channel.enter()
            async with asyncio.timeout(self.timeout):
                await channel.ready()
        except TimeoutError:
            channel.finish(None)
            raise NotConnected(f"{topic} was not joined within {self.timeout} s: the connection was lost") from None
        except BaseException:
            channel.abandon()
            raise
        return channel

    async def authorize(self, token: str) -> None:
        """Go on with a new token, on this connection and on later ones.

        Raises PushRefused if the server does not take it: then the old one stays in use. Raises PushTimeout and NotConnected.
        """
        if self.state == "open":
            try:
                await self._hand_over(token)
            except TimeoutError:
                raise PushTimeout(f"no answer to the new token within {self.timeout} s") from None
        self._token = token

    # --- for its channels ---

    def ref(self) -> str:
        """The next reference, unique on this socket."""
        self._count += 1
        return str(self._count)

    def chance(self) -> float:
        """A random number from 0 to 1."""
        return self._random.random()

    def post(self, frame: Frame) -> None:
        """Send a frame, after all before it; dropped unless open. Raises TypeError or ValueError if it cannot be sent."""
        data = encode(frame)
        if self.state == "open":
            self._outbox.append(data)
            self._flushed.clear()
            self._posted.set()

    async def flushed(self) -> None:
        """Wait until the server has room for what was posted, or the connection is gone."""
        await self._flushed.wait()

    def forget(self, channel: Channel) -> None:
        """The channel is over."""
        if self.channels.get(channel.topic) is channel:
            del self.channels[channel.topic]

    # --- its life ---

    async def _live(self, wire: Wire, first: Frame) -> None:
        try:
            await self._stay_connected(wire, first)
        except Exception as error:
            self._over(NotConnected(f"the client failed: {error!r}", retry=False))
            raise

    async def _stay_connected(self, wire: Wire, first: Frame) -> None:
        while True:
            closed = await self._converse(wire, first)
            wait = self._until_return(closed)
            error = closed.error(retry=wait is not None)
            self._lost(str(error))
            if wait is None:
                return self._over(error)
            tries = 1
            while True:
                await asyncio.sleep(wait)
                try:
                    wire, first = await self._connect()
                    break
                except NotConnected as error:
                    if not error.retry:
                        return self._over(error)
                    tries += 1
                    wait = backoff(tries, self.chance())

    async def _connect(self) -> tuple[Wire, Frame]:
        """A connection over which the server spoke: a heartbeat was answered, or something else was said first."""
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self.timeout):
                wire = await self._dial(self.url, self._headers, await self._make_token())
                await wire.send(encode(Frame(None, self.ref(), SOCKET_TOPIC, "heartbeat", {})))
                said = await wire.receive()
            if isinstance(said, Closed):
                raise said.error(retry=after_close(said.code) != "stop")
            return wire, decode(said)
        except TimeoutError:
            error = NotConnected(f"no answer from {self.url} within {self.timeout} s")
        except ValueError as garbage:
            error = NotConnected(f"{self.url} does not speak this protocol: {garbage}")
        except NotConnected as refused:
            error = refused
        except ConnectionError as lost:
            error = NotConnected(f"{self.url} hung up: {lost}")
        except asyncio.CancelledError:
            if wire is not None:
                await wire.close()
            raise
        if wire is not None:
            await wire.close()
        raise error

    async def _make_token(self) -> str | None:
        if not callable(self._token):
            return self._token
        try:
            token = self._token()
            return await token if inspect.isawaitable(token) else token
        except Exception as error:
            raise NotConnected(f"no token could be had for {self.url}: {error!r}") from error

    async def _converse(self, wire: Wire, first: Frame) -> Closed:
        """Be connected, until somebody ends it. `first` is what the server said already."""
        self._outbox.clear()
        self._flushed.set()
        self._summoned.clear()
        self._back_at = None
        self._token_wanted.clear()
        self.state = "open"
        self._received(first)
        for channel in list(self.channels.values()):
            channel.enter()
        work = (self._read(wire), self._write(wire), self._ask(), self._go(), self._renew())
        parts = [asyncio.create_task(part) for part in work]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return next(part for part in parts if part in done).result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await wire.close()

    async def _read(self, wire: Wire) -> Closed:
        loop = asyncio.get_running_loop()
        while True:
            data = await wire.receive()
            if isinstance(data, Closed):
                return data
            self._heard_at = loop.time()
            try:
                self._received(decode(data))
            except (
                ValueError,
                TypeError,
                AttributeError,
                LookupError,
                RecursionError,
            ) as error:  # whatever is not as it should
                return Closed(NOT_A_FRAME, f"the server sent what is no frame of this protocol: {error!r}")

    async def _write(self, wire: Wire) -> Closed:
        while True:
            while self._outbox:
                try:
                    await wire.send(self._outbox.popleft())
                except ConnectionError:
                    return Closed(ABNORMAL, "connection lost")
            self._flushed.set()
            self._posted.clear()
            await self._posted.wait()

    async def _ask(self) -> Closed:
        """Heartbeats: the server, too, wants to hear that somebody is there."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._heartbeat)
            asked = loop.time()
            self.post(Frame(None, self.ref(), SOCKET_TOPIC, "heartbeat", {}))
            await asyncio.sleep(self._patience)
            if self._heard_at < asked:
                return Closed(ABNORMAL, "the server stopped answering")

    async def _go(self) -> Closed:
        """Asked to come back elsewhere, go at a moment of our own."""
        await self._summoned.wait()
        assert self._back_at is not None
        await asyncio.sleep(self._back_at - asyncio.get_running_loop().time())
        return Closed(SERVICE_RESTART, "the server asked everybody to connect anew")

    async def _renew(self) -> Closed:
        """Asked for a new token, hand one over. If there is none, or it is not taken, the close that follows says it."""
        while True:
            await self._token_wanted.wait()
            self._token_wanted.clear()
            try:
                token = await self._make_token()
                if token is not None:
                    await self._hand_over(token)
            except (NotConnected, PushRefused, TimeoutError):
                pass

    async def _hand_over(self, token: str) -> None:
        ref = self.ref()
        waiting = self._pending[ref] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self.timeout):
                self.post(Frame(None, ref, SOCKET_TOPIC, "access_token", {"token": token}))
                await waiting
        finally:
            del self._pending[ref]

    def _received(self, frame: Frame) -> None:
        match frame:
            case Frame(topic="phoenix", event="reconnect", payload={"within": int() | float() as within}):
                self._back_at = asyncio.get_running_loop().time() + within / 1000 * self.chance()
                self._summoned.set()
            case Frame(topic="phoenix", event="access_token") if callable(self._token):
                self._token_wanted.set()
            case Frame(topic="phoenix", event="phx_reply", ref=str(ref)) if waiting := self._pending.get(ref):
                if not waiting.done():
                    settle(waiting, frame.payload)
            case _ if channel := self.channels.get(frame.topic):
                channel.received(frame)
            case _:
                pass

    def _until_return(self, closed: Closed) -> float | None:
        """Seconds until the next try; None: not wanted back."""
        if self._back_at is not None:
            return max(0.0, self._back_at - asyncio.get_running_loop().time())
        match after_close(closed.code):
            case "stop":
                return None
            case "spread":
                return backoff(1, self.chance()) + SPREAD * self.chance()
            case "retry":
                return backoff(1, self.chance())

    def _lost(self, reason: str) -> None:
        self.state = "waiting"
        self._flushed.set()
        for channel in list(self.channels.values()):
            channel.lost(reason)
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(NotConnected(reason))

    def _over(self, end: NotConnected | None) -> None:
        if self.state != "closed":
            self._lost("closed")
            self.state = "closed"
            self._end = end
            for channel in list(self.channels.values()):
                channel.finish(end)


def address(url: str) -> str:
    """The address of a gateway's socket, of whatever is known of it. Raises ValueError."""
    parsed = URL(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parsed.scheme)
    if scheme is None or not parsed.host:
        raise ValueError(f"the address of a gateway looks like 'http://127.0.0.1:4000', not {url!r}")
    path = parsed.path.rstrip("/") or "/socket"
    if not path.endswith("/websocket"):
        path += "/websocket"
    return str(parsed.with_scheme(scheme).with_path(path, keep_query=True).update_query(QUERY))

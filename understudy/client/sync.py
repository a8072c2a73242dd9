"""The client without `await`: for scripts, notebooks and tests. The same names, the same promises, the same errors.

    with connect("http://127.0.0.1:4000") as socket:
        room = socket.join("room:lobby", {"name": "Ada"})
        room.push("say", {"text": "hello"})
        for event in room:
            print(event.name, event.payload)

    caller's thread ── push, next ──> [a thread with an event loop: the socket of `understudy.client`] ══ gateway
                    <── the answer ──

The connection lives in a thread of its own, so heartbeats and reconnections go on while the program does something else; a
notebook, whose own loop is busy, may use it too. Calls may come from any thread. Ctrl-C interrupts a call that waits.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from understudy.client import channel as asynchronous
from understudy.client import socket as asynchronous_socket
from understudy.client.channel import Cursor, Event, Resync
from understudy.client.errors import NotConnected, PushRefused, PushTimeout
from understudy.client.presence import People
from understudy.client.socket import Options

__all__ = [
    "Channel",
    "Cursor",
    "Event",
    "NotConnected",
    "PushRefused",
    "PushTimeout",
    "Resync",
    "Socket",
    "connect",
]

T = TypeVar("T")


class NotOpen(NotConnected):
    """The socket was not opened yet, or is closed."""


def connect(url: str, **options: Unpack[Options]) -> "Socket":
    """A connection to the gateway at `url`, to be opened by `with`; the options are those of `understudy.client.Socket`."""
    return Socket(url, **options)


class Socket:
    """Opened by `with`, or by `open()` and `close()` where a notebook has no block to put around its cells."""

    def __init__(self, url: str, **options: Unpack[Options]) -> None:
        self._socket = asynchronous_socket.Socket(url, **options)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> asynchronous_socket.State:
        return self._socket.state

    def open(self) -> Self:
        """Connect, and stay connected until `close`. Raises NotConnected."""
        if self._thread is not None:
            raise RuntimeError("a socket is opened once; connect() anew")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"client of {self._socket.url}", daemon=True
        )
        self._thread.start()
        try:
            self.run(self._socket.open())
        except BaseException:
            self._end()
            raise
        return self

    def close(self) -> None:
        """Close for good. Iterations over its channels end, in whatever thread."""
        try:
            self.run(self._socket.close())
        except NotOpen:
            return
        self._end()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def join(self, topic: str, payload: Mapping[str, Any] | None = None, *, resume: Cursor | None = None) -> "Channel":
        """Join a topic and stay in it: see `understudy.client.Socket.join`."""
        return Channel(self, self.run(self._socket.join(topic, payload, resume=resume)))

    def authorize(self, token: str) -> None:
        """Go on with a new token. Raises PushRefused if the server does not take it."""
        self.run(self._socket.authorize(token))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` in the socket's thread and wait for it. Raises NotOpen."""
        with self._lock:
            if self._loop is None:
                work.close()
                raise NotOpen("the socket is not open: use it inside of `with`, or open() it")
            done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result()
        except BaseException:
            done.cancel()
            raise

    def _end(self) -> None:
        """End the thread, after whatever other threads wait for: nothing waits for long on a socket that is closed."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_all_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()


async def _all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


class Channel:
    """One stay in a topic; iterate it for its events. See `understudy.client.Channel`."""

    def __init__(self, socket: Socket, channel: asynchronous.Channel) -> None:
        self._socket = socket
        self._channel = channel

    @property
    def topic(self) -> str:
        return self._channel.topic

    @property
    def state(self) -> asynchronous.State:
        return self._channel.state

    @property
    def response(self) -> Any:
        """What the room answered to the last join."""
        return self._channel.response

    @property
    def snapshot(self) -> Any:
        """The room's state at the last join that brought one."""
        return self._channel.snapshot

    @property
    def cursor(self) -> Cursor | None:
        """The place of the last event that came; see `Event.cursor` for that of one that was taken."""
        return self._channel.cursor

    @property
    def people(self) -> People:
        """Who is here, `{key: [meta, ...]}`."""
        return self._channel.people

    def push(self, event: str, payload: Any = None, *, timeout: float | None = None) -> Any:
        """Send an event and return the room's answer. Raises PushRefused, PushTimeout, NotConnected."""
        return self._socket.run(self._channel.push(event, payload, timeout=timeout))

    def send(self, event: str, payload: Any = None) -> None:
        """Send an event that nobody answers."""
        self._socket.run(self._channel.send(event, payload))

    def next(self, timeout: float | None = None) -> Event:
        """The next event. Raises TimeoutError after `timeout` seconds without one, EOFError when the topic is over."""
        try:
            return self._socket.run(self._channel.next(timeout))
        except NotOpen:  # closed meanwhile: what came before can still be taken
            event = self._channel.poll()
            if event is None:
                raise EOFError(f"{self.topic} is over") from None
            return event

    def poll(self) -> Event | None:
        """The next event, if one waits already."""
        return self._channel.poll()

    def leave(self) -> None:
        """Leave for good. Events that came before can still be taken."""
        self._socket.run(self._channel.leave())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        try:
            return self.next()
        except EOFError:
            raise StopIteration from None

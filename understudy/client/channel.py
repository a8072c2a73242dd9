"""One topic of a socket: its events in order, and the joins that keep them without a gap.

    waiting ──connected──> joining ──ok──> joined ──cut, phx_error──> waiting ──> joining ...
                              │ refused                 │ leave(), phx_close
                              ▼                         ▼
                       waiting, or left               left

What is promised to whoever iterates:
    events come in the room's order, none twice. After a cut the join brings what was said meanwhile, before anything new.
    If that is no longer known, or the room lives anew, a `Resync` stands in the place of the gap: its payload is the room's
    snapshot (None if the room makes none). There is no gap without one.
    Events that are no part of the room's log (kept values such as a cursor's place, presence, what was pushed to this
    client alone) come once while connected; of kept values the latest comes again after a join.

Events wait here until they are taken, `backlog` at most. A program that takes none for so long is treated as one that
was away: what comes is left aside, and once it has taken what waits, the topic is joined again from there.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias

from understudy.client.errors import NotConnected, PushRefused, PushTimeout
from understudy.client.frames import Frame, value
from understudy.client.patience import backoff
from understudy.client.presence import People, Presence

if TYPE_CHECKING:
    from understudy.client.socket import Socket

State: TypeAlias = Literal["waiting", "joining", "joined", "left"]


class Cursor(NamedTuple):
    """A place in the log of a topic. Kept and given to a later `join(..., resume=cursor)`, it brings what came after it."""

    epoch: str
    """The life of the log: another one has other offsets."""
    offset: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something was said in the topic. The payload is what JSON can say, or bytes."""

    name: str
    payload: Any
    cursor: Cursor | None = None
    """Its place in the topic's log; None for what is not in it."""


@dataclass(frozen=True, slots=True)
class Resync(Event):
    """Stands for what may have been missed. The payload is the room's snapshot, None if it makes none."""


class Channel:
    """One stay in a topic, over all its joins. Made by `Socket.join`; iterate it for its events.

    Several iterations at once share the events: each is given to one of them.
    """

    def __init__(self, socket: "Socket", topic: str, payload: Mapping[str, Any], resume: Cursor | None) -> None:
        self.topic = topic
        self.state: State = "waiting"
        self.response: Any = None
        """What the room answered to the last join."""
        self.snapshot: Any = None
        """The room's state at the last join that brought one."""
        self.cursor = resume
        """The place of the last event that came; see `Event.cursor` for that of one that was taken."""
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._payload = dict(payload)
        self._presence = Presence()
        self._join_ref: str | None = None
        self._joins = 0
        self._tries = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._joined: asyncio.Future[None] = self._loop.create_future()
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._overrun = False
        self._end: Exception | None = None

    # --- what a program does ---

    @property
    def people(self) -> People:
        """Who is here, `{key: [meta, ...]}`: one key per person, one meta per connection. Empty where rooms track nobody."""
        return self._presence.people

    async def push(self, event: str, payload: Any = None, *, timeout: float | None = None) -> Any:
        """Send an event and return the room's answer. `payload` is what JSON can say ({} if None), or bytes.

        While the connection is lost it waits for the topic to be joined again. Raises PushRefused; NotConnected, when
        nothing was sent within `timeout` seconds (the socket's if None), or the connection was lost before the answer;
        PushTimeout when no answer came; TypeError or ValueError for a payload that cannot be sent.
        """
        limit = self._socket.timeout if timeout is None else timeout
        sent = False
        try:
            async with asyncio.timeout(limit):
                await self.ready()
                sent = True
                return await self._request(self._socket.ref(), event, payload)
        except TimeoutError:
            if sent:
                raise PushTimeout(f"no answer to {event!r} in {self.topic} within {limit} s") from None
            raise NotConnected(f"{self.topic} was not joined within {limit} s, {event!r} was not sent") from None

    async def send(self, event: str, payload: Any = None) -> None:
        """Send an event that nobody answers: for what is worth nothing a moment later. Waits like `push` to be joined."""
        await self.ready()
        self._socket.post(Frame(self._join_ref, None, self.topic, event, {} if payload is None else payload))
        await self._socket.flushed()

    async def ready(self) -> None:
        """Wait until the topic is joined. Raises NotConnected or PushRefused if that will not be again."""
        while self.state != "joined":
            if self.state == "left":
                raise self._end or NotConnected(f"{self.topic} was left")
            await asyncio.wait([self._joined])

    async def next(self, timeout: float | None = None) -> Event:
        """The next event. Raises TimeoutError after `timeout` seconds without one, EOFError when the topic is over."""
        try:
            async with asyncio.timeout(timeout):
                return await anext(self)
        except StopAsyncIteration:
            raise EOFError(f"{self.topic} is over") from None

    def poll(self) -> Event | None:
        """The next event, if one waits already."""
        return self._events.popleft() if self._events else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self.state == "left":
                if self._end is not None:
                    raise self._end
                raise StopAsyncIteration
            if self._overrun:
                self._overrun = False
                self.enter()
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    async def leave(self) -> None:
        """Leave for good. Events that came before can still be taken."""
        if self.state == "joined":
            try:
                async with asyncio.timeout(self._socket.timeout):
                    await self._request(self._socket.ref(), "phx_leave", None)
            except (PushRefused, NotConnected, TimeoutError):
                pass  # gone all the same
            self.finish(None)
        else:
            self.abandon()

    # --- what its socket does ---

    def enter(self) -> None:
        """Join, if the socket is open; else wait until it is."""
        self._stop("joining again")
        if self.state == "joined":
            self._joined = self._loop.create_future()
        self.state = "joining" if self._socket.state == "open" else "waiting"
        if self.state == "waiting":
            return
        self._presence.joining()
        self._join_ref = self._socket.ref()
        payload = self._payload
        if self.cursor is not None:
            payload = {**payload, "resume": {"epoch": self.cursor.epoch, "offset": self.cursor.offset}}
        self._timer = self._loop.call_later(self._socket.timeout, self._not_answered, self._join_ref)
        self._socket.post(Frame(self._join_ref, self._join_ref, self.topic, "phx_join", payload))

    def abandon(self) -> None:
        """Leave without waiting for an answer, whatever became of the join."""
        if self.state == "joining":
            self._socket.post(Frame(self._join_ref, self._socket.ref(), self.topic, "phx_leave", {}))
        self.finish(None)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self._stop(reason)
        if self.state == "joined":
            self._joined = self._loop.create_future()
        self.state = "waiting"

    def finish(self, end: Exception | None) -> None:
        """The topic is over: for good, or because of `end`."""
        if self.state == "left":
            return
        self._socket.forget(self)
        self._stop("left")
        self._end = end
        self.state = "left"
        if not self._joined.done():
            self._joined.set_result(None)
        self._news.set()

    def received(self, frame: Frame) -> None:
        """A frame of this topic came."""
        if frame.join_ref is not None and frame.join_ref != self._join_ref:
            return  # of a join that is over
        match frame.event:
            case "phx_reply" if frame.ref == self._join_ref:
                self._answered(frame.payload)
            case "phx_reply":
                waiting = self._pending.get(frame.ref or "")
                if waiting is not None and not waiting.done():
                    settle(waiting, frame.payload)
            case "phx_error":
                self._again("the topic crashed")
            case "phx_close":
                self.finish(None)
            case _:
                self._heard(frame)

    # --- joins ---

    def _answered(self, payload: Any) -> None:
        if self.state != "joining":
            return
        self._stop("joined")
        if payload.get("status") != "ok":
            refused = PushRefused(payload.get("response"))
            if refused.retry and self._joins:
                self._again(refused.detail)
            else:
                self.finish(refused)
            return
        self._admitted(payload.get("response"))
        self._joins += 1
        self._tries = 0
        self.state = "joined"
        self._joined.set_result(None)

    def _admitted(self, response: Any) -> None:
        """What the join brought: the events since our cursor, or the news that there is a gap, and the present."""
        answer = dict(response) if isinstance(response, dict) else {}
        now: Cursor | None = None
        if isinstance(answer.get("epoch"), str) and isinstance(answer.get("offset"), int):  # a server with logs
            now = Cursor(answer.pop("epoch"), answer.pop("offset"))
        snapshot = answer.pop("snapshot", None) if now else None
        missed = answer.pop("events", ()) if now else ()
        recovered = bool(answer.pop("recovered", False)) if now else False
        self.response = answer if now else response
        if now and recovered:
            for place, name, payload in missed:
                self._take(Event(name, value(payload), Cursor(now.epoch, place)))
            if not self._overrun:
                self.cursor = now
            return
        self.snapshot = snapshot
        if self._joins or self.cursor is not None:
            if self._events and isinstance(self._events[-1], Resync):
                self._events.pop()
            self._events.append(Resync("phx_resync", snapshot, now))
            self._news.set()
        self._overrun = False
        self.cursor = now

    def _not_answered(self, join_ref: str) -> None:
        self._socket.post(Frame(join_ref, self._socket.ref(), self.topic, "phx_leave", {}))
        if self._joins:
            self._again("the join was not answered")
        else:
            self.finish(PushTimeout(f"no answer to the join of {self.topic} within {self._socket.timeout} s"))

    def _again(self, reason: str) -> None:
        """Not joined, though connected: try again in a while."""
        self.lost(reason)
        self._tries += 1
        self._timer = self._loop.call_later(backoff(self._tries, self._socket.chance()), self.enter)

    def _stop(self, reason: str) -> None:
        """This join is over, or answered: nothing that was asked under an earlier one will be answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(NotConnected(f"{reason}: whether the server acted is unknown"))

    # --- events ---

    def _heard(self, frame: Frame) -> None:
        place = None
        if frame.offset is not None and self.cursor is not None:
            if self.state != "joined" or frame.offset <= self.cursor.offset:
                return  # it came already, or the join that is under way will bring it
            place = Cursor(self.cursor.epoch, frame.offset)
        if frame.event == "presence_state":
            self._presence.state(frame.payload)
        elif frame.event == "presence_diff":
            self._presence.diff(frame.payload)
        self._take(Event(frame.event, frame.payload, place))

    def _take(self, event: Event) -> None:
        self._overrun = self._overrun or len(self._events) >= self._socket.backlog
        if self._overrun:
            return
        if event.cursor is not None:
            self.cursor = event.cursor
        self._events.append(event)
        self._news.set()

    async def _request(self, ref: str, event: str, payload: Any) -> Any:
        self._socket.post(Frame(self._join_ref, ref, self.topic, event, {} if payload is None else payload))
        waiting = self._pending[ref] = self._loop.create_future()
        try:
            return await waiting
        finally:
            del self._pending[ref]


def settle(waiting: asyncio.Future[Any], payload: Any) -> None:
    """Put a reply where it is waited for."""
    if payload.get("status") == "ok":
        waiting.set_result(payload.get("response"))
    else:
        waiting.set_exception(PushRefused(payload.get("response")))

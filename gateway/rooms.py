"""Which actor is the room of a topic, and the start of one that is not there yet.

    {"lobby": Lobby, "room:*": Shared("room"), "run:*": RunRoom}      an exact topic, or a beginning and "*"; the longest wins

A room is this gateway's own, or shared by all gateways of the cluster: then it is an entity, on whichever node hosts its kind.

Rooms supervises them: they are its children, independent of each other, started side by side. One that crashes is not
restarted at once but by whoever joins next, and its members join again by themselves: so a room that crashes over and
over exhausts nobody's restart intensity and takes no other room along.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from understudy.actors import Actor, ActorRef, Exit, Failure, Later, Refused, StartFailed, UnderstudyError
from understudy.gateway.messages import Locate, OpenRoom, RoomOpened, RoomRefused, Settle
from understudy.gateway.requests import FindRoom
from understudy.gateway.room import Room
from understudy.supervisors import ChildInfo, WhichChildren

log = logging.getLogger("understudy.gateway")

START_TIMEOUT = 10.0
"""Seconds a room's start may take."""

ROOM_LIMIT = 10_000
"""Rooms of one gateway. Strangers choose topics, so there must be an end to it."""


@dataclass(frozen=True, slots=True)
class Topic:
    """How to start the room of a topic: `room(topic, *args, **kwargs)`."""

    room: type[Room]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shared:
    """The room of a topic is the entity of this kind whose key is the topic: one in the whole cluster.

    Nodes that may run it say so: `node.host("room", ChatRoom)`. When its node is gone, its members join again by
    themselves, and it is started on another.
    """

    kind: str


Topics: TypeAlias = Mapping[str, Topic | Shared | type[Room]]
"""Patterns and what they stand for. A bare Room class is started with the topic alone."""


class Patterns:
    """Finds what a topic stands for."""

    def __init__(self, topics: Topics) -> None:
        self._exact: dict[str, Topic | Shared] = {}
        self._beginnings: list[tuple[str, Topic | Shared]] = []
        for pattern, given in topics.items():
            topic = Topic(given) if isinstance(given, type) else given
            if not isinstance(topic, Shared) and (not isinstance(topic, Topic) or not issubclass(topic.room, Room)):
                raise TypeError(
                    f"topic {pattern!r} needs a Room class, Topic(RoomClass, args) or Shared(kind), not {given!r}"
                )
            beginning, star, rest = pattern.partition("*")
            if not pattern or rest:
                raise ValueError(f"a topic pattern is a topic or a beginning and one final '*', not {pattern!r}")
            if star:
                self._beginnings.append((beginning, topic))
            else:
                self._exact[pattern] = topic
        self._beginnings.sort(key=lambda entry: -len(entry[0]))

    def find(self, topic: str) -> Topic | Shared | None:
        """What stands for `topic`, or None. What follows a beginning must not be empty."""
        if topic in self._exact:
            return self._exact[topic]
        return next(
            (found for beginning, found in self._beginnings if topic.startswith(beginning) and topic != beginning), None
        )


@dataclass(frozen=True, slots=True)
class _Started:
    topic: str
    cls: str
    room: ActorRef[Room] | None
    reason: str


class _Asker:
    """Who asks by a call and not as a session: it is told like one."""

    def __init__(self) -> None:
        self.found = Later()

    def tell(self, answer: object) -> None:
        match answer:
            case RoomOpened(_, room):
                self.found.set(room)
            case RoomRefused(_, reason):
                self.found.fail(Refused(reason))
            case _:
                raise TypeError(f"a room is opened or refused, not {answer!r}")


class Rooms(Actor):
    """Answers OpenRoom with RoomOpened or RoomRefused, and FindRoom in the same way. A room that starts slowly delays only those who wait for it."""

    trap_exit = True

    def __init__(self, topics: Topics, limit: int = ROOM_LIMIT) -> None:
        super().__init__()
        self.patterns = Patterns(topics)
        self.limit = limit
        self._rooms: dict[str, ActorRef[Room]] = {}
        self._rows: dict[ActorRef[Room], ChildInfo] = {}
        self._waiting: dict[str, list[OpenRoom]] = {}

    def on_receive(self, message: object) -> Any:
        match message:
            case OpenRoom():
                self._open(message)
            case FindRoom(topic):
                asker = _Asker()
                self._open(OpenRoom(topic, "", cast("ActorRef[Any]", asker)))
                return asker.found
            case _Started(topic, name, room, reason):
                for request in self._waiting.pop(topic):
                    answer = RoomRefused(request.member, reason) if room is None else RoomOpened(request.member, room)
                    request.session.tell(answer)
                if room is not None and room.is_alive():
                    room.tell(Settle())
                    self._rooms[topic] = room
                    self._rows[room] = ChildInfo(topic, name, "running", "temporary", 0, room, None)
            case Exit(sender) if sender in self._rows:
                del self._rooms[self._rows.pop(sender).id]
            case Exit():
                pass  # one that did not start
            case WhichChildren():
                return list(self._rows.values())
            case _:
                return self.unhandled(message)
        return None

    def _open(self, request: OpenRoom) -> None:
        topic = request.topic
        if room := self._rooms.get(topic):
            request.session.tell(RoomOpened(request.member, room))
        elif topic in self._waiting:
            self._waiting[topic].append(request)
        elif (found := self.patterns.find(topic)) is None:
            request.session.tell(RoomRefused(request.member, "unmatched topic"))
        elif isinstance(found, Shared):
            self.run(self._locate(request, found))
        elif len(self._rooms) + len(self._waiting) >= self.limit:
            request.session.tell(RoomRefused(request.member, "too many rooms"))
        else:
            self._waiting[topic] = [request]
            self.run(self._start(topic, found))

    async def _locate(self, request: OpenRoom, found: Shared) -> None:
        """Ask the room itself where it is, which starts it where it is nowhere."""
        room = self.system.nodes.entity(found.kind, request.topic)
        try:
            here = await room.call(Locate(), timeout=START_TIMEOUT)
        except UnderstudyError as error:
            if (why := _refusal(error)) is None:
                log.warning("the room of %s cannot be reached: %s", request.topic, error)
            request.session.tell(RoomRefused(request.member, why or "room unavailable"))
        else:
            request.session.tell(RoomOpened(request.member, here, shared=True))

    async def _start(self, topic: str, found: Topic) -> _Started:
        room, reason = None, "join crashed"
        try:
            async with asyncio.timeout(START_TIMEOUT):
                room = await self.spawn(found.room, topic, *found.args, **found.kwargs)
        except StartFailed as error:
            if isinstance(error.__cause__, Refused):
                reason = error.__cause__.detail
            else:
                log.error("the room of %s could not be started: %s", topic, error)
        except TimeoutError:
            log.error("the room of %s did not start within %s s", topic, START_TIMEOUT)
        return _Started(topic, found.room.__name__, room, reason)


def _refusal(error: UnderstudyError) -> str | None:
    """What a room on any node said that it does not open; None if it was something else."""
    if isinstance(error, Refused):
        return error.detail
    if isinstance(error, StartFailed) and isinstance(error.reason, Failure):
        return error.reason.message if error.reason.type.rpartition(".")[2] == Refused.__name__ else None
    return None

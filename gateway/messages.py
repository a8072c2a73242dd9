"""What sessions, rooms and fan-outs say to each other. All of it may cross the wire: a room lives on any node.

    session ──OpenRoom──> rooms                 session ──Attach, Detach──> fan-out        (always on one node)
    session <─RoomOpened─ rooms                                                ^
    session ──Join, Event, Leave──> room ──Admit, Reply, Push, Broadcast───────┘
    session <─Admitted, Denied───── room

Everything a client gets about a topic goes through the fan-out of its node, so its order is the order in which the room
said it, replies included. Bodies are JSON text, encoded once, where they were made.
"""

from dataclasses import dataclass
from typing import Any

from understudy.actors import ActorRef, Request, message
from understudy.gateway.connection import Connection
from understudy.gateway.principal import NOBODY, Principal


@message("gateway.member")
class Member:
    """One stay of one client in one topic: what a room knows of whoever joined. A rejoin is a new member."""

    id: str
    session: ActorRef[Any]
    fanout: ActorRef[Any]
    node: str
    """The name of the node that serves this client."""
    principal: Principal = NOBODY
    """Who the client is."""


# --- session <-> rooms ---


@message("gateway.open_room")
class OpenRoom:
    """Find or start the room of `topic`; answered to `session` with RoomOpened or RoomRefused for that `member` id."""

    topic: str
    member: str
    session: ActorRef[Any]


@message("gateway.locate")
class Locate(Request[ActorRef[Any]]):
    """To a room by its name in the cluster: where it is now."""


@message("gateway.room_opened")
class RoomOpened:
    """`shared`: by all gateways of the cluster. Its end is never that of its topic: it may go on elsewhere."""

    member: str
    room: ActorRef[Any]
    shared: bool = False


@message("gateway.room_refused")
class RoomRefused:
    member: str
    reason: str


# --- session <-> room ---


@message("gateway.join")
class Join:
    """Let `member` in; answered with Admitted or Denied to its session."""

    member: Member
    payload: dict[str, Any]


@message("gateway.admitted")
class Admitted:
    """`over`: the topic is concluded already, nothing follows but the reply."""

    member: str
    over: bool = False


@message("gateway.denied")
class Denied:
    member: str
    reason: str


@message("gateway.event")
class Event:
    """What a member pushed. `ref` is null when it wants no reply."""

    member: str
    ref: str | None
    event: str
    payload: Any


@message("gateway.leave")
class Leave:
    member: str


# --- session -> fan-out, within one process ---


@dataclass(frozen=True, slots=True)
class Attach:
    """Member `member` of `topic` is reached over `connection`; it hears broadcasts once the room admits it.

    `alone`: the connection is there for this topic only, and ends with what the topic has to say.
    """

    member: Member
    topic: str
    join_ref: str | None
    ref: str | None
    connection: Connection
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Detach:
    """The stay is over. `last` is the event to say so with, or None for silence."""

    member: str
    last: str | None


# --- room -> fan-out ---


@message("gateway.admit")
class Admit:
    """The join was granted: send its reply; from here on the member hears broadcasts."""

    member: str
    response: bytes


@message("gateway.reply")
class Reply:
    """The answer to what the member pushed as `ref`; status "ok" or "error"."""

    member: str
    ref: str
    status: str
    response: bytes


@message("gateway.push")
class Push:
    """An event for one member."""

    member: str
    event: str
    payload: bytes


@message("gateway.broadcast")
class Broadcast:
    """An event for the members of a topic on the fan-out's node.

    `cursor` is "epoch-offset": the room's incarnation and the event's number in it. `only`, when not empty, names the
    members that get it; `excluding` those that do not.
    """

    topic: str
    event: str
    payload: bytes
    cursor: str
    only: tuple[str, ...] = ()
    excluding: tuple[str, ...] = ()


@message("gateway.conclude")
class Conclude:
    """Nothing more will be broadcast: connections that are there for this topic only end, after what was said."""

    topic: str

"""What sessions, rooms and fan-outs say to each other. All of it may cross the wire: a room lives on any node.

    session ──OpenRoom──> rooms                 session ──Attach, Detach──> fan-out        (always on one node)
    session <─RoomOpened─ rooms                                                ^
    session ──Join, Event, Leave──> room ──Said(Admit, Reply, Push, Broadcast)─┘
    session <─Admitted, Denied, Dismissed── room

Everything a client gets about a topic goes through the fan-out of its node, so its order is the order in which the room
said it, replies included. Bodies are JSON text, encoded once, where they were made.
"""

from dataclasses import dataclass
from typing import Any

from understudy.actors import ActorRef, Request, message
from understudy.gateway import phoenix
from understudy.gateway.connection import Connection
from understudy.gateway.phoenix import Ref
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


@message("gateway.settle")
class Settle:
    """To a room that was just started: if nobody comes in, end after a while."""


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
    """`over`: the topic is concluded already, nothing follows but the reply. `missed`: how many events that brings, to who
    showed how far it was; None if that could not be told.
    """

    member: str
    over: bool = False
    missed: int | None = None


@message("gateway.denied")
class Denied:
    member: str
    reason: str


@message("gateway.dismissed")
class Dismissed:
    """The room has sent the member out. `detail` is for people."""

    member: str
    detail: str = ""


@message("gateway.event")
class Event:
    """What a member pushed. `ref` is null when it wants no reply."""

    member: str
    ref: Ref
    event: str
    payload: Any


@message("gateway.leave")
class Leave:
    """`returning`: the stay has ended, but the client is expected to join again."""

    member: str
    returning: bool = False


# --- session -> fan-out, within one process ---


@dataclass(frozen=True, slots=True)
class Attach:
    """Member `member` of `topic` is reached over `connection`; it hears broadcasts once the room admits it.

    `alone`: the connection is there for this topic only, and ends with what the topic has to say.
    """

    member: Member
    topic: str
    join_ref: Ref
    ref: Ref
    connection: Connection
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Detach:
    """The stay is over. `last` is the event to say so with, or None for silence; `payload` is what that carries."""

    member: str
    last: str | None
    payload: bytes = phoenix.EMPTY


# --- fan-out -> session, within one process ---


@dataclass(frozen=True, slots=True)
class Lapsed:
    """Something that the room said did not arrive here: the stay is over, and its client was told to join again."""

    member: str


# --- room -> fan-out ---


@message("gateway.said")
class Said:
    """Whatever a room says to a fan-out comes in one of these, so that the fan-out knows when one is missing.

    `life` names the room from its start to its end; `number` rises with everything it says to anybody; `previous` is the
    number of what it said to this fan-out before, 0 when that has no member of it, as far as the room knows.
    """

    life: str
    number: int
    previous: int
    what: Any


@message("gateway.kept")
class Kept:
    """The latest value of a conflated event, for somebody who joins."""

    event: str
    key: str
    payload: bytes
    binary: bool


@message("gateway.admit")
class Admit:
    """The join was granted: send its reply, then what the room keeps; from here on the member hears broadcasts."""

    member: str
    response: bytes
    kept: tuple[Kept, ...] = ()


@message("gateway.reply")
class Reply:
    """The answer to what the member pushed as `ref`; status "ok" or "error"."""

    member: str
    ref: Ref
    status: str
    response: bytes
    binary: bool = False


@message("gateway.push")
class Push:
    """An event for one member."""

    member: str
    event: str
    payload: bytes
    binary: bool = False


@message("gateway.broadcast")
class Broadcast:
    """An event for the members on the fan-out's node.

    A reliable one has a place in the log, `epoch` and `offset`, else these are "" and 0. A conflated one has a `key`. One
    that has neither is for those who are there now, in order. `only`, when not empty, names the members that get it;
    `excluding` those that do not.
    """

    event: str
    payload: bytes
    binary: bool = False
    epoch: str = ""
    offset: int = 0
    key: str | None = None
    only: tuple[str, ...] = ()
    excluding: tuple[str, ...] = ()


@message("gateway.position")
class Position:
    """To the fan-outs that have members of `topic`, as far as the room knows: is anything missing?"""

    topic: str


@message("gateway.conclude")
class Conclude:
    """Nothing more will be broadcast: connections that are there for this topic only end, after what was said."""

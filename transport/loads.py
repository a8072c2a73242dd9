"""How loaded each node is, as it says itself, over the links: nothing of it is in the table.

Placement ── every second, if it has changed; at once, when it drains or stops ──▶ Load ──link──▶ Herald ──▶ Placement
    a drain   ── its names are given up ──▶ Look ──link──▶ Herald reads the table, and from then on sends nothing to who is gone there
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

from understudy.actors import Actor, Later, Refused, Request, UnderstudyError, message
from understudy.transport.frames import Peer
from understudy.transport.operations import TELL

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.placement import Placement

HERALD = "understudy/placement"
"""The name of each node's."""

EVERY = 1.0
"""Seconds between two looks whether the others know the load of this node."""

_TICK = object()


@message("understudy.placement.Load")
class Load:
    """`placed`: how many actors, entities and runs were placed on that node, by `kinds`; `capacity`: how many it takes, 0: no limit.

    `draining`: it takes nothing new; `stopping`: all that it has ends now, and the node with it.
    """

    node: str
    incarnation: int
    placed: int = 0
    capacity: int = 0
    draining: bool = False
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    stopping: bool = False


@message("understudy.placement.Look")
class Look(Request[None]):
    """Read the table once more, and say so: what that life of a node has given up is not there any more. Whatever was sent to it comes
    before the answer, and nothing after it."""

    node: str
    incarnation: int


class Herald(Actor):
    """Tells the others, and hears them. `look(peer)` reads the table for what that node has given up."""

    def __init__(self, placement: Placement, look: Callable[[Peer], Awaitable[None]]) -> None:
        super().__init__()
        self._placement = placement
        self._look = look

    def on_start(self) -> None:
        self.send_every(EVERY, _TICK)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Load(str(), int(), int(), int(), bool(), dict(), bool()):
                self._placement.heard(message)
            case Look(str(), int()):
                later = Later()
                self.run(self._looked(later, Peer(message.node, message.incarnation)))
                return later
            case _ if message is _TICK:
                self._placement.tick()
            case _:
                return self.unhandled(message)
        return None

    async def _looked(self, later: Later, whom: Peer) -> None:
        try:
            await self._look(whom)
        except UnderstudyError as error:
            later.fail(Refused(str(error)))
        else:
            later.set(None)


def say_load(link: Link, load: Load) -> None:
    """Tell that node, however full the outbox is."""
    link.push(link.encoder.item(TELL, HERALD, load))

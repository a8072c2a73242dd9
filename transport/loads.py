"""How loaded each node is, as it says itself, over the links: nothing of it is in the table.

Placement ── every second, if it has changed; at once, when it drains ──▶ Load ──link──▶ Herald ──▶ Placement
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from understudy.actors import Actor, message
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

    `draining`: it takes nothing new.
    """

    node: str
    incarnation: int
    placed: int = 0
    capacity: int = 0
    draining: bool = False
    kinds: dict[str, int] = field(default_factory=dict[str, int])


class Herald(Actor):
    """Tells the others, and hears them."""

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self._placement = placement

    def on_start(self) -> None:
        self.send_every(EVERY, _TICK)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Load(str(), int(), int(), int(), bool(), dict()):
                self._placement.heard(message)
            case _ if message is _TICK:
                self._placement.tick()
            case _:
                return self.unhandled(message)
        return None


def say_load(link: Link, load: Load) -> None:
    """Tell that node, however full the outbox is."""
    link.push(link.encoder.item(TELL, HERALD, load))

"""A monitor that an actor on another node keeps on an actor here: when that ends, DOWN goes to the peer, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, ExitReason
from understudy.transport.operations import DOWN

if TYPE_CHECKING:
    from understudy.transport.link import Link


class Watch:
    """A monitor that an actor on another node keeps on an actor here. `local` is its token in this system."""

    __slots__ = ("_link", "_token", "_watches", "local", "ref")

    def __init__(self, link: Link, watches: dict[int, Watch], token: int, ref: ActorRef[Any]) -> None:
        self._link = link
        self._watches = watches
        self._token = token
        self.local = link.system.next_token()
        self.ref = ref

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        if self._watches.pop(self._token, None) is not None:
            self._link.signal(DOWN, self._token, reason)

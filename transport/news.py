"""News of the cluster, for actors: which lives of other nodes are there from now on, which drain, and which are over.

Membership ── up, dead, drains ──▶ Node ── publish ──▶ News ── NodeUp, NodeLost, NodeDrains ──▶ each subscriber, until it ends
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from understudy.actors import ActorRef, ActorSystem, ExitReason, message
from understudy.transport.table import Member


@message("node.up")
class NodeUp:
    """Another node is a member now."""

    member: Member


@message("node.lost")
class NodeLost:
    """That life of another node is over: it left, was replaced or was declared dead. It never comes back."""

    node: str
    incarnation: int
    reason: str


@message("node.drains")
class NodeDrains:
    """That node takes nothing new from now on, and hands over what it has. It may stop then, or think better of it. One that stops at
    once says so, too, if it can."""

    node: str
    incarnation: int


class News:
    """Of one node."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._subscribers: dict[int, ActorRef[Any]] = {}

    def subscribe(self, ref: ActorRef[Any], present: Iterable[Member]) -> None:
        """Tell `ref` everything from now on; first a NodeUp for each of those who are there."""
        token = self._system.next_token()
        self._subscribers[token] = ref
        ref._monitor(token, self)
        for member in present:
            ref.tell(NodeUp(member))

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """A subscriber ended."""
        self._subscribers.pop(token, None)

    def publish(self, news: NodeUp | NodeLost | NodeDrains) -> None:
        """Tell all subscribers."""
        for ref in tuple(self._subscribers.values()):
            ref.tell(news)

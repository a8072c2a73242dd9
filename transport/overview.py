"""How a node sees the cluster: for operators, and for whoever wants to know."""

from __future__ import annotations

from understudy.transport.health import Health, LinkMetrics
from understudy.transport.membership import Membership
from understudy.transport.naming import started
from understudy.transport.table import Member


class Overview:
    """That part of a node."""

    _membership: Membership | None = None
    _health: Health | None = None

    @property
    def membership(self) -> Membership:
        """This node's part in the cluster: how it sees the others, and whom it would declare dead."""
        return started(self._membership)

    def members(self) -> list[Member]:
        """The members as last read from the table, this node among them, and the last life of those that are gone."""
        return self._membership.members() if self._membership is not None else []

    @property
    def trouble(self) -> str:
        """Why the membership table cannot be reached at present, so that nobody can join or be declared dead; "" if it can."""
        return self._membership.trouble if self._membership is not None else ""

    def metrics(self) -> list[LinkMetrics]:
        """One for each link to another node, as it is now. `system.hooks.subscribe(LinkMetrics, ...)` has them every few seconds."""
        return started(self._health).metrics()

"""A child's place in its supervisor: its spec, what became of it so far, and who fills it now."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from understudy.actors import ExitReason
from understudy.supervisors.backoff import Backoff
from understudy.supervisors.requests import ChildInfo
from understudy.supervisors.spec import Child

State: TypeAlias = Literal["stopped", "running", "restarting", "held"]


class Place:
    """`handle` is what its child is known by while that runs: to a supervisor a reference, to the decisions anything.

    `backoff` is the child's own, or else its supervisor's. `restarts` counts all attempts to start it again, `failures` those since it last ran well, `attempt` numbers what is
    waited for. `since`: when it was started. `node`: where it was, or is to be, if not beside its supervisor.
    """

    __slots__ = (
        "attempt", "backoff", "child", "failures", "handle", "id", "last_exit", "node", "restarts", "since", "state",
    )  # fmt: skip

    def __init__(self, id: str, child: Child, backoff: Backoff | None) -> None:  # noqa: A002 - what it is called everywhere
        self.id = id
        self.child = child
        self.backoff = child.backoff or backoff
        self.handle: Any = None
        self.node = child.node
        self.state: State = "stopped"
        self.restarts = 0
        self.failures = 0
        self.attempt = 0
        self.since = 0.0
        self.last_exit: ExitReason | None = None

    def __repr__(self) -> str:
        return f"Place({self.id!r}, {self.state})"

    @property
    def waits(self) -> bool:
        """Whether an attempt to start it again is announced, and counted, before its time has come: after a backoff, or when its
        node, or one that has room for it, is there."""
        return self.backoff is not None or self.child.elsewhere

    @property
    def info(self) -> ChildInfo:
        """As an operator sees it."""
        child = self.child
        return ChildInfo(
            self.id,
            child.cls.__name__,
            self.state,
            child.restart,
            self.restarts,
            self.handle,
            self.last_exit,
            child.kind,
            child.significant,
            self.node,
            child.role,
            child.tags,
        )

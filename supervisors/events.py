"""What supervisors tell those who listen: `system.hooks.subscribe(GaveUp, ...)`. `Restarted` is one of the kernel's events."""

from __future__ import annotations

from typing import Any

from understudy.actors import ActorRef, ExitReason, message


@message("understudy.supervisors.GaveUp")
class GaveUp:
    """A supervisor ends since it had to start its children again too often, the child `id` last. `reason`: how that ended."""

    supervisor: ActorRef[Any]
    id: str
    reason: ExitReason | None


@message("understudy.supervisors.HeldDown")
class HeldDown:
    """A `degraded` supervisor goes on without the child `id`, after `restarts` attempts to start it again; `RestartChild` does."""

    supervisor: ActorRef[Any]
    id: str
    reason: ExitReason | None
    restarts: int


@message("understudy.supervisors.Awaited")
class Awaited:
    """The child `id` is to be started again on `node`, which is not there: it is, as soon as that has come back.

    `node` is "" for a child that may be placed on any node of its `role`, when none has room for it.
    """

    supervisor: ActorRef[Any]
    id: str
    reason: ExitReason | None
    node: str
    role: str | None = None


@message("understudy.supervisors.LeftDown")
class LeftDown:
    """A warning: the child `id`, a supervisor, has given up, and stays down since it is transient: declare it permanent.

    A supervisor gives up with `Shutdown`, which is no abnormal end.
    """

    supervisor: ActorRef[Any]
    id: str
    reason: ExitReason

"""What one may ask a supervisor: `await supervisor.call(WhichChildren())`. What cannot be done is Refused, with the reason.

StartChild, StartAnother     add a child and start it
TerminateChild               end one; its spec stays, unless it is temporary or its supervisor dynamic
RestartChild                 start one again that stands still
DeleteChild                  forget the spec of one that stands still
WhichChildren, CountChildren
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

from understudy.actors import ActorRef, ExitReason, Request, message
from understudy.supervisors.spec import Child

NewChild: TypeAlias = ActorRef[Any] | Any
"""The new child's reference; None if it raised `Ignore`. Typed so that nobody has to rule that out who never raises it."""


@message("understudy.supervisors.ChildInfo")
class ChildInfo:
    """One row of `WhichChildren`. `ref` is None unless it runs; `restarts` counts every attempt to start it again.

    `state`: running, restarting (an attempt has failed, or is waited for), stopped, or held (it failed too often, see
    `degraded`). `kind`: worker or supervisor. `node`: where it is meant to run, or was placed last by its `role` and `tags`; None: with
    its supervisor, or nowhere yet.
    """

    id: str
    cls: str
    state: str
    restart: str
    restarts: int
    ref: ActorRef[Any] | None
    last_exit: ExitReason | None
    kind: str = "worker"
    significant: bool = False
    node: str | None = None
    role: str | None = None
    tags: tuple[str, ...] = ()


@message("understudy.supervisors.ChildCounts")
class ChildCounts:
    """`specs` is the number of all children, running or not; `active` of those that run. `restarting` and `held` do not."""

    specs: int
    active: int
    supervisors: int
    workers: int
    restarting: int
    held: int


@message("understudy.supervisors.WhichChildren")
class WhichChildren(Request[list[ChildInfo]]):
    """Ask a supervisor for its children, in the order in which they are started."""


@message("understudy.supervisors.CountChildren")
class CountChildren(Request[ChildCounts]):
    """Ask a supervisor how many children it has."""


@message("understudy.supervisors.StartChild")
class StartChild(Request[NewChild]):
    """Add a child, the last one in order, and start it. For callers on the same node, since it names a class.

    Refused if there is a child of that id, running or not, if the supervisor is full, and if it does not start.
    """

    child: Child


@message("understudy.supervisors.StartAnother")
class StartAnother(Request[NewChild]):
    """Have a DynamicSupervisor start one more child of its template, with these arguments after the template's own.

    For callers anywhere. Refused if it has no template, is full, or the child does not start.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@message("understudy.supervisors.TerminateChild")
class TerminateChild(Request[None]):
    """End a child, by id or reference; an attempt to start it again is called off. Refused for an unknown one."""

    id: str | ActorRef[Any]


@message("understudy.supervisors.RestartChild")
class RestartChild(Request[NewChild]):
    """Start a child again that is stopped or held. Refused while it runs or is being restarted, and if it does not start."""

    id: str


@message("understudy.supervisors.DeleteChild")
class DeleteChild(Request[None]):
    """Forget the spec of a child that is stopped or held. Refused while it runs or is being restarted."""

    id: str

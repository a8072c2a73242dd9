"""Child specs: how to start, restart and end one child. Refused when declared, with the field's name, if they cannot be meant.

OTP's rules: a permanent child is always started again, a transient one after an abnormal end, a temporary one never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from understudy.actors import Actor, ExitReason, Normal, Shutdown, checked_name
from understudy.supervisors.backoff import Backoff
from understudy.supervisors.checks import checked_arguments, checked_choice, checked_flag, checked_seconds

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
ShutdownSpec: TypeAlias = float | Literal["brutal_kill", "infinity"]
Kind: TypeAlias = Literal["worker", "supervisor"]

WORKER_SHUTDOWN = 5.0
"""Seconds a worker has to end before it is killed; a supervisor among the children has as long as it needs."""

START_TIMEOUT = 30.0
"""Seconds `on_start` may take. OTP has no such limit; a hung start must not block its supervisor for ever."""


class Ignore(Exception):
    """Raised by a child's `on_start` or `__init__`: it is not needed here, and that is no failure.

    Its supervisor goes on without it and keeps its spec, unless the child is temporary: `RestartChild` starts it later.
    """


@dataclass(frozen=True, slots=True)
class Child:
    """One child: `cls(*args, **kwargs)`. Fields that cannot be meant are refused with TypeError or ValueError.

    So are arguments that `cls` does not take; those it lacks may still come with `StartAnother`.
    `id` is the child's name within its supervisor; by default its registered `name`, or its class's.
    `shutdown`: seconds from the request to end until the kill, "brutal_kill" (at once) or "infinity" (never).
    `start_timeout`: seconds; math.inf: as long as it takes.
    `significant`: its end may end its supervisor, which says so by `auto_shutdown`; never a permanent child.
    `backoff`: how long to wait before it is started again; by default its supervisor's, which by default waits not at all.
    `node`: the name of the node to start it on, which has to have `cls` imported; None: here. Its arguments cross the wire.
    `role`, `tags`: instead of a node, what the one has to have on which it is placed, at each start and restart: that with the most
    free capacity. It is moved when that node drains.
    """

    cls: type[Actor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    name: str | None = None
    id: str = ""
    restart: Restart = "permanent"
    shutdown: ShutdownSpec | None = None
    start_timeout: float = START_TIMEOUT
    significant: bool = False
    backoff: Backoff | None = None
    node: str | None = None
    role: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.cls, type) and issubclass(self.cls, Actor)):
            raise TypeError(f"Child.cls is a subclass of Actor, not {self.cls!r}")
        if not isinstance(self.args, tuple):
            raise TypeError(f"Child.args is a tuple of arguments, not {self.args!r}")
        if not (isinstance(self.kwargs, Mapping) and all(isinstance(key, str) for key in self.kwargs)):
            raise TypeError(f"Child.kwargs maps names to arguments, not {self.kwargs!r}")
        checked_arguments(self.cls, self.args, self.kwargs, all_there=False)
        if self.name is not None:
            if not isinstance(self.name, str):
                raise TypeError(f"Child.name is a text or None, not {self.name!r}")
            checked_name(self.name, "Child.name: an actor's")
        if not isinstance(self.id, str):
            raise TypeError(f"Child.id is a text, not {self.id!r}")
        checked_choice("Child.restart", self.restart, get_args(Restart))
        if self.shutdown is not None and self.shutdown not in ("brutal_kill", "infinity"):
            checked_seconds("Child.shutdown", self.shutdown, zero=True, instead=", 'brutal_kill' or 'infinity'")
        checked_seconds("Child.start_timeout", self.start_timeout, endless=True)
        checked_flag("Child.significant", self.significant)
        if self.significant and self.restart == "permanent":
            raise ValueError(
                "Child.significant is for transient and temporary children: a permanent one never ends for good"
            )
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise TypeError(f"Child.backoff is a Backoff(...) or None, not {self.backoff!r}")
        if self.node is not None:
            if not isinstance(self.node, str):
                raise TypeError(f"Child.node is the name of a node or None, not {self.node!r}")
            checked_name(self.node, "Child.node: a node's")
        if self.role is not None:
            if not isinstance(self.role, str):
                raise TypeError(f"Child.role is what its node is for, a text or None, not {self.role!r}")
            checked_name(self.role, "Child.role: a role")
        if not (isinstance(self.tags, tuple) and all(isinstance(tag, str) for tag in self.tags)):
            raise TypeError(f"Child.tags is a tuple of texts, not {self.tags!r}")
        if self.node is not None and self.placed:
            raise ValueError(
                f"Child {self.id or self.cls.__name__!r} has a node, {self.node!r}, and what chooses one (role, tags): say one of them"
            )
        if not self.id:
            object.__setattr__(self, "id", self.name or self.cls.__name__)

    @property
    def patience(self) -> ShutdownSpec:
        """Its `shutdown`, or the default of its class: a supervisor's and a router's is "infinity"."""
        return self.shutdown if self.shutdown is not None else getattr(self.cls, "default_shutdown", WORKER_SHUTDOWN)

    @property
    def kind(self) -> Kind:
        """Whether it has children of its own to end, for which its class says that it takes as long as it takes."""
        return "supervisor" if getattr(self.cls, "default_shutdown", None) == "infinity" else "worker"

    @property
    def placed(self) -> bool:
        """Whether a node is chosen for it at each start."""
        return self.role is not None or bool(self.tags)

    @property
    def moves(self) -> bool:
        """Whether it is moved when its node drains: a temporary one is never started again."""
        return self.placed and self.restart != "temporary"

    @property
    def elsewhere(self) -> bool:
        """Whether it has a place of its own, which may be on another node."""
        return self.node is not None or self.placed

    @property
    def wanted(self) -> str:
        """In words, where it is to be."""
        if not self.placed:
            return f"the node {self.node!r}"
        tags = f" with the tags {', '.join(self.tags)}" if self.tags else ""
        return (f"a node of the role {self.role!r}" if self.role is not None else "a node") + tags

    def comes_back(self, reason: ExitReason) -> bool:
        """Whether it is started again after that end."""
        return self.restart == "permanent" or (self.restart == "transient" and is_abnormal(reason))


def is_abnormal(reason: ExitReason) -> bool:
    """Whether a transient child that ended so is started again."""
    return not isinstance(reason, Normal | Shutdown)

"""What a supervisor decides, without any actor: child specs, restart intensity, and who is restarted when one ends.

Pure: time is an argument. OTP's rules: a permanent child is always restarted, a transient one after an abnormal end,
a temporary one never; more than `intensity` restarts within `period` seconds and the supervisor gives up. Each failed
attempt to start a child again counts as a restart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias, get_args

from understudy.actors import Actor, ExitReason, Normal, Shutdown, checked_name

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
ShutdownSpec: TypeAlias = float | Literal["brutal_kill", "infinity"]

WORKER_SHUTDOWN = 5.0
"""Seconds a worker has to end before it is killed; a supervisor among the children has as long as it needs."""

START_TIMEOUT = 30.0
"""Seconds `on_start` may take. OTP has no such limit; a hung start must not block its supervisor for ever."""


@dataclass(frozen=True, slots=True)
class Child:
    """How to start, restart and end one child. Refused when declared, with the field's name, if it cannot be meant.

    `id` is the child's name within its supervisor; by default its registered `name`, or its class's.
    `shutdown`: seconds from the request to end until the kill, "brutal_kill" (at once) or "infinity" (never).
    """

    cls: type[Actor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    name: str | None = None
    id: str = ""
    restart: Restart = "permanent"
    shutdown: ShutdownSpec | None = None
    start_timeout: float = START_TIMEOUT

    def __post_init__(self) -> None:
        if not (isinstance(self.cls, type) and issubclass(self.cls, Actor)):
            raise TypeError(f"Child.cls is a subclass of Actor, not {self.cls!r}")
        if self.restart not in get_args(Restart):
            raise ValueError(f"Child.restart is one of {', '.join(get_args(Restart))}, not {self.restart!r}")
        if not isinstance(self.args, tuple):
            raise TypeError(f"Child.args is a tuple of arguments, not {self.args!r}")
        shutdown = self.shutdown
        if isinstance(shutdown, str):
            if shutdown not in ("brutal_kill", "infinity"):
                raise ValueError(f"Child.shutdown is seconds, 'brutal_kill' or 'infinity', not {shutdown!r}")
        elif shutdown is not None and not shutdown >= 0:
            raise ValueError(f"Child.shutdown is a number of seconds from 0 up, not {shutdown!r}")
        if not self.start_timeout > 0:
            raise ValueError(f"Child.start_timeout is a number of seconds above 0, not {self.start_timeout!r}")
        if self.name is not None:
            checked_name(self.name)
        if not self.id:
            object.__setattr__(self, "id", self.name or self.cls.__name__)

    @property
    def patience(self) -> ShutdownSpec:
        """Its `shutdown`, or the default of its class: a supervisor's and a router's is "infinity"."""
        return self.shutdown if self.shutdown is not None else getattr(self.cls, "default_shutdown", WORKER_SHUTDOWN)


class Verdict(Enum):
    """What follows from the end of a child."""

    RESTART = "restart"
    KEEP = "keep the spec, do not restart"
    FORGET = "remove the spec"
    GIVE_UP = "end the supervisor"


@dataclass(frozen=True, slots=True)
class Intensity:
    """At most `limit` restarts within `period` seconds, both ends of the window included; `restarts` are those so far."""

    limit: int = 1
    period: float = 5.0
    restarts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.limit < 0 or not self.period > 0:
            raise ValueError(
                f"restart intensity is a count from 0 up within seconds above 0, not {self.limit} in {self.period}"
            )

    def after(self, now: float) -> Intensity:
        """The state after one more attempt at `now`; those that left the window are forgotten."""
        restarts = self.restarts
        if restarts and now - restarts[0] > self.period:
            # Oldest first: a search and a copy, where a supervisor with a high limit may have thousands of them.
            restarts = restarts[bisect_left(restarts, True, key=lambda at: now - at <= self.period) :]
        return Intensity(self.limit, self.period, (*restarts, now))

    @property
    def exceeded(self) -> bool:
        """Whether there were too many."""
        return len(self.restarts) > self.limit


def is_abnormal(reason: ExitReason) -> bool:
    """Whether a transient child that ended so is restarted."""
    return not isinstance(reason, Normal | Shutdown)


def decide(restart: Restart, reason: ExitReason, intensity: Intensity, now: float) -> tuple[Verdict, Intensity]:
    """A child with that restart type ended with `reason` at `now`: what is to be done, and the intensity after it."""
    if restart == "temporary":
        return Verdict.FORGET, intensity
    if restart == "transient" and not is_abnormal(reason):
        return Verdict.KEEP, intensity
    return attempt(intensity, now)


def attempt(intensity: Intensity, now: float) -> tuple[Verdict, Intensity]:
    """One more attempt to start a child again: allowed, or one too many."""
    after = intensity.after(now)
    return (Verdict.GIVE_UP if after.exceeded else Verdict.RESTART), after

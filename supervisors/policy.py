"""What a supervisor does with its children: its strategy, its intensity, and what it does beyond OTP if asked to.

one_for_one     the one that ended is started again           a  b  X  c  d     X
rest_for_one    it, and all that were started after it        a  b  X  c  d     X  c  d
one_for_all     all of them                                   a  b  X  c  d     a  b  X  c  d
dynamic         as one_for_one; children come and go, all of them optional, and are ended all at once
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from understudy.supervisors.backoff import Backoff
from understudy.supervisors.checks import (
    checked_arguments,
    checked_choice,
    checked_count,
    checked_flag,
    checked_seconds,
)
from understudy.supervisors.spec import Child

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The fields of a Supervisor, by the same names, checked: TypeError or ValueError with the field's name."""

    dynamic: bool = False
    """Children have numbered ids, and are forgotten once they have ended for good."""
    strategy: str = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: str = "never"
    max_children: int | None = None
    degraded: bool = False
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        checked_choice("Supervisor.strategy", self.strategy, get_args(Strategy))
        if self.dynamic and self.strategy != "one_for_one":
            raise ValueError(
                f"DynamicSupervisor.strategy is one_for_one, not {self.strategy}: its children have no order"
            )
        checked_count("Supervisor.intensity", self.intensity, 0)
        checked_seconds("Supervisor.period", self.period, endless=True)
        checked_choice("Supervisor.auto_shutdown", self.auto_shutdown, get_args(AutoShutdown))
        if self.max_children is not None:
            checked_count("Supervisor.max_children", self.max_children, 0)
        checked_flag("Supervisor.degraded", self.degraded)
        if self.degraded and self.strategy != "one_for_one":
            raise ValueError(
                f"Supervisor.degraded goes with one_for_one: under {self.strategy}, children cannot do without one another"
            )
        if self.backoff is not None and not isinstance(self.backoff, Backoff):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Supervisor.backoff is a Backoff(...) or None, not {self.backoff!r}")

    def admits(self, child: object, says: str) -> Child:
        """The child, if it may be one here. TypeError for what is no Child, ValueError for one that is meant for elsewhere.

        `says` begins the text: "StartChild takes a".
        """
        if not isinstance(child, Child):
            raise TypeError(f"{says} Child(...), not {child!r}")
        if child.significant and self.auto_shutdown == "never":
            raise ValueError(
                f"Child.significant of {child.id!r} means nothing where Supervisor.auto_shutdown is 'never': "
                "set that to 'any_significant' or 'all_significant'"
            )
        return child

    def check_all(self, children: object, says: str) -> tuple[Child, ...]:
        """All children of a supervisor, checked: each by `admits`, no argument missing, no id twice, and not too many."""
        if not isinstance(children, Iterable) or isinstance(children, str):
            raise TypeError(f"{says} Child(...), not {children!r}")
        checked = tuple(self.admits(child, says) for child in children)
        known: set[str] = set()
        for child in checked:
            if child.id in known:
                raise ValueError(f"two children have the id {child.id!r}: give one another id")
            known.add(child.id)
            checked_arguments(child.cls, child.args, child.kwargs, all_there=True)
        if self.max_children is not None and len(checked) > self.max_children:
            raise ValueError(f"Supervisor.max_children is {self.max_children}, and there are {len(checked)} children")
        return checked

"""One scenario on both sides: whether the logs are equal, and how they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from tests.referee import ours
from tests.referee.logs import beside, normal
from tests.referee.scenario import Scenario
from tests.referee.shrink import smaller

Log: TypeAlias = list[str]
Referee: TypeAlias = Callable[[Sequence[Scenario]], list[Log]]
"""Erlang, as `erlang.logs`: asked for many at once, since it takes a moment to start."""

RAISED = "raised"
"""How a log of ours begins where there is none."""

ROUNDS = 100
"""Steps towards the smallest scenario."""


class Difference(NamedTuple):
    """A scenario in which they differ."""

    scenario: Scenario
    erlang: Log
    ours: Log

    @property
    def raised(self) -> bool:
        """Whether ours could not even be run to its end."""
        return self.ours[:1] == [RAISED]

    def __str__(self) -> str:
        return f"{self.scenario}\n{beside(self.erlang, self.ours)}"


def erlang_logs(scenarios: Sequence[Scenario], referee: Referee) -> list[Log]:
    """Erlang's logs, without what is left open."""
    return [normal(log, scenario) for scenario, log in zip(scenarios, referee(scenarios))]


def our_log(scenario: Scenario) -> Log:
    """Ours. Its name is also the seed of the order in which actors take turns, which must not matter."""
    try:
        return normal(ours.log(scenario, scenario.seed), scenario)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not how it ends in Erlang
        return [RAISED, f"{type(error).__name__}: {error}"]


def differences(scenarios: Sequence[Scenario], erlangs: Sequence[Log]) -> Iterator[Difference]:
    """Those in which ours is not as Erlang's."""
    for scenario, log in zip(scenarios, erlangs):
        mine = our_log(scenario)
        if mine != log:
            yield Difference(scenario, log, mine)


def smallest(difference: Difference, referee: Referee) -> Difference:
    """The smallest scenario made from that one in which they still differ."""
    for _ in range(ROUNDS):
        candidates = list(smaller(difference.scenario))
        found = next(differences(candidates, erlang_logs(candidates, referee)), None)
        if found is None:
            break
        difference = found
    return difference

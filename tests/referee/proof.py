"""The proof of the referee: thousands of new scenarios end on ours as they do in Erlang.

make proof referee [SEED=7]        docs/proofs/referee.json: how many, what was in them, and where they differ
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from tests.planted import copy_of_the_tree
from tests.proof import Outcome, proof
from tests.referee import erlang
from tests.referee.generator import scenarios
from tests.referee.match import Difference, differences, erlang_logs, smallest
from tests.referee.planted import DEVIATIONS, find

BATCH = 500
"""Scenarios for which one Erlang is started."""

SHOWN = 3
"""Differences that are made small, and written down."""


@proof("referee", seeds=5_000, counted="scenarios")
def referee(seed: int, count: int) -> Outcome:
    """So many scenarios of that seed, and each planted deviation."""
    assert erlang.installed(), "there is no Erlang here: apt-get install erlang-base"
    found: list[Difference] = []
    events: Counter[str] = Counter()
    made = scenarios(seed, count)
    done = 0
    while batch := list(islice(made, BATCH)):
        logs = erlang_logs(batch, erlang.logs)
        found += differences(batch, logs)
        for log in logs:
            events.update(line.split()[1] for line in log)
        done += len(batch)
        print(f"{done} of {count} scenarios, {len(found)} differ", flush=True)
    small = [str(smallest(each, erlang.logs)) for each in found[:SHOWN]]
    for text in small:
        print(text, flush=True)
    planted = _planted()
    figures: dict[str, Any] = {
        "scenarios": done,
        "otp": erlang.release(),
        "starts": events["up"],
        "ends": events["down"],
        "answers": events["answer"],
        "differ": [each.scenario.name for each in found],
        "smallest": small,
        "planted": len(planted),
        "found": sum(map(bool, planted.values())),
        "deviations": planted,
    }
    return Outcome(figures, not found and all(planted.values()))


def _planted() -> dict[str, str | None]:
    """Of each deviation, the scenario that finds it."""
    with copy_of_the_tree(None) as copy:
        return {each.name: find(each, copy) for each in DEVIATIONS}

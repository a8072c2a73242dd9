"""What is proved elsewhere: that the proofs were done, and in small what they prove at length.

The planted bugs run here with their finders and the seeds of every test run; `make proof planted` does it with all
properties and more seeds, and looks for false alarms.
"""

import asyncio
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster_proof import VIRTUAL
from tests.kernel_proof import RACES
from tests.planted import Stale, bugs, copy_of_the_tree, find, finders, plant
from tests.proof import FOLDER, proofs
from tests.properties import EVERY_RUN, OF_CLUSTERS, OF_NODES, Property, properties
from tests.simulated import run_chunk

AT_LEAST = 5
"""Seeds that those run at least that run whole clusters; those that `make proof cluster` runs at length have `OF_CLUSTERS`."""


def test_the_proof_of_the_simulation_knows_the_properties() -> None:
    modules = {what.module for what in properties()}
    assert {
        f"tests.simulation.test_{name}" for name in ("links", "cluster", "rooms", "kernel", "supervisor")
    } <= modules


def test_every_property_runs_with_hundreds_of_seeds_each_time() -> None:
    assert {what.test: what.seeds for what in properties() if what.seeds < _at_least(what)} == {}


def _at_least(what: Property) -> int:
    if what.module in VIRTUAL:
        return OF_CLUSTERS
    if what.is_of_a_whole_cluster:
        return AT_LEAST
    return OF_NODES if what.is_of_several_nodes else EVERY_RUN


def test_there_are_proofs() -> None:
    assert {"simulation", "planted", "kernel", "referee", "wire", "cluster", "gateway", "soak"} <= set(proofs())


AWAITED = {"gateway", "soak"}
"""Proofs that are built and have not been run at their full length yet (docs/progress.md)."""


def test_a_proof_that_was_run_is_awaited_no_more() -> None:
    assert not [name for name in AWAITED if (FOLDER / f"{name}.json").exists()], "take it out of AWAITED"
    assert set(proofs()) >= AWAITED


@pytest.mark.parametrize("name", sorted(set(proofs()) - AWAITED))
def test_it_was_proved(name: str) -> None:
    written = FOLDER / f"{name}.json"
    assert written.exists(), f"not done yet: make proof {name}"
    record = json.loads(written.read_text())
    assert record["name"] == name
    assert record["passed"], f"it did not hold when it was tried; see {written} and make proof {name}"
    proof = proofs()[name]
    assert record["figures"][proof.counted] >= proof.seeds, f"only tried: make proof {name}"


@pytest.mark.parametrize("name", RACES)
def test_each_side_of_a_race_won_often_when_it_was_proved(name: str) -> None:
    figures = json.loads((FOLDER / "kernel.json").read_text())["figures"]
    assert RACES[name].well_matched(figures[name]), figures[name]


def test_a_race_that_one_side_always_wins_is_none() -> None:
    race = RACES["cancel against fire"]
    assert race.well_matched({"timers": 100, "fired": 10, "cancelled": 90})
    assert not race.well_matched({"timers": 100, "fired": 9, "cancelled": 91})
    assert not race.well_matched({"timers": 100, "cancelled": 100})


def test_ten_bugs_are_planted_and_it_is_known_of_each_who_finds_it() -> None:
    assert len(bugs()) >= 10
    known = finders()
    assert set(known) == {bug.stem[:2] for bug in bugs()}
    assert {test for test in known.values() if test} <= {what.test for what in properties()}
    assert sum(map(bool, known.values())) >= 10


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.stem)
def test_a_planted_bug_is_found_within_the_seeds_of_every_run(bug: Path) -> None:
    """Fails too if it does not apply any more: see tests/simulation/planted/README.md."""
    finder = finders()[bug.stem[:2]]
    if not finder:  # that it still applies is all that can be said of it
        with copy_of_the_tree(bug):
            return
    (seeds,) = (what.seeds for what in properties() if what.test == finder)
    assert asyncio.run(find(bug, 0, seeds, [finder])), f"{finder} holds, though {bug.stem} is planted"


def test_a_bug_is_planted_where_its_code_has_moved_to_if_that_is_certain() -> None:
    (bug,) = (bug for bug in bugs() if bug.stem == "03-tick-after-cancel")
    with copy_of_the_tree(None) as copy:
        home, moved = copy / "actors" / "timers.py", copy / "actors" / "clockwork.py"
        sound = home.read_text()
        home.rename(moved)
        plant(bug, copy)
        assert moved.read_text() != sound
        moved.write_text(sound)
        (copy / "actors" / "another.py").write_text(sound)
        with pytest.raises(Stale, match=r"actors/another\.py and actors/clockwork\.py do"):
            plant(bug, copy)
        for each in ("another.py", "clockwork.py"):
            (copy / "actors" / each).unlink()
        with pytest.raises(Stale, match="nor does any file beside it"):
            plant(bug, copy)


def test_where_nothing_is_planted_nothing_is_found() -> None:
    tests = sorted({test for test in finders().values() if test})
    assert asyncio.run(find(None, 0, 20, tests)) == []


async def never_suspends() -> None:
    """As a property: it hangs."""
    while True:
        with suppress(Exception):
            pass


def test_a_seed_that_never_suspends_is_a_failure_and_those_after_it_are_run() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        chunk = pool.submit(run_chunk, Property("tests.test_proofs", "never_suspends"), [1, 2], 0.2).result()
    assert [seed for seed, _ in chunk.failures] == [1, 2]
    assert all("Hangs" in message for _, message in chunk.failures)

"""The properties: every test of tests/simulation that runs with many seeds, as a function of a seed, without pytest.

What proofs and searches run: `properties()` names them, `run` runs one with one seed, `seed_of` numbers the seeds as
pytest does, so that what is found here is replayed there.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import traceback
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from understudy.simulation import Simulation

ROOT = Path(__file__).parent.parent

WHOLE_CLUSTERS = (
    "test_cluster_",
    "test_entities",
    "test_entity_faults",
    "test_rolling_restart",
    "test_gateway_",
    "test_client",
)
"""How the modules begin whose properties run whole clusters for half a minute of virtual time: a seed takes 50 to 400 ms, a
hundred times as long as elsewhere. They run fewer seeds, and at length in a proof of their own."""

SEVERAL_NODES = ("test_health", "test_keys", "test_payloads", "test_remote_supervisors", "test_versions")
"""And those whose properties take some nodes through half a minute: 10 to 100 ms."""

EVERY_RUN = 300
OF_NODES = 100
OF_CLUSTERS = 100
"""Seeds that a property has in each run of the tests: such that all of them together take some minutes on two cores. The
proofs play 10,000."""


class Property(NamedTuple):
    """A simulated test, by the address of its function."""

    module: str
    name: str

    def function(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)

    @property
    def test(self) -> str:
        """Its name for pytest."""
        return f"{self.module.replace('.', '/')}.py::{self.name}"

    @property
    def is_of_a_whole_cluster(self) -> bool:
        return self.module.rpartition(".")[2].startswith(WHOLE_CLUSTERS)

    @property
    def is_of_several_nodes(self) -> bool:
        return self.module.rpartition(".")[2] in SEVERAL_NODES

    @property
    def seeds(self) -> int:
        """How many seeds each run of the test suite gives it."""
        mark = _mark(self.function())
        return int(mark.args[0]) if mark is not None else 1


def properties(*, whole_clusters: bool = True) -> list[Property]:
    """Every test of tests/simulation that is marked to run with many seeds and needs nothing but a simulation."""
    found: list[Property] = []
    for file in sorted((ROOT / "tests" / "simulation").glob("test_*.py")):
        module = importlib.import_module(f"tests.simulation.{file.stem}")
        for name, function in vars(module).items():
            mark = _mark(function)
            if mark is not None and mark.args[0] > 1 and set(inspect.signature(function).parameters) <= {"simulation"}:
                found.append(Property(module.__name__, name))
    return [what for what in found if whole_clusters or not what.is_of_a_whole_cluster]


def seed_of(base: int, number: int) -> int:
    """The number-th seed that pytest runs under UNDERSTUDY_SEED=base."""
    return int.from_bytes(hashlib.sha256(f"{base}:{number}".encode()).digest()[:4], "big")


def run(what: Property, seed: int) -> Simulation:
    """Run one property with one seed. Raises what it raises."""
    function = what.function()
    mark = _mark(function)
    options = {name: value for name, value in mark.kwargs.items() if name != "twice"} if mark is not None else {}
    simulation = Simulation(seed, **options)
    arguments = {"simulation": simulation} if "simulation" in inspect.signature(function).parameters else {}
    if inspect.iscoroutinefunction(function):
        simulation.run(partial(function, **arguments))
    else:
        function(**arguments)
    return simulation


def said(error: BaseException, most: int = 400) -> str:
    """What failed and where, in `most` characters: outside pytest an assertion does not speak for itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = next((frame for frame in reversed(frames) if f"{os.sep}tests{os.sep}" in frame.filename), frames[-1])
    return f"{Path(where.filename).name}:{where.lineno} {where.line}: {type(error).__name__}: {error}"[:most]


def _mark(function: object) -> pytest.Mark | None:
    marks: list[pytest.Mark] = getattr(function, "pytestmark", [])
    return next((mark for mark in marks if mark.name == "seeds" and mark.args), None)

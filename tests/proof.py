"""Proofs: what takes too long for every test run, and is written down when it was done.

    make proof simulation [SEED=7]        python -m tests.proof simulation --seed 7
    every proof writes docs/proofs/<name>.json: {name, seed, python, date, figures, passed}

A proof is a function of a seed that returns its figures and whether it holds; `@proof("name")` registers it, in a module
of MODULES. It runs in a process with a fixed hash seed. `tests/test_proofs.py` checks that each was done and has passed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

FOLDER = Path(__file__).parent.parent / "docs" / "proofs"

MODULES = (
    "tests.simulated",
    "tests.planted",
    "tests.kernel_proof",
    "tests.referee.proof",
    "tests.wire_proof",
    "tests.cluster_proof",
    "tests.gateway_proof",
)
"""Where proofs are."""

PROCESSES = 2


class Outcome(NamedTuple):
    """What a proof found: `figures` are for people, as JSON."""

    figures: dict[str, Any]
    passed: bool


Function: TypeAlias = Callable[[int, int], Outcome]
"""From a base seed and the number of seeds or rounds for each thing it tries."""


class Proof(NamedTuple):
    """`seeds`: how many it takes unless told otherwise. `counted`: the figure that says how many it took."""

    function: Function
    seeds: int
    counted: str


_REGISTERED: dict[str, Proof] = {}


def proof(name: str, *, seeds: int, counted: str = "seeds_per_property") -> Callable[[Function], Function]:
    """Register a proof under the name that `make proof` takes."""

    def register(function: Function) -> Function:
        _REGISTERED[name] = Proof(function, seeds, counted)
        return function

    return register


def proofs() -> dict[str, Proof]:
    """Every proof there is, by its name."""
    for module in MODULES:
        importlib.import_module(module)
    return _REGISTERED


# --- the command ---


@contextlib.contextmanager
def _written(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """The record of a proof, written also if it breaks off: an old one must not stand for a new one."""
    record = {
        "name": name,
        "seed": seed,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "figures": {},
        "passed": False,
    }
    try:
        yield record
    finally:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def main() -> int:
    """Run one proof and write down what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description="Do a proof and write it down.")
    parser.add_argument("name", choices=sorted(proofs()), help="which one")
    parser.add_argument("--seed", type=int, default=None, help="the base seed; by default a new one")
    parser.add_argument("--seeds", type=int, default=None, help="how many are derived from it for each property")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONHASHSEED": "0"})
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    chosen = proofs()[options.name]
    print(f"{options.name}: base seed {seed}", flush=True)
    with _written(options.name, seed) as record:
        record["figures"], record["passed"] = chosen.function(seed, options.seeds or chosen.seeds)
    print(json.dumps(record, indent=2))
    return 0 if record["passed"] else 1


if __name__ == "__main__":
    # As a module of its own name: what other processes are sent must be found there.
    from tests.proof import main as run_it

    sys.exit(run_it())

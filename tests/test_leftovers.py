"""Nothing is left of actors that came and went, in every way to live and to end (`tests/leftovers.py`)."""

import json
import subprocess
import sys
from dataclasses import asdict

from tests.leftovers import BATCH, Left


def test_nothing_is_left_of_actors_that_came_and_went() -> None:
    """In a process of its own: memory is counted, and other tests leave some."""
    command = [sys.executable, "-m", "tests.leftovers", str(3 * BATCH)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    left = Left(**json.loads(done.stdout))
    assert left.blocks < BATCH / 10, left  # memory of Python's own caches
    left.blocks = left.cycles = 0
    assert not any(count > 0 for count in asdict(left).values()), left


def test_no_way_to_live_and_to_end_leaves_a_cycle_that_only_the_collector_could_free() -> None:
    command = [sys.executable, "-m", "tests.leftovers", "cycles"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) == {}

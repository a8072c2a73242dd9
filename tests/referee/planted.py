"""Deviations from OTP, planted one at a time into a copy of the tree: the scenarios of every run of the tests find each.

A deviation is a piece of text that stands once in a file, and what is to stand there instead. If it does not stand there any
more, the test that plants it says so: plant the same deviation in the present code.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import understudy
from tests.referee.match import differences
from tests.referee.recorded import every_run, read

PATIENCE = 300.0
"""Seconds for all scenarios, which take a few."""


class Deviation(NamedTuple):
    """`name` says what is wrong with it."""

    name: str
    file: str
    before: str
    after: str


DEVIATIONS = (
    Deviation(
        "only the first of several failed attempts is counted",
        "supervisors/tree.py",
        "        if not place.waits:\n            return self._again(place, now)\n        #",
        "        if not place.waits:\n            return self._attempt(place)\n        #",
    ),
    Deviation(
        "each sibling that is started again is counted",
        "supervisors/tree.py",
        "        coming = [",
        "        self.intensity.restarts.extend(self.intensity.restarts[-1] for _ in group[1:])\n        coming = [",
    ),
    Deviation(
        "the window is exclusive",
        "supervisors/intensity.py",
        "now - restarts[0] > period",
        "now - restarts[0] >= period",
    ),
    Deviation(
        "it gives up one restart too early",
        "supervisors/intensity.py",
        "len(restarts) > self.limit",
        "len(restarts) >= self.limit",
    ),
    Deviation(
        "siblings start in reverse order",
        "supervisors/tree.py",
        " for one in coming))",
        " for one in reversed(coming)))",
    ),
    Deviation(
        "siblings are ended in the order in which they were started",
        "supervisors/tree.py",
        "for one in reversed(group)",
        "for one in group",
    ),
    Deviation(
        "children are ended in the order in which they were started",
        "supervisors/tree.py",
        "for place in reversed(self.places.values())",
        "for place in self.places.values()",
    ),
    Deviation(
        "a sibling that stands still is not started with the others",
        "supervisors/tree.py",
        'if one.child.restart != "temporary"]',
        'if one.child.restart != "temporary" and (one.state != "stopped" or one is place)]',
    ),
    Deviation(
        "temporary siblings are started again with the others",
        "supervisors/tree.py",
        'if one.child.restart != "temporary"]',
        "]",
    ),
    Deviation(
        "rest_for_one starts all of them again",
        "supervisors/tree.py",
        'if strategy == "rest_for_one" and one is place',
        "if False",
    ),
    Deviation(
        "a temporary child that crashed is started again",
        "supervisors/spec.py",
        'self.restart == "transient" and is_abnormal(reason)',
        'self.restart != "permanent" and is_abnormal(reason)',
    ),
    Deviation(
        "a transient child is started again after {shutdown, Term}",
        "supervisors/spec.py",
        "not isinstance(reason, Normal | Shutdown)",
        "not (isinstance(reason, Normal) or reason == Shutdown())",
    ),
    Deviation(
        "a permanent child that ended normally stays down",
        "supervisors/spec.py",
        'self.restart == "permanent" or',
        '(self.restart == "permanent" and not isinstance(reason, Normal)) or',
    ),
    Deviation(
        "the end of a significant child is the end of nobody else",
        "supervisors/tree.py",
        "if child.significant and self._is_over():",
        "if child.significant and self.policy.degraded:",
    ),
    Deviation(
        "the first of all significant children is enough",
        "supervisors/tree.py",
        'self.policy.auto_shutdown == "any_significant"',
        'self.policy.auto_shutdown != "never"',
    ),
    Deviation(
        "a significant child that is being restarted is over",
        "supervisors/tree.py",
        'place.state in ("running", "restarting") for place',
        'place.state == "running" for place',
    ),
    Deviation(
        "what did not start on request is kept",
        "supervisors/tree.py",
        "            del self.places[place.id]\n        return Refuse",
        "            pass\n        return Refuse",
    ),
    Deviation(
        "brutal_kill asks first",
        "supervisors/ending.py",
        "place.handle.kill()",
        "place.handle._exit(supervisor, Shutdown())",
    ),
    Deviation(
        "a child gets a second more than its shutdown time",
        "supervisors/ending.py",
        "begun + float(patience)",
        "begun + 1.0 + float(patience)",
    ),
    Deviation(
        "the spec of a dynamic child is kept",
        "supervisors/tree.py",
        'if self.policy.dynamic or place.child.restart == "temporary":',
        'if place.child.restart == "temporary":',
    ),
    Deviation(
        "a child that is being restarted may be deleted",
        "supervisors/tree.py",
        """        if place.state in ("running", "restarting"):
            return Refuse(f"the child {place.id!r} is {place.state}")
        del self.places[place.id]""",
        """        if place.state == "running":
            return Refuse(f"the child {place.id!r} is {place.state}")
        del self.places[place.id]""",
    ),
    Deviation(
        "a child that was terminated while it was being restarted comes back",
        "supervisors/tree.py",
        'if place is None or place.state != "restarting":',
        'if place is None or place.state == "running":',
    ),
    Deviation(
        "nobody is answered between two attempts",
        "supervisors/tree.py",
        "self._again(place, now) if place.waits else self._wait(place)",
        "self._again(place, now)",
    ),
)


class Stale(Exception):
    """The text that a deviation replaces does not stand there, or not once."""


NOTHING = Deviation("nothing", "supervisors/tree.py", "", "")


def find(deviation: Deviation, copy: Path) -> str | None:
    """Plant it in a copy of the tree, look for it, and take it out again.

    Returns the name of the first scenario that does not end as in Erlang; None if there is none. That it cannot even be run
    to its end does not count. Raises Stale.
    """
    file = copy / deviation.file
    text = file.read_text()
    if deviation is not NOTHING and text.count(deviation.before) != 1:
        raise Stale(f"{deviation.file} does not have this text once, for {deviation.name!r}: {deviation.before}")
    file.write_text(text.replace(deviation.before, deviation.after, 1))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.referee.planted"], check=True, capture_output=True, text=True, timeout=PATIENCE,
            cwd=copy, env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"the copy with {deviation.name!r} does not run: {error.stderr[-2000:]}") from error
    finally:
        file.write_text(text)
    found: str | None = json.loads(done.stdout)
    return found


def main() -> None:
    """What the process of a search runs, in the copy."""
    home = Path.cwd().resolve()
    for wing in ("supervisors", "actors"):
        imported = Path(__import__(f"understudy.{wing}", fromlist=["*"]).__file__ or "").resolve()
        assert imported.is_relative_to(home), f"{imported} is not the copy in {home}"
    assert Path(understudy.__file__).resolve().is_relative_to(home), f"{understudy.__file__} is not the copy in {home}"
    logging.disable(logging.CRITICAL)
    found = next((each for each in differences(every_run(), read()) if not each.raised), None)
    print(json.dumps(found.scenario.name if found is not None else None))


if __name__ == "__main__":
    main()

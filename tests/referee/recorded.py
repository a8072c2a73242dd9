"""Erlang's logs of the scenarios that every run of the tests takes, written down for where there is no Erlang.

python -m tests.referee.recorded        records them anew: after a change of the scenarios, or of what a log is
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from tests.referee import erlang
from tests.referee.cases import CASES
from tests.referee.generator import scenarios
from tests.referee.match import Log, erlang_logs
from tests.referee.scenario import Scenario

FILE = Path(__file__).parent / "recorded.json.gz"
SEED, COUNT = 5, 500

AGAIN = "record them again: python -m tests.referee.recorded"


def every_run() -> list[Scenario]:
    """The scenarios that every run of the tests takes."""
    return [*scenarios(SEED, COUNT), *CASES]


def read() -> list[Log]:
    """Erlang's logs of `every_run()`. AssertionError if they are of other scenarios."""
    record = json.loads(gzip.decompress(FILE.read_bytes()))
    assert record["scenarios"] == _digest(every_run()), f"the recorded logs are not of these scenarios; {AGAIN}"
    logs: list[Log] = record["logs"]
    return logs


def write() -> None:
    """Ask Erlang, and write down what it says."""
    taken = every_run()
    record = {
        "otp": erlang.release(),
        "scenarios": _digest(taken),
        "logs": erlang_logs(taken, erlang.logs),
    }
    FILE.write_bytes(gzip.compress(json.dumps(record).encode(), mtime=0))


def _digest(taken: Sequence[Scenario]) -> str:
    return sha256("".join(map(repr, taken)).encode()).hexdigest()


if __name__ == "__main__":
    write()

"""Erlang's logs of scenarios: one Erlang for all of them, compiled at that moment and gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.referee.scenario import Scenario, erlang

PROGRAM = Path(__file__).parent / "referee.erl"

PATIENCE = 600.0
"""Seconds for one batch; a scenario takes some milliseconds."""


def installed() -> bool:
    """Whether there is an Erlang here."""
    return shutil.which("erl") is not None and shutil.which("erlc") is not None


def release() -> str:
    """Which OTP it is, as "25"."""
    return _run("erl", "-noshell", "-eval", "io:put_chars(erlang:system_info(otp_release)), halt().", cwd="/")


def logs(scenarios: Sequence[Scenario]) -> list[list[str]]:
    """What happened in each. Raises subprocess.CalledProcessError with Erlang's own words."""
    with tempfile.TemporaryDirectory(prefix="referee-") as folder:
        _run("erlc", "-o", folder, str(PROGRAM), cwd=folder)
        terms = (f"{{{number}, {erlang(each.tree)}, {erlang(each.steps)}}}.\n" for number, each in enumerate(scenarios))
        (Path(folder) / "scenarios").write_text("".join(terms))
        _run("erl", "-noshell", "+S", "1", "-eval", 'referee:main("scenarios", "logs"), halt().', cwd=folder)
        texts = (Path(folder) / "logs").read_text().split("== ")[1:]
    assert len(texts) == len(scenarios), f"Erlang ran {len(texts)} of {len(scenarios)} scenarios"
    return [text.splitlines()[1:] for text in texts]


def _run(*command: str, cwd: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout

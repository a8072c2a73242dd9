"""The station runs as an application: it opens, a sensor fails and is back, and the board is closed before the archive."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator

import pytest

from tests.system.demo import UNDERSTUDY, Terminal


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


def test_the_station_opens_survives_a_sensor_and_closes_in_order() -> None:
    with Terminal(UNDERSTUDY, "start", "understudy.examples.station:Station") as terminal:
        terminal.wait_for(r"^ready understudy.examples.station:Station process \d+$")
        assert terminal.lines[0] == "board: open"
        terminal.wait_for(r"^board: roof [\d.]+, garden [\d.]+$|^board: garden [\d.]+, roof [\d.]+$")
        terminal.wait_for("the sensor of the roof has iced up")
        terminal.wait_for("Sensors restarted 'roof'")
        terminal.wait_for("^board: ", after=len(terminal.lines))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.exit_status(15.0) == 0
        last = [line for line in terminal.lines if line.startswith(("board: closed", "archive: "))]
        assert last[0] == "board: closed"
        assert last[1].endswith("readings are safe")

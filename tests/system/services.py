"""What runs on the machines of a street: a program that is started again when it ends, as systemd would."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.leash import leashed
from tests.system.street import Machine

AGAIN_AFTER = 0.5
"""Seconds between the end of a program and its next start."""


class Service:
    """A program on a machine, until the `with` ends. `lives` are the processes it has been."""

    def __init__(
        self,
        machine: Machine,
        *command: str | Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        home: Path | None = None,
    ) -> None:
        self.machine = machine
        self.log = log
        self.lives: list[int] = []
        self.statuses: list[int] = []
        self._command = leashed(*machine.through, *command)
        self._home = home
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._held = threading.Event()
        self._held.set()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ends()
        self._keeper.join(12.0)
        if self._keeper.is_alive():
            self.signal(signal.SIGKILL)
            self._keeper.join()
        if kind is not None:
            print(f"--- {self.machine.name} said:\n{self.said()}")

    def ends(self) -> None:
        """It is told to end, and not started again. The second time nothing happens."""
        if not self._over.is_set():
            self._over.set()
            self._held.set()
            if self._process is not None:
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGTERM)

    @property
    def pid(self) -> int:
        """Its process at present, or the last one."""
        return self.lives[-1]

    def said(self) -> str:
        """All that it printed, in every life."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def hold(self) -> None:
        """Do not start it again until `release`."""
        self._held.clear()

    def release(self) -> None:
        self._held.set()

    def stopped(self) -> None:
        """`systemctl stop`: SIGTERM, and wait for its end."""
        self.hold()
        self.signal(signal.SIGTERM)
        self.ended()

    def ended(self, within: float = 60.0) -> None:
        """Wait for the end of its present life."""
        number = len(self.lives)
        end = time.monotonic() + within
        while len(self.statuses) < number:
            assert time.monotonic() < end, f"{self.machine.name} did not end:\n{self.said()}"
            time.sleep(0.02)

    def _keep(self) -> None:
        while not self._over.is_set():
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._home,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.lives.append(self._process.pid)
                self.statuses.append(self._process.wait())
            self._over.wait(AGAIN_AFTER)
            self._held.wait()

"""What runs on the machines of a street: a program that is started again when it ends, as systemd would, and a PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.street import Machine, run

AGAIN_AFTER = 0.5
"""Seconds between the end of a program and its next start."""

NOBODY = 65534


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
        self._command = [*machine.through, *(str(word) for word in command)]
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


class PostgreSQL(Service):
    """A server on a machine, for all of 10.77.0.*, which ask for a password. Runs as nobody; `at_home` is the way in for its owner."""

    def __init__(self, machine: Machine) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="understudy-table-"))
        self._data = folder / "data"
        self._sockets = folder / "sockets"
        self.at_home = {"PGHOST": str(self._sockets), "PGUSER": "postgres"}
        self.url = f"postgresql://understudy:break-a-leg@{machine.address}/understudy"
        options = ("listen_addresses=*", f"unix_socket_directories={self._sockets}", "fsync=off")
        command = [*_AS_NOBODY, str(_postgresql("postgres")), "-D", str(self._data)]
        super().__init__(
            machine, *command, *(word for option in options for word in ("-c", option)), log=folder / "log"
        )

    def __enter__(self) -> Self:
        self._sockets.mkdir()
        for each in (self._folder, self._sockets):
            os.chown(each, NOBODY, NOBODY)
        run(
            *_AS_NOBODY,
            str(_postgresql("initdb")),
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
        )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/24 scram-sha-256\n")
        super().__enter__()
        end = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < end, self.said()
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self._folder)

    def create(self) -> None:
        """The user and the database that `url` speaks of."""
        for command in (
            "create role understudy login password 'break-a-leg'",
            "create database understudy owner understudy",
        ):
            done = self._ask(command)
            assert done.returncode == 0, done.stderr

    def _answers(self) -> bool:
        return self._ask("select 1").returncode == 0

    def _ask(self, command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(_postgresql("psql")), "-c", command], env={**os.environ, **self.at_home}, capture_output=True
        )


_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def _postgresql(program: str) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return found[-1] if found else Path(shutil.which(program) or program)


def no_postgresql() -> str:
    """Why there can be no PostgreSQL here; "" if there can."""
    return (
        ""
        if _postgresql("initdb").is_absolute()
        else "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    )

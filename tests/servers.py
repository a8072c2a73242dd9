"""Real database servers for tests: PostgreSQL and etcd, started as an ordinary user, on 127.0.0.1, in a folder of their own.

    def test_x(postgres: Postgres): ... postgres.fresh()      a URL of an empty database; the server is the session's,
    def test_y(etcd: Etcd): ... etcd.fresh()                  shared by the tests of a worker: leave it running

    with Postgres() as server:                                one of your own:
        server.kill()                                         kill -9, all of it
        server.pause(); server.resume()                       SIGSTOP, SIGCONT
        server.stop(); server.start()                         in order, and again on the same port

    with Postgres(through=machine.through, address=machine.address) as server:      in a network namespace (system/street.py)

Nothing is stopped but what was started here. When the process ends that started a server, however that happens, the
server does too.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Self

import psycopg
import pytest

from tests.leash import leashed

USER = "nobody"
"""Whose rights a server has that root starts: PostgreSQL refuses to run as root."""

START_WITHIN = 60.0
"""Seconds that a server has to start, on a busy machine."""

PASSWORD = "a secret"


def missing_postgres() -> str:
    """Why there can be no PostgreSQL here; "" if there can."""
    return "" if _binaries() else "not installed: PostgreSQL (Debian: apt-get install postgresql)"


def missing_etcd() -> str:
    """Why there can be no etcd here; "" if there can."""
    return "" if shutil.which("etcd") else "not installed: etcd (Debian: apt-get install etcd-server)"


class Server:
    """What both have in common. The folder is removed by `close`. `through`: a command that becomes the server's."""

    def __init__(self, through: tuple[str, ...] = ()) -> None:
        self.through = through
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-server-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._fresh = count()
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [] if self._process is None else _family(self._process.pid)

    def start(self) -> None:
        """Start it, again if need be, and wait until it answers."""
        end = time.monotonic() + START_WITHIN
        while True:
            if self._process is None or self._process.poll() is not None:
                self._process = self.popen(self.command())
            if self.answers():
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{self.command()[0]} did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it in order, as an administrator does who restarts it."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End all its processes at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop all its processes where they are: connections stand, and nobody answers."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
            while not _stands_still(pid):
                time.sleep(0.001)

    def resume(self) -> None:
        """Let them go on."""
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End it for good, and all that it has anywhere."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it is ready."""
        raise NotImplementedError

    def log(self) -> str:
        """What it has said so far."""
        with suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")
        return ""

    def popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process with the rights of an ordinary user, which ends with this one."""
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [*self.through, *leashed(*command, by="QUIT", user=USER if os.geteuid() == 0 else "")],
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if how == signal.SIGKILL:
            for pid in _family(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
        else:
            process.send_signal(how)
        process.wait(START_WITHIN)


class Postgres(Server):
    """`settings`: of postgresql.conf. The disk is not waited for, unless `durable`. `user`: its superuser.

    `address`: where it listens, for all of that network, which ask for a password.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        user: str = "understudy",
        through: tuple[str, ...] = (),
        address: str = "127.0.0.1",
        port: int | None = None,
        **settings: str,
    ) -> None:
        super().__init__(through)
        self.user = user
        self.address = address
        self.port = self.port if port is None else port
        self._settings = {
            "fsync": "on" if durable else "off",
            "max_connections": "200",
            "dynamic_shared_memory_type": "mmap",  # in its folder: elsewhere it would outlive a kill -9
        } | settings
        self._made = False

    def start(self) -> None:
        if not self._made:
            (self.folder / "password").write_text(PASSWORD)
            (self.folder / "password").chmod(0o644)
            made = self.popen(
                [
                    *(f"{_binaries()}/initdb", "--pgdata", str(self.folder / "data"), "--no-sync", "--encoding=UTF8"),
                    *("--username", self.user, "--auth=scram-sha-256", "--pwfile", str(self.folder / "password")),
                ]
            )
            if made.wait(START_WITHIN) != 0:
                raise RuntimeError(f"initdb failed: {self.log()[-2000:]}")
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet scram-sha-256\n")
            self._made = True
        super().start()

    def close(self) -> None:
        if self._process is not None:
            self.resume()
            self._end(signal.SIGQUIT)  # at once, but after a kill -9 a segment of shared memory would stay
        super().close()

    def command(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        where = [f"--listen_addresses={self.address}", f"--unix_socket_directories={self.folder}"]
        return [f"{_binaries()}/postgres", "-D", str(self.folder / "data"), "-p", str(self.port), *where, *settings]

    def answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str = "postgres", *, user: str = "", password: str = PASSWORD) -> str:
        """The URL of one of its databases, for its superuser, or another."""
        return f"postgresql://{user or self.user}:{password.replace(' ', '%20')}@{self.address}:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of a new database."""
        name = f"test_{next(self._fresh)}"
        self.do(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def do(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as its superuser; its rows."""
        with self._connect(database) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def at_home(self) -> dict[str, str]:
        """The environment in which `psql` is its superuser's, on its machine."""
        return {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": self.user, "PGPASSWORD": PASSWORD}

    def _connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Through its socket in the folder, to which no network leads."""
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user=self.user,
            password=PASSWORD,
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )


class Etcd(Server):
    """One member. The disk is not waited for, unless `durable`. `options`: of its command line."""

    def __init__(self, *options: str, durable: bool = False) -> None:
        super().__init__()
        self._options = options if durable else (*options, "--unsafe-no-fsync")
        self._peers = free_port()

    def command(self) -> list[str]:
        ours, theirs = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._peers}"
        return [
            *("etcd", "--data-dir", str(self.folder / "data"), "--log-level", "warn"),
            *("--listen-client-urls", ours, "--advertise-client-urls", ours),
            *("--listen-peer-urls", theirs, "--initial-advertise-peer-urls", theirs),
            *("--initial-cluster", f"default={theirs}", *self._options),
        ]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return bool(json.load(answer)["health"] == "true")
        except (OSError, urllib.error.HTTPError):
            return False

    def url(self, prefix: str = "understudy") -> str:
        """The URL of a table of it."""
        return f"etcd://127.0.0.1:{self.port}/{prefix}"

    def fresh(self) -> str:
        """The URL of a table that is not there yet."""
        return self.url(f"test-{next(self._fresh)}")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of this worker."""
    if why := missing_postgres():
        pytest.skip(why)
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """An etcd server for all tests of this worker."""
    if why := missing_etcd():
        pytest.skip(why)
    with Etcd() as server:
        yield server


def _binaries() -> str:
    """Where PostgreSQL's programs lie; Debian keeps them out of PATH. The newest."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if found:
        return os.path.dirname(max(found, key=lambda path: float(path.split("/")[4])))
    there = shutil.which("initdb")
    return os.path.dirname(there) if there else ""


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped; a signal takes its time."""
    states = [Path(path).read_text().rpartition(")")[2].split()[0] for path in glob.glob(f"/proc/{pid}/task/*/stat")]
    return all(state in "TtZX" for state in states)


def _family(pid: int) -> list[int]:
    """A process of ours and its children: PostgreSQL's have sessions of their own."""
    children: list[int] = []
    with suppress(OSError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *children]

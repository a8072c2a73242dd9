"""The real demonstration as a person runs it: `understudy demo` in a process of its own, its terminal, its page."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.leash import leashed

UNDERSTUDY = Path(sys.executable).parent / "understudy"

STARTS_WITHIN = 60.0
"""Seconds until every process of a demonstration must have said that it is ready, on a busy machine."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_running(pid: int) -> bool:
    """Whether that process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command_of(pid: int) -> list[str]:
    """The command line of that process; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def still_running(pids: list[int], after: float) -> list[int]:
    """Which of these processes have not ended after so many seconds. A process closes its files before it is gone."""
    end = time.monotonic() + after
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < end:
        threading.Event().wait(0.01)
    return left


def children_of(pid: int) -> list[int]:
    """The processes below `pid`, all generations."""
    try:
        below = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [grand for child in below for grand in (child, *children_of(child))]


class Terminal:
    """A command and what it prints, both streams, line by line. Leaving it ends the command and everything below it."""

    def __init__(self, *arguments: str | Path, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            leashed(*arguments),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def text(self) -> str:
        """All it printed so far."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, within: float = STARTS_WITHIN, after: int = 0) -> re.Match[str]:
        """The first line from number `after` on that matches, waiting for it."""
        end = time.monotonic() + within
        with self._news:
            while True:
                for line in self.lines[after:]:
                    if match := re.search(pattern, line):
                        return match
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no line {pattern!r} within {within} s, but:\n{self.text}")
                self._news.wait(min(left, 0.2))

    def exit_status(self, within: float) -> int:
        """Its exit status, waiting for its end and for the rest of what it prints."""
        status = self.process.wait(within)
        self._reader.join(within)
        return status

    def family(self) -> list[int]:
        """The process ids of the command and of all below it."""
        return [self.process.pid, *children_of(self.process.pid)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                for pid in family:
                    if is_running(pid):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if kind is not None:
            sys.stderr.write(f"--- the terminal said:\n{self.text}\n")


class Demo(Terminal):
    """A running demonstration: page, processes, HTTP."""

    def __init__(self, state: Path) -> None:
        self.port = free_port()
        self.state = state
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(UNDERSTUDY, "demo", "--port", str(self.port), "--state", state)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.join_address = self.wait_for(r"--join (tcp://\S+)").group(1)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def process_of(self, node: str, after: int = 0) -> int:
        """The process id with which that node said it started, at line `after` or later."""
        return int(self.wait_for(rf"started {node} \S+ process (\d+)", after=after).group(1))

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one HTTP request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """The server-sent events of a path, as (name, data), until the reader has enough."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.headers["Content-Type"] == "text/event-stream"
            name = ""
            while line := response.readline().decode():
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)
        finally:
            connection.close()

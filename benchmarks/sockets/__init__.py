"""WebSocket servers side by side: each broadcasts what one client says to all of them. See `benchmarks.gateway`.

    publisher ──▶ server (a program of its own, on one core) ──▶ 1,000 subscribers        the load client, in C, on the other

A program `with_...` serves on a free port, which it prints, until it is ended. `load.c` says how it is spoken to.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sides import PLACE, ROOT, NotHereError

SOURCE = Path(__file__).parent / "load.c"

TEXT = 200
"""Characters of a message."""

PATIENCE = 120.0
"""Seconds that one command to the load client may take longer than it was told to."""


class Spoken(NamedTuple):
    """How the load client speaks with a server: where, what it says first, how many messages come until it is let in.

    `message` has a place for the text, `{}`. `ping` and `pong` are those of a protocol inside of WebSocket.
    """

    message: str
    path: str = "/"
    hello: tuple[str, ...] = ()
    ready: int = 0
    publisher: str | None = None
    ping: tuple[str, str] = ("", "")


def open_files() -> int:
    """How many files one process may have open: raised to what this user may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def cores() -> tuple[int, int]:
    """The server's, and the load client's. Raises NotHereError."""
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2:
        raise NotHereError("there is one core: the load client would be measured with the server")
    return ours[0], ours[-1]


def on_core(core: int | None) -> Any:
    """What pins a new process."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


def compiled() -> Path:
    """The load client as a program. Raises NotHereError."""
    program = PLACE / "load"
    PLACE.mkdir(exist_ok=True)
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        try:
            done = subprocess.run(
                ["cc", "-O2", "-o", str(program), str(SOURCE)], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise NotHereError("the load client needs a C compiler (Debian: gcc)") from None
        if done.returncode:
            raise NotHereError(f"the load client does not compile: {done.stderr.strip().splitlines()[-1]}")
    return program


class Server:
    """A server's processes: what they cost."""

    def __init__(self, pids: list[int], ports: list[int]) -> None:
        self.pids = pids
        self.ports = ports

    def memory(self) -> int:
        """Bytes that are its own: what it shares with others counts as a part."""
        total = 0
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(commands: list[list[str]], core: int | None) -> Iterator[Server]:
    """Programs that print their port, one after the other; killed in the end."""
    with contextlib.ExitStack() as stack:
        running: list[int] = []
        ports: list[int] = []
        for command in commands:
            program = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                    preexec_fn=on_core(core),
                )
            )
            stack.callback(os.killpg, program.pid, signal.SIGKILL)  # and what it started itself
            assert program.stdout is not None
            said = program.stdout.readline().split()
            if not said:
                raise RuntimeError(f"{command[-1]} did not start")
            ports.append(int(said[0]))
            running += [int(pid) for pid in said[1:]] or [program.pid]
        yield Server(running, ports)


class Load:
    """The load client, which speaks to a server as `spoken` says; `text` characters are in each message."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program

    def tell(self, *words: object) -> None:
        """Something that is not answered."""
        assert self._program.stdin is not None
        try:
            self._program.stdin.write(" ".join(map(str, words)) + "\n")
            self._program.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._why()) from None

    def ask(self, *words: object) -> dict[str, Any]:
        """Something that is. Raises RuntimeError with what it said if it gave up."""
        self.tell(*words)
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if not line:
            raise RuntimeError(self._why())
        found: dict[str, Any] = json.loads(line)
        return found

    def _why(self) -> str:
        assert self._program.stderr is not None
        return (self._program.stderr.read().strip() or "the load client is gone").splitlines()[-1]


@contextlib.contextmanager
def load(spoken: Spoken, ports: list[int], core: int | None, text: int = TEXT) -> Iterator[Load]:
    """A load client, ended in the end."""
    with subprocess.Popen(
        [str(compiled())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=on_core(core),
    ) as program:
        client = Load(program)
        try:
            client.tell("server", ports[0], spoken.path)
            if spoken.publisher is not None or len(ports) > 1:
                client.tell("publisher", ports[-1], spoken.publisher or spoken.path)
            for hello in spoken.hello:
                client.tell("hello", hello)
            if spoken.ready:
                client.tell("ready", spoken.ready)
            if spoken.ping[0]:
                client.tell("ping", spoken.ping[0])
                client.tell("pong", spoken.ping[1])
            client.tell("counts", text)
            client.tell("message", spoken.message.replace("{}", "x" * text))
            yield client
        finally:
            program.kill()

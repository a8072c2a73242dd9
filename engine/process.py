"""A run's end of its worker process: starts it, reads it chunk by chunk, and makes sure that it ends.

    worker says something ──▶ Output(data) to the run's actor ──▶ more() ──▶ the next chunk is read
    worker has ended, and all it said was read ──▶ Gone(code, last_words)

One chunk at a time: a worker that yields faster than its run can pass on waits in its own pipe.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, cast

import msgpack

from understudy.actors import ActorRef

logger = logging.getLogger("understudy.engine")

GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL, and from a worker's end to the closing of pipes that a child of its own still holds."""

LAST_WORDS = 4_000
"""Bytes of a worker's standard error that are kept."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the worker wrote. Nothing further is read until `more()`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """The worker ended. `code`: its exit status, or minus the signal that ended it. `last_words`: the end of its error output."""

    code: int
    last_words: str


class WorkerProcess(asyncio.SubprocessProtocol):
    """The worker of one run. `closed` is set once it has ended and nothing of it is left."""

    def __init__(self, run: ActorRef[Any]) -> None:
        self.closed = asyncio.Event()
        self._run = run
        self._transport: asyncio.SubprocessTransport | None = None
        self._code: int | None = None
        self._read_all = False
        self._ending = False
        self._last_words = b""

    @classmethod
    async def start(cls, run: ActorRef[Any], order: dict[str, Any]) -> Self:
        """Start a worker for this actor and give it its order. OSError: the system cannot start another process."""
        loop = asyncio.get_running_loop()
        # It imports what this process can import, and not what happens to lie in the working directory (-P).
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            _, worker = await loop.subprocess_exec(
                lambda: cls(run),
                *(sys.executable, "-P", "-u", "-X", "faulthandler", "-m", "understudy.engine.worker"),
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the engine; and its children end with the worker, as one group
            )
        except OSError as error:  # uvloop leaves out which program it was
            raise OSError(error.errno, error.strerror, sys.executable) from error
        cast(asyncio.WriteTransport, worker._pipe(0)).write(msgpack.packb(order))
        return worker

    @property
    def pid(self) -> int:
        assert self._transport is not None, "asyncio has connected it before `start` returns"
        return self._transport.get_pid()

    def more(self) -> None:
        """Read on."""
        stdout = self._pipe(1)
        if stdout is not None and not self._read_all:
            cast(asyncio.ReadTransport, stdout).resume_reading()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """End it and the processes it started (SIGKILL), whatever it still has to say; `closed` follows."""
        self._ending = True
        self._signal(signal.SIGKILL)
        if self._code is not None and self._transport is not None:
            self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        # Not Popen.send_signal: that may reap the process behind the back of asyncio's own child watcher.
        if self._code is None:
            with suppress(ProcessLookupError):  # it ended, and asyncio is about to say so
                os.killpg(self.pid, number)

    def _pipe(self, fd: int) -> asyncio.BaseTransport | None:
        return self._transport.get_pipe_transport(fd) if self._transport is not None else None

    # --- asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)  # what it is, though uvloop's has another base

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._last_words = (self._last_words + data)[-LAST_WORDS:]
            logger.debug("worker %s: %s", self.pid, data)
            return
        stdout = self._pipe(1)
        if stdout is not None:
            cast(asyncio.ReadTransport, stdout).pause_reading()
        if self._run.is_alive():
            self._run.tell(Output(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._read_all = True
            self._farewell()

    def process_exited(self) -> None:
        assert self._transport is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it started and left behind
        self._code = self._transport.get_returncode()
        if self._ending:
            self._transport.close()
        else:
            asyncio.get_running_loop().call_later(GRACE, self._transport.close)
        self._farewell()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def _farewell(self) -> None:
        if self._read_all and self._code is not None and self._run.is_alive():
            self._run.tell(Gone(self._code, self._last_words.decode(errors="replace").strip()))


def ending(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

"""An operating-system process as a supervised actor: it starts, fails, and ends with its actor.

    on_start   start the program, wait for the line on its standard output that says it is ready
    its exit   fails the actor, so that its supervisor restarts it
    on_stop    SIGTERM, wait, SIGKILL
    kill()     SIGKILL

The child gets a pipe as standard input. End of file on it means that its parent is gone, however it went: a program
that heeds it (as our nodes and workers do) ends in order. One that does not is ended by its guard (see guard.py). What the
child itself started in its session and left behind is killed with it, so that its successor finds ports and files free.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from understudy.actors import Actor, ExitReason, Failure, Request, Stop, message
from understudy.supervisors.guard import Guard

logger = logging.getLogger("understudy.supervisors")

LINE_LIMIT = 64 * 1024
"""Bytes of one line that a child may print; the rest of a longer one is cut off."""

LAST_WORDS = 1.0
"""Seconds after a child's end in which what it printed is still read, if somebody else holds its pipes open."""


@message("understudy.supervisors.ProcessStatus")
class ProcessStatus(Request[dict[str, Any]]):
    """Ask an `OsProcess` for `{"argv", "pid", "ready"}`; `ready` is the line with which it said so."""


class ProcessExited(Exception):
    """The program ended by itself, or somebody ended it."""


class OsProcess(Actor):
    """Runs `argv`. Ready once it printed a line that starts with `ready` (at once if None); later lines are logged.

    `label` is what reports call it (None: the program's name); `env` is its whole environment (None: ours); `grace`: seconds from SIGTERM to SIGKILL at an orderly end.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        label: str | None = None,
        ready: str | None = None,
        env: Mapping[str, str] | None = None,
        grace: float = 4.0,
    ) -> None:
        super().__init__()
        if not _is_command(argv):
            raise TypeError(f"OsProcess.argv is a list of texts, a program and its arguments, not {argv!r}")
        self.stop_timeout = grace + 2 * LAST_WORDS
        self._argv = tuple(argv)
        self.label = label if label is not None else Path(self._argv[0]).name
        self._ready = ready
        self._env = dict(env) if env is not None else None
        self._grace = grace
        self.ready_line = ""
        self._program: _Program | None = None

    async def on_start(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, program = await loop.subprocess_exec(
                lambda: _Program(self._ready),
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,
                env=self._env,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervising process, which ends us in order
            )
        except OSError as error:
            raise ProcessExited(f"{self._argv[0]} could not be started: {error}") from error
        self._program = program
        try:
            await asyncio.wait((program.ready, program.exited), return_when=asyncio.FIRST_COMPLETED)
            if not program.ready.done():
                raise ProcessExited(
                    f"{self.label} {_ending(program.code)} before it was ready; its own output says why"
                )
        except BaseException:
            program.end()
            await program.over(LAST_WORDS)
            raise
        self.ready_line = program.ready.result()
        self.run(self._watch(program))

    async def on_receive(self, message: Any) -> Any:
        match message:
            case ProcessExited():
                logger.error("%s", message)
                return Stop(Failure.of(message))
            case ProcessStatus():
                pid = self._program.pid if self._program is not None else None
                return {"argv": list(self._argv), "pid": pid, "ready": self.ready_line}
            case _:
                return self.unhandled(message)

    async def on_stop(self, reason: ExitReason) -> None:
        program = self._program
        if program is None or program.exited.done():
            return
        program.terminate()
        await asyncio.wait((program.exited,), timeout=self._grace)
        if not program.exited.done():
            logger.error("process %s ignored SIGTERM for %s s: killed", program.pid, self._grace)
            program.end()
        await program.over(LAST_WORDS)

    async def _watch(self, program: _Program) -> ProcessExited:
        """Wait for its end. Cancelled when the actor ends in whatever way: then the process ends too."""
        try:
            await asyncio.shield(program.exited)
            await program.over(LAST_WORDS)
            return ProcessExited(f"{self.label} (process {program.pid}) {_ending(program.code)}")
        finally:
            program.end()


class _Program(asyncio.SubprocessProtocol):
    """The event loop's end of the process. Learns of its exit at once, whoever else may still hold its pipes open."""

    def __init__(self, ready: str | None) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[str] = loop.create_future()
        self._awaited = ready
        if ready is None:
            self.ready.set_result("")
        self.exited: asyncio.Future[None] = loop.create_future()
        self.code = 0
        self.pid = 0
        self._closed: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._guard: Guard | None = None
        self._line = b""
        self._ending = False

    async def over(self, patience: float) -> None:
        """Wait until all it said was read and its pipes are closed; they are closed here after `patience` seconds."""
        await asyncio.wait((self._closed,), timeout=patience)
        self.end()
        await asyncio.wait((self._closed,), timeout=patience)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """End it and what it started."""
        self._ending = True
        if self.exited.done() and self._transport is not None:
            self._transport.close()
        else:
            self._signal(signal.SIGKILL)
            self._unguard()

    def _unguard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dismiss()

    def _signal(self, number: signal.Signals) -> None:
        # Not Popen.send_signal: that may reap the process behind the back of asyncio's own child watcher.
        if not self.exited.done():
            with suppress(ProcessLookupError):  # it has ended, and asyncio is about to say so
                (os.killpg if number is signal.SIGKILL else os.kill)(self.pid, number)

    def _heard(self, line: bytes) -> None:
        text = line[:LINE_LIMIT].decode(errors="replace")
        if self.ready.done():
            logger.info("%s", text)
        elif self._awaited is not None and text.startswith(self._awaited):
            self.ready.set_result(text)

    # --- asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)  # what it is, though uvloop's has another base
        self.pid = self._transport.get_pid()
        try:
            self._guard = Guard(self.pid)
        except OSError as error:
            logger.warning("process %s has no guard, and may outlive us if we are killed: %s", self.pid, error)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._heard(self._line + line)
            self._line = b""
        self._line = (self._line + rest)[:LINE_LIMIT]

    def process_exited(self) -> None:
        assert self._transport is not None, "it was connected first"
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it started and left behind
        self._unguard()
        self.code = self._transport.get_returncode() or 0
        if not self.exited.done():
            self.exited.set_result(None)
        if self._ending:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._line:
            self._heard(self._line)
        if not self._closed.done():
            self._closed.set_result(None)


def _is_command(argv: object) -> bool:
    return (
        isinstance(argv, Sequence)
        and not isinstance(argv, str | bytes)
        and len(argv) > 0
        and all(isinstance(word, str | os.PathLike) for word in argv)
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

"""An operating-system process as a supervised actor: it starts, fails, and ends with its actor.

    on_start   start the program, wait for the line on its standard output that says it is ready
    its exit   fails the actor, so that its supervisor restarts it
    on_stop    SIGTERM, wait, SIGKILL
    kill()     SIGKILL

The child gets a pipe as standard input. End of file on it means that its parent is gone, however it went: a program
that heeds it (as our nodes and workers do) never outlives its parent.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.actors import Actor, ExitReason, Request, message

logger = logging.getLogger("understudy.supervisors")

LINE_LIMIT = 64 * 1024
"""Bytes of one line that a child may print before it is cut."""


@message("understudy.supervisors.ProcessStatus")
class ProcessStatus(Request[dict[str, Any]]):
    """Ask an `OsProcess` for `{"argv", "pid", "ready"}`; `ready` is the line with which it said so."""


class ProcessExited(Exception):
    """The program ended by itself, or somebody ended it."""


class OsProcess(Actor):
    """Runs `argv`. Ready once it printed a line that starts with `ready` (at once if None); later lines are logged.

    `grace`: seconds from SIGTERM to SIGKILL at an orderly end.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        ready: str | None = None,
        env: Mapping[str, str] | None = None,
        grace: float = 4.0,
    ) -> None:
        super().__init__()
        self.stop_timeout = grace + 1.0
        self._argv = tuple(argv)
        self._ready = ready
        self._env = dict(env) if env is not None else None
        self._grace = grace
        self.ready_line = ""
        self._process: asyncio.subprocess.Process | None = None

    async def on_start(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._env,
                limit=LINE_LIMIT,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervising process, which ends us in order
            )
        except OSError as error:
            raise ProcessExited(f"{self._argv[0]} could not be started: {error}") from error
        self._process = process
        try:
            await self._until_ready(process)
        except BaseException:
            _signal(process, signal.SIGKILL)
            await process.wait()
            raise
        self.run(self._watch(process))

    async def on_receive(self, message: Any) -> Any:
        match message:
            case ProcessExited():
                raise message
            case ProcessStatus():
                pid = self._process.pid if self._process is not None else None
                return {"argv": list(self._argv), "pid": pid, "ready": self.ready_line}
            case _:
                return self.unhandled(message)

    async def on_stop(self, reason: ExitReason) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._grace):
                await process.wait()
        except TimeoutError:
            logger.error("process %s ignored SIGTERM for %s s: killed", process.pid, self._grace)
            _signal(process, signal.SIGKILL)
            await process.wait()

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "its standard output is a pipe"
        while self._ready is not None:
            line = (await process.stdout.readline()).decode(errors="replace").rstrip("\n")
            if line.startswith(self._ready):
                self.ready_line = line
                return
            if not line and process.stdout.at_eof():
                raise ProcessExited(f"{_ending(await process.wait())} before it was ready; its error output says why")

    async def _watch(self, process: asyncio.subprocess.Process) -> ProcessExited:
        """Log what it prints until it ends. Cancelled by a kill, which runs no hook: then the process ends here."""
        assert process.stdout is not None, "its standard output is a pipe"
        try:
            async for line in process.stdout:
                logger.info("%s", line.decode(errors="replace").rstrip("\n"))
            return ProcessExited(f"process {process.pid} {_ending(await process.wait())}")
        finally:
            if process.returncode is None:
                _signal(process, signal.SIGKILL)


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"exited with status {code}"


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:  # it ended by itself meanwhile
        return

"""Python programs as processes of their own, which speak to a test in lines. Ended with it, whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.leash import leashed

ROOT = Path(__file__).parent.parent

LONGEST_LINE = 16 << 20
"""Bytes of a line that a program may print: one that has kept a warning for every message has much to say."""


class Process:
    """A running program. Its standard error is the test's own, so that a failure there is read here."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.output = ""

    async def line(self, timeout: float = 10.0) -> str:
        """The next line it prints; "" at its end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def say_no_more(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def ended(self, timeout: float = 30.0) -> int:
        """Close its standard input, wait for its end, and return its exit status. `output` is what it printed last."""
        self.say_no_more()
        async with asyncio.timeout(timeout):
            output, _ = await self._process.communicate()
        self.output = output.decode()
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def running(module: str, *arguments: str, through: tuple[str, ...] = ()) -> AsyncIterator[Process]:
    """`python -m module arguments...`, killed at the end if it still runs. `through`: a command that becomes it."""
    process = await asyncio.create_subprocess_exec(
        *leashed(*through, sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def orders() -> AsyncIterator[str]:
    """For the programs: the lines that the test says, until it closes our standard input or is gone."""
    reader = asyncio.StreamReader(LONGEST_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            yield line.decode().rstrip("\n")
    finally:
        transport.close()


async def until_told_to_end() -> None:
    """For the programs: wait for that end."""
    async for _ in orders():
        pass

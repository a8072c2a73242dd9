"""Reload on save, for development: the application is a process of its own, ended in order and started anew.

    watch ── a source file was saved ──> SIGTERM, wait for its end ──> start it anew ──> ready
                        ^                                                   │
                        └── wait for the next save <── ended by itself ─────┘      a syntax error, a crash: it has said why

Whatever happens to this process, the application ends with it: it has a guard.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from understudy.app import Requests, command
from understudy.supervisors import Guard

logger = logging.getLogger("understudy.reload")

EXTRA_TIME = 10.0
"""Seconds beyond its shutdown timeout after which an application that was told to end is killed; it should have done so itself."""


async def reload(arguments: Sequence[str], folders: Sequence[Path], shutdown_timeout: float) -> int:
    """Run `understudy start` with these arguments, again after each save in `folders`; returns its last exit status.

    Raises OSError if the folders cannot be watched.
    """
    if find_spec("watchfiles") is None:
        raise click.ClickException("--reload needs watchfiles: pip install 'understudy[reload]'")
    return await _Reloader(arguments, folders, shutdown_timeout).run()


class _Reloader:
    def __init__(self, arguments: Sequence[str], folders: Sequence[Path], shutdown_timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self._command = command("start", "--reloaded", *arguments)
        self._folders = folders
        self._patience = shutdown_timeout + EXTRA_TIME
        self._stop: asyncio.Future[str] = loop.create_future()
        self._saved: asyncio.Future[None] = loop.create_future()

    async def run(self) -> int:
        with Requests(self._stop):
            watching = asyncio.create_task(self._watch())
            await asyncio.sleep(0)  # it watches from here on
            try:
                while True:
                    status = await self._live(watching)
                    if not (self._stop.done() or self._saved.done() or watching.done()):
                        logger.warning("the application ended with status %s; waiting for a file to be saved", status)
                        await _first(self._stop, self._saved, watching)
                        status = 0
                    if watching.done():
                        watching.result()
                    if self._stop.done():
                        return status
                    self._saved = asyncio.get_running_loop().create_future()
            finally:
                watching.cancel()
                await asyncio.wait((watching,))

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch

        async for changes in awatch(*self._folders, watch_filter=PythonFilter()):
            logger.info("saved: %s", _listed(path for _, path in changes))
            if not self._saved.done():
                self._saved.set_result(None)

    async def _live(self, watching: asyncio.Task[None]) -> int:
        """One life of the application, up to its own end, a save or a request to stop; returns its exit status."""
        # A file that is saved twice in a second may be as long as before: then Python takes its old bytecode for the new.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        process = await asyncio.create_subprocess_exec(*self._command, env=environment)
        guard = Guard(process.pid, group=False)
        ended = asyncio.create_task(process.wait())
        try:
            await _first(self._stop, self._saved, watching, ended)
            if not ended.done():
                process.terminate()
                await asyncio.wait((ended,), timeout=self._patience)
            if not ended.done():
                logger.error("the application did not end: killed")
                process.kill()
            status = await ended
            return status if status >= 0 else 128 - status  # by a signal, while nothing of ours could catch that yet
        finally:
            guard.dismiss()


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(sorted(map(os.path.relpath, paths)))


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)

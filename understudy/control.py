"""The window of a running process: whoever is the same user may look through it from another terminal.

    process ── Control(name, system) ── listens at FOLDER/PID.sock        FOLDER is the user's own, mode 0700
    `understudy tree` ── connects ──> one JSON object (tree.Process), end of file

Nothing can be done through it, only seen. It opens no port. Where the folder cannot be made, the process runs without.
"""

import asyncio
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Self, cast

from understudy.actors import ActorSystem
from understudy.tree import Process, look

logger = logging.getLogger("understudy.app")

ANSWERS_WITHIN = 5.0
"""Seconds that a process has to say what it is doing; one whose event loop is held up cannot."""


class Control:
    """Opened with `async with`, once in a process. `phase`: what that is doing; it may be set at any time."""

    def __init__(self, name: str, system: ActorSystem, phase: str = "running") -> None:
        self.phase = phase
        self._name = name
        self._system = system
        self._since = system.loop.time()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def __aenter__(self) -> Self:
        try:
            self._path = folder() / f"{os.getpid()}.sock"
            self._path.unlink(missing_ok=True)  # of an earlier process with our number
            self._server = await asyncio.start_unix_server(self._show, self._path)
        except OSError as error:
            logger.warning("`understudy tree` will not see this process: %s", error)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _show(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            view = Process(
                name=self._name,
                pid=os.getpid(),
                phase=self.phase,
                up=self._system.loop.time() - self._since,
                children=await look(self._system),
            )
            writer.write(json.dumps(view).encode())
            await writer.drain()
        except ConnectionError:
            pass  # whoever asked has gone
        finally:
            writer.close()


def folder() -> Path:
    """Where the windows of this user's processes are; made if it is not there. OSError: it is not the user's alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(runtime, "understudy") if runtime else Path(tempfile.gettempdir(), f"understudy-{os.getuid()}")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = place.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{place} is open to other users: remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    return place


async def processes() -> tuple[list[Process], list[int]]:
    """What every process of this user says of itself, and the numbers of those that do not answer."""
    windows = sorted(folder().glob("*.sock"), key=lambda window: int(window.stem))
    views = await asyncio.gather(*map(_seen_through, windows))
    silent = [int(window.stem) for window, view in zip(windows, views) if view is None and window.exists()]
    return [view for view in views if view is not None], silent


async def _seen_through(window: Path) -> Process | None:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            reader, writer = await asyncio.open_unix_connection(window)
            try:
                return cast(Process, json.loads(await reader.read()))
            finally:
                writer.close()
    except (ConnectionRefusedError, FileNotFoundError):
        _remove(window)  # its process was killed
    except (TimeoutError, ConnectionError, ValueError):
        pass  # it is held up, or has just ended
    return None


def _remove(window: Path) -> None:
    window.unlink(missing_ok=True)

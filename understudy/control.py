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

LONGEST = 103
"""Bytes that a socket's path may have: those of macOS, which has the fewest."""


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
            self._path = _window(folder(), os.getpid())
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
    """Where the windows of this user's processes are; made if it is not there.

    OSError, with what to do about it: it cannot be made, is not the user's alone, or has too long a path.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(runtime, "understudy") if runtime else Path(tempfile.gettempdir(), f"understudy-{os.getuid()}")
    if len(os.fsencode(_window(place, 2**22))) > LONGEST:
        raise OSError(f"{place} is too long a path for a socket: set XDG_RUNTIME_DIR to a shorter one")
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the folder {place} cannot be made: {error.strerror}; set XDG_RUNTIME_DIR to a folder of your own"
        ) from error
    found = place.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{place} is open to other users: remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    return place


def _window(place: Path, pid: int) -> Path:
    return place / f"{pid}.sock"


async def processes() -> tuple[list[Process], list[int]]:
    """What every process of this user says of itself, and the numbers of those that do not answer."""
    found = (window for window in folder().glob("*.sock") if window.stem.isdecimal())  # else it is none of ours
    windows = sorted(found, key=lambda window: int(window.stem))
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

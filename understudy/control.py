"""The window of a running process: whoever is the same user may look through it from another terminal, and hand in requests.

    process ── Control(name, system) ── listens at FOLDER/PID.sock        FOLDER is the user's own, mode 0700
    `understudy tree`  ── {"ask": "process"} ──▶ {"result": tree.Process}
    `understudy drain` ── {"ask": "drain", ...} ──▶ {"progress": ...} ... {"result": ...}      of a node: see desk.py

A request is one line of JSON, its answer one or several, the last of which has a result or an error; then end of file. It opens
no port. Where the folder cannot be made, the process runs without.
"""

import asyncio
import json
import logging
import math
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, cast

from understudy.actors import ActorRef, ActorSystem, UnderstudyError
from understudy.desk import Desk
from understudy.operator import OPERATOR, Operator
from understudy.transport import Node
from understudy.tree import Process, look

logger = logging.getLogger("understudy.app")

ANSWERS_WITHIN = 5.0
"""Seconds that a process has to say what it is doing; one whose event loop is held up cannot."""

ASKS_WITHIN = 2.0
"""Seconds that whoever connects has to say what it wants."""

LONGEST = 103
"""Bytes that a socket's path may have: those of macOS, which has the fewest."""

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one line of an answer: a very large tree."""


class Control:
    """Opened with `async with`, once in a process. `phase`: what that is doing; it may be set at any time.

    `node`: it is a node's, and operators of other nodes may ask for the same. `leave(timeout, why)` begins to end the process.
    """

    def __init__(
        self,
        name: str,
        system: ActorSystem,
        phase: str = "running",
        *,
        node: Node | None = None,
        leave: Callable[[float, str], None] = lambda timeout, why: None,
        application: str = "",
        health: str = "",
    ) -> None:
        self.phase = phase
        self.left = ""
        self.leave = leave
        self.health = health
        self._name = name
        self._system = system
        self._node = node
        self._application = application
        self._since = system.loop.time()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._operator: ActorRef[Operator] | None = None

    async def __aenter__(self) -> Self:
        if self._node is not None:
            self._operator = await self._node.spawn(Operator, self._node, self, name=OPERATOR)
        try:
            self._path = _window(folder(), os.getpid())
            self._path.unlink(missing_ok=True)  # of an earlier process with our number
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        except OSError as error:
            logger.warning("`understudy tree` will not see this process: %s", error)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def look(self) -> Process:
        """The live tree of the process."""
        return Process(
            name=self._name,
            pid=os.getpid(),
            phase=self.phase,
            up=self._system.loop.time() - self._since,
            children=await look(self._system),
        )

    def describe(self) -> dict[str, Any]:
        """What others may want to know of it."""
        return {
            "application": self._application,
            "up": self._system.loop.time() - self._since,
            "health": self.health,
        }

    async def drain(self, timeout: float) -> None:
        """Have the node hand over what it has."""
        assert self._node is not None, "only a node's operator asks for that"
        self.phase = "draining"
        try:
            report = await self._node.drain(timeout)
        except UnderstudyError as error:
            self.left = str(error)
        else:
            self.left = "; ".join(f"{step}: {', '.join(what)}" for step, what in report.left.items())
        if self.phase == "draining":
            self.phase = "drained"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASKS_WITHIN):
                request = json.loads(await reader.readline() or "null")
            async with aclosing(self._answer(request)) as lines:
                async for line in lines:
                    writer.write(json.dumps(line).encode() + b"\n")
                    await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # whoever asked has gone, or asked nothing that can be meant
        except asyncio.CancelledError:
            pass  # the process ends, and has said as much as it could
        finally:
            writer.close()

    async def _answer(self, request: Any) -> AsyncGenerator[dict[str, Any]]:
        match request:
            case {"ask": "process"}:
                yield {"result": await self.look()}
            case {"ask": str(what)} if self._node is None:
                yield {"error": f"{self._name} is no node: it cannot be asked to {what}", "code": "refused"}
            case {"ask": str()} if self._node is not None:
                async with aclosing(Desk(self._node).answer(request)) as lines:
                    async for line in lines:
                        yield line
            case _:
                yield {"error": "a request is an object with `ask`", "code": "refused"}


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


def windows() -> list[int]:
    """The processes of this user that have one, or had."""
    found = (window for window in folder().glob("*.sock") if window.stem.isdecimal())  # else it is none of ours
    return sorted(int(window.stem) for window in found)


async def processes() -> tuple[list[Process], list[int]]:
    """What every process of this user says of itself, and the numbers of those that do not answer."""
    answers, silent = await everybody({"ask": "process"})
    return [cast(Process, answer["result"]) for answer in answers.values() if "result" in answer], silent


async def everybody(
    request: Mapping[str, Any],
    *,
    patience: float = ANSWERS_WITHIN,
    spoken_for: Callable[[dict[str, Any]], Collection[int]] = lambda answer: (),
) -> tuple[dict[int, dict[str, Any]], list[int]]:
    """What each process of this user answers, by its number, and the numbers of those that have not. All are asked at the same time.

    `patience`: seconds that all others have once one has answered. `spoken_for(answer)`: those that nobody waits for any more then.
    """
    clock = asyncio.get_running_loop().time
    pids = windows()
    asking = {asyncio.create_task(_answer_of(pid, request)): pid for pid in pids}
    found: dict[int, dict[str, Any]] = {}
    pending, enough, due = set(asking), set[int](), math.inf
    try:
        while any(asking[task] not in enough for task in pending) and clock() < due:
            left = due - clock() if found else None
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (answer := task.result()) is not None:
                    due = min(due, clock() + patience)
                    found[asking[task]] = answer
                    enough.update(spoken_for(answer))
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    found = {pid: found[pid] for pid in pids if pid in found}
    return found, [pid for pid in pids if pid not in found and _window(folder(), pid).exists()]


async def _answer_of(pid: int, request: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            lines = [line async for line in ask(pid, request)]
        return lines[-1] if lines else None
    except (ConnectionRefusedError, FileNotFoundError):
        _window(folder(), pid).unlink(missing_ok=True)  # its process was killed
    except (TimeoutError, ConnectionError, ValueError):
        pass  # it is held up, or has just ended
    return None


async def ask(pid: int, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """Each line of the answer of that process. OSError if it is not there, ValueError if it answers nonsense."""
    reader, writer = await asyncio.open_unix_connection(_window(folder(), pid), limit=LINE_LIMIT)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        writer.close()

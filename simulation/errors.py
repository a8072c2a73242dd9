"""What a simulation reports. Each error says what happened, where, and what to do about it."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from understudy.actors.frames import all_frames

HERE = str(Path(__file__).parent)
PACKAGE = str(Path(HERE).parent)
STANDARD = sysconfig.get_paths()["stdlib"]


class SimulationError(Exception):
    """The base of all of them."""


class NotVirtual(SimulationError):
    """The code under test did something real that no seed could replay: a socket, a subprocess, a foreign thread."""


class EverybodyWaits(SimulationError):
    """Nothing is ready, no timer is pending, and the main coroutine is not done: nobody will ever come."""


class StillRunning(SimulationError):
    """A bound on virtual time or on steps was passed: a livelock, or a main coroutine that waits in vain."""


class NotDeterministic(SimulationError):
    """Two runs of one seed differ: something decides that the seed does not see."""


def refusal(what: str, remedy: str) -> NotVirtual:
    """The error for `what`, with the line of code that did it."""
    return NotVirtual(f"{culprit()}: {what}; a simulation cannot replay that. {remedy}")


def culprit() -> str:
    """The line that is running now, as file:line: the innermost one that is neither ours nor of the standard library."""
    innermost = frame = sys._getframe(1)
    while True:
        if not _is_plumbing(frame.f_code):
            return _line(frame)
        if not frame.f_code.co_filename.startswith(HERE):
            innermost = innermost if not innermost.f_code.co_filename.startswith(HERE) else frame
        if frame.f_back is None:
            return _line(innermost)
        frame = frame.f_back


def where(coroutine: Any) -> str:
    """Where a suspended coroutine waits: the innermost line of the user's own code in it, or of any if there is none."""
    frames: list[FrameType] = []
    while coroutine is not None:
        frame = _attribute(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            break
        frames.append(frame)
        coroutine = _attribute(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
    return _best(frames)


def where_thread(ident: int) -> str:
    """Where a parked thread waits."""
    frames: list[FrameType] = []
    frame = all_frames().get(ident)
    while frame is not None:
        frames.insert(0, frame)
        frame = frame.f_back
    return _best([frame for frame in frames if not frame.f_code.co_filename.startswith(HERE)])


def _best(frames: list[FrameType]) -> str:
    users = [frame for frame in frames if not _is_plumbing(frame.f_code) and not _is_ours(frame.f_code)]
    ours = [frame for frame in frames if not _is_plumbing(frame.f_code)]
    best = users or ours or frames
    return _line(best[-1]) if best else "somewhere that shows no line"


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(PACKAGE)


def _is_plumbing(code: CodeType) -> bool:
    name = code.co_filename
    standard = name.startswith(STANDARD) and "site-packages" not in name
    return standard or name.startswith((HERE, "<frozen")) or "/pykka/" in name


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _attribute(of: Any, *names: str) -> Any:
    return next((getattr(of, name) for name in names if hasattr(of, name)), None)

"""Why an actor ended: the exit reasons, all of them, as values.

They travel in `Exit` and `Down` messages and in `ActorDied`, within a process and between machines. Erlang's names:
`normal`, `{shutdown, Detail}`, `killed`, an exception, `noproc`, `noconnection`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from os.path import dirname
from types import TracebackType
from typing import TypeAlias

TRACE_DEPTH = 32
"""How many of the innermost frames a `Failure` keeps; a runaway recursion must not fill memory or the wire."""

TEXT_LIMIT = 2_000
"""Characters of an exception's text that a `Failure` keeps."""

_KERNEL = dirname(__file__)


@dataclass(frozen=True, slots=True)
class Normal:
    """The actor finished: it was stopped, or stopped itself. Links do not spread it."""

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The actor was asked to end by its parent, its supervisor or an operator; not a failure."""

    detail: str = ""

    def __str__(self) -> str:
        return f"shutdown: {self.detail}" if self.detail else "shutdown"


@dataclass(frozen=True, slots=True)
class Killed:
    """The actor was killed: no hook ran."""

    def __str__(self) -> str:
        return "killed"


@dataclass(frozen=True, slots=True)
class Failure:
    """The actor crashed on an exception.

    `trace` holds (file, line, function) for the innermost frames, outermost first. Frames themselves are never kept:
    they would hold every local variable alive.
    """

    type: str
    message: str
    trace: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe `error` without holding on to it."""
        try:
            text = str(error)
        except BaseException:  # noqa: BLE001 - a broken __str__ must not hide the failure it belongs to
            text = "(its text could not be made)"
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return cls(name, text[:TEXT_LIMIT], _walk(error.__traceback__))

    def __str__(self) -> str:
        where = f" (at {self.trace[-1][0]}:{self.trace[-1][1]} in {self.trace[-1][2]})" if self.trace else ""
        return f"{self.type}: {self.message}{where}"

    def traceback(self) -> str:
        """The trace as Python prints one, without source lines: for a log, read only when somebody looks."""
        lines = [f'  File "{file}", line {line}, in {name}' for file, line, name in self.trace]
        return "\n".join(["Traceback (most recent call last):", *lines, f"{self.type}: {self.message}"])


@dataclass(frozen=True, slots=True)
class NoProc:
    """There was no such actor: it had ended already, or the name belongs to nobody."""

    def __str__(self) -> str:
        return "no such actor"


@dataclass(frozen=True, slots=True)
class NoConnection:
    """The actor's node is gone or was declared dead; the actor itself may still live."""

    detail: str = ""

    def __str__(self) -> str:
        return f"no connection: {self.detail}" if self.detail else "no connection"


ExitReason: TypeAlias = Normal | Shutdown | Killed | Failure | NoProc | NoConnection


def checked_reason(reason: ExitReason) -> ExitReason:
    """The reason, if it is one; else TypeError."""
    if not isinstance(reason, ExitReason):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"an exit reason is Shutdown('why'), Normal() or Failure.of(error), and their like, not {reason!r}"
        )
    return reason


def _walk(trace: TracebackType | None) -> tuple[tuple[str, int, str], ...]:
    frames: deque[tuple[str, int, str]] = deque(maxlen=TRACE_DEPTH)
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_KERNEL):
        trace = trace.tb_next
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append((code.co_filename, trace.tb_lineno, code.co_qualname))
        trace = trace.tb_next
    return tuple(frames)

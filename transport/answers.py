"""The way back to a caller on another node, and how what a call ends in crosses.

set(value)   ──▶ REPLY(request, value)
fail(error)  ──▶ FAIL(request, kind, text, reason, failure) ──▶ error_of(kind, text, reason) ──▶ raised over there
"""

from __future__ import annotations

import threading  # noqa: TID251 - only to ask which thread this is
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.actors import (
    ActorDied,
    CallError,
    DeadlineExceeded,
    Deadlock,
    ExitReason,
    Failure,
    NodeDown,
    NotRegistered,
    Overloaded,
    Refused,
    Shutdown,
    UnderstudyError,
)
from understudy.actors.refusals import told
from understudy.transport.operations import FAIL, REPLY

if TYPE_CHECKING:
    from understudy.transport.link import Link


TEXT_LIMIT = 10_000
"""Characters of an error's text that cross."""


class Moved(CallError):
    """It came to a life of an entity that is over, and nothing was done: whoever sent it sends it to the next one."""


class Answer:
    """The way back to a caller on another node. From any thread; the first answer counts."""

    __slots__ = ("_answers", "_link", "_request", "over")

    def __init__(self, link: Link, answers: dict[int, Answer], request: int) -> None:
        self._link = link
        self._answers = answers
        self._request = request
        self.over = False

    def set(self, value: Any) -> None:
        self._send(self._item, value)

    def fail(self, error: Exception) -> None:
        self._send(self._failure, error)

    def abandoned(self) -> bool:
        return self.over

    def _send(self, pack: Callable[[Any], bytes], outcome: Any) -> None:
        link = self._link
        if threading.get_ident() != link.thread:
            link.system.scheduler.signal(self._send, (pack, outcome))
        elif not self.over:
            self.over = True
            self._answers.pop(self._request, None)
            item = pack(outcome)
            if self._answers:
                link.push(item)
            else:
                link.send_now(item)

    def _item(self, value: Any) -> bytes:
        try:
            return self._link.encoder.item(REPLY, self._request, value)
        except UnderstudyError as error:
            return self._failure(type(error)(f"the reply: {error}"))

    def _failure(self, error: Exception) -> bytes:
        error = told(error)
        reason = error.reason if isinstance(error, ActorDied) else None
        text = error.who if isinstance(error, ActorDied) else str(error)
        kind = next(cls.__name__ for cls in type(error).__mro__ if _ERRORS.get(cls.__name__) is cls)
        clean = (
            text[:TEXT_LIMIT].encode(errors="backslashreplace").decode()
        )  # what happened must pass, whatever it says
        return self._link.encoder.pack((FAIL, self._request, kind, clean, reason, _raised(error)))


_ERRORS: dict[str, type[Exception]] = {
    "ActorDied": ActorDied,
    "NodeDown": NodeDown,
    "Refused": Refused,
    "DeadlineExceeded": DeadlineExceeded,
    "Deadlock": Deadlock,
    "CallError": CallError,
    "Overloaded": Overloaded,
    "NotRegistered": NotRegistered,
    "Moved": Moved,
}
"""The errors that a call may end in, by the name they travel under. A subclass travels as the one of these that it is."""


def _raised(error: Exception) -> Failure | None:
    """What else is to be known of an error than its text: the failure behind it, or its own class and trace if that is a user's."""
    if error.__cause__ is not None:
        return Failure.of(error.__cause__)
    return Failure.of(error) if type(error) is not _ERRORS.get(type(error).__name__) else None


def error_of(kind: Any, text: Any, reason: Any) -> Exception:
    """The error that a FAIL tells of; one of a name that is not known here is a CallError with its text."""
    cls = _ERRORS.get(kind)
    if cls is ActorDied or cls is NodeDown:
        return cls(reason if isinstance(reason, ExitReason) else Shutdown(), str(text))
    return cls(str(text)) if cls is not None else CallError(f"{kind}: {text}")

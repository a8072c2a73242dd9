"""Where the answer to a request goes: a future of an event loop, or a Pykka future that a plain thread waits for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pykka

from understudy.actors.errors import Refused

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler


class Answer(pykka.ThreadingFuture[Any]):
    """What a plain thread waits for. On the loop that would have to give the answer, `get` raises instead of hanging."""

    def __init__(self, scheduler: Scheduler, what: str, remedy: str) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._what = what
        self._remedy = remedy
        self._come = False

    def refuse_on_loop(self) -> None:
        """Raise RuntimeError if the calling thread may not block."""
        self._scheduler.refuse_blocking(self._what, self._remedy)

    def get(self, *, timeout: float | None = None) -> Any:
        if not self._come:
            self.refuse_on_loop()
        try:
            return super().get(timeout=timeout)
        except Refused as refusal:
            refusal.relayed = True
            raise

    def set(self, value: Any = None) -> None:
        super().set(value)
        self._come = True

    def set_exception(self, exc_info: Any = None) -> None:
        super().set_exception(exc_info)
        self._come = True


class LoopReply:
    """The answer for a coroutine of the callee's own loop."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def set(self, value: Any) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def abandoned(self) -> bool:
        return self.future.done()


class ForeignLoopReply(LoopReply):
    """The answer for a coroutine of another thread's loop."""

    __slots__ = ("loop",)

    def __init__(self, future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(future)
        self.loop = loop

    def set(self, value: Any) -> None:
        self._there(super().set, value)

    def fail(self, error: Exception) -> None:
        self._there(super().fail, error)

    def _there(self, answer: Any, outcome: Any) -> None:
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(answer, outcome)


class ThreadReply:
    """The answer for a thread that blocks in `ask(...)` or holds its future."""

    __slots__ = ("answered", "future")

    def __init__(self, future: pykka.Future[Any]) -> None:
        self.future = future
        self.answered = False

    def set(self, value: Any) -> None:
        if not self.answered:
            self.answered = True
            self.future.set(value)

    def fail(self, error: Exception) -> None:
        if not self.answered:
            self.answered = True
            self.future.set_exception((type(error), error, error.__traceback__))

    def abandoned(self) -> bool:
        return self.answered

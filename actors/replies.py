"""Where the answer to a request goes: a future of an event loop, or one that a plain thread waits for (`answer.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from typing import Any
from weakref import ref

import pykka


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
            self.future.set_exception(raisable(error))

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
    """The answer for a thread that blocks in `ask(...)` or holds its future. It knows that weakly: the future knows its request,
    and once nobody has it nobody waits."""

    __slots__ = ("_future", "answered", "let_go")

    def __init__(self, future: pykka.Future[Any]) -> None:
        self._future = ref(future)
        self.let_go = False  # the callee takes other messages again, whether it has answered or not
        self.answered = False

    def set(self, value: Any) -> None:
        if not self.answered:
            self.answered = True
            future = self._future()
            if future is not None:
                with contextlib.suppress(queue.Full):  # whoever waited gave up at this very moment
                    future.set(value)

    def fail(self, error: Exception) -> None:
        if not self.answered:
            self.answered = True
            future = self._future()
            if future is not None:
                with contextlib.suppress(queue.Full):
                    future.set_exception((type(error), error, error.__traceback__))

    def abandoned(self) -> bool:
        return self.answered


def raisable(error: BaseException) -> BaseException:
    """The error as a coroutine may be given it: StopIteration would end it instead."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError("the handler raised StopIteration")
    wrapped.__cause__ = error
    return wrapped

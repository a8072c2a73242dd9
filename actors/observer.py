"""An observer: who is told of the beginning and the end of each message that an actor handles, whatever kind its handler is.

    Cell.receive ──> observed(handler) ──> begins(message) ──> the handler ──> returned(token, result) or failed(token, error)

Put around what handles an actor's messages (`Bonds.wrappers`) only while somebody wants to know.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from types import CoroutineType
from typing import Any, Protocol

from understudy.actors.reentrant import Reentrant
from understudy.actors.refusals import ends_request_only

Receive = Callable[[Any], Any]


class Observer(Protocol):
    """Called where the handler runs, a thread actor's thread included."""

    def begins(self, message: Any) -> Any:
        """A handler is about to begin. What this returns is handed to the other two."""
        ...

    def returned(self, token: Any, result: Any) -> None:
        """It has ended, an asynchronous one too."""
        ...

    def failed(self, token: Any, error: BaseException) -> None:
        """It has raised."""
        ...


def observed(receive: Receive, observer: Observer) -> Receive:
    """`receive`, and the observer told."""

    def handle(message: Any) -> Any:
        token = observer.begins(message)
        try:
            result = receive(message)
        except BaseException as error:
            observer.failed(token, error)
            raise
        if result.__class__ is CoroutineType:
            return _finish_held(token, observer, result)
        if isinstance(result, Reentrant):
            result.wrap(partial(_finish_held, token, observer))
        else:
            observer.returned(token, result)
        return result

    return handle


def outcome(error: BaseException) -> str:
    """How a handler that raised has ended."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "refused" if ends_request_only(error) else "failed"


def _finish_held(token: Any, observer: Observer, handler: CoroutineType[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    return _finish(_Held(handler), token, observer)


async def _finish(held: _Held, token: Any, observer: Observer) -> Any:
    try:
        result = await held.coroutine
    except GeneratorExit:  # the loop was closed under it
        raise
    except BaseException as error:
        observer.failed(token, error)
        raise
    observer.returned(token, result)
    return result


class _Held:
    """A handler's coroutine. If what is around it is closed before it began, it is closed too."""

    __slots__ = ("coroutine",)

    def __init__(self, coroutine: CoroutineType[Any, Any, Any]) -> None:
        self.coroutine = coroutine

    def __del__(self) -> None:
        if inspect.getcoroutinestate(self.coroutine) == inspect.CORO_CREATED:
            self.coroutine.close()

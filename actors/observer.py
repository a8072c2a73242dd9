"""An observer: who is told of the beginning and the end of each message that an actor handles, whatever kind its handler is.

    Cell.receive ──> observed(handler) ──> begins(message) ──> the handler ──> returned(token, result) or failed(token, error)

Put around what handles an actor's messages (`Bonds.wrappers`) only while somebody wants to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from types import CoroutineType
from typing import Any, Protocol

from understudy.actors.held import Held
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
    return _finish(Held(handler), token, observer)


async def _finish(held: Held[Any], token: Any, observer: Observer) -> Any:
    try:
        result = await held.coroutine
    except GeneratorExit:  # the loop was closed under it
        raise
    except BaseException as error:
        observer.failed(token, error)
        raise
    observer.returned(token, result)
    return result

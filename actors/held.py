"""A coroutine that another one awaits: if that is closed before it began, so is this, and Python does not complain.

async def around(held):                around(Held(coroutine))
    return await held.coroutine
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from types import CoroutineType
from typing import Generic, TypeVar

T = TypeVar("T")


class Held(Generic[T]):
    """`coroutine` may be any awaitable: one that is no coroutine holds nothing that would have to be closed."""

    __slots__ = ("coroutine",)

    def __init__(self, coroutine: Awaitable[T]) -> None:
        self.coroutine = coroutine

    def __del__(self) -> None:
        coroutine = self.coroutine
        if isinstance(coroutine, CoroutineType) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()

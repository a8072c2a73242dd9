"""Tasks and futures of the virtual loop: their hashes are numbers of the run, not addresses, so that sets of them replay."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class SimulatedTask(asyncio.Task[T]):
    """`origin`: on whose behalf it runs; itself, or the actor whose handler it is. Its name is its number, too."""

    def __init__(self, coro: Any, number: int, *, name: str | None, **options: Any) -> None:
        self.number = number
        self.origin: object = self
        super().__init__(coro, name=name if name is not None else f"task-{number}", **options)
        self._what = getattr(coro, "__qualname__", type(coro).__qualname__)

    @property
    def label(self) -> str:
        """Its name and its coroutine's."""
        return f"{self.get_name()} {self._what}"

    def __hash__(self) -> int:
        return self.number


class SimulatedFuture(asyncio.Future[Any]):
    """A future whose hash replays."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

"""A handler that opts out of one message at a time: while it awaits, its actor takes other messages.

    class Library(Actor):
        def on_receive(self, message: object) -> object:
            match message:
                case Search(words):
                    return self.search(words)      # several of these may be under way
                case Add(book):
                    self.books.append(book)        # one at a time, also between the awaits of a search

        @reentrant
        async def search(self, words: str) -> list[str]: ...

Each runs in a task of its own, with the deadline of its own request, in a copy of the actor's context. What it reads before
an await may be different after it: that is the price. A failure ends the actor. When that ends, those under way are
cancelled and their callers answered; a stop lets them finish first, since they were sent before it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from functools import partial, wraps
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from understudy.actors.deadlines import current_request
from understudy.actors.envelope import Envelope
from understudy.actors.failure_rule import closed_under
from understudy.actors.signals import Outcome

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.envelope import Reply

P = ParamSpec("P")
T = TypeVar("T")


class Reentrant(Outcome, Generic[T]):
    """What a `@reentrant` method returns: to be returned by the handler. Awaited instead, it is part of that handler."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = cast("CoroutineType[Any, Any, T]", coroutine)

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def close(self) -> None:
        """It will not run."""
        self._coroutine.close()

    def wrap(self, around: Callable[[CoroutineType[Any, Any, T]], Coroutine[Any, Any, T]]) -> None:
        """Put something around the coroutine, before it begins."""
        self._coroutine = cast("CoroutineType[Any, Any, T]", around(self._coroutine))

    def settle(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        scheduler = cell.scheduler
        if cell.reason is not None:
            self.close()
            scheduler.mortician.bury_one(cell, entry)
            return
        if entry.__class__ is Envelope:
            scheduler.waits.let_go(entry)
        context = scheduler.context_of(cell).copy()
        context.run(current_request.set, entry if entry.__class__ is Envelope else None)
        task = scheduler.loop.create_task(self._serve(cell, entry, reply), context=context)
        under_way = cell.tied().under_way
        under_way[task] = entry
        task.add_done_callback(partial(self._over, cell, under_way), context=scheduler.neutral_context())

    async def _serve(self, cell: Cell[Any], entry: Any, reply: Reply | None) -> None:
        try:
            result = await self._coroutine
        except BaseException as error:  # whatever it raises ends this actor alone
            if closed_under(cell, error):
                raise
            cell.scheduler.mortician.failed_aside(cell, entry, error)
        else:
            if isinstance(result, Outcome):
                result.settle(cell, entry, reply)
            elif reply is not None:
                reply.set(result)

    def _over(self, cell: Cell[Any], under_way: dict[asyncio.Task[None], Any], task: asyncio.Task[None]) -> None:
        if inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CREATED:  # it was cancelled before it began
            self.close()
            cell.on_loop(cell.scheduler.mortician.bury_one, cell, under_way.pop(task))
        elif cell.reason is None:
            del under_way[task]


def reentrant(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Reentrant[T]]:
    """Make an `async def` method reentrant. TypeError if it is none: a plain one never awaits."""
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"@reentrant is for an async def, which {getattr(handler, '__qualname__', handler)!r} is not")

    @wraps(handler)
    def begin(*args: P.args, **kwargs: P.kwargs) -> Reentrant[T]:
        return Reentrant(handler(*args, **kwargs))

    return begin

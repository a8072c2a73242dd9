"""An actor system: the actors of one event loop, their names, and the way to start and end them. Never a global.

async with ActorSystem("shop") as system:
    counter = await system.spawn(Counter, name="counter")
    counter.tell(Add(2))
    print(await counter.call(Read()))
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from types import CoroutineType
from typing import Any, Self, TypeVar

from understudy.actors.actor import Actor
from understudy.actors.cell import Cell
from understudy.actors.dead_letters import DeadLetters
from understudy.actors.errors import NameTaken, StartFailed
from understudy.actors.mortician import ALIVE
from understudy.actors.names import NamedRef
from understudy.actors.reasons import Failure, Shutdown
from understudy.actors.ref import ActorRef
from understudy.actors.scheduler import Scheduler
from understudy.actors.world import World

A = TypeVar("A", bound=Actor)

logger = logging.getLogger("understudy.actors")

NAME_LIMIT = 255
"""Characters of an actor's name."""


class ActorSystem:
    """`name` and `incarnation` are the node part of its actors' addresses. Made inside the loop it is to run on."""

    def __init__(self, name: str = "local", *, incarnation: int = 0, world: World | None = None) -> None:
        self.name = name
        self.incarnation = incarnation
        self.world = world if world is not None else World()
        self.loop = asyncio.get_running_loop()
        self.dead_letters = DeadLetters()
        self.scheduler = Scheduler(self, self.loop)
        self._names: dict[str, Cell[Any]] = {}
        self._top: dict[Cell[Any], None] = {}
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        self._down = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # --- starting ---

    async def spawn(self, cls: type[A], *args: Any, name: str | None = None, **kwargs: Any) -> ActorRef[A]:
        """Start a top-level actor: `cls(*args, **kwargs)`, then its `on_start`; returns when that has finished.

        Raises StartFailed if either raises (nothing is left behind), NameTaken if a living actor has the name.
        """
        return await self._start(None, cls, args, kwargs, name, None)

    async def spawn_child(
        self,
        parent: Cell[Any],
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        start_timeout: float | None = None,
    ) -> ActorRef[A]:
        """Start a child of `parent`; what `Actor.spawn` and supervisors are made of."""
        return await self._start(parent, cls, args, kwargs, name, start_timeout)

    async def _start(
        self,
        parent: Cell[Any] | None,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        start_timeout: float | None,
    ) -> ActorRef[A]:
        if not (isinstance(cls, type) and issubclass(cls, Actor)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"spawn takes a subclass of Actor, not {cls!r}")
        if self._down:
            raise StartFailed(cls.__name__, Shutdown(f"the system {self.name!r} is shutting down"))
        scheduler = self.scheduler
        cell = cls.make_cell(scheduler, next(self._numbers), parent)
        if name is not None:
            self._claim(name, cell)
        actor = cls.__new__(cls)
        actor._cell = cell
        cell.actor = actor
        if parent is None:
            self._top[cell] = None
        else:
            parent.tied().children[cell] = False  # linked once it has started: a failed start raises, and that is all
        try:
            starting = scheduler.isolated(cell, actor.begin, args, kwargs)
            if starting.__class__ is CoroutineType:
                cell.task = self.loop.create_task(starting, context=scheduler.context_of(cell))
                async with asyncio.timeout(start_timeout):
                    await cell.task
        except BaseException as error:
            # Whoever spawns may be cancelled meanwhile; a cancellation of the start itself is a failed start.
            mine = isinstance(error, asyncio.CancelledError) and not _cancelled()
            reason = cell.reason if mine and cell.reason is not None else Failure.of(error)
            cell.task = None
            scheduler.signal(scheduler.mortician.stillborn, (cell, reason))
            if not isinstance(error, Exception) and not mine:
                raise
            raise StartFailed(repr(cell), reason) from error
        cell.task = None
        orphaned = parent is not None and parent.stage != ALIVE
        if cell.stage != ALIVE or orphaned:
            reason = cell.reason if cell.reason is not None else Shutdown("its parent ended meanwhile")
            scheduler.signal(scheduler.mortician.stillborn, (cell, reason))
            raise StartFailed(repr(cell), reason)
        if parent is not None:
            parent.tied().children[cell] = True
        cell.open()
        return cell

    # --- names ---

    def ref(self, name: str) -> NamedRef[Any]:
        """A reference by name that survives restarts: it is resolved at each use."""
        return NamedRef(self, name)

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """The living actor of that name."""
        return self._names.get(name)

    def _claim(self, name: str, cell: Cell[Any]) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"an actor's name is a text of 1 to {NAME_LIMIT} characters, not {name!r}")
        owner = self._names.setdefault(name, cell)
        if owner is not cell:
            raise NameTaken(f"the name {name!r} belongs to {owner!r}; it is free again when that actor has ended")
        cell.tied().name = name

    def release(self, name: str, cell: Cell[Any]) -> None:
        """Free a dying actor's name. For the kernel."""
        if self._names.get(name) is cell:
            del self._names[name]

    # --- ending ---

    async def shutdown(self, deadline: float = 10.0) -> None:
        """End every actor, the last one started first, each with its children; kill what is left after `deadline` seconds."""
        self._down = True
        end = self.loop.time() + deadline
        while self._top:
            cell = next(reversed(self._top))
            cell.on_loop(self.scheduler.mortician.dismiss, cell, Shutdown("the system shuts down"))
            try:
                await cell.ended(max(0.0, end - self.loop.time()))
            except TimeoutError:
                logger.error("%r did not end within the system's deadline of %s s: killed", cell, deadline)
                self._kill_tree(cell)
                await cell.ended()
        self.scheduler.close()

    def _kill_tree(self, cell: Cell[Any]) -> None:
        for child in tuple(cell.bonds.children) if cell.bonds is not None else ():
            self._kill_tree(child)
        cell.kill()

    # --- for the kernel ---

    def next_token(self) -> int:
        """A number for one monitor, unique in this system."""
        return next(self._tokens)

    def forget(self, cell: Cell[Any]) -> None:
        """A top-level actor ended."""
        self._top.pop(cell, None)


def _cancelled() -> bool:
    """Whether the running task itself is being cancelled, rather than something it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

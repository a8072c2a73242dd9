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
from collections.abc import Coroutine
from types import CoroutineType
from typing import Any, Self, TypeVar, cast

from understudy.actors.actor import Actor
from understudy.actors.cell import Cell
from understudy.actors.dead_letters import DeadLetters
from understudy.actors.errors import NameTaken, StartFailed
from understudy.actors.mortician import ALIVE, CANCEL_GRACE
from understudy.actors.names import NamedRef, checked_name
from understudy.actors.reasons import ExitReason, Failure, Shutdown
from understudy.actors.ref import ActorRef
from understudy.actors.scheduler import Scheduler
from understudy.actors.world import World

A = TypeVar("A", bound=Actor)

logger = logging.getLogger("understudy.actors")


class ActorSystem:
    """`name` and `incarnation` are the node part of its actors' addresses. Made inside the loop it is to run on."""

    def __init__(self, name: str = "local", *, incarnation: int = 0, world: World | None = None) -> None:
        self.name = name
        self.incarnation = incarnation
        self.world = world if world is not None else World()
        self.loop = asyncio.get_running_loop()
        self.dead_letters = DeadLetters()
        # A simulated loop brings a scheduler of its own, under whose seed the actors take turns.
        self.scheduler: Scheduler = getattr(self.loop, "scheduler_class", Scheduler)(self, self.loop)
        self._names: dict[str, Cell[Any]] = {}
        self._top: dict[Cell[Any], asyncio.Future[None] | None] = {}  # with the future of a shutdown that waits for it
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        self._ending: asyncio.Task[None] | None = None

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
        if not self.scheduler.here():
            raise self._elsewhere("spawn")
        if self._ending is not None:
            raise StartFailed(cls.__name__, Shutdown(f"the system {self.name!r} is shutting down"))
        if parent is not None and parent.stage != ALIVE:
            raise StartFailed(cls.__name__, Shutdown(f"its parent {parent!r} has ended"))
        scheduler = self.scheduler
        cell = cls.make_cell(scheduler, next(self._numbers), parent)
        if name is not None:
            self._claim(name, cell)
        if parent is None:
            self._top[cell] = None
        else:
            parent.tied().children[cell] = False  # linked once it has started: a failed start raises, and that is all
        error: BaseException | None = None
        try:
            actor = cls.__new__(cls)
            actor._cell = cell
            cell.actor = actor
            starting = scheduler.isolated(cell, actor.begin, args, kwargs)
        except BaseException as raised:  # noqa: BLE001 - whatever it raises ends that actor alone
            error = raised
        else:
            if starting.__class__ is CoroutineType:
                error = await self._finish_start(cell, cast("Coroutine[Any, Any, None]", starting), start_timeout)
        if error is not None:
            reason = cell.reason or Failure.of(error)
            scheduler.signal(scheduler.mortician.stillborn, (cell, reason))
            raise StartFailed(repr(cell), reason) from error
        if cell.stage != ALIVE or (parent is not None and parent.stage != ALIVE):
            raise StartFailed(repr(cell), await self._ended_early(cell))
        if parent is not None:
            parent.tied().children[cell] = True
        cell.open()
        return cell

    async def _ended_early(self, cell: Cell[Any]) -> ExitReason:
        """It has started, and was ended before its spawner could learn of it: its hook runs as at any other end."""
        mortician = self.scheduler.mortician
        self.scheduler.signal(mortician.dismiss, (cell, Shutdown("its parent ended meanwhile")))
        self.scheduler.signal(mortician.bow_out, (cell,))
        return await cell.ended()

    async def _finish_start(
        self, cell: Cell[Any], starting: Coroutine[Any, Any, None], timeout: float | None
    ) -> BaseException | None:
        """Run an asynchronous start in a task, and return how it failed. Raises only when the spawner is cancelled."""
        signal, mortician = self.scheduler.signal, self.scheduler.mortician
        outcome: list[BaseException | None] = []
        task = self.loop.create_task(_run_start(cell, starting, outcome), context=self.scheduler.context_of(cell))
        cell.task = task
        try:
            await asyncio.wait((task,), timeout=timeout)
            if not task.done():
                late = TimeoutError(f"it took longer than {timeout} s")
                signal(mortician.dismiss, (cell, Failure.of(late)))
                await asyncio.wait((task,), timeout=CANCEL_GRACE)
                return late
            # What the task itself ended with says less: an exit signal may have come in its very last step.
            return outcome[0] if outcome else asyncio.CancelledError()
        except asyncio.CancelledError:
            signal(mortician.dismiss, (cell, Shutdown("its spawner was cancelled")))
            try:
                await asyncio.wait((task,), timeout=CANCEL_GRACE)
            finally:  # it may be cancelled once more
                cell.task = None
                signal(mortician.stillborn, (cell, Shutdown("its spawner was cancelled")))
            raise
        finally:
            if cell.task is task:
                cell.task = None

    # --- names ---

    def ref(self, name: str) -> NamedRef[Any]:
        """A reference by name that survives restarts: it is resolved at each use."""
        return NamedRef(self, name)

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """The living actor of that name."""
        cell = self._names.get(name)
        return cell if cell is not None and cell.reason is None else None

    def _claim(self, name: str, cell: Cell[Any]) -> None:
        owner = self._names.setdefault(checked_name(name), cell)
        if owner is not cell:
            raise NameTaken(f"the name {name!r} belongs to {owner!r}; it is free again when that actor has ended")
        cell.tied().name = name

    def release(self, name: str, cell: Cell[Any]) -> None:
        """Free a dying actor's name. For the kernel."""
        if self._names.get(name) is cell:
            del self._names[name]

    # --- ending ---

    async def shutdown(self, deadline: float = 10.0) -> None:
        """End every actor, the last one started first, each with its children; kill what is left after `deadline` seconds.

        An actor may call it too: it is ended with the others, and the shutdown goes on without it.
        """
        if not self.scheduler.here():
            raise self._elsewhere("shutdown")
        if self._ending is None:
            self._ending = self.loop.create_task(self._end_all(deadline), context=self.scheduler.neutral_context())
        await asyncio.shield(self._ending)

    async def _end_all(self, deadline: float) -> None:
        end = self.loop.time() + deadline
        for cell in reversed(tuple(self._top)):
            cell.on_loop(self.scheduler.mortician.dismiss, cell, Shutdown("the system shuts down"))
            if cell not in self._top:
                await self.scheduler.breathe()
                continue
            gone = self._top[cell] = self.loop.create_future()
            await asyncio.wait((gone,), timeout=max(0.0, end - self.loop.time()))
            if not gone.done():
                logger.error("%r did not end within the system's deadline of %s s: killed", cell, deadline)
                for one in reversed(_family(cell)):
                    one.kill()
                await gone
        self.scheduler.close()

    def _elsewhere(self, what: str) -> RuntimeError:
        return RuntimeError(
            f"{what} belongs on the loop of the system {self.name!r}; from elsewhere use "
            f"asyncio.run_coroutine_threadsafe(system.{what}(...), system.loop)"
        )

    # --- for the kernel ---

    def next_token(self) -> int:
        """A number for one monitor, unique in this system."""
        return next(self._tokens)

    def forget(self, cell: Cell[Any]) -> None:
        """A top-level actor and all its children have ended."""
        waiting = self._top.pop(cell, None)
        if waiting is not None:
            waiting.set_result(None)


async def _run_start(cell: Cell[Any], starting: Coroutine[Any, Any, None], outcome: list[BaseException | None]) -> None:
    """Note how an asynchronous start went: nothing if it was ended before it began."""
    if cell.reason is not None:
        starting.close()
        return
    try:
        await starting
    except GeneratorExit:  # the loop was closed under it
        raise
    except BaseException as error:  # noqa: BLE001 - it must not leave the loop, and is told to whoever spawns
        outcome.append(error)
    else:
        outcome.append(None)


def _family(cell: Cell[Any]) -> list[Cell[Any]]:
    """An actor and all its descendants, parents first."""
    family = [cell]
    for one in family:
        family.extend(one.bonds.children if one.bonds is not None else ())
    return family

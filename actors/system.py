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
import math
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, Self, TypeVar, cast

from understudy.actors.actor import Actor
from understudy.actors.arguments import is_count, is_number, takes
from understudy.actors.cell import Cell
from understudy.actors.closing import Closing
from understudy.actors.copied import copied
from understudy.actors.crashes import Crashes
from understudy.actors.dead_letters import DeadLetters
from understudy.actors.deadlines import waiting_time
from understudy.actors.deaths import Deaths
from understudy.actors.errors import NameTaken, StartFailed
from understudy.actors.failure_rule import closed_under
from understudy.actors.groups import Groups
from understudy.actors.hooks import Hooks, Spawned
from understudy.actors.introspection import Introspection
from understudy.actors.mortician import ALIVE, CANCEL_GRACE
from understudy.actors.names import NamedRef, checked_name
from understudy.actors.nodes import Alone, Nodes
from understudy.actors.pool import THREADS, Pool
from understudy.actors.reasons import ExitReason, Failure, Killed, Shutdown
from understudy.actors.ref import ActorRef
from understudy.actors.rings import handler_here, held_up
from understudy.actors.scheduler import Scheduler
from understudy.actors.watchdog import SLOW_AFTER, SLOW_THREAD_AFTER, watchdog
from understudy.actors.world import World

A = TypeVar("A", bound=Actor)

current_system: ContextVar[ActorSystem | None] = ContextVar("current_system", default=None)
"""The system made last in this context: where Pykka's `start` puts actors."""

logger = logging.getLogger("understudy.actors")

_STARTING = object()


class ActorSystem(Introspection):
    """`name` and `incarnation` are the node part of its actors' addresses. Made inside the loop it is to run on."""

    def __init__(
        self,
        name: str = "local",
        *,
        incarnation: int = 0,
        world: World | None = None,
        threads: int = THREADS,
        slow_after: float | None = SLOW_AFTER,
        slow_thread_after: float | None = SLOW_THREAD_AFTER,
        copy: Callable[[Any], Any] | None = None,
    ) -> None:
        """`threads`: how many of them `offload` may use at a time. `slow_after`: seconds for which something may hold the loop
        before the watchdog says so, `slow_thread_after` the same for a thread actor's handler; None switches it off.
        `copy`: for debugging, what each message and answer between its actors is put through; see `wire_copy`.
        """
        checked_name(name, "a system's")
        _checked_settings(incarnation, world, threads, slow_after, slow_thread_after)
        if copy is not None and not takes(copy):
            raise TypeError(
                f"ActorSystem's copy is a function of one message, such as wire_copy, or None, not {copy!r}"
            )
        self.name = name
        self.incarnation = incarnation
        self.world = world if world is not None else World()
        self.loop = _running_loop()
        current_system.set(self)
        self.groups = Groups(self)
        self.nodes: Nodes = Alone(self)
        """The other nodes; see `nodes.py`."""
        # A simulated loop brings a scheduler of its own, under whose seed the actors take turns.
        self.scheduler: Scheduler = getattr(self.loop, "scheduler_class", Scheduler)(self, self.loop)
        self.hooks = Hooks(self.scheduler)
        self.dead_letters = DeadLetters(self.hooks, self.scheduler)
        self.deaths = Deaths(self.scheduler)
        self.crashes = Crashes(self.scheduler)
        if slow_after is not None and not hasattr(self.loop, "scheduler_class"):  # code takes no time in a simulation
            watchdog.watch(self.scheduler, slow_after, slow_thread_after)
        self.copy = copy
        self._names: dict[str, Cell[Any]] = {}
        # Each with the future of a shutdown that waits for it, or the mark of those that have not started yet.
        self._top: dict[Cell[Any], asyncio.Future[None] | object | None] = {}
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        self._token: dict[int, str] = {}
        self._ending: Closing | None = None
        self._threads = threads
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # --- starting ---

    async def spawn(
        self, cls: type[A], *args: Any, name: str | None = None, start_timeout: float | None = None, **kwargs: Any
    ) -> ActorRef[A]:
        """Start a top-level actor: `cls(*args, **kwargs)`, then its `on_start`; returns when that has finished.

        Raises StartFailed if either raises or an `async` start takes longer than `start_timeout` seconds (nothing is left
        behind), NameTaken if a living actor has the name.
        """
        started = self._start(None, cls, args, kwargs, name, start_timeout)
        return started if isinstance(started, Cell) else await started

    async def spawn_child(
        self,
        parent: Cell[Any],
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        start_timeout: float | None = None,
        fence: int = 0,
    ) -> ActorRef[A]:
        """Start a child of `parent`; what `Actor.spawn` and supervisors are made of. `fence`: what its `self.fence` says."""
        started = self._start(parent, cls, args, kwargs, name, start_timeout, fence=fence)
        return started if isinstance(started, Cell) else await started

    def start_child(
        self,
        parent: Cell[Any],
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        start_timeout: float | None = None,
    ) -> ActorRef[A] | Coroutine[Any, Any, ActorRef[A]]:
        """The same for a plain handler of `parent`, which returns what it cannot await: the child, if its start took no time.

        Else a coroutine. Whoever does not come to await it closes it: then nothing has happened that the end of `parent` does
        not undo. Raises as `spawn` does; what failed to start has left nothing behind when that handler is over.
        """
        if cls.starts_at_once and parent.context is not None:  # else it may stand in the context that starts are run in
            return self._start(parent, cls, args, kwargs, name, start_timeout)
        return self.spawn_child(parent, cls, args, kwargs, name, start_timeout)

    async def spawn_tied(
        self,
        spawner: Cell[Any],
        tie: Callable[[Cell[Any]], None],
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        start_timeout: float | None,
    ) -> ActorRef[A]:
        """Start a top-level actor for `spawner`. Once it has started, `tie(cell)` ties the two before anything can happen."""
        started = self._start(None, cls, args, kwargs, name, start_timeout, spawner, tie)
        return started if isinstance(started, Cell) else await started

    def _start(
        self,
        parent: Cell[Any] | None,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        start_timeout: float | None,
        spawner: Cell[Any] | None = None,
        tie: Callable[[Cell[Any]], None] | None = None,
        fence: int = 0,
    ) -> Cell[A] | Coroutine[Any, Any, Cell[A]]:
        """Start an actor: the actor, if that is done; else the coroutine that sees it through."""
        if not (isinstance(cls, type) and Actor in cls.__mro__):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"spawn takes a subclass of Actor, not {cls!r}")
        if not self.scheduler.here():
            raise self._elsewhere("spawn")
        if start_timeout is not None:
            start_timeout = waiting_time(start_timeout)
        if self._ending is not None:
            raise StartFailed(cls.__name__, Shutdown(f"the system {self.name!r} is shutting down"))
        if parent is not None:
            spawner = parent
        if spawner is not None and spawner.stage != ALIVE:
            raise StartFailed(cls.__name__, Shutdown(f"its {_role(parent)} {spawner!r} has ended"))
        scheduler = self.scheduler
        cell = cls._make_cell(scheduler, next(self._numbers), parent)
        if self.copy is not None:
            cell = copied(cell)
        if fence:
            cell.tied().fence = fence
        if name is not None:
            self._claim(name, cell)
        if parent is None:
            self._top[cell] = _STARTING
        else:
            parent.tied().children[cell] = False  # linked once it has started: a failed start raises, and that is all
        try:
            actor = cls.__new__(cls)
            actor._cell = cell
            cell.actor = actor
            starting = scheduler.spot.isolated(cell, actor._come_to_life, args, kwargs)
        except BaseException as error:  # whatever it raises ends that actor alone
            raise self._not_started(cell, error) from error
        if starting.__class__ is CoroutineType or scheduler.intake or not _live(cell, spawner):
            return self._see_started(cell, starting, start_timeout, spawner, tie)
        return self._started(cell, tie)

    async def _see_started(
        self,
        cell: Cell[A],
        starting: object,
        timeout: float | None,
        spawner: Cell[Any] | None,
        tie: Callable[[Cell[Any]], None] | None,
    ) -> Cell[A]:
        """The rest of a start that takes time, or during which signals came."""
        if starting.__class__ is CoroutineType:
            error = await self._finish_start(cell, cast("Coroutine[Any, Any, None]", starting), timeout)
            if error is not None:
                raise self._not_started(cell, error) from error
        if not _live(cell, spawner):
            raise StartFailed(repr(cell), await self._ended_early(cell, f"its {_role(cell.parent)} ended meanwhile"))
        return self._started(cell, tie)

    def _not_started(self, cell: Cell[Any], error: BaseException) -> StartFailed:
        reason = cell.reason or Failure.of(error)
        self.scheduler.signal(self.scheduler.mortician.stillborn, (cell, reason))
        return StartFailed(repr(cell), reason)

    def _started(self, cell: Cell[A], tie: Callable[[Cell[Any]], None] | None) -> Cell[A]:
        parent = cell.parent
        if parent is not None:
            parent.tied().children[cell] = True
        elif self._top.get(cell) is _STARTING:  # else a shutdown waits for it
            self._top[cell] = None
        if tie is not None:
            tie(cell)
        cell.open()
        if self.hooks.wants(Spawned):
            self.hooks.emit(Spawned(cell, cell.kind.__name__, cell.name, parent))
        return cell

    async def _ended_early(self, cell: Cell[Any], why: str) -> ExitReason:
        """It has started, and was ended before its spawner could learn of it: its hook runs as at any other end."""
        mortician = self.scheduler.mortician
        self.scheduler.signal(mortician.dismiss, (cell, Shutdown(why)))
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
            with held_up(handler_here(cell), cell, None):
                await asyncio.wait((task,), timeout=timeout)
            if not task.done():
                late = TimeoutError(f"it took longer than {timeout} s")
                signal(mortician.dismiss, (cell, Failure.of(late)))
                await asyncio.wait((task,), timeout=CANCEL_GRACE)
                return None if _completed(outcome) else late
            # What the task itself ended with says less: an exit signal may have come in its very last step.
            return outcome[0] if outcome else asyncio.CancelledError()
        except asyncio.CancelledError:
            signal(mortician.dismiss, (cell, Shutdown("its spawner was cancelled")))
            try:
                await asyncio.wait((task,), timeout=CANCEL_GRACE)
            finally:  # it may be cancelled once more
                cell.task = None
                if cell.threaded and _completed(outcome):  # nothing could end that: its last hook runs
                    signal(mortician.bow_out, (cell,))
                else:
                    mortician.outlasts(cell, task)
                    signal(mortician.stillborn, (cell, Shutdown("its spawner was cancelled")))
            raise
        finally:
            outcome.clear()  # an error in it knows the frame that has put it there, and so the list
            if cell.task is task:
                cell.task = None

    # --- names ---

    def ref(self, name: str) -> ActorRef[Any]:
        """A reference by name that survives restarts: it is resolved at each use. "engine@engine-1": that name on that node."""
        local, at, node = name.rpartition("@") if isinstance(name, str) else ("", "", "")  # pyright: ignore[reportUnnecessaryIsInstance]
        if at and node != self.name:
            return self.nodes.ref(node, checked_name(local))
        return NamedRef(self, checked_name(local if at else name))

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """The living actor of that name."""
        try:
            cell = self._names.get(name)
        except TypeError:
            cell = None
        if cell is not None and cell.reason is None:
            return cell
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"whereis takes an actor's name, not {name!r}")
        return None

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

    @property
    def is_ending(self) -> bool:
        """Whether it is being shut down, or has been: nothing is started any more."""
        return self._ending is not None

    async def shutdown(self, deadline: float = 10.0) -> None:
        """End every actor, one after the other, the last one started first, each with its children; kill what is left after
        `deadline` seconds.

        One that hangs does not take the time of all: while others wait behind it, it is killed when three quarters of what is
        left have passed. Where a shutdown is under way already, the earlier deadline counts. An actor may call it too: it is
        ended with the others, and the shutdown goes on without it.
        """
        if not self.scheduler.here():
            raise self._elsewhere("shutdown")
        allowed = waiting_time(deadline)
        deadline = allowed if allowed is not None else math.inf
        if self._ending is None:
            self._ending = Closing(self, deadline)
        self._ending.hasten(deadline)
        await asyncio.shield(self._ending.task)
        if current_system.get() is self:
            current_system.set(None)

    def _elsewhere(self, what: str) -> RuntimeError:
        return RuntimeError(
            f"{what} belongs on the loop of the system {self.name!r}; from elsewhere use "
            f"asyncio.run_coroutine_threadsafe(system.{what}(...), system.loop)"
        )

    # --- for the kernel ---

    @property
    def pool(self) -> Pool:
        """The threads for blocking work, made on first use. RuntimeError off the system's loop, and once it is shut down."""
        if self.scheduler.closed or not self.scheduler.here():
            raise RuntimeError(
                f"what is offloaded is awaited on the loop of the system {self.name!r}, while that is up"
            )
        if self._pool is None:
            self._pool = Pool(self.name, self.loop, self._threads)
        return self._pool

    @property
    def expired(self) -> int:
        """How many requests were dropped before they began, since their time was up. They are no dead letters: their callers were
        told."""
        return self.scheduler.expired

    @property
    def token(self) -> str:
        """16 random hexadecimal digits, drawn on first need, which tell this system from every other."""
        return self._token[0] if self._token else self._token.setdefault(0, self.world.token())

    def next_token(self) -> int:
        """A number for one monitor, unique in this system."""
        return next(self._tokens)

    def forget(self, cell: Cell[Any]) -> None:
        """A top-level actor and all its children have ended."""
        waiting = self._top.pop(cell, None)
        if isinstance(waiting, asyncio.Future):
            waiting.set_result(None)

    def unattended(self, cell: Cell[Any], reason: ExitReason) -> None:
        """An actor died to which nobody is tied. While it starts its spawner is told, and a shutdown is meant to end it."""
        if isinstance(reason, Failure | Killed) and self._top.get(cell, _STARTING) is None:
            self.deaths.note(cell, reason)


async def _run_start(cell: Cell[Any], starting: Coroutine[Any, Any, None], outcome: list[BaseException | None]) -> None:
    """Note how an asynchronous start went: nothing if it was ended before it began."""
    if cell.reason is not None:
        starting.close()
        return
    try:
        await starting
    except BaseException as error:  # it must not leave the loop, and is told to whoever spawns
        if closed_under(cell, error):
            raise
        outcome.append(error)
    else:
        outcome.append(None)


def _completed(outcome: list[BaseException | None]) -> bool:
    return bool(outcome) and outcome[0] is None


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "an ActorSystem is made on the event loop it is to run on, inside an `async def`: async with ActorSystem() as system"
        ) from None


def _checked_settings(
    incarnation: int, world: World | None, threads: int, slow_after: float | None, slow_thread_after: float | None
) -> None:
    if not isinstance(incarnation, int) or isinstance(incarnation, bool) or incarnation < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"ActorSystem's incarnation is a number from 0 up, not {incarnation!r}")
    if world is not None and not isinstance(world, World):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"ActorSystem's world is a World, or None for the real one, not {world!r}")
    if not is_count(threads):
        raise ValueError(f"ActorSystem's threads are a number from 1 up, not {threads!r}")
    for name, value in (("slow_after", slow_after), ("slow_thread_after", slow_thread_after)):
        if value is not None and not (is_number(value) and value > 0):
            raise ValueError(f"ActorSystem's {name} is a number of seconds above 0, or None, not {value!r}")


def _live(cell: Cell[Any], spawner: Cell[Any] | None) -> bool:
    return cell.stage == ALIVE and (spawner is None or spawner.stage == ALIVE)


def _role(parent: Cell[Any] | None) -> str:
    return "parent" if parent is not None else "spawner"

"""A router: one reference in front of a supervised pool of equal workers.

    await system.spawn(Router, Child(Resizer), size=4, by="least_busy", name="resizers")

    tell, call ──> the router's reference ──┬──> "resizers/0"     whoever sends chooses the worker, in the sender's own
                     (routing.py)           ├──> "resizers/1"     thread and turn: no message passes through the router
                                            └──> "resizers/2"
    Resize, WhichChildren, stop ──> Router ── child ──> Supervisor ── children ──^

So a router is no bottleneck, replies come straight from the worker, and a call keeps its caller and its deadline.

A worker is found by the name of its place, which its successor has too. As soon as that is being started, what is sent
waits in its mailbox; while nobody has the name, the rule for names holds: a tell is a dead letter, a call fails at once.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Self, TypeAlias, cast, get_args

from understudy.actors import Actor, ActorRef, CallError, Cell, Envelope, Later, Refused
from understudy.actors.arguments import is_count, takes
from understudy.actors.signals import Order
from understudy.supervisors.requests import DeleteChild, StartChild, TerminateChild, WhichChildren
from understudy.supervisors.routing import Resize, RouterCell
from understudy.supervisors.spec import Child, ShutdownSpec
from understudy.supervisors.supervisor import Supervisor

Rule: TypeAlias = Literal["round_robin", "least_busy", "broadcast"]
By: TypeAlias = Rule | Callable[[Any], Hashable]


class Drained(Order):
    """Stands at the end of the mailbox of a worker that is let go, and is its own reply: all before it is handled."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> None:
        """Nothing: that it is its turn is the answer."""

    def set(self, value: Any) -> None:
        """All is handled."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        """The worker has ended before."""
        self.set(None)

    def abandoned(self) -> bool:
        """Nobody waits any more."""
        return self.future.done()


class Router(Actor):
    """`worker` is the spec of each; `size` how many there are; `by` decides who gets a message.

    `by`: "round_robin", "least_busy", "broadcast" (a call is answered with the list of all answers), or a function from
    a message to its key, which must be hashable: messages of one key go to one place. It runs wherever one sends.
    `intensity`, `period`: as a Supervisor's, for all workers together; what is too much for them ends the router.
    """

    default_shutdown: ClassVar[ShutdownSpec] = "infinity"

    def __init__(
        self,
        worker: Child,
        *,
        size: int,
        by: By = "round_robin",
        intensity: int | None = None,
        period: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(worker, Child):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a Router's worker is a Child(...), not {worker!r}")
        if worker.restart != "permanent":
            raise ValueError(f"a Router's workers are permanent, not {worker.restart}: a place is always filled again")
        if worker.elsewhere:
            raise ValueError(
                f"a Router's workers live beside it, where whoever sends finds them by name, not on {worker.wanted}: "
                "start a router there, and send to that"
            )
        if not is_count(size):
            raise ValueError(f"a Router's size is a count of workers from 1 up, not {size!r}")
        self._front = cast("RouterCell", self._cell)
        if callable(by):
            if not takes(by) or inspect.iscoroutinefunction(by):
                raise TypeError(f"Router.by is a plain function of one message, not {by!r}")
            self._front.choose = partial(RouterCell.by_key, by)
        elif by in get_args(Rule):
            self._front.choose = getattr(RouterCell, by)
            self._front.to_all = by == "broadcast"
        else:
            raise ValueError(f"Router.by is one of {', '.join(get_args(Rule))}, or a function of a message, not {by!r}")
        self._worker = worker
        self._intensity = intensity
        self._period = period
        self._prefix = worker.name or self.name or f"router-{self._front.id}"
        self._front.places = tuple(self._spec(place).id for place in range(size))
        self._resizing = asyncio.Lock()

    @classmethod
    def _make_cell(cls, scheduler: Any, number: int, parent: Cell[Any] | None) -> Cell[Self]:
        return RouterCell(scheduler, cls, number, parent)

    async def on_start(self) -> None:
        workers = [self._spec(place) for place in range(len(self._front.places))]
        self._pool: ActorRef[Supervisor] = await self.spawn(
            Supervisor, workers, intensity=self._intensity, period=self._period
        )

    async def on_receive(self, message: Any) -> Any:
        match message:
            case WhichChildren():
                return await self._pool.call(message, math.inf)
            case Resize(size):
                if not is_count(size):
                    raise Refused(f"a router's size is a count of workers from 1 up, not {size!r}")
                later = Later()
                self.run(self._resize(size, later))  # whoever asked may give up; the pool must not be left half made
                return later
            case _:
                return self.unhandled(message)

    def _spec(self, place: int) -> Child:
        name = f"{self._prefix}/{place}"
        return replace(self._worker, name=name, id=name)

    async def _resize(self, size: int, later: Later) -> None:
        async with self._resizing:
            before = self._front.places
            added: list[str] = []
            try:
                for place in range(len(before), size):
                    child = self._spec(place)
                    await self._pool.call(StartChild(child), math.inf)
                    added.append(child.id)
                self._front.places = (*before, *added)[:size]
                for name in reversed(before[size:]):
                    await self._let_go(name)
            except CallError as error:
                for name in reversed(added):
                    await self._let_go(name)
                later.fail(Refused(str(error)))
            else:
                later.set(size)

    async def _let_go(self, name: str) -> None:
        worker = cast("Cell[Any] | None", self.system.whereis(name))
        patience = self._worker.patience
        if worker is not None and patience != "brutal_kill":
            drained = Drained(self.system.loop.create_future())
            worker.tell(Envelope(drained, drained))
            await asyncio.wait((drained.future,), timeout=None if patience == "infinity" else float(patience))
            drained.set(None)  # in any case nobody waits any more
        await self._pool.call(TerminateChild(name), math.inf)
        await self._pool.call(DeleteChild(name), math.inf)

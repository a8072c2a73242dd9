"""Several dynamic supervisors side by side behind one reference: a child that starts slowly delays only those of its partition.

    await system.spawn(PartitionedSupervisor, Child(Sessions), partitions=8, name="sessions")

    StartChild, StartAnother ──> PartitionedSupervisor ──┬──> "0"  Sessions ── children
    TerminateChild(ref)              takes turns         ├──> "1"  Sessions ── children
                                                         └──> ...

A supervisor starts one child after the other, each when the one before is ready. Each partition also counts its restarts for
itself, and one that gives up takes only its own children with it: it is started again, without them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

from understudy.actors import ActorRef, CallError, Cell, Later, Refused
from understudy.supervisors.checks import checked_count
from understudy.supervisors.dynamic import DynamicSupervisor
from understudy.supervisors.requests import StartAnother, StartChild, TerminateChild
from understudy.supervisors.spec import Child
from understudy.supervisors.supervisor import Supervisor


class PartitionedSupervisor(Supervisor):
    """`partition` is the spec of each: a Child of DynamicSupervisor, or of a subclass. Their ids are "0", "1", ...

    Its own requests are about the partitions: `WhichChildren` lists them, each with the reference by which to ask it. But a
    new child goes to one partition after the other, and `TerminateChild` with a reference to the one whose child it is.
    `intensity`, `period`: of partitions that end, as a Supervisor's.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        if cls.children is not Supervisor.children:
            raise TypeError(
                f"{cls.__name__}.children: those of a PartitionedSupervisor are its partitions, of one spec"
            )
        super().__init_subclass__(**options)
        if cls.strategy != "one_for_one":
            raise ValueError(
                f"PartitionedSupervisor.strategy is one_for_one, not {cls.strategy}: no partition depends on another"
            )

    def __init__(
        self, partition: Child, *, partitions: int = 8, intensity: int | None = None, period: float | None = None
    ) -> None:
        if not (isinstance(partition, Child) and issubclass(partition.cls, DynamicSupervisor)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"PartitionedSupervisor.partition is a Child(DynamicSupervisor, ...), not {partition!r}")
        checked_count("PartitionedSupervisor.partitions", partitions, 1)
        specs = [
            replace(partition, id=str(number), name=partition.name and f"{partition.name}/{number}")
            for number in range(partitions)
        ]
        super().__init__(specs, intensity=intensity, period=period)
        self._turns = itertools.count()

    async def on_receive(self, message: Any) -> Any:
        match message:
            case StartChild() | StartAnother():
                there = tuple(self._tree.running)
                if not there:
                    raise Refused(f"no partition of {self.actor_ref!r} runs at the moment")
                return self._hand_on(there[next(self._turns) % len(there)], message)
            case TerminateChild(ActorRef() as child) if (partition := self._partition_of(child)) is not None:
                return self._hand_on(partition, message)
            case _:
                return await super().on_receive(message)

    def _partition_of(self, child: ActorRef[Any]) -> ActorRef[Any] | None:
        if isinstance(child, Cell):
            return child.parent if child.parent in self._tree.running else None
        return next(
            (one for one in self._tree.running if one.actor is not None and child in one.actor._tree.running), None
        )

    def _hand_on(self, partition: ActorRef[Any], message: Any) -> Later:
        later = Later()
        self.run(_answered(partition, message, later))
        return later


async def _answered(partition: ActorRef[Any], message: Any, later: Later) -> None:
    """In the background: whoever asked waits, and others need not."""
    try:
        later.set(await partition.call(message, math.inf))
    except CallError as error:
        later.fail(error)

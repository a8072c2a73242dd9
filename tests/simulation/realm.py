"""Five nodes, what may happen to all of them, and what is kept of it outside of any: for the properties of a cluster.

begin ──▶ trouble: faults drawn by the seed, an init system that starts again who ended ──▶ quiet: all is well from now on
the diaries      what each life was told of the others
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

from tests import measured
from tests.simulation.record import Record
from understudy.actors import Actor
from understudy.simulation import Cluster, Simulation, faults
from understudy.transport import Node, NodeLost, NodeUp

NODES = tuple(f"node-{number}" for number in range(1, 6))

SWEEP_AFTER = 0.5
"""Seconds after which names of the gone are deleted: so soon that it meets all else that happens."""

AGREED_WITHIN = 10.0
"""Seconds of quiet after which everybody sees the same: promised."""

LOOKS_EVERY = 0.25
"""Seconds between two looks at whether they see it already."""

KINDS = faults.NETWORK + 2 * faults.NODES + 2 * faults.CLUSTER + 2 * faults.TABLE
"""What goes wrong, each as likely as it stands there often."""


@dataclass
class Diary:
    """What one life of a node was told of the others."""

    node: Node
    lines: list[NodeUp | NodeLost] = field(default_factory=list)


class Witness(Actor):
    """Keeps a diary."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.diary = diary

    def on_receive(self, message: object) -> object:
        match message:
            case NodeUp() | NodeLost():
                self.diary.lines.append(message)
                return None
            case _:
                return self.unhandled(message)


class Realm:
    """`async with Realm(simulation) as realm`: the nodes of a cluster, each with the same main program: `inhabit`."""

    roles: tuple[str, ...] = ()
    """Of each node."""

    agrees_on: str = ""
    """What is measured: `agreed`."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.cluster = Cluster(simulation, sweep_after=SWEEP_AFTER)
        self.record = Record()
        self.cluster.table.rows = self.record
        self.diaries: list[Diary] = []
        self.script: list[faults.Fault] = []
        self._keeper: asyncio.Task[None]
        self._failed: list[BaseException] = []

    async def __aenter__(self) -> Self:
        """Start all of them, and wait until they have met."""
        await self.cluster.__aenter__()
        await asyncio.gather(*(self.cluster.start(name, self._begin, roles=self.roles) for name in NODES))
        await self.cluster.met()
        return self

    async def __aexit__(self, *end: Any) -> None:
        """Stop all of them. Raises what a task of theirs raised."""
        await self.cluster.__aexit__(*end)
        self._check()

    def does(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Have a node do something on the side; for `inhabit`. What it raises is a failure of the property."""
        asyncio.create_task(coroutine).add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    def _check(self) -> None:
        for error in self._failed:
            raise error

    async def _begin(self, node: Node) -> None:
        diary = Diary(node)
        self.diaries.append(diary)
        node.subscribe(await node.spawn(Witness, diary, name="witness"))
        await self.inhabit(node)

    async def inhabit(self, node: Node) -> None:
        """What a node does once it has joined."""

    async def trouble(self, *, seconds: float = 6.0, most: int = 8, longest: float = 6.0) -> None:
        """Let happen what the seed thinks of. Who ended itself is started again, as by an init system. Then it is quiet."""
        self._keeper = asyncio.create_task(self.cluster.keep_alive())
        self.script = faults.plan(self.simulation, NODES, KINDS, seconds=seconds, most=most, longest=longest)
        await faults.play(self.cluster, self.script)

    async def quiet(self) -> None:
        """Ten seconds in which nothing goes wrong: after them all nodes live, and have met."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(AGREED_WITHIN))
            group.create_task(self._look())
        self._keeper.cancel()
        assert sorted(self.cluster.running()) == list(NODES)
        await self.cluster.met(0)
        self.check_order()
        self._check()

    def agreed(self) -> bool:
        """Whether everybody sees the same; looked at again and again while it is quiet."""
        return True

    async def _look(self) -> None:
        """Measure how long it takes until they agree. That they do in the end is the property's own to say."""
        begun = asyncio.get_running_loop().time()
        while (waited := asyncio.get_running_loop().time() - begun) < AGREED_WITHIN:
            if len(self.cluster.running()) == len(NODES) and self.agreed():
                break
            await asyncio.sleep(LOOKS_EVERY)
        if self.agrees_on:
            measured.most(f"seconds_of_quiet_until_{self.agrees_on}", waited)

    def survivors(self) -> list[Node]:
        """The lives that are there now."""
        return [self.cluster.node(name) for name in self.cluster.running()]

    def check_order(self) -> None:
        """Of each node: up, lost, up, lost; every loss that of the life that was up; every life newer than the last."""
        for diary in self.diaries:
            up: dict[str, int] = {}
            last: dict[str, int] = {}
            for line in diary.lines:
                match line:
                    case NodeUp(member):
                        assert member.node not in up, f"{member.node} came up twice: {diary}"
                        assert member.incarnation > last.get(member.node, -1), f"{member.node} came back: {diary}"
                        up[member.node] = last[member.node] = member.incarnation
                    case NodeLost(node, incarnation):
                        assert up.pop(node, None) == incarnation, f"{node} was lost and had not been up: {diary}"
            assert diary.node.name not in last, f"it was told of itself: {diary}"

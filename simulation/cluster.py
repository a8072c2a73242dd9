"""A cluster in one loop: real nodes, each a virtual process of its own, on a virtual network and a virtual table.

    async def test_a_room_outlives_a_crash(simulation: Simulation) -> None:
        async with Cluster(simulation) as cluster:
            stage = await cluster.start("stage", open_the_room)     open_the_room(node): on every start of it
            alice = await cluster.start("alice")
            await alice.ref("room@stage").call(Say("hello"))
            cluster.crash("stage")                                  kill -9: not even a `finally` runs
            stage = await cluster.restart("stage")                  its next life: another Node, another incarnation

    cluster.pause("stage"), .block("stage"), .resume("stage")       SIGSTOP, a handler that holds the loop, SIGCONT
    cluster.network.partition("stage", "alice")                     see `network.py`
    cluster.table.fail(1.0)                                         see `table.py`

The test itself is outside all processes: it may use a node and its references, and waits for what it calls. When a node
has crashed, use it no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from understudy.actors import UnderstudyError
from understudy.simulation.errors import SimulationError
from understudy.simulation.keys import MemoryKeys
from understudy.simulation.network import Interface, VirtualNetwork
from understudy.simulation.process import Crashed, Process
from understudy.simulation.simulation import Simulation
from understudy.simulation.table import TableHandle, VirtualTable
from understudy.transport import Node

T = TypeVar("T")

Setup: TypeAlias = Callable[[Node], Awaitable[object]]
"""What a node's process does once it has joined: its main program."""

BOOT = (0.01, 0.3)
"""Seconds that a process takes to start, at least and at most."""

START_AGAIN = 1.0
"""Seconds after which a node that could not start is started again, as an init system does."""

STOP_WITHIN = 60.0
"""Seconds that the nodes have to stop at the end; one that takes longer hangs."""


@dataclass
class Life:
    """One run of a node's program, from its start to its end."""

    process: Process
    interface: Interface
    table: TableHandle
    node: Node
    started: bool = False


@dataclass
class Machine:
    """Where the lives of one node follow one another."""

    name: str
    setup: Setup | None
    placed: dict[str, Any]
    join: str | None
    life: Life | None = None
    address: str = ""
    well_known: bool = False
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)


class Cluster:
    """`async with Cluster(simulation) as cluster`. At its end all is mended and every node stopped in order.

    `probe_interval`, `probe_misses`, `sweep_after`: those of its nodes; see `Node`. `keys`: they have keys, and trust one another.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        probe_interval: float = 1.0,
        probe_misses: int = 3,
        sweep_after: float = 60.0,
        keys: bool = False,
    ) -> None:
        self.simulation = simulation
        self.network = VirtualNetwork(simulation.seed, simulation.event)
        self.table = VirtualTable(simulation.seed, simulation.event)
        self._probe_interval = probe_interval
        self._keys: dict[str, MemoryKeys] | None = {} if keys else None
        self._probe_misses = probe_misses
        self._sweep_after = sweep_after
        self._machines: dict[str, Machine] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mend()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await asyncio.gather(*(self.stop(name) for name in self.running()))
        except TimeoutError:
            if kind is None:
                raise SimulationError(f"a node did not stop within {STOP_WITHIN} virtual seconds") from None

    # --- nodes ---

    async def start(
        self,
        name: str,
        setup: Setup | None = None,
        *,
        roles: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        capacity: int = 0,
        join: str | None = None,
    ) -> Node:
        """Start a node and wait until it has joined and `setup(node)` is through. Raises what `Node.start` and it raise.

        `roles`, `tags`, `capacity`: as of `Node`, in each of its lives.
        `join`: the node of this cluster whose table it uses, over its link, instead of reaching the table itself.
        """
        machine = self._machines.setdefault(
            name, Machine(name, setup, {"roles": roles, "tags": tags, "capacity": capacity}, join)
        )
        if join is not None:
            self._machine(join).well_known = True
        if machine.life is not None:
            raise SimulationError(f"{name!r} was started before: cluster.restart({name!r}) begins its next life")
        return await self._boot(machine)

    async def restart(self, name: str) -> Node:
        """End a node's life, if it still lives, by killing it, and start the next; again and again until it succeeds."""
        machine = self._machine(name)
        async with machine.restarting:
            while True:
                self.crash(name)
                try:
                    return await self._boot(machine)
                except (UnderstudyError, Crashed) as error:
                    self.note(f"{name} could not start: {type(error).__name__}")
                    await asyncio.sleep(START_AGAIN)

    async def keep_alive(self) -> None:
        """Until it is cancelled, start nodes again that ended themselves, as an init system does. Run it as a task."""
        await asyncio.gather(*(self._keep(machine) for machine in self._machines.values()))

    async def stop(self, name: str) -> None:
        """Stop a node in order: `Node.stop`."""
        life = self._life(name)
        self.note(f"stop {name}")
        await life.process.run(life.node.stop())

    async def leave(self, name: str, timeout: float = 60.0) -> None:
        """Have a node drain, and stop: `Node.leave`."""
        life = self._life(name)
        self.note(f"leave {name}")
        await life.process.run(life.node.leave(timeout))

    def crash(self, name: str) -> None:
        """Kill a node's process: nothing of it runs any more, its connections break."""
        life = self._life(name)
        if life.process.state != "crashed":
            self.note(f"crash {name}")
            life.process.crash()
            life.interface.reset()
            life.table.cut()

    def pause(self, name: str) -> None:
        """Stop the clockwork of a node's process: it does nothing at all until `resume`."""
        self.note(f"pause {name}")
        life = self._life(name)
        life.process.pause()
        if life.interface.stopped_at is None:
            life.interface.stopped_at = asyncio.get_running_loop().time()

    def block(self, name: str) -> None:
        """Block the loop of a node until `resume`: as `pause`, but the process is there, and its connections stand."""
        self.note(f"block {name}")
        self._life(name).process.pause()

    def resume(self, name: str) -> None:
        """Let a process go on that was paused or blocked."""
        self.note(f"resume {name}")
        life = self._life(name)
        life.interface.stopped_at = None
        life.process.resume()

    async def run(self, name: str, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine inside a node's process. Raises Crashed if that is killed meanwhile."""
        return await self._life(name).process.run(coroutine)

    def node(self, name: str) -> Node:
        """The present life of that node."""
        return self._life(name).node

    def keys(self, name: str) -> MemoryKeys:
        """What a node's machine knows of keys; made, and introduced to all the others, when it is first asked for."""
        if self._keys is None:
            raise SimulationError("the nodes of this cluster have no keys: Cluster(simulation, keys=True)")
        if name not in self._keys:
            made = MemoryKeys()
            made.make(name)
            for other, theirs in self._keys.items():
                made.trust(other, theirs.public(other))
                theirs.trust(name, made.public(name))
            self._keys[name] = made
        return self._keys[name]

    def names(self) -> list[str]:
        """Every node that was ever started."""
        return list(self._machines)

    def running(self) -> list[str]:
        """The nodes that have started and neither crashed nor ended since."""
        return [name for name, machine in self._machines.items() if machine.life is not None and _lives(machine.life)]

    async def met(self, within: float = 60.0) -> None:
        """Wait until every running node sees all the others as members, and nobody else. SimulationError if they do not."""
        try:
            async with asyncio.timeout(within):
                while not self._all_met():  # noqa: ASYNC110 - nothing tells of it, and virtual time makes looking cheap
                    await asyncio.sleep(0.05)
        except TimeoutError:
            views = "; ".join(f"{name} sees {sorted(self._seen(name))}" for name in self.running())
            raise SimulationError(f"the nodes have not met within {within} virtual seconds: {views}") from None

    # --- all of it ---

    def mend(self) -> None:
        """Heal the network and the table, and resume who is paused. Nobody comes back from the dead."""
        self.network.heal()
        self.table.mend()
        for machine in self._machines.values():
            if machine.life is not None:
                machine.life.process.resume()

    def note(self, text: str) -> None:
        """A line in the trace."""
        self.simulation.event(text)

    # --- one life ---

    async def _boot(self, machine: Machine) -> Node:
        simulation, name = self.simulation, machine.name
        await asyncio.sleep(simulation.delay(*BOOT, f"{name} boots"))
        process = Process(simulation.loop, name)
        interface = process.call(self.network.interface, name)
        table = self.table.handle(name)
        listen = machine.address or "tcp://127.0.0.1:0"
        if machine.address and not machine.well_known and simulation.chance(0.5, f"{name} listens elsewhere"):
            listen = "tcp://127.0.0.1:0"
        node = Node(
            name,
            listen=listen,
            **machine.placed,
            network=interface,
            table=table if machine.join is None else None,
            join=self.node(machine.join).address if machine.join is not None else None,
            keys=self.keys(name) if self._keys is not None else None,
            probe_interval=self._probe_interval,
            probe_misses=self._probe_misses,
            sweep_after=self._sweep_after,
        )
        machine.life = Life(process, interface, table, node)
        await process.run(node.start())
        machine.address = node.address
        if machine.setup is not None:
            await process.run(_called(machine.setup, node))
        machine.life.started = True
        return node

    async def _keep(self, machine: Machine) -> None:
        while True:
            await asyncio.sleep(START_AGAIN)
            if machine.life is not None and machine.life.node._stopping is not None:
                await self.restart(machine.name)

    def _all_met(self) -> bool:
        running = self.running()
        lives = {(name, self.node(name).incarnation) for name in running}
        return all(self._seen(name) == lives for name in running)

    def _seen(self, name: str) -> set[tuple[str, int]]:
        return {row.key for row in self.node(name).members() if row.status == "active"}

    def _machine(self, name: str) -> Machine:
        if name not in self._machines:
            known = ", ".join(self._machines) or "none so far"
            raise SimulationError(f"there is no node {name!r} in this cluster; started were: {known}")
        return self._machines[name]

    def _life(self, name: str) -> Life:
        life = self._machine(name).life
        if life is None:
            raise SimulationError(f"the node {name!r} is still starting")
        return life


async def _called(setup: Setup, node: Node) -> None:
    await setup(node)


def _lives(life: Life) -> bool:
    return life.started and life.process.state != "crashed" and life.node._stopping is None

"""Faults: what the network between two nodes does to frames, and plans of what goes wrong when, drawn from the seed.

    faults:   network.lose(0.2)   network.partition("a", "b")   cluster.pause("a")      written down by a test
    a plan:   await play(cluster, plan(simulation, ["a", "b"], NETWORK, seconds=20))    drawn by the seed

A plan is data, made before anything runs, so that the same seed brings the same faults whatever the code under test does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from understudy.actors import UnderstudyError
from understudy.simulation.process import Crashed

if TYPE_CHECKING:
    from understudy.simulation.cluster import Cluster
    from understudy.simulation.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Conditions:
    """How one direction between two nodes treats a frame.

    `delay`: seconds on the way, `jitter`: up to so many more. Frames stay in order in spite of it, except those drawn
    for `reordering`, which are held up and overtaken. `loss`, `duplication`, `reordering`: probabilities per frame.
    """

    delay: float = 0.000_2
    jitter: float = 0.000_8
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, not {value!r}")
        for name in ("delay", "jitter"):
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"{name} is a number of seconds from 0 up, not {value!r}")


Kind: TypeAlias = Literal[
    "lose",
    "slow",
    "repeat",
    "reorder",
    "partition",
    "deafen",
    "cut",
    "pause",
    "stop",
    "crash",
    "leave",
    "block",
    "isolate",
    "halve",
    "slow table",
    "no table",
    "no table there",
]

NETWORK: tuple[Kind, ...] = ("lose", "slow", "repeat", "reorder", "partition", "deafen", "cut")
"""What happens between nodes that all live on."""

NODES: tuple[Kind, ...] = ("pause", "stop", "crash")
"""What happens to a node. One that was stopped in order, or has crashed, is started again."""

TABLE: tuple[Kind, ...] = ("slow table", "no table")
"""What happens to the membership table."""

CLUSTER: tuple[Kind, ...] = ("leave", "block", "isolate", "halve", "no table there")
"""What happens where there are more than two: a node drains and leaves, a loop is held, a node is cut off from all, `one` and `other` from the rest, the
table from one node."""


class Fault(NamedTuple):
    """From `at` on, for `lasts` seconds, `kind` happens to node `one` (and `other`, where it is between two)."""

    at: float
    lasts: float
    kind: Kind
    one: str
    other: str
    strength: float


def plan(
    simulation: Simulation,
    nodes: Sequence[str],
    kinds: Sequence[Kind],
    *,
    seconds: float,
    most: int = 6,
    longest: float = 3.0,
) -> list[Fault]:
    """Up to `most` faults that begin within `seconds`, none of them lasting more than `longest`, drawn from the seed."""
    random = simulation.random
    faults: list[Fault] = []
    for _ in range(random.randint(0, most)):
        one = random.choice(nodes)
        other = random.choice([node for node in nodes if node != one] or [one])
        at, lasts = random.uniform(0, seconds), random.uniform(0.01, longest)
        faults.append(Fault(at, lasts, random.choice(kinds), one, other, random.uniform(0.05, 0.6)))
    return sorted(faults)


async def play(cluster: Cluster, faults: Sequence[Fault]) -> None:
    """Let the faults happen, now being second 0. Returns when the last one is over and everything is well again."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(_happen(cluster, fault, start))
    cluster.mend()


async def _happen(cluster: Cluster, fault: Fault, start: float) -> None:
    network, table = cluster.network, cluster.table
    _, lasts, kind, one, other, strength = fault
    await asyncio.sleep(start + fault.at - asyncio.get_running_loop().time())
    cluster.note(f"{kind} {one} {other} for {lasts:.3f} s")
    match kind:
        case "lose":
            network.lose(strength, one, other)
            await asyncio.sleep(lasts)
            network.lose(0, one, other)
        case "slow":
            network.slow(strength, strength, one, other)
            await asyncio.sleep(lasts)
            network.slow(0, 0, one, other)
        case "repeat":
            network.repeat(strength, one, other)
            await asyncio.sleep(lasts)
            network.repeat(0, one, other)
        case "reorder":
            network.reorder(strength, one, other)
            await asyncio.sleep(lasts)
            network.reorder(0, one, other)
        case "partition" | "deafen":
            network.partition(one, other, one_way=kind == "deafen")
            await asyncio.sleep(lasts)
            network.heal(one, other)
        case "cut":
            network.cut(one, other)
        case "pause":
            cluster.pause(one)
            await asyncio.sleep(lasts)
            cluster.resume(one)
        case "block":
            cluster.block(one)
            await asyncio.sleep(lasts)
            cluster.resume(one)
        case "isolate" | "halve":
            inside = {one, other} if kind == "halve" else {one}
            borders = [(a, b) for a in inside for b in cluster.names() if b not in inside]
            for border in sorted(borders):
                network.partition(*border)
            await asyncio.sleep(lasts)
            for border in sorted(borders):
                network.heal(*border)
        case "stop" | "leave" | "crash":
            if kind == "crash":
                cluster.crash(one)
            elif one in cluster.running():
                with suppress(
                    Crashed, UnderstudyError
                ):  # another fault was faster, or the others: they declared it dead
                    await (cluster.stop(one) if kind == "stop" else cluster.leave(one, lasts))
            await asyncio.sleep(lasts)
            await cluster.restart(one)
        case "slow table":
            table.slow(0, 4 * strength)
            await asyncio.sleep(lasts)
            table.slow(0, 0)
        case "no table":
            table.fail(1.0)
            await asyncio.sleep(lasts)
            table.fail(0.0)
        case "no table there":
            table.fail(1.0, one)
            await asyncio.sleep(lasts)
            table.fail(0.0, one)

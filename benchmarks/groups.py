"""`python -m benchmarks.groups`: groups over five processes of this machine, one that speaks and four that have the members.

    deliveries    a broadcast to 4 x N members, until the last of them was counted; beside it a tell to each of the same members
    joins         actors that start and join on four nodes, until the fifth knows them all; and leave it, until it knows that

Both ways of sending take turns, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import click

from understudy.actors import Actor, ActorRef, Request, message
from understudy.transport import Node

NODES = tuple(f"hall-{number}" for number in range(1, 5))
SIZES = (1, 10, 100, 1_000)
PATIENCE = 60.0


@message("benchmarks.groups.say")
class Say:
    text: str


@message("benchmarks.groups.gather")
class Gather(Request[None]):
    """So many actors join that group; all that are there end first."""

    group: str
    count: int


@message("benchmarks.groups.heard")
class Heard(Request[int]):
    """How many messages members there have got so far."""


class Listener(Actor):
    """Counts."""

    heard = 0

    def __init__(self, group: str) -> None:
        super().__init__()
        self._group = group

    def on_start(self) -> None:
        self.join(self._group)

    def on_receive(self, message: object) -> None:
        Listener.heard += 1


class Hall(Actor):
    """Has the members of one node."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: list[ActorRef[Listener]] = []

    async def on_receive(self, message: object) -> object:
        match message:
            case Gather(group, count):
                for listener in self._listeners:
                    listener.stop()
                self._listeners = [await self.spawn(Listener, group) for _ in range(count)]
                return None
            case Heard():
                return Listener.heard
            case _:
                return self.unhandled(message)


async def hall(name: str, state: str) -> None:
    """One of the four."""
    async with Node(name, state=state) as node:
        await node.spawn(Hall, name="hall")
        print("there", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextlib.asynccontextmanager
async def halls(state: str) -> AsyncIterator[None]:
    """Four processes, until the end of their standard input."""
    started = []
    try:
        for name in NODES:
            command = (sys.executable, "-m", "benchmarks.groups", "--hall", name, state)
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            started.append(process)
            assert process.stdout is not None
            await process.stdout.readline()
        yield
    finally:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        for process in started:
            await process.wait()


class Speaker:
    """The fifth."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.halls = [node.ref(f"hall@{name}") for name in NODES]

    async def gather(self, group: str, count: int) -> float:
        """Have so many join on each node; returns the seconds until all are known here."""
        began = time.perf_counter()
        answers = asyncio.gather(*(hall.call(Gather(group, count), PATIENCE) for hall in self.halls))
        expected = {group: count * len(self.halls)} if count else {}
        while self.node.groups.counts() != expected:  # noqa: ASYNC110 - what is measured tells nobody
            await asyncio.sleep(0.001)
        seconds = time.perf_counter() - began
        await answers
        return seconds

    async def heard(self) -> int:
        """How many messages have been counted. Asked on the same links, it comes after all that was sent before."""
        return sum(await asyncio.gather(*(hall.call(Heard(), PATIENCE) for hall in self.halls)))

    async def rate(self, send: Callable[[], object], count: int, rounds: int) -> float:
        """Deliveries a second, of so many at each of `rounds`."""
        before = await self.heard()
        began = time.perf_counter()
        for _ in range(rounds):
            send()
        while await self.heard() - before < count * rounds:  # noqa: ASYNC110 - each look is an answer of the others
            await asyncio.sleep(0)
        return count * rounds / (time.perf_counter() - began)


def tell(members: tuple[ActorRef[Any], ...], word: Say) -> None:
    """One after the other."""
    for member in members:
        member.tell(word)


async def measure(scale: float, rounds: int) -> dict[str, float]:
    """All rows: medians of the rounds."""
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as state:
        async with Node("speaker", state=state) as node, halls(state):
            for name in NODES:
                await node.up(name, PATIENCE)
            speaker = Speaker(node)
            for size in SIZES:
                await speaker.gather("crowd", size)
                group, word = node.groups["crowd"], Say("x" * 80)
                members = group.members()

                times = max(1, int(40_000 * scale) // len(members))
                ways: dict[str, Callable[[], object]] = {
                    "broadcast": partial(group.broadcast, word),
                    "tells": partial(tell, members, word),
                }
                for send in ways.values():
                    await speaker.rate(send, len(members), 10)  # mailboxes are made at the first message
                for _ in range(rounds):
                    for what, send in ways.items():
                        rate = await speaker.rate(send, len(members), times)
                        rows.setdefault(f"{what} to 4 x {size:,}: deliveries/s", []).append(rate)
            count = max(1, int(25_000 * scale))
            for _ in range(rounds):
                await speaker.gather("crowd", 0)
                joined = await speaker.gather("crowd", count)
                left = await speaker.gather("crowd", 0)
                rows.setdefault("joins seen elsewhere/s, starts and all", []).append(4 * count / joined)
                rows.setdefault("ends seen elsewhere/s", []).append(4 * count / left)
    return {what: statistics.median(figures) for what, figures in rows.items()}


@click.command(help=__doc__)
@click.option("--scale", default=1.0, help="Fewer operations than 1.")
@click.option("--rounds", default=3, help="Of each row, in turns.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--hall", "as_hall", nargs=2, hidden=True)
def main(scale: float, rounds: int, as_json: bool, as_hall: tuple[str, str] | None) -> None:
    if as_hall:
        asyncio.run(hall(*as_hall))
        return
    rows = asyncio.run(measure(scale, rounds))
    if as_json:
        click.echo(json.dumps(rows))
        return
    for what, figure in rows.items():
        click.echo(f"{what:44} {figure:12,.0f}")


if __name__ == "__main__":
    main()

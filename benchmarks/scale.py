"""What must not grow: costs at 1,000, 100,000 and 1,000,000 actors, names, messages: `python -m benchmarks.scale`.

Each column is a process of its own, with so many of everything:

    population   idle actors without names; the operations are those of a few others among them
    names        as many actors that all have a name
    mailbox      one actor with so many messages waiting
    children     one parent with so many children
    watchers     one actor that so many monitors watch
    timers       one actor with so many timers under way

A figure is the median of batches, in microseconds of processor time for each operation. The last column is what the
largest costs, divided by the smallest: some of it is the processor's caches, which a larger population leaves cold.
"""

import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.__main__ import table
from benchmarks.sides import ROOT
from understudy import Actor, ActorRef, ActorSystem
from understudy.actors import Timer
from understudy.app import run

SIZES = (1_000, 100_000, 1_000_000)

BATCHES = 15
BATCH = 500
STRIDE = 7919
"""Prime: what is picked from a population is spread over it."""

Operation = Callable[[], Awaitable[None]]


class Idle(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


class Parent(Actor):
    """Does what it is sent, and survives its children."""

    trap_exit = True

    async def on_receive(self, message: Any) -> Any:
        return await message(self) if callable(message) else None


class Clogged(Actor):
    """Is busy with its first message until `gate` opens; then counts."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__()
        self.gate = gate
        self.seen = 0

    async def on_receive(self, message: Any) -> Any:
        if message == "wait":
            await self.gate.wait()


class Costs:
    """Microseconds of processor time by operation."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    async def note(self, name: str, operation: Operation, count: int = BATCH, batches: int = BATCHES) -> None:
        """Run `operation`, which does so many of what is measured, some times."""
        times: list[float] = []
        for _ in range(batches):
            began = time.process_time()
            await operation()
            times.append((time.process_time() - began) / count)
        self.found[name] = round(statistics.median(times) * 1e6, 3)

    def note_all(self, name: str, began: float, count: int) -> None:
        """Something that was done once, for all of the population."""
        self.found[name] = round((time.process_time() - began) / count * 1e6, 3)


async def population(size: int, costs: Costs) -> None:
    async with ActorSystem("scale") as system:
        everyone = [await system.spawn(Idle) for _ in range(size)]
        few = [everyone[index * STRIDE % size] for index in range(BATCH)]
        one = few[0]

        async def tell_one() -> None:
            for number in range(BATCH):
                one.tell(number)
            await one.call("done?")

        async def tell_many() -> None:
            for ref in few:
                ref.tell("hello")
            await few[-1].call("done?")

        async def call() -> None:
            for number in range(BATCH):
                await one.call(number)

        fresh: list[ActorRef[Any]] = []

        async def spawn() -> None:
            fresh.extend([await system.spawn(Idle) for _ in range(BATCH)])

        async def end_the_newest() -> None:
            for _ in range(BATCH):
                fresh.pop().kill()

        async def end_the_oldest() -> None:
            for ref in everyone[-BATCH:]:
                ref.kill()
            del everyone[-BATCH:]

        await costs.note("tell, always the same", tell_one)
        await costs.note("tell, spread over all", tell_many)
        await costs.note("call", call)
        await costs.note("spawn", spawn)
        await costs.note("death, of the newest", end_the_newest)
        everyone.reverse()
        few.clear()
        await costs.note("death, of the oldest", end_the_oldest, batches=min(BATCHES, size // BATCH - 1))
        left = len(everyone)
        began = time.process_time()
    costs.note_all("shutdown, each of all", began, left)


async def names(size: int, costs: Costs) -> None:
    async with ActorSystem("scale") as system:
        for number in range(size):
            await system.spawn(Idle, name=f"actor/{number}")
        some = [f"actor/{index * STRIDE % size}" for index in range(BATCH)]
        named = [system.ref(name) for name in some]

        async def look_up() -> None:
            for name in some:
                system.whereis(name)

        async def tell() -> None:
            for ref in named:
                ref.tell("hello")
            await named[-1].call("done?")

        async def come_and_go() -> None:
            for number in range(BATCH):
                (await system.spawn(Idle, name=f"new/{number}")).kill()

        await costs.note("name looked up", look_up)
        await costs.note("tell by name", tell)
        await costs.note("spawn with a name, and death", come_and_go)


async def mailbox(size: int, costs: Costs) -> None:
    async with ActorSystem("scale") as system:
        gate = asyncio.Event()
        clogged, other = await system.spawn(Clogged, gate), await system.spawn(Idle)
        clogged.tell("wait")
        for number in range(size):
            clogged.tell(number)

        async def tell() -> None:
            for number in range(BATCH):
                clogged.tell(number)

        async def call_another() -> None:
            for number in range(BATCH):
                await other.call(number)

        await costs.note("tell to a long mailbox", tell)
        await costs.note("call to another beside it", call_another)
        began = time.process_time()
        gate.set()
        await clogged.call("done?", timeout=600.0)
        costs.note_all("each message of it handled (async)", began, size + BATCH * BATCHES)

        watcher = await system.spawn(Parent)

        async def watch_and_forget(me: Parent) -> float:
            for number in range(size):
                me.actor_ref.tell(number)
            began = time.process_time()
            me.demonitor(me.monitor(other), flush=True)
            return time.process_time() - began

        costs.found["demonitor with flush, long mailbox"] = await watcher.call(watch_and_forget, timeout=600.0) * 1e6

        idle = await system.spawn(Idle)
        for number in range(size):
            idle.tell(number)
        began = time.process_time()
        await idle.call("done?", timeout=600.0)
        costs.note_all("each message of it handled (plain)", began, size)

        for number in range(size):
            idle.tell(number)
        began = time.process_time()
        idle.kill()
        await idle.ended()
        costs.note_all("each message of it, at death", began, size)


async def children(size: int, costs: Costs) -> None:
    async with ActorSystem("scale") as system:
        parent = await system.spawn(Parent)
        born: list[ActorRef[Any]] = []

        def bear(count: int) -> Callable[[Parent], Awaitable[None]]:
            async def so_many(me: Parent) -> None:
                born.extend([await me.spawn(Idle) for _ in range(count)])

            return so_many

        await parent.call(bear(size), timeout=600.0)

        async def one_more() -> None:
            await parent.call(bear(BATCH), timeout=600.0)

        async def end_the_newest() -> None:
            for _ in range(BATCH):
                born.pop().kill()

        async def end_the_oldest() -> None:
            for ref in born[:BATCH]:
                ref.kill()
            del born[:BATCH]

        await costs.note("spawn beside many siblings", one_more)
        await costs.note("death of the newest sibling", end_the_newest)
        await costs.note("death of the oldest sibling", end_the_oldest, batches=min(BATCHES, size // BATCH - 1))
        left = len(born)
        began = time.process_time()
        parent.stop()
        await parent.ended()
        costs.note_all("a parent's end, each child", began, left)


async def watchers(size: int, costs: Costs) -> None:
    async with ActorSystem("scale") as system:
        watched, watcher = await system.spawn(Idle), await system.spawn(Parent)

        def watch(count: int) -> Callable[[Parent], Awaitable[list[Any]]]:
            async def so_many(me: Parent) -> list[Any]:
                return [me.monitor(watched) for _ in range(count)]

            return so_many

        held = await watcher.call(watch(size), timeout=600.0)
        more: list[Any] = []

        async def monitor() -> None:
            more.extend(await watcher.call(watch(BATCH), timeout=600.0))

        async def demonitor() -> None:
            async def so_many(me: Parent) -> None:
                for _ in range(BATCH):
                    me.demonitor(more.pop())

            await watcher.call(so_many, timeout=600.0)

        await costs.note("monitor beside many", monitor)
        await costs.note("demonitor beside many", demonitor)
        assert len(held) == size


async def timers(size: int, costs: Costs) -> None:
    async with ActorSystem("scale") as system:
        sleeper = await system.spawn(Parent)

        def set_alarms(count: int) -> Callable[[Parent], Awaitable[list[Timer]]]:
            async def so_many(me: Parent) -> list[Timer]:
                return [me.send_after(3600.0, "late") for _ in range(count)]

            return so_many

        held = await sleeper.call(set_alarms(size), timeout=600.0)

        async def set_and_cancel() -> None:
            for timer in await sleeper.call(set_alarms(BATCH), timeout=600.0):
                timer.cancel()

        await costs.note("timer set and cancelled", set_and_cancel)
        began = time.process_time()
        sleeper.kill()
        await sleeper.ended()
        costs.note_all("each timer, at death", began, len(held))


GROUPS: dict[str, Callable[[int, Costs], Awaitable[None]]] = {
    "population": population,
    "names": names,
    "mailbox": mailbox,
    "children": children,
    "watchers": watchers,
    "timers": timers,
}


def measured(group: str, size: int) -> dict[str, float]:
    """The costs of one group, in this process."""
    costs = Costs()

    async def program() -> int:
        logging.disable(logging.CRITICAL)  # what dies here is meant to
        await GROUPS[group](size, costs)
        return 0

    run(program())
    return costs.found


def apart(group: str, size: int) -> dict[str, float]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--one", group, str(size)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command()
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True, help="Populations, with commas.")
@click.option("--only", type=click.Choice(list(GROUPS)), multiple=True, help="These groups alone.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
@click.option("--one", nargs=2, hidden=True, help="A group and a size, measured in this process.")
def main(sizes: str, only: tuple[str, ...], as_json: Path | None, one: tuple[str, str] | None) -> None:
    """Show that costs do not grow with the number of actors, names, messages, children, monitors."""
    if one is not None:
        click.echo(json.dumps(measured(one[0], int(one[1]))))
        return
    numbers = [int(size) for size in sizes.split(",")]
    results = {group: [apart(group, size) for size in numbers] for group in only or GROUPS}
    rows: list[list[str]] = []
    for group, columns in results.items():
        for name in columns[0]:
            figures = [column[name] for column in columns]
            growth = f"{figures[-1] / figures[0]:.1f}x" if figures[0] else "-"
            rows.append([group, name, *(f"{figure:.2f}" for figure in figures), growth])
    click.echo("Microseconds of processor time for each operation.\n")
    click.echo(table(["many", "operation", *(f"{number:,}" for number in numbers), "growth"], rows))
    if as_json is not None:
        as_json.write_text(json.dumps({"sizes": numbers, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

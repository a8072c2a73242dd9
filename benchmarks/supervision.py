"""What crashes cost those that do not crash, and what children cost: `python -m benchmarks.supervision`.

Each line comes from processes of its own:

    load        crashes at a steady rate, of 100 children in turn, beside 10,000 healthy ones of the same supervisor
    sequence    one child crashes, its replacement answers, that one crashes: beside 1, 1,000 and 10,000 healthy ones
    groups      10 to 10,000 children: all of them restarted because one crashed, or started, or ended in order

The calls of `load` go to one healthy child after the other at a steady rate, too. Each is timed from when it was due, so
that whatever held up the loop counts for every call that it delayed. Seconds with crashes take turns with seconds
without: these are the machine's own share.
"""

import asyncio
import gc
import json
import logging
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.__main__ import table
from benchmarks.collector import Pauses
from benchmarks.programs.with_understudy import Echo, Fragile, crash_to_answer
from benchmarks.sides import ROOT
from benchmarks.stopwatch import settled
from understudy import ActorRef, ActorSystem
from understudy.app import run
from understudy.supervisors import Child, DynamicSupervisor, StartAnother, StartChild, Supervisor, WhichChildren

VICTIMS = 100
CRASHES = 1_000
CALLS = 2_000
"""A second; so are the crashes."""

PATIENT: dict[str, Any] = {"intensity": 1_000_000, "period": 1.0}
"""A supervisor that does not give up, and remembers the restarts of a second."""

STRIDE = 7919
"""Prime: the children that are called are spread over all."""

BATCHES = 5

BRANCH = 100
"""Children of each supervisor, where they are the children of several."""

LONG = 600.0
"""Seconds after which what takes long is an error."""


def echoes(count: int) -> list[Child]:
    """So many healthy children."""
    return [Child(Echo, id=f"echo/{number}") for number in range(count)]


async def supervised(system: ActorSystem, kind: str, healthy: int, fragile: Sequence[str]) -> list[ActorRef[Any]]:
    """Start a supervisor with so many healthy children, and after them those that crash, by their names. Returns the healthy ones."""
    if kind == "dynamic":
        supervisor: ActorRef[Any] = await system.spawn(DynamicSupervisor, Child(Echo), **PATIENT)
        for _ in range(healthy):
            await supervisor.call(StartAnother())
        for name in fragile:
            await supervisor.call(StartChild(Child(Fragile, name=name)))
    else:
        specs = [*echoes(healthy), *(Child(Fragile, name=name) for name in fragile)]
        supervisor = await system.spawn(Supervisor, specs, strategy=kind, **PATIENT)
    infos = await supervisor.call(WhichChildren())
    return [info.ref for info in infos if info.ref is not None and info.cls == "Echo"]


# --- load ---


class Load(NamedTuple):
    """A supervisor's kind, and the level from which on all is logged."""

    what: str
    kind: str
    level: int


LOADS = {
    "one_for_one": Load("one_for_one", "one_for_one", logging.WARNING),
    "dynamic": Load("dynamic", "dynamic", logging.WARNING),
    "info": Load("one_for_one, logged from INFO on", "one_for_one", logging.INFO),
}


class Volume(logging.Handler):
    """Writes the log to nowhere: counts the records, and the bytes that they would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.records = 0
        self.bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        self.bytes += len(self.format(record).encode()) + 1


@contextmanager
def logged(level: int) -> Iterator[Volume]:
    """Count what is logged from that level on."""
    logger, volume = logging.getLogger("understudy"), Volume()
    before = logger.level, logger.propagate
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(volume)
    try:
        yield volume
    finally:
        logger.removeHandler(volume)
        logger.level, logger.propagate = before


async def call_all(healthy: list[ActorRef[Any]], seconds: float, times: "array[float]") -> None:
    """Call one after the other, at a steady rate; `times` get the seconds from when each was due to its answer."""
    clock = time.perf_counter
    begun = clock()
    for number in range(int(CALLS * seconds)):
        due = begun + number / CALLS
        while clock() < due:  # noqa: ASYNC110 - timers are too coarse for this rate
            await asyncio.sleep(0)
        await healthy[number * STRIDE % len(healthy)].call(number, LONG)
        times.append(clock() - due)


async def crash_all(victims: Sequence[ActorRef[Any]], seconds: float) -> None:
    """Crash one after the other, at a steady rate."""
    begun, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        for number in range(sent, due := int(CRASHES * passed)):
            victims[number % len(victims)].tell("crash")
        sent = due
        await asyncio.sleep(1 / CRASHES)


class Memory(NamedTuple):
    """Bytes of the process, blocks that Python has allocated, objects that the collector knows."""

    resident: int
    blocks: int
    objects: int

    @classmethod
    def now(cls) -> "Memory":
        return cls(settled(), sys.getallocatedblocks(), len(gc.get_objects()))


async def loaded(load: Load, plan: "Plan") -> dict[str, Any]:
    """The figures of one load: times of calls without crashes and with, memory, crashes, log."""
    names = [f"fragile/{number}" for number in range(VICTIMS)]
    quiet, crashing = array("d"), array("d")
    with logged(load.level) as volume:
        async with ActorSystem("supervision") as system:
            refs = await supervised(system, load.kind, plan.healthy, names)
            victims = [system.ref(name) for name in names]
            for ref in refs:
                await ref.call("ready?", LONG)  # with its first message an actor becomes larger
            await crash_all(victims, plan.warm_up)
            before, counted = Memory.now(), system.crashes.count
            for _ in range(plan.rounds):
                await call_all(refs, plan.seconds, quiet)
                await asyncio.gather(call_all(refs, plan.seconds, crashing), crash_all(victims, plan.seconds))
            after = Memory.now()
            measured, crashes = system.crashes.count - counted, system.crashes
    return {
        "rate": measured / (plan.seconds * plan.rounds),
        "quiet": percentiles(quiet),
        "crashing": percentiles(crashing),
        "before": before._asdict(),
        "after": after._asdict(),
        "between": measured,
        "crashes": crashes.count,
        "reported": crashes.count - crashes.suppressed,
        "suppressed": crashes.suppressed,
        "records": volume.records,
        "bytes": volume.bytes,
    }


def percentiles(seconds: Sequence[float]) -> list[float]:
    """Median, 99th percentile and worst."""
    ordered = sorted(seconds)
    return [ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]]


# --- sequence ---

SEQUENCES = {"one_for_one": "one_for_one", "rest_for_one": "rest_for_one, the last child", "dynamic": "dynamic"}


async def in_sequence(kind: str, healthy: int, crashes: int) -> dict[str, float]:
    """Crash after crash: how many a second, and microseconds of processor time for each; medians of batches."""
    rates: list[float] = []
    costs: list[float] = []
    async with ActorSystem("supervision") as system:
        await supervised(system, kind, healthy, ["fragile"])
        for _ in range(BATCHES):
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(crashes):
                await crash_to_answer(system)
            rates.append(crashes / (time.perf_counter() - began))
            costs.append((time.process_time() - cpu) / crashes * 1e6)
    return {"rate": statistics.median(rates), "cost": statistics.median(costs)}


# --- groups ---

TICK = 0.001
"""Seconds between two looks at how long the loop was held."""


class Costs:
    """By what was done: microseconds of processor time for each child; how long the loop was held, and by a collection."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.each: dict[str, list[float]] = {}
        self.held: dict[str, float] = {}
        self.collecting: dict[str, float] = {}

    async def note(self, name: str, operation: Awaitable[Any]) -> Any:
        """Wait for what is done once, for all children."""
        ticks = asyncio.create_task(self._tick(name))
        await asyncio.sleep(0)
        began = time.process_time()
        with Pauses() as pauses:
            done = await operation
        self.each.setdefault(name, []).append((time.process_time() - began) / self.size * 1e6)
        self.collecting[name] = max(self.collecting.get(name, 0.0), pauses.figures()["worst"])
        await asyncio.sleep(2 * TICK)
        ticks.cancel()
        return done

    async def _tick(self, name: str) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            self.held[name] = max(self.held.get(name, 0.0), now - last - TICK)
            last = now

    def figures(self) -> dict[str, list[float]]:
        """By what was done: the median, and in seconds the longest that the loop was held, and that a collection took."""
        return {
            name: [statistics.median(each), self.held[name], self.collecting[name]] for name, each in self.each.items()
        }


async def ended(ref: ActorRef[Any]) -> None:
    """Stop a supervisor, and wait until nobody is left."""
    ref.stop()
    await ref.ended(LONG)


async def restarted(system: ActorSystem, kind: str, size: int, costs: Costs) -> None:
    """The first child crashes, until the last one's replacement answers."""
    middle = echoes(max(0, size - 2))
    specs = [Child(Fragile, name="fragile"), *middle, Child(Echo, name="last")]
    supervisor = await system.spawn(Supervisor, specs, strategy=kind, **PATIENT)

    async def crash() -> None:
        last = system.whereis("last")
        assert last is not None
        system.ref("fragile").tell("crash")
        await last.ended(LONG)
        while (replacement := system.whereis("last")) is None:  # noqa: ASYNC110 - to look is what a user does, too
            await asyncio.sleep(0)
        await replacement.call("there?", LONG)

    for _ in range(BATCHES):
        await costs.note(f"restart, {kind}", crash())
    await ended(supervisor)


async def came_and_went(system: ActorSystem, size: int, costs: Costs) -> None:
    """Supervisors that start so many children, and end with them."""
    branches = [
        Child(Supervisor, (echoes(min(BRANCH, size - first)),), id=f"branch/{first}")
        for first in range(0, size, BRANCH)
    ]
    specs = echoes(size)
    for _ in range(BATCHES):
        flat = await costs.note("start, one_for_one", system.spawn(Supervisor, specs))
        await costs.note("shutdown, one_for_one", ended(flat))
        tree = await costs.note(f"start, {BRANCH} to a supervisor", system.spawn(Supervisor, branches))
        await costs.note(f"shutdown, {BRANCH} to a supervisor", ended(tree))
        pool = await system.spawn(DynamicSupervisor, Child(Echo))
        await costs.note("start, dynamic", filled(pool, size))
        await costs.note("shutdown, dynamic", ended(pool))


async def filled(pool: ActorRef[Any], size: int) -> None:
    """Have a dynamic supervisor start so many, one request after the other."""
    for _ in range(size):
        await pool.call(StartAnother())


async def grouped(size: int) -> dict[str, list[float]]:
    """The costs of so many children, by what is done with them."""
    costs = Costs(size)
    async with ActorSystem("supervision") as system:
        await restarted(system, "one_for_all", size, costs)
        await restarted(system, "rest_for_one", size, costs)
        await came_and_went(system, size, costs)
    return costs.figures()


# --- the program ---


class Plan(NamedTuple):
    """How much is done. `warm_up`: seconds of crashes before memory is looked at, more than a supervisor remembers."""

    healthy: int
    warm_up: float
    seconds: float
    rounds: int
    sequences: tuple[int, ...]
    crashes: int
    groups: tuple[int, ...]


FULL = Plan(10_000, 1.5, 5.0, 3, (1, 1_000, 10_000), 400, (10, 100, 1_000, 10_000))
QUICK = FULL._replace(seconds=2.0, rounds=1, crashes=100)


def measured(part: str, kind: str, plan: Plan) -> dict[str, Any]:
    """One line's figures, in this process."""

    async def program() -> dict[str, Any]:
        if part == "load":
            return await loaded(LOADS[kind], plan)
        logging.disable(logging.CRITICAL)  # what crashes here is meant to
        if part == "sequence":
            return await in_sequence(kind, plan.sequences[0], plan.crashes)
        return await grouped(plan.groups[0])

    return run(program())


def apart(part: str, kind: str, plan: Plan) -> dict[str, Any]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.supervision", "--one", part, kind, json.dumps(plan)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def load(plan: Plan) -> dict[str, Any]:
    """Print the tables of the load; returns its figures."""
    found = {name: apart("load", name, plan) for name in LOADS}
    calls: list[list[str]] = []
    rest: list[list[str]] = []
    for name, one in found.items():
        what = LOADS[name].what
        times = [f"{seconds * 1e6:.0f}" for seconds in (*one["quiet"], *one["crashing"])]
        calls.append([what, f"{one['rate']:.0f}", *times])
        before, after = one["before"], one["after"]
        rest.append(
            [
                what,
                f"{one['between']:,}",
                *(f"{after[key] - before[key]:+,}" for key in ("objects", "blocks")),
                f"{before['resident'] / 1e6:.1f} -> {after['resident'] / 1e6:.1f}",
                *(f"{one[key]:,}" for key in ("crashes", "reported", "suppressed", "records", "bytes")),
            ]
        )
    click.echo(f"Calls to {plan.healthy:,} healthy children, microseconds from when each was due to its answer.\n")
    head = ["supervisor", "crashes/s", "quiet: p50", "p99", "worst", "crashing: p50", "p99", "worst"]
    click.echo(table(head, calls))
    click.echo("\nWhat these crashes left in memory; and all crashes of the system's life, in the log.\n")
    head = ["supervisor", "crashes", "objects", "blocks", "resident, MB"]
    click.echo(table([*head, "all crashes", "reported", "suppressed", "records", "bytes"], rest))
    return found


def sequence(plan: Plan) -> dict[str, Any]:
    """Print the table of crashes in sequence; returns its figures."""
    found = {
        kind: [apart("sequence", kind, plan._replace(sequences=(size,))) for size in plan.sequences]
        for kind in SEQUENCES
    }
    rows = [
        [
            SEQUENCES[kind],
            *(f"{one['rate']:,.0f}" for one in columns),
            *(f"{one['cost']:.1f}" for one in columns),
            f"{columns[-1]['cost'] / columns[0]['cost']:.1f}x",
        ]
        for kind, columns in found.items()
    ]
    click.echo(
        "Crash after crash beside so many siblings: how many a second; microseconds of processor time for each.\n"
    )
    sizes = [f"{size:,}" for size in plan.sequences]
    head = ["supervisor", *(f"/s at {size}" for size in sizes), *(f"us at {size}" for size in sizes), "growth"]
    click.echo(table(head, rows))
    return found


def groups(plan: Plan) -> dict[str, Any]:
    """Print the table of groups; returns its figures."""
    columns = [apart("groups", "all", plan._replace(groups=(size,))) for size in plan.groups]
    rows = [
        [
            name,
            *(f"{column[name][0]:.1f}" for column in columns),
            f"{columns[-1][name][0] / columns[0][name][0]:.1f}x",
            *(f"{seconds * 1000:.0f}" for seconds in columns[-1][name][1:]),
        ]
        for name in columns[0]
    ]
    click.echo(
        "Microseconds of processor time for each child. Of the most children: the longest that the loop was held at a"
    )
    click.echo("time, and the longest garbage collection, which may be the reason.\n")
    head = ["all children", *(f"{size:,}" for size in plan.groups), "growth", "loop held, ms", "collection, ms"]
    click.echo(table(head, rows))
    return {str(size): column for size, column in zip(plan.groups, columns)}


PARTS: dict[str, Callable[[Plan], dict[str, Any]]] = {"load": load, "sequence": sequence, "groups": groups}


@click.command()
@click.option("--quick", is_flag=True, help="Fewer crashes, and one round.")
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="These parts alone.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
@click.option("--one", nargs=3, hidden=True, help="A part, a kind and a plan, measured in this process.")
def main(quick: bool, only: tuple[str, ...], as_json: Path | None, one: tuple[str, str, str] | None) -> None:
    """Measure what crashes cost others, and what restarts, starts and shutdowns cost each child."""
    if one is not None:
        part, kind, plan = one
        click.echo(json.dumps(measured(part, kind, Plan(*json.loads(plan)))))
        return
    found: dict[str, Any] = {}
    for name in only or PARTS:
        found[name] = PARTS[name](QUICK if quick else FULL)
        click.echo()
    if as_json is not None:
        as_json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The membership tables side by side: commits one after the other, claims that come together, readings.

    python -m benchmarks.tables [--quick] [--only sqlite,postgres]

PostgreSQL and etcd are started for it, on this machine's disk, which they wait for as they would in production. Each
figure is the best of three rounds, in which the tables take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import TypeAlias

from tests.servers import Etcd, Postgres, missing_etcd, missing_postgres
from understudy.transport import (
    Change,
    Expect,
    Member,
    MembershipTable,
    MemoryTable,
    Name,
    Node,
    SqliteTable,
)
from understudy.transport.opening import open_table

Opener: TypeAlias = Callable[[], Awaitable[MembershipTable]]

AT_ONCE = 200
"""Claims that wait at the same time."""


@asynccontextmanager
async def tables(only: set[str]) -> AsyncIterator[dict[str, MembershipTable]]:
    """Each kind, open and empty."""
    async with AsyncExitStack() as stack:
        found: dict[str, MembershipTable] = {}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=".")))
        if "memory" in only:
            found["memory"] = MemoryTable()
        if "sqlite" in only:
            found["sqlite"] = await SqliteTable.open(folder / "one.db")
        if "served" in only:  # over a link, to a file
            stage = await stack.enter_async_context(Node("stage", state=folder))
            engine = await stack.enter_async_context(Node("engine-1", join=stage.address))
            found["served"] = engine.table
        if "postgres" in only and not missing_postgres():
            server = stack.enter_context(Postgres(durable=True))
            found["postgres"] = await open_table(server.fresh())
        if "etcd" in only and not missing_etcd():
            another = stack.enter_context(Etcd(durable=True))
            found["etcd"] = await open_table(another.fresh())
        yield found
        for table in found.values():
            await table.close()


async def one_by_one(table: MembershipTable, count: int) -> tuple[float, float, float]:
    """Commits to a member each second, and what one takes: the median and one in a hundred, in ms."""
    version, took = (await table.read()).versions.members, []
    for number in range(count):
        began = time.perf_counter()
        row = Member("engine-x", number, "tcp://127.0.0.1:1")
        after = await table.commit(Expect(members=version), Change(members=(row,)))
        assert after is not None
        version = after.members
        took.append(time.perf_counter() - began)
    return count / sum(took), 1000 * sorted(took)[count // 2], 1000 * quantiles(took, n=100)[98]


async def claims(table: MembershipTable, count: int, kind: str) -> float:
    """Claims of different names each second, 200 under way at once."""

    async def claim(numbers: range) -> None:
        for number in numbers:
            name = f"{kind}/{number}"
            assert await table.commit(Expect(names={name: 0}), Change(names=(Name(name, "stage", 1),))) is not None

    began = time.perf_counter()
    await asyncio.gather(*(claim(range(start, count, AT_ONCE)) for start in range(AT_ONCE)))
    return count / (time.perf_counter() - began)


async def guarded(table: MembershipTable, count: int, kind: str) -> float:
    """Guarded writes each second, 200 under way at once."""
    versions = await table.commit(Expect(names={kind: 0}), Change(names=(Name(kind, "stage", 1),)))
    assert versions is not None
    began = time.perf_counter()

    async def write(numbers: range) -> None:
        for number in numbers:
            await table.guarded_write(kind, versions.names, str(number), b"x" * 100)

    await asyncio.gather(*(write(range(start, count, AT_ONCE)) for start in range(AT_ONCE)))
    return count / (time.perf_counter() - began)


async def held_while(work: Awaitable[object]) -> tuple[float, float]:
    """Seconds that it takes, and the longest that it held the loop meanwhile."""
    longest = 0.0

    async def pulse() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    pulsing = asyncio.create_task(pulse())
    began = time.perf_counter()
    await work
    took = time.perf_counter() - began
    pulsing.cancel()
    return took, longest


@contextmanager
def collector(tame: bool) -> Iterator[None]:
    """Python's collector as it is, or by the two lines of docs/performance.md."""
    gc.collect()
    before = gc.get_threshold()
    if tame:
        gc.set_threshold(10_000, 10, 100)
        gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


async def run(quick: bool, only: set[str]) -> None:
    few, many = (50, 2_000) if quick else (200, 10_000)
    async with tables(only) as found:
        best: dict[str, list[float]] = {kind: [0.0, 1e9, 1e9, 0.0, 0.0] for kind in found}
        for round_ in range(1 if quick else 3):
            for kind, table in found.items():
                rate, typical, slow = await one_by_one(table, few)
                taken = await claims(table, many, f"room-{round_}")
                written = await guarded(table, many, f"guard-{round_}")
                row = best[kind]
                best[kind] = [
                    max(row[0], rate), min(row[1], typical), min(row[2], slow), max(row[3], taken), max(row[4], written)
                ]  # fmt: skip
        print(f"{'':10}{'commits/s':>11}{'median ms':>11}{'p99 ms':>9}{'claims/s':>10}{'guarded/s':>11}")
        for kind, (rate, typical, slow, taken, written) in best.items():
            print(f"{kind:10}{rate:11,.0f}{typical:11.2f}{slow:9.2f}{taken:10,.0f}{written:11,.0f}")
        names = 10_000 if quick else 100_000
        print(f"\n{'':10}{names:>9,} names read: s{'loop held ms':>14}{'collector tamed':>17}")
        for kind, table in found.items():
            have = len((await table.read()).names)
            if have < names:
                await claims(table, names - have, "more")
            readings: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for tame in (False, True) * (1 if quick else 5):
                with collector(tame):
                    readings[tame].append(await held_while(table.read()))
            took, held = map(median, zip(*readings[False]))
            _, tamed = map(median, zip(*readings[True]))
            print(f"{kind:10}{took:22.2f}{1000 * held:14.0f}{1000 * tamed:17.0f}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="memory,sqlite,served,postgres,etcd")
    options = parser.parse_args()
    asyncio.run(run(options.quick, set(options.only.split(","))))


if __name__ == "__main__":
    main()

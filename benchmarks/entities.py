"""Entities: how many start in a second on each table, what a message to one costs, and what a hundred thousand take up.

    python -m benchmarks.entities [--quick] [--only SQLite,PostgreSQL]
    python -m benchmarks.entities --memory                    what 100,000 take up on one node

Two nodes in one process, on two cores if there are: a guest that sends, and a host. An activation is a claim in the table, a
start, and the answer to the first message; a life begins and ends `KEYS` times. PostgreSQL and etcd are started for it, and wait
for this machine's disk, as they would in production.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.servers import Etcd, Postgres, missing_etcd, missing_postgres
from understudy.actors import Actor, ActorRef
from understudy.transport import MemoryTable, Node

TABLES = ("memory", "SQLite", "served", "PostgreSQL", "etcd")

KEYS = 2_000
"""Entities that are started at once."""

TELLS = 200_000
"""Messages of one measurement."""

QUICK = 50
"""So many times fewer of both."""

MANY = 100_000
"""Entities on one node."""


class Counter(Actor):
    """Counts, and says how far it has come."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        if message == "count":
            return self.count
        self.count += 1
        return None


@contextmanager
def address(table: str) -> Generator[str]:
    """That of a table on a server, which runs meanwhile; of the others their name."""
    if table == "PostgreSQL":
        with Postgres(durable=True) as server:
            yield server.fresh()
    elif table == "etcd":
        with Etcd(durable=True) as server:
            yield server.fresh()
    else:
        yield table


def missing(table: str) -> str:
    """Why it cannot be here; "" if it can."""
    return {"PostgreSQL": missing_postgres, "etcd": missing_etcd}.get(table, str)()


@asynccontextmanager
async def pair(table: str) -> AsyncGenerator[tuple[Node, Node], None]:
    """A guest and a host on a table of that name or address."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"table": table}
        if table == "memory":
            options = {"table": MemoryTable()}
        elif table in ("SQLite", "served"):
            options = {"state": Path(folder)}
        async with Node("host", **options) as host:
            if table == "served":
                options = {"join": host.address}
            async with Node("guest", **options) as guest:
                host.host("counter", Counter)
                while "host" not in guest.groups["understudy/entities/counter"].by_node():  # noqa: ASYNC110 - it is short
                    await asyncio.sleep(0.01)
                yield guest, host


async def lives(table: str, at: str, keys: int) -> None:
    """Starts and ends in a second."""
    async with pair(at) as (guest, host):
        refs = [guest.entity("counter", str(number)) for number in range(keys)]
        begun = time.perf_counter()
        await asyncio.gather(*(ref.call("count", timeout=120) for ref in refs))
        started = time.perf_counter()
        left = await host.entities.host.close_all()
        ended = time.perf_counter()
        assert not left
        print(f"  {table:<12} {keys / (started - begun):>8,.0f} activations/s {keys / (ended - started):>8,.0f} ends/s")


async def messages(count: int) -> None:
    """Tells to an entity beside those to a plain actor, here and on another node, in turns."""
    async with pair("memory") as (guest, host):
        await host.spawn(Counter, "plain", name="plain")
        plain = await host.spawn(Counter, "plain")
        pairs: list[tuple[str, ActorRef[Any], ActorRef[Any]]] = [
            ("here", host.entity("counter", "a"), plain),
            ("elsewhere", guest.entity("counter", "b"), guest.ref("plain@host")),
        ]
        for where, entity, other in pairs:
            await entity.call("count")
            rates: list[list[float]] = [[], []]
            for _ in range(5):
                for ref, told in ((entity, rates[0]), (other, rates[1])):
                    told.append(await _tells(ref, count))
            best = [max(each) for each in rates]
            print(f"  {where:<12} {best[0]:>12,.0f} tells/s to an entity, {best[0] / best[1]:.2f} of those to an actor")


async def _tells(ref: ActorRef[Any], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count // 1_000):
        for _ in range(1_000):
            ref.tell("more")
        await asyncio.sleep(0)
    await ref.call("count", timeout=120)
    return count / (time.perf_counter() - begun)


async def memory() -> None:
    """What many take up on the node where they run, with the guest's routes to them, and the table, in one process."""
    async with pair("memory") as (guest, _):
        before = _resident()
        for start in range(0, MANY, KEYS):
            refs = [guest.entity("counter", str(number)) for number in range(start, start + KEYS)]
            await asyncio.gather(*(ref.call("count", timeout=120) for ref in refs))
        taken = _resident() - before
        print(f"  {MANY:,} entities: {taken / MANY / 1024:.1f} kB each, guest and table included")
        await asyncio.sleep(0)


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(TABLES))
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.memory:
        asyncio.run(memory())
        return
    fewer = QUICK if options.quick else 1
    print("starts and ends")
    for table in options.only.split(","):
        if table not in TABLES:
            parser.error(f"there is no table {table!r}; there are {', '.join(TABLES)}")
        if why := missing(table):
            print(f"  {table:<12} {why}")
            continue
        with address(table) as at:
            asyncio.run(lives(table, at, KEYS // fewer))
    print("messages")
    asyncio.run(messages(TELLS // fewer))


if __name__ == "__main__":
    main()

"""Counters by name on two nodes, one of which is killed: `python -m understudy.examples.counters`.

    process 1: node "desk"                      process 2: node "left"        process 3: node "right"
      Add(3) to "apples" ──── wherever it is ──▶  Counter "apples"   kill -9    Counter "pears"
                                                     └── written under its fence, into the cluster's table ──┘
      Total() of "apples" ─────────────────────────────────────────────────────▶ Counter "apples", as it was

The one idea: nobody starts a counter, and nobody knows where it is. The first message starts it, on one of the nodes that
host its kind; when that node dies, the next message starts it on another. What it counted is kept where its fence is
checked: a counter that runs on without knowing that it was replaced cannot write over what its successor wrote.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from understudy import Actor, ActorRef, Node, NodeDown, Request, message
from understudy.transport import MembershipTable

FRUITS = "apples", "pears", "plums", "figs", "limes", "kiwis"
FOUND_WITHIN = 30.0
"""Seconds that a call waits for a counter whose node may just have died."""


@message("counters.total")
class Total(Request[int]):
    """What was counted so far."""


@message("counters.add")
class Add(Request[int]):
    """Answered with the total, once that is kept."""

    number: int


class Counter(Actor):
    """Counts what has its name."""

    def __init__(self, key: str, table: MembershipTable) -> None:
        super().__init__()
        self.key = key
        self.table = table
        self.total = 0

    async def on_start(self) -> None:
        assert self.name is not None, "an entity has a name"
        kept = await self.table.guarded_read(self.name, "total")
        self.total = int(kept or 0)

    async def on_receive(self, message: object) -> object:
        match message:
            case Add(number):
                total = self.total + number
                assert self.name is not None, "an entity has a name"
                await self.table.guarded_write(self.name, self.fence, "total", b"%d" % total)
                self.total = total
                return total
            case Total():
                return self.total
            case _:
                return self.unhandled(message)


async def host(name: str, state: Path) -> None:
    """A process that counters may run in, until it is killed or its standard input is closed."""
    async with Node(name, state=state) as node:
        node.host("counter", Counter, node.table)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def total(counter: ActorRef[Counter]) -> int:
    """To ask twice does no harm: so whoever hears that the counter's node has died asks again, and it is elsewhere."""
    while True:
        try:
            return await counter.call(Total(), timeout=FOUND_WITHIN)
        except NodeDown:
            continue


async def where(counters: dict[str, ActorRef[Counter]]) -> dict[str, str]:
    """The node of each."""
    return {fruit: (await counter.info()).ref.address.node for fruit, counter in counters.items()}


async def started(name: str, state: Path, stack: AsyncExitStack) -> asyncio.subprocess.Process:
    """A process with a node of that name, which has said that it is ready; ended with the stack."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "understudy.examples.counters", name, str(state)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stack.push_async_callback(process.wait)
    stack.callback(process.stdin.close)
    await process.stdout.readline()
    return process


async def desk(state: Path) -> None:
    """Counts, kills a node, and looks whether anything is missing."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(Node("desk", state=state))
        hosts = {name: await started(name, state, stack) for name in ("left", "right")}
        counters = {fruit: node.entity("counter", fruit) for fruit in FRUITS}
        for number, counter in enumerate(counters.values(), 1):
            await counter.call(Add(number), timeout=FOUND_WITHIN)
            await counter.call(Add(10 * number))
        print("counted:", {fruit: await total(counter) for fruit, counter in counters.items()}, flush=True)

        before = await where(counters)
        victim = before["apples"]
        print(f"{victim} is killed, with {', '.join(fruit for fruit in FRUITS if before[fruit] == victim)}", flush=True)
        hosts[victim].kill()

        print("counted:", {fruit: await total(counter) for fruit, counter in counters.items()}, flush=True)
        print("all on:", *set((await where(counters)).values()))
        print("apples:", await counters["apples"].call(Add(100)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, folder]:
            asyncio.run(host(name, Path(folder)))
        case _:
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(desk(Path(folder)))

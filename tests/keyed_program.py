"""A node with keys in a process of its own: `python -m tests.keyed_program NAME STATE KEYS`, with a Counter named "counter"."""

from __future__ import annotations

import asyncio
import sys

from tests.processes import until_told_to_end
from tests.sides import Counter
from understudy.transport import Node


async def main(name: str, state: str, keys: str) -> None:
    async with Node(name, state=state, keys=keys) as node:
        await node.spawn(Counter, name="counter")
        print(node.address, flush=True)
        await until_told_to_end()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A node in a process of its own: `python -m tests.node_program NAME STATE`, with a Counter named "counter"."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.processes import until_told_to_end
from tests.sides import Counter
from understudy.transport import Node


async def main(name: str, state: str) -> None:
    async with Node(name, state=Path(state)) as node:
        await node.spawn(Counter, name="counter")
        print(node.address, node.incarnation, flush=True)
        await until_told_to_end()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

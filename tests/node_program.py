"""A node in a process of its own: `python -m tests.node_program NAME STATE [OLDEST NEWEST]`, with a Counter named "counter".

OLDEST and NEWEST: the versions of the protocol that it speaks, instead of those that this tree does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.processes import until_told_to_end
from tests.sides import Counter
from understudy.transport import Node, links


async def main(name: str, state: str, *versions: str) -> None:
    if versions:
        oldest, newest = map(int, versions)
        links.SPOKEN = range(oldest, newest + 1)
    async with Node(name, state=Path(state)) as node:
        await node.spawn(Counter, name="counter")
        print(node.address, node.incarnation, flush=True)
        await until_told_to_end()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

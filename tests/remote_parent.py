"""A node in a process of its own, with a supervisor whose child is on engine-1: `python -m tests.remote_parent NAME STATE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.emigrants import Trapping
from tests.processes import until_told_to_end
from understudy.supervisors import Child, Supervisor
from understudy.transport import Node


async def main(name: str, state: str) -> None:
    async with Node(name, state=Path(state), probe_interval=0.3) as node:
        await node.spawn(Supervisor, [Child(Trapping, name="worker", node="engine-1")])
        print("ready", flush=True)
        await until_told_to_end()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

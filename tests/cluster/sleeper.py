"""A node that has the singleton "ledger" and stops its own process right before a write: `python -m tests.cluster.sleeper TABLE`.

TABLE is the address of a table, or a folder with one. It prints the fence of its ledger, and, once somebody has it go on, what
became of the write, which goes its own way to the table: neither its actor's end nor its node's is what keeps it from being made.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from understudy.actors import Actor
from understudy.transport import Fenced, MembershipTable, Node, SqliteTable
from understudy.transport.opening import open_table

PROBES: dict[str, Any] = {"probe_interval": 0.2}


def where(table: str) -> dict[str, Any]:
    """How a node is told of its table."""
    return {"table" if "://" in table else "state": table} | PROBES


class Ledger(Actor):
    """Writes its balance when it is told to."""

    def __init__(self, table: MembershipTable, written: asyncio.Queue[str]) -> None:
        super().__init__()
        self._table = table
        self._written = written

    def on_start(self) -> None:
        self._written.put_nowait(str(self.fence))

    def on_receive(self, message: object) -> None:
        assert isinstance(message, str)
        if message == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        asyncio.get_running_loop().create_task(self._write(self.fence, message))

    async def _write(self, fence: int, balance: str) -> None:
        try:
            await self._table.guarded_write("ledger", fence, "balance", balance.encode())
        except Fenced as refused:
            self._written.put_nowait(str(refused))
        else:
            self._written.put_nowait(f"{balance} is written")


async def main(table: str) -> None:
    """Be a candidate, and say what happens."""
    own = await (open_table(table) if "://" in table else SqliteTable.open(Path(table) / "membership.db"))
    said: asyncio.Queue[str] = asyncio.Queue()
    node = Node("sleeper", **where(table))
    await node.start()
    await node.singleton("ledger", Ledger, own, said)
    for _ in range(3):
        print(await said.get(), flush=True)
    print(await node.ended(), flush=True)
    await own.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""A process that is stopped between what it decides and what it writes, and goes on when its singleton runs elsewhere."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.cluster.sleeper import Ledger, where
from tests.processes import running
from understudy import Node


@pytest.mark.parametrize("engine", ["SQLite", "postgres", "etcd"])
async def test_the_write_of_an_owner_whose_process_was_stopped_is_refused_and_its_successors_stands(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    table = str(tmp_path) if engine == "SQLite" else request.getfixturevalue(engine).fresh()
    said: asyncio.Queue[str] = asyncio.Queue()
    async with running("tests.cluster.sleeper", table) as sleeper:
        old = int(await sleeper.line(30.0))
        async with Node("awake", **where(table)) as awake, asyncio.timeout(60.0):
            ledger = await awake.singleton("ledger", Ledger, awake.table, said)
            ledger.tell("first")
            assert await sleeper.line() == "first is written"
            ledger.tell("stopped")
            new = int(await said.get())
            assert new > old
            ledger.tell("second")
            assert await said.get() == "second is written"
            sleeper.signal(signal.SIGCONT)
            refused = await sleeper.line()
            assert f"the fence {old}" in refused
            assert f"'awake' has it, with the fence {new}" in refused
            assert "declared this node dead" in await sleeper.line()
            assert await awake.table.guarded_read("ledger", "balance") == b"second"

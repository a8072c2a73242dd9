"""While the membership table cannot be reached: calls end, silence is told, and the death comes with the table. On real processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.processes import running
from tests.sides import Total
from understudy.actors import ActorRef, DeadlineExceeded, NoConnection
from understudy.transport import (
    Change,
    Expect,
    Node,
    PeerUnreachable,
    Snapshot,
    SqliteTable,
    TableUnavailable,
    Versions,
)


class Faulty:
    """A table that can be away."""

    def __init__(self, table: SqliteTable) -> None:
        self.table = table
        self.away = False

    def check(self) -> None:
        if self.away:
            raise TableUnavailable("the table is away")

    async def read(self, since: Versions | None = None) -> Snapshot:
        self.check()
        return await self.table.read(since)

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        self.check()
        return await self.table.commit(expect, change)

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        self.check()
        await self.table.guarded_write(name, fence, key, value)

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        self.check()
        return await self.table.guarded_read(name, key)

    async def hints(self) -> AsyncIterator[Versions]:
        async for versions in self.table.hints():
            yield versions

    async def close(self) -> None:
        await self.table.close()


async def test_a_killed_peer_is_unreachable_while_the_table_is_away_and_dead_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "understudy.membership")
    table = Faulty(await SqliteTable.open(tmp_path / "membership.db"))
    async with Node("here", table=table) as here, running("tests.node_program", "there", str(tmp_path)) as there:
        told: asyncio.Queue[PeerUnreachable] = asyncio.Queue()
        here.system.hooks.subscribe(PeerUnreachable, told.put_nowait)
        assert await there.line()
        await eventually(lambda: len(here.members()) == 2)
        counter: ActorRef[Any] = here.ref("counter@there")
        assert await counter.call(Total()) == 0
        ended = asyncio.ensure_future(counter.ended())
        table.away = True
        there.kill()
        with pytest.raises(DeadlineExceeded):
            await counter.call(Total(), timeout=1.0)
        event = await asyncio.wait_for(told.get(), 6.0)
        assert (event.node, event.why) == ("there", "it does not answer")
        await eventually(lambda: here.trouble != "")
        assert not ended.done()
        table.away = False
        assert isinstance(await asyncio.wait_for(ended, 12.0), NoConnection)
        assert here.trouble == ""
    await table.close()

"""A program for tests: a node that has no file descriptors left meets another, and has some again later."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from logging.handlers import BufferingHandler

from tests.sides import Add, Counter, Total
from understudy.actors import UnderstudyError
from understudy.transport import Change, Expect, MemoryTable, Node

DESCRIPTORS = 120


def use_up() -> list[int]:
    """All descriptors that are left."""
    held: list[int] = []
    while True:
        try:
            held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return held


async def main() -> None:
    reported = BufferingHandler(1_000)
    logging.getLogger("understudy.transport").addHandler(reported)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    table = MemoryTable()
    async with Node("poor", table=table) as poor, Node("other", table=MemoryTable()) as other:
        await other.spawn(Counter, name="counter")
        held = use_up()
        versions = (await table.read()).versions
        assert await table.commit(Expect(members=versions.members), Change(members=tuple(other.members())))
        await poor.up("other", 5.0)
        counter = poor.ref("counter@other")
        counter.tell(Add(3))
        try:
            await counter.call(Total(), timeout=0.3)
        except UnderstudyError as error:
            print("a call ends by its deadline:", type(error).__name__, flush=True)
        for descriptor in held:
            os.close(descriptor)
        async with asyncio.timeout(10.0):
            await poor.drained(counter)
        print("what was told arrived:", await counter.call(Total()), flush=True)
        said = [record for record in reported.buffer if "Too many open files" in record.getMessage()]
        print("reported once" if len(said) == 1 else said, flush=True)


asyncio.run(main())

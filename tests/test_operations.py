"""Which processes of this machine the commands of operators wait for: windows that answer, and some that never do."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from understudy import control, operations

HERE, ELSEWHERE = "tcp://127.0.0.1:4100", "tcp://10.0.0.2:4100"

NEVER = 3_600.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever is waited for in vain is waited for for ever."""
    monkeypatch.setattr(control, "ANSWERS_WITHIN", NEVER)
    monkeypatch.setattr(operations, "OTHERS", NEVER)
    with tempfile.TemporaryDirectory(
        prefix="understudy-"
    ) as folder:  # a test's own may be too long a path for a socket
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


def member(node: str, pid: int, state: str, address: str = HERE) -> dict[str, Any]:
    return {"node": node, "incarnation": 1, "pid": pid, "state": state, "address": address}


@asynccontextmanager
async def window(
    pid: int, *members: dict[str, Any], told: asyncio.Event | None = None, after: asyncio.Event | None = None
) -> AsyncGenerator[None]:
    """Of a process that sees these members; of one that stands still, if there are none. `told`: it has answered, `after` another."""

    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        await reader.readline()
        if not members:
            await reader.read()  # until whoever asked has gone
        if after is not None:
            await after.wait()
        me = next((row["node"] for row in members if row["state"] == "here"), None)
        writer.write(json.dumps({"result": {"seen_by": me, "members": members}}).encode() + b"\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        if told is not None:
            told.set()

    async with await asyncio.start_unix_server(serve, control._window(control.folder(), pid)):
        try:
            yield
        finally:
            await asyncio.gather(*filter(None, served))


async def seen_through(*windows: Any, via: str | None = None) -> list[int]:
    async with AsyncExitStack() as stack:
        for each in windows:
            await stack.enter_async_context(each)
        async with asyncio.timeout(10.0):
            return list(await operations._clusters(via))


async def test_a_process_that_stands_still_is_not_waited_for_once_a_node_has_said_that_it_does_not_answer() -> None:
    a, b, stopped = member("a", 1, "here"), member("b", 2, "up"), member("stopped", 3, "unreachable")
    first, told = [a, b, stopped], asyncio.Event()
    second = [a | {"state": "up"}, b | {"state": "here"}, stopped]
    windows = window(1, *first, told=told), window(2, *second, after=told), window(3)
    assert await seen_through(*windows) == [1, 2], "whoever answers is heard"


async def test_the_node_that_was_meant_speaks_for_all_members_of_its_cluster() -> None:
    assert await seen_through(window(1, member("a", 1, "here"), member("b", 2, "up")), window(2), via="a") == [1]


@pytest.mark.parametrize("via", [None, "a"])
async def test_a_process_that_may_be_of_another_cluster_is_waited_for(via: str | None) -> None:
    stranger = window(1, member("a", 1, "here"), member("b", 2, "unreachable", ELSEWHERE)), window(2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await seen_through(*stranger, via=via)


async def test_another_node_of_the_cluster_does_not_speak_for_the_one_that_was_meant() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await seen_through(window(1, member("a", 1, "here"), member("b", 2, "unreachable")), window(2), via="b")

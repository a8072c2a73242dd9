"""What tests of real processes and sockets need: a bounded wait for something that becomes true."""

import asyncio
from collections.abc import Callable


async def eventually(predicate: Callable[[], object], timeout: float = 30.0, what: str = "") -> None:
    """Wait until `predicate()` is true; fail after `timeout` seconds. For what sends no event of its own."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not predicate():
        assert loop.time() < end, f"did not become true within {timeout} s: {what or predicate}"
        await asyncio.sleep(0.01)

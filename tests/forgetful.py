"""A program for tests: it never stops its node, and goes on without it."""

import asyncio
import gc
import warnings

from understudy.transport import Node


async def main() -> None:
    await Node("forgotten").start()


warnings.simplefilter("ignore", ResourceWarning)
asyncio.run(main())
gc.collect()
print("over", flush=True)

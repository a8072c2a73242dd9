"""A loop whose clock jumps to the next timer as soon as nothing else is to do: hours of protocol in milliseconds of test."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Only for code without threads and sockets: nothing but timers may wake it."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now

    def stand_still(self, seconds: float) -> None:
        """Let `seconds` pass in which this loop runs nothing, as when its process is stopped or a handler blocks."""
        self.now += seconds


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left that could ever wake this loop: the test waits for ever")
        self._loop.now += max(0.0, timeout)
        return super().select(0)


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def until(time: float) -> None:
    """Let the virtual clock reach `time`."""
    await asyncio.sleep(time - asyncio.get_running_loop().time())

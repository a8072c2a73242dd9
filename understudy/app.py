"""How a node becomes a process: it starts, says that it is ready, and ends in order on a signal or with its parent.

join the cluster ──> start the root supervisor ──> "ready NAME ADDRESS ..." ──> wait ──> root down, node leaves
                                                                                │
              SIGTERM, SIGINT, end of file from the parent, root gave up ┘      a second signal: at once
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, TypeVar

from understudy.actors import ActorRef
from understudy.console import say
from understudy.control import Control
from understudy.status import complain
from understudy.transport import Node

logger = logging.getLogger("understudy.app")

STDIN = 0

SIGNALS = (signal.SIGINT, signal.SIGTERM)

ORPHAN_GRACE = 1.5
"""Seconds that a process whose parent is gone has to end in order; then it just ends. Nobody is left to kill it."""

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine to its end, on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def serve(
    node: Node,
    open_root: Callable[[Node], Awaitable[ActorRef[Any]]],
    *,
    supervised: bool = False,
    announce: Callable[[Node], str] | None = None,
) -> int:
    """Run `node` with the root actor that `open_root` starts, until told to stop; returns the exit status.

    `supervised`: say "ready NAME ADDRESS process PID" for the parent that waits for it, and end when standard input does,
    that is, with the parent, however that ends. `announce` returns what to say to a person instead. The status is 0
    after a request to stop, also one that comes before everything has started; 1 when the root or the node died.
    """
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with Requests(stop, supervised=supervised):
        line = ready if supervised or announce is None else announce
        life = asyncio.create_task(_live(node, open_root, line, lambda _, why: settle(stop, why)))
        await asyncio.wait((life, stop), return_when=asyncio.FIRST_COMPLETED)
        if not life.done():
            logger.info("stopping: %s", stop.result())
            life.cancel()
            await asyncio.wait((life,))
        return 0 if life.cancelled() else life.result()


async def _live(
    node: Node,
    open_root: Callable[[Node], Awaitable[ActorRef[Any]]],
    announce: Callable[[Node], str],
    leave: Callable[[float, str], None],
) -> int:
    async with node, Control(node.name, node.system, node=node, leave=leave):
        root = await open_root(node)
        say(announce(node))
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(root.ended()), asyncio.create_task(node.ended())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                if end.done():
                    logger.error("%s ends: %s", node.name, end.result())
            return 1
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


def ready(node: Node) -> str:
    """The line that a supervising process waits for."""
    return f"ready {node.name} {node.address} process {os.getpid()}"


class Requests:
    """Listens for requests to end the process while it is entered: `signals`, and the parent's end of the pipe.

    The first one settles `stop` with what it was; `hurry` is called there and then. A second signal ends the process at
    once, with status 128 + its number. Python runs signal handlers between two steps of whatever code holds the loop, so
    neither waits for a handler that never returns.
    """

    def __init__(
        self,
        stop: asyncio.Future[str],
        *,
        signals: Sequence[signal.Signals] = SIGNALS,
        supervised: bool = False,
        hurry: Callable[[], object] | None = None,
    ) -> None:
        self._stop = stop
        self._signals = signals
        self._supervised = supervised
        self._hurry = hurry
        self._loop = stop.get_loop()
        self._signalled = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._signal) for number in self._signals}
        if self._supervised:
            os.set_blocking(STDIN, False)
            self._loop.add_reader(STDIN, self._parent)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._supervised:
            self._loop.remove_reader(STDIN)

    def _signal(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._signalled:
            complain(f"{name}, the second signal: ended at once")
            os._exit(128 + number)
        self._signalled = True
        self._settle(name)

    def _parent(self) -> None:
        try:
            data = os.read(STDIN, 1024)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(STDIN)
            self._loop.call_later(ORPHAN_GRACE, os._exit, 1)
            self._settle("its parent is gone")

    def _settle(self, why: str) -> None:
        if self._hurry is not None:
            self._hurry()
        self._loop.call_soon_threadsafe(settle, self._stop, why)


def command(*arguments: str) -> list[str]:
    """The command line that runs this `understudy` with these arguments in a process of its own."""
    return [sys.executable, "-m", "understudy", *arguments]


def settle(stop: asyncio.Future[str], why: str) -> None:
    """Say that the process is to end, unless somebody has."""
    if not stop.done():
        stop.set_result(why)

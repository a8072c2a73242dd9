"""How a node becomes a process: it starts, says that it is ready, and ends in order on a signal or with its parent.

join the cluster ──> start the root supervisor ──> "ready NAME ADDRESS ..." ──> wait ──> root down, node leaves
                                                                                │
                    SIGTERM, SIGINT, end of file from the parent, root gave up ─┘
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from understudy.actors import ActorRef
from understudy.console import say
from understudy.transport import Node

STDIN = 0

ORPHAN_GRACE = 2.0
"""Seconds that a process whose parent is gone has to end in order; then it just ends. Nobody is left to kill it."""


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a program's main coroutine to its exit status, on uvloop where that is installed."""
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
    ready: Callable[[Node], Awaitable[str]] | None = None,
) -> int:
    """Run `node` with the root actor that `open_root` starts, until told to stop; returns the exit status.

    `supervised`: end when standard input does, that is, with the parent process, however that ends. `ready` returns
    what to add to the line that says so. The status is 0 after a request to stop, 1 when the root or the node died.
    """
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with Requests(stop, supervised=supervised):
        async with node:
            root = await open_root(node)
            watch = asyncio.create_task(root.ended())
            watch.add_done_callback(lambda _: _settle(stop, 1))
            doom = asyncio.create_task(node.ended())
            doom.add_done_callback(lambda _: _settle(stop, 1))
            try:
                say(
                    f"ready {node.name} {node.address} process {os.getpid()} {await ready(node) if ready else ''}".rstrip()
                )
                return await stop
            finally:
                for task in (watch, doom):
                    task.cancel()
                await asyncio.gather(watch, doom, return_exceptions=True)


class Requests:
    """Listens for requests to end the process while it is entered: signals, and the parent's end of the pipe."""

    def __init__(self, stop: asyncio.Future[int], *, supervised: bool) -> None:
        self._stop = stop
        self._supervised = supervised
        self._loop = stop.get_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, _settle, self._stop, 0)
        if self._supervised:
            os.set_blocking(STDIN, False)
            self._loop.add_reader(STDIN, self._parent)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)
        if self._supervised:
            self._loop.remove_reader(STDIN)

    def _parent(self) -> None:
        try:
            data = os.read(STDIN, 1024)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(STDIN)
            self._loop.call_later(ORPHAN_GRACE, os._exit, 1)
            _settle(self._stop, 0)


def command(*arguments: str) -> list[str]:
    """The command line that runs this `understudy` with these arguments in a process of its own."""
    return [sys.executable, "-m", "understudy", *arguments]


def _settle(stop: asyncio.Future[int], status: int) -> None:
    if not stop.done():
        stop.set_result(status)

"""The threads of a system that `await self.offload(f, ...)` borrows: made on first need, a bounded number, gone at its shutdown.

    loop                                              a thread
    ----                                              --------
    jobs.put(job)  ───────────────────────────────>   begins it, unless whoever waits has given it up
    wakes whoever waits  <── call_soon_threadsafe ──  what it returned or raised

A job has one ticket, and either its thread takes it (then it has begun and runs to its end, since nothing in Python can end
it) or whoever waits does (then it will never run).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading  # noqa: TID251 - the pool's threads are real
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from understudy.actors.deadlines import Seat, current_request, seat
from understudy.actors.errors import DeadlineExceeded
from understudy.actors.rings import handler_here

if TYPE_CHECKING:
    from understudy.actors.cell import Cell

logger = logging.getLogger("understudy.actors")

THREADS = 16
"""Threads of one system at most."""


class Job:
    """One call of a blocking function. `holder` is the actor whose handler waits for it and takes no message meanwhile."""

    def __init__(self, work: Callable[[], Any], done: asyncio.Future[None], holder: Cell[Any] | None) -> None:
        self.work = work
        self.value: Any = None
        self.error: BaseException | None = None
        self._context = copy_context()
        self._done = done
        self._holder = holder
        self._ticket = deque((None,))
        self._seat: Seat | None = None
        self._over = False

    def claim(self) -> bool:
        """Take the ticket. False: somebody has it already."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def run(self) -> None:
        """In a thread of the pool."""
        mine = self._seat = seat()
        mine.cell = self._holder
        if self._holder is None:  # given up just now
            mine.cell = None
        try:
            self.value = self._context.run(self.work)
        except BaseException as error:  # noqa: BLE001 - it is whoever waits who is to have it
            self.error = error
        finally:
            self._over = True
            mine.cell = None

    def expire(self) -> None:
        """The time of its request is up: whatever has begun is waited for, since two at once are not what was asked for."""
        if self.claim():
            self.error = DeadlineExceeded("no thread was free in time for what was offloaded", inherited=True)
            self.finish()

    def give_up(self, cell: Cell[Any]) -> bool:
        """Nobody waits any more: it is not begun, or its outcome is dropped. Whether it runs on."""
        if self.claim() or self._over:
            return False
        logger.warning("%r no longer waits for what it offloaded, which runs on: %r", cell, self.work)
        holder, self._holder = self._holder, None
        if self._seat is not None:
            self._seat.cell = None
        if holder is not None:
            holder.scheduler.waits.forget(holder)
        return True

    def finish(self) -> None:
        """Wake whoever waits. On the loop."""
        if not self._done.done():
            self._done.set_result(None)


class Pool:
    """The threads of one system. For its loop alone."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._name = name
        self._loop = loop
        self._size = size
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # jobs that have not ended
        self._left: asyncio.Future[None] | None = None
        self.outlasting: dict[Job, Cell[Any]] = {}
        """What has begun and runs on, though its actor no longer waits for it."""

    async def run(self, cell: Cell[Any], work: Callable[[], Any]) -> Any:
        """Run `work()` for an actor as soon as a thread is free, and wait for what it returns or raises."""
        request = current_request.get()
        due = request.deadline if request is not None else None
        if due is not None and due <= self._loop.time():
            raise DeadlineExceeded("no time is left of the request being handled", inherited=True)
        done: asyncio.Future[None] = self._loop.create_future()
        job = Job(work, done, handler_here(cell))
        timer = None
        if due is not None:  # one that is cancelled keeps its context for as long as it would have run
            timer = self._loop.call_at(due, job.expire, context=cell.scheduler.neutral_context())
        self._submit(job)
        try:
            await done
            error, job.error = job.error, None  # whose traceback knows the job
            if error is None:
                return job.value
        except asyncio.CancelledError:
            if job.give_up(cell):
                self.outlasting[job] = cell
            raise
        finally:
            if timer is not None:
                timer.cancel()
        try:
            raise error
        finally:
            del error  # whose traceback knows this frame

    def _submit(self, job: Job) -> None:
        self._open += 1
        self._jobs.put(job)
        if self._open > len(self._threads) < self._size:
            name = f"{self._name} offload {len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> asyncio.Future[None]:
        """Have the threads end once they have done what they were given. What this returns is done when all have."""
        self._left = self._loop.create_future()
        for _ in self._threads:
            self._jobs.put(None)
        if not self._threads:
            self._left.set_result(None)
        return self._left

    def abandon(self) -> None:
        """Wait no more for those that have not come back."""
        for thread in self._threads:
            logger.error("%s still runs what it was given: abandoned", thread.name)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.claim():
                job.run()
            self._tell(self._ended, job)
            del job
        self._tell(self._gone, threading.current_thread())

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)

    def _ended(self, job: Job) -> None:
        self._open -= 1
        self.outlasting.pop(job, None)
        job.finish()

    def _gone(self, thread: threading.Thread) -> None:
        thread.join()  # it has nothing more to do
        self._threads.remove(thread)
        if not self._threads and self._left is not None and not self._left.done():
            self._left.set_result(None)

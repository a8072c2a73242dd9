"""What is ready on the virtual loop, in one queue per origin; the seed picks a queue, and its next callback runs.

The origin of a callback is what was running when it was scheduled: an actor, a task, or the object whose method ran.
What one origin schedules keeps its order, as asyncio documents it, except that tasks which it starts or wakes one after
the other are independent; its own next step comes after all of them, so `await asyncio.sleep(0)` lets them begin. Timers
that one origin sets for the same time keep their order, so do timers of different times, and whatever is done to one
task (its steps, its cancellation). All else is independent: any order of it is one that some machine may show.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from understudy.simulation.baton import Strand
from understudy.simulation.choices import Choices
from understudy.simulation.tasks import SimulatedTask


class Entry(NamedTuple):
    """A callback that is ready. `target`: the task it is a step or the cancellation of."""

    number: int
    handle: asyncio.Handle
    target: asyncio.Task[Any] | None
    timer: bool


class Queue:
    """What one origin has scheduled. Holds the origin, so that its id stays its own."""

    __slots__ = ("entries", "key", "origin")

    def __init__(self, key: tuple[int, bool], origin: object) -> None:
        self.key = key
        self.origin = origin
        self.entries: deque[Entry] = deque()

    def independent(self) -> int:
        """How many of the first entries are steps of other tasks than the origin's own: in any order."""
        count = 0
        for entry in self.entries:
            if entry.target is None or getattr(entry.target, "origin", None) is self.origin:
                break
            count += 1
        return count


class Queues:
    """All of them. `timers` counts the timers that are due and have not run."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._numbers = 0
        self._by_origin: dict[tuple[int, bool], Queue] = {}
        self._in_line: list[Queue] = []
        self._towards: dict[asyncio.Task[Any], deque[Entry]] = {}
        self.timers = 0

    def __len__(self) -> int:
        return len(self._in_line)

    def put(self, handle: asyncio.Handle, origin: object, timer: bool) -> None:
        """Add a callback."""
        owner = owner_of(handle)
        key = (id(origin), timer or isinstance(owner, Strand))  # a thread does not wait for what it asked of the loop
        queue = self._by_origin.get(key)
        if queue is None:
            queue = self._by_origin[key] = Queue(key, origin)
            self._in_line.append(queue)
        target = owner if isinstance(owner, asyncio.Task) else None
        self._numbers += 1
        entry = Entry(self._numbers, handle, target, timer)
        queue.entries.append(entry)
        self.timers += timer
        if target is not None:
            self._towards.setdefault(target, deque()).append(entry)

    def take(self) -> tuple[asyncio.Handle, object]:
        """The callback whose turn it is, and its origin. There must be one."""
        line = self._in_line
        return self._take(line[self._choices.index(len(line))] if len(line) > 1 else line[0])

    def take_thread(self) -> tuple[asyncio.Handle, object] | None:
        """The same among the threads that may go on, while the loop's own thread blocks."""
        threads = [queue for queue in self._in_line if isinstance(owner_of(queue.entries[0].handle), Strand)]
        return self._take(threads[self._choices.index(len(threads))]) if threads else None

    def clear(self) -> None:
        """Forget everything."""
        self._by_origin.clear()
        self._in_line.clear()
        self._towards.clear()

    def _take(self, queue: Queue) -> tuple[asyncio.Handle, object]:
        independent = queue.independent()
        index = self._choices.index(independent) if independent > 1 else 0
        entry = queue.entries[index]
        while entry.target is not None:
            first = self._towards[entry.target][0]
            if first is entry:
                break
            queue = next(each for each in self._in_line if first in each.entries)  # it must precede this one
            index = 0
            entry = queue.entries[0]
        del queue.entries[index]
        if not queue.entries:
            self._in_line.remove(queue)
            del self._by_origin[queue.key]
        if entry.target is not None:
            towards = self._towards[entry.target]
            towards.popleft()
            if not towards:
                del self._towards[entry.target]
        self.timers -= entry.timer
        return entry.handle, queue.origin


def callback_of(handle: asyncio.Handle) -> Any:
    """What a handle calls."""
    return handle._callback  # type: ignore[attr-defined]


def owner_of(handle: asyncio.Handle) -> Any:
    """The object whose method a handle calls, if it is one."""
    return getattr(callback_of(handle), "__self__", None)


def label_of(handle: asyncio.Handle) -> str:
    """What a callback is called in the trace: the same in every process."""
    callback, owner = callback_of(handle), owner_of(handle)
    if isinstance(owner, SimulatedTask | Strand):
        return owner.label
    while isinstance(callback, partial):
        callback = callback.func
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))


def origin_of(handle: asyncio.Handle) -> object:
    """On whose behalf a callback runs: its task, the object whose method it is, else it is its own."""
    owner = owner_of(handle)
    if owner is None or isinstance(owner, ModuleType):
        return handle
    return owner.origin if isinstance(owner, SimulatedTask) else owner

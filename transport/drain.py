"""Draining: a node takes nothing new and hands over what it has, so that it can be stopped and nobody misses it.

    drain ── row and Load say draining ──▶ nobody chooses it, and it refuses what is sent to it all the same
      │
      ├─ names       what is unique is given up and begins elsewhere; children of supervisors elsewhere are moved there
      ├─ runs        those under way end, or the time is up
      ├─ clients     are sent away in batches, and come back elsewhere
      ├─ mailboxes   what has arrived is handled, what was sent is acknowledged
      └─ rest        what nobody can hand over is named
      ▼
    DrainReport      what was left behind, step by step, and why

Parts of a node add their steps: `drains.add("names", "entities", step)`. The steps of one stage go on side by side, a stage begins
when the one before is over. A step is `async step(deadline)`, in seconds of the loop's clock, and returns what it leaves behind, in
words: nothing, if all is done. When the time is up it is cut; those after it still get a moment, and say what they leave.

Whoever waits for a drain may give up: when nobody waits any more it is called off, and the node takes new things again. What has
gone elsewhere stays there.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from dataclasses import field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_args

from understudy.actors import Cell, UnderstudyError, message
from understudy.actors.deadlines import cell_here, waiting_time
from understudy.actors.nodes import Stage
from understudy.transport.frames import Peer
from understudy.transport.table import TableError

if TYPE_CHECKING:
    from understudy.transport.placement import Placement

log = logging.getLogger("understudy.drain")

STAGES: tuple[str, ...] = get_args(Stage)

Step: TypeAlias = Callable[[float], Awaitable[Iterable[str] | None]]

DRAIN_TIMEOUT = 60.0
"""Seconds that a drain may take, unless told otherwise."""

MOMENT = 1.0
"""Seconds that a step gets which begins when the time is up already."""

SAY_WITHIN = 2.0
"""Seconds that a drain waits for the table to say so in; then it goes on without, and says so as soon as the table is back."""

AGAIN = 1.0
"""Seconds between two tries to say so."""


@message("understudy.drain.Report")
class DrainReport:
    """What came of a drain. `left`: what each step left behind, in words; `trouble`: why the others could not be told in the table.

    `seconds`: how long it took. Nothing that was left is silently lost: it ends with the node, by the rules of whatever it is.
    """

    node: str
    incarnation: int
    seconds: float
    left: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    trouble: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing was left."""
        return not self.left

    def __str__(self) -> str:
        lines = [f"{self.node} has drained in {self.seconds:.1f} s" + ("" if self.complete else ", and leaves behind:")]
        lines += [f"  {step}: {what}" for step, all_of_it in self.left.items() for what in all_of_it]
        if self.trouble:
            lines.append(f"  the table does not say yet that it drains: {self.trouble}")
        return "\n".join(lines)


class Part(NamedTuple):
    """A step, and whose it is."""

    stage: str
    name: str
    step: Step


class Drains:
    """The drains of one node, which follow one another. On its loop.

    `me()`: which life of which node it is. `tell()`: whoever is to know at once that `placement.draining` has changed. `write(draining)`
    says so in the table; TableError if it cannot be reached.
    """

    def __init__(
        self,
        placement: Placement,
        me: Callable[[], Peer],
        tell: Callable[[], None],
        write: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._placement = placement
        self._me = me
        self._tell = tell
        self._table = write
        self._drainers: list[Cell[Any]] = []
        self._parts: dict[object, Part] = {}
        self._under_way: asyncio.Task[DrainReport] | None = None
        self._waiting = 0
        self._saying: asyncio.Task[None] | None = None
        self._trouble = ""
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, stage: Stage, name: str, step: Step) -> Callable[[], None]:
        """Have `step(deadline)` done when this node drains. Call what is returned when there is nothing more to drain.

        ValueError for an unknown stage. What a step raises stands in the report; it keeps no other from its turn.
        """
        if stage not in STAGES:
            raise ValueError(f"the stage of a step is one of {', '.join(STAGES)}, not {stage!r}")
        key = object()
        self._parts[key] = Part(stage, name, step)
        return lambda: self._parts.pop(key, None) and None

    async def drain(self, timeout: float) -> DrainReport:
        """Drain, or wait for the drain that is under way. See `Node.drain`."""
        seconds = waiting_time(timeout)
        self._check_up()
        if self._under_way is None or self._under_way.done():
            # In a context of its own: it is no part of the request of whoever asks, and has not its deadline.
            self._under_way = asyncio.create_task(self._all(seconds), context=Context())
        task = self._under_way
        self._waiting += 1
        drainer = _handler()
        self._drainers += drainer
        try:
            await asyncio.wait((task, self._stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1
            for cell in drainer:
                self._drainers.remove(cell)
            if not task.done() and not self._waiting:
                task.cancel()
                if not self._stopped.done():
                    self._call_off()
        self._check_up()
        return task.result()

    def drainers(self) -> list[Cell[Any]]:
        """The actors whose handlers wait for a drain now."""
        return list(self._drainers)

    def stop(self) -> None:
        """The node stops: whoever waits for a drain waits no longer."""
        if not self._stopped.done():
            self._stopped.set_result(None)
        if self._saying is not None:
            self._saying.cancel()

    def _check_up(self) -> None:
        if self._stopped.done():
            raise UnderstudyError(f"the node {self._me().node!r} has stopped: there is nothing left to drain")

    # --- its course ---

    async def _all(self, seconds: float | None) -> DrainReport:
        clock = asyncio.get_running_loop().time
        begun = clock()
        deadline = begun + seconds if seconds is not None else math.inf
        log.info("%s drains", self._me().node)
        saying = self._change(True)
        await asyncio.wait((saying,), timeout=min(SAY_WITHIN, max(MOMENT, deadline - clock())))
        left: dict[str, tuple[str, ...]] = {}
        for stage in STAGES:
            parts = [part for part in self._parts.values() if part.stage == stage]
            for part, what in zip(parts, await asyncio.gather(*(_see_through(part, deadline) for part in parts))):
                if what:
                    left[part.name] = left.get(part.name, ()) + what
        report = DrainReport(*self._me(), clock() - begun, left, self._trouble)
        log.log(logging.INFO if report.complete else logging.WARNING, "%s", report)
        return report

    def _call_off(self) -> None:
        log.warning("%s drains no more: nobody waits for it. It takes new names, runs and clients", self._me().node)
        self._change(False)

    def _change(self, draining: bool) -> asyncio.Task[None]:
        self._placement.draining = draining
        self._tell()
        if self._saying is not None:
            self._saying.cancel()
        self._saying = asyncio.create_task(self._write(draining), context=Context())
        return self._saying

    async def _write(self, draining: bool) -> None:
        """Into the table, as soon as it can be reached."""
        self._trouble = "it has not answered yet"
        while True:
            try:
                await self._table(draining)
            except TableError as error:
                self._trouble = str(error)
                await asyncio.sleep(AGAIN)
            else:
                self._trouble = ""
                return


def _handler() -> list[Cell[Any]]:
    """The actor whose own handler this is, and which takes no message while it waits."""
    cell = cell_here()
    return [cell] if cell is not None and cell.task is asyncio.current_task() else []


async def _see_through(part: Part, deadline: float) -> tuple[str, ...]:
    """One step, until it is over or its time is."""
    within = max(deadline, asyncio.get_running_loop().time()) + MOMENT
    timer = asyncio.timeout_at(within if within < math.inf else None)
    try:
        async with timer:
            return tuple(await part.step(deadline) or ())
    except Exception as error:
        if timer.expired():
            return ("it was not done when the time was up",)
        log.exception("the step %r of a drain failed", part.name)
        return (f"it failed: {type(error).__name__}: {error}",)

"""An engine: the actor named "engine" on a node that executes runs. It starts each under its own supervisor.

Engine ── Supervisor ──┬── Run ── worker process
                       ├── Run ── worker process
                       └── ...        temporary children: a run that ended is not started again by itself

When its node drains it takes no runs, and lets those under way end while there is time. It remembers the last runs that ended, so that whoever takes them over knows of them too.
"""

import asyncio
import math
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from understudy.actors import Actor, ActorDied, ActorRef, DeadlineExceeded, Down, Later, Refused, Request
from understudy.engine.catalog import CatalogError, Program, check_arguments, check_rate, load
from understudy.engine.messages import Cancel, EndRun, Frame, RunEnded, RunInfo, RunStarted, RunView, StartRun, TakeOver
from understudy.engine.run import Concluded, GetWorker, Run, Serve
from understudy.supervisors import Child, StartChild, Supervisor, TerminateChild

HISTORY = 20
"""Runs that ended and are told to whoever takes over."""

CAPACITY = 64
"""Runs under way at a time on one engine, unless told otherwise."""

START_TIMEOUT = 10.0
"""Seconds that starting a worker process may take."""


@dataclass(frozen=True, slots=True)
class CalledOff:
    """To oneself: a run whose start took too long is gone."""

    run: str


@dataclass(frozen=True, slots=True)
class Finish(Request[None]):
    """Wait until no run is under way."""


@dataclass(frozen=True, slots=True)
class Unfinished(Request[list[str]]):
    """What is under way, in words."""


class Engine(Actor):
    """Executes the programs that these modules or packages publish, at most `capacity` runs at a time.

    StartFailed: a module cannot be imported or publishes nothing, or the capacity is no positive number.
    """

    def __init__(self, programs: Sequence[str], capacity: int = CAPACITY) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"an engine has room for at least one run, not {capacity}")
        self._paths = list(programs)
        self._capacity = capacity
        self._programs: dict[str, Program] = {}
        self._runs: dict[str, ActorRef[Any] | None] = {}  # the taken places; None: a start under way, or called off
        self._monitors: dict[int, str] = {}
        self._kept: dict[str, RunInfo] = {}  # those that may be taken over, as they began
        self._past: deque[RunView] = deque(maxlen=HISTORY)
        self._fence = 0
        self._finishing: list[Later] = []

    async def on_start(self) -> None:
        self._programs = load(self._paths)
        self._supervisor = await self.spawn(Supervisor)
        self.run(self._heed_drains())

    async def on_receive(self, message: Any) -> Any:
        match message:
            case StartRun():
                return await self._start(message)
            case EndRun(run):
                ref = self._runs.get(run)
                if ref is not None:
                    ref.tell(Cancel())
            case TakeOver(owner, fence):
                return await self._hand_over(owner, fence)
            case Concluded(ended, frame):
                self._concluded(ended, frame)
            case Down(token):
                run = self._monitors.pop(token, "")
                self._kept.pop(run, None)
                self._free(run)
            case CalledOff(run):
                self._free(run)
            case Finish():
                return self._finish()
            case Unfinished():
                return [f"the run {run} goes on, and is cut when the node stops" for run in self._runs]
            case _:
                return self.unhandled(message)
        return None

    async def _start(self, wanted: StartRun) -> RunStarted:
        program = self._admissible(wanted)
        order = {
            "program": program.name,
            "paths": self._paths,
            "args": wanted.args,
            "rate": program.rate if wanted.rate is None else wanted.rate,
        }
        args = (wanted.run, order, wanted.owner, self.actor_ref, wanted.keep)
        child = Child(Run, args=args, id=wanted.run, restart="temporary")
        self._runs[wanted.run] = None
        try:
            ref = await self._supervisor.call(StartChild(child), timeout=START_TIMEOUT)
            worker_pid = await ref.call(GetWorker(), timeout=START_TIMEOUT)
        except Refused as refusal:
            self._free(wanted.run)
            raise Refused(f"no worker process could be started: {refusal}") from None
        except ActorDied as death:
            self._free(wanted.run)
            raise Refused(f"the run ended as it was started: {death.reason}") from None
        except DeadlineExceeded:  # its own, or that of whoever asked: nobody will know of this run
            self.run(self._call_off(wanted.run))
            raise Refused("its worker process did not start in time; it is called off") from None
        self._runs[wanted.run] = ref
        self.system.nodes.hold("run").until_end_of(ref)
        self._monitors[self.monitor(ref)] = wanted.run
        started = RunStarted(wanted.run, ref, self.system.name, os.getpid(), worker_pid)
        if wanted.keep > 0:
            self._kept[wanted.run] = RunInfo(
                wanted.run,
                wanted.program,
                wanted.args,
                "starting",
                node=started.node,
                pid=started.pid,
                worker_pid=worker_pid,
                started=self.system.world.wall(),
            )
        return started

    async def _hand_over(self, owner: ActorRef[Any], fence: int) -> list[RunView]:
        if fence < self._fence:
            raise Refused(f"a later scheduler was here before: its fence is {self._fence}, and this one's {fence}")
        self._fence = fence
        under_way: list[RunView] = []
        for run, info in list(self._kept.items()):
            ref = self._runs.get(run)
            with suppress(ActorDied, DeadlineExceeded):  # it has ended, and is one of the past in a moment
                if ref is not None:
                    now = await ref.call(Serve(owner), timeout=START_TIMEOUT)
                    turn = now.frame.seq if now.frame is not None else 0
                    under_way.append(RunView(replace(info, state=now.state, turn=turn), now.frame, ref))
        return [*self._past, *under_way]

    def _concluded(self, ended: RunEnded, frame: Frame | None) -> None:
        info = self._kept.pop(ended.run, None)
        if info is not None:
            info = replace(info, state=ended.state, result=ended.result, reason=ended.reason)
            turn = frame.seq if frame is not None else 0
            self._past.append(RunView(replace(info, turn=turn, ended=self.system.world.wall()), frame))

    # --- when the node drains ---

    async def _heed_drains(self) -> None:
        """In the background, for as long as the engine lives."""
        forget = self.system.nodes.at_drain("runs", self.name or "engine", partial(_let_finish, self.actor_ref))
        try:
            await asyncio.Event().wait()
        finally:
            forget()

    def _finish(self) -> Later | None:
        """Answered when no run is left."""
        if not self._runs:
            return None
        later = Later()
        self._finishing.append(later)
        return later

    def _free(self, run: str) -> None:
        """Its place is free again."""
        self._runs.pop(run, None)
        if not self._runs:
            for later in self._finishing:
                later.set(None)
            self._finishing.clear()

    # --- starting ---

    async def _call_off(self, run: str) -> CalledOff:
        """In the background: end a run that may still start. It keeps its place until it is gone."""
        with suppress(Refused):  # it never started, or has ended
            await self._supervisor.call(TerminateChild(run), timeout=math.inf)
        return CalledOff(run)

    def _admissible(self, wanted: StartRun) -> Program:
        program = self._programs.get(wanted.program)
        if program is None:
            known = ", ".join(sorted(self._programs))
            raise Refused(f"no program is published as {wanted.program!r}; there are: {known}")
        try:
            check_rate(wanted.rate)
            check_arguments(wanted.args)
            program.check(wanted.args)
        except CatalogError as error:
            raise Refused(str(error)) from None
        if why := self.system.nodes.refuses():
            raise Refused(why)
        if wanted.run in self._runs:
            raise Refused(f"a run {wanted.run!r} is under way here already")
        if len(self._runs) >= self._capacity:
            raise Refused(
                f"all {self._capacity} places are taken: cancel a run, wait for one to end, or add an engine node"
            )
        return program


async def _let_finish(engine: ActorRef[Any], deadline: float) -> list[str]:
    """The step of a drain: wait for the runs under way, and say which go on."""
    try:
        with suppress(DeadlineExceeded):
            await engine.call(Finish(), timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        return await engine.call(Unfinished())
    except ActorDied:  # and its runs with it
        return []

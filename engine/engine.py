"""An engine: the actor named "engine" on a node that executes runs. It starts each under its own supervisor.

Engine ── Supervisor ──┬── Run ── worker process
                       ├── Run ── worker process
                       └── ...        temporary children: a run that ended is not started again by itself
"""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from understudy.actors import Actor, ActorDied, ActorRef, DeadlineExceeded, Down, Refused
from understudy.engine.catalog import CatalogError, Program, check_arguments, check_rate, load
from understudy.engine.messages import Cancel, EndRun, RunStarted, StartRun
from understudy.engine.run import GetWorker, Run
from understudy.supervisors import Child, StartChild, Supervisor, TerminateChild

CAPACITY = 64
"""Runs under way at a time on one engine, unless told otherwise."""

START_TIMEOUT = 10.0
"""Seconds that starting a worker process may take."""


@dataclass(frozen=True, slots=True)
class CalledOff:
    """To oneself: a run whose start took too long is gone."""

    run: str


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

    async def on_start(self) -> None:
        self._programs = load(self._paths)
        self._supervisor = await self.spawn(Supervisor)

    async def on_receive(self, message: Any) -> Any:
        match message:
            case StartRun():
                return await self._start(message)
            case EndRun(run):
                ref = self._runs.get(run)
                if ref is not None:
                    ref.tell(Cancel())
            case Down(token):
                self._runs.pop(self._monitors.pop(token, ""), None)
            case CalledOff(run):
                del self._runs[run]
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
        child = Child(Run, args=(wanted.run, order, wanted.owner), id=wanted.run, restart="temporary")
        self._runs[wanted.run] = None
        try:
            ref = await self._supervisor.call(StartChild(child), timeout=START_TIMEOUT)
            worker_pid = await ref.call(GetWorker(), timeout=START_TIMEOUT)
        except Refused as refusal:
            del self._runs[wanted.run]
            raise Refused(f"no worker process could be started: {refusal}") from None
        except ActorDied as death:
            del self._runs[wanted.run]
            raise Refused(f"the run ended as it was started: {death.reason}") from None
        except DeadlineExceeded:  # its own, or that of whoever asked: nobody will know of this run
            self.run(self._call_off(wanted.run))
            raise Refused("its worker process did not start in time; it is called off") from None
        self._runs[wanted.run] = ref
        self._monitors[self.monitor(ref)] = wanted.run
        return RunStarted(wanted.run, ref, self.system.name, os.getpid(), worker_pid)

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
        if wanted.run in self._runs:
            raise Refused(f"a run {wanted.run!r} is under way here already")
        if len(self._runs) >= self._capacity:
            raise Refused(
                f"all {self._capacity} places are taken: cancel a run, wait for one to end, or add an engine node"
            )
        return program

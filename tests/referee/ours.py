"""Our side of the referee: runs scenarios in virtual time, and writes down what happened in the words of Erlang's side.

scenario ──> _Stage.play ── a step, then all is quiet ──> top ── Supervisor ── Puppet, Limb (a Supervisor)
                                                           every start, hook and end ──> the log
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.referee.scenario import Branch, Node, Scenario, Start, Step, Worker
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Ended,
    ExitReason,
    Failure,
    Killed,
    Normal,
    Refused,
    Shutdown,
    Stop,
)
from understudy.simulation import Simulation
from understudy.supervisors import (
    Child,
    CountChildren,
    DeleteChild,
    DynamicSupervisor,
    Ignore,
    RestartChild,
    StartChild,
    Supervisor,
    TerminateChild,
    WhichChildren,
)

ENDS: dict[str, ExitReason] = {"normal": Normal(), "shutdown": Shutdown(), "term": Shutdown("term")}


class Crash(Exception):
    """What a scenario ordered."""


def log(scenario: Scenario, seed: int = 0) -> list[str]:
    """What happened. The seed decides who is next wherever that is open; it must not matter."""
    logging.disable(logging.CRITICAL)  # of crashes by the thousand
    try:
        simulation = Simulation(seed)

        async def main() -> list[str]:
            stage = _Stage(simulation)
            await stage.play(scenario)
            return list(stage.lines)  # what the end of the system does is no part of it

        return simulation.run(main)
    finally:
        logging.disable(logging.NOTSET)


class _Stage:
    """One scenario under way: the log, and who is who. `refs`: the last one of each id that has started, or is about to."""

    def __init__(self, simulation: Simulation) -> None:
        self.system: ActorSystem = simulation.system("ours")
        self.lines: list[str] = []
        self.refs: dict[str, ActorRef[Any]] = {}
        self.names: dict[ActorRef[Any], str] = {}
        self.started: set[ActorRef[Any]] = set()
        self.starting: set[ActorRef[Any]] = set()
        self.dynamic: set[ActorRef[Any]] = set()
        self._loop = simulation.loop
        self._counts: Counter[str] = Counter()
        self._scripts: dict[str, tuple[Start, ...]] = {}
        self._numbers: Counter[ActorRef[Any]] = Counter()
        self._places: dict[str, str] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._is_quiet: asyncio.Future[None] | None = None
        self._jump: Callable[[], None] = simulation.loop._jump
        simulation.loop._jump = self._nobody_is_ready  # type: ignore[method-assign]

    async def play(self, scenario: Scenario) -> None:
        self.system.hooks.subscribe(Ended, self._ended)
        self.refs["top"] = await self.system.spawn(Supervisor, [], intensity=0)
        for number, step in ((0, ("ask", "top", "start", scenario.tree)), *scenario.numbered()):
            self.note(f"-- {number}")
            await self._do(step)
        for task in self._asking:
            task.cancel()

    # --- the steps ---

    async def _do(self, step: Step) -> None:
        match step:
            case ("wait", seconds):
                await asyncio.sleep(seconds)
            case ("burst", supervisor, steps):
                ref = self.refs.get(supervisor)
                held = ref if ref is not None and ref.is_alive() else None
                if held is not None:
                    await self.system.suspend(held)
                for each in steps:
                    await self._do(each)
                if held is not None and held.is_alive():
                    await self.system.resume(held)
            case ("end", who, how):
                self._end(who, how)
            case ("ask", supervisor, what, *arguments):
                task = self._loop.create_task(self._ask(supervisor, what, *arguments))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
            case _:
                raise AssertionError(f"no step: {step}")
        await self._quiet()

    def _end(self, who: str, how: str) -> None:
        ref = self.refs.get(who)
        if ref is None:
            return
        if how == "kill":
            ref.kill()
        elif not ref.is_alive():
            return
        elif how == "stop":
            ref.stop()
        elif ref not in self.starting:
            ref.tell(how)

    async def _ask(self, supervisor: str, what: str, *arguments: Any) -> None:
        words = [supervisor, what, *(each if isinstance(each, str) else each.id for each in arguments)]
        ref = self.refs.get(supervisor)
        try:
            answer = await self._answer(ref, supervisor, what, *arguments) if ref is not None else "gone"
        except ActorDied:
            answer = "gone"
        except Refused as refusal:
            answer = _refusal(str(refusal))
        self.note(f"answer {' '.join(words)}: {answer}")

    async def _answer(self, ref: ActorRef[Any], supervisor: str, what: str, *arguments: Any) -> str:
        """What an operator asks, and the answer in the words of a log."""
        dynamic = ref in self.dynamic
        match (what, *arguments):
            case ("start", child):
                if dynamic:
                    self._numbers[ref] += 1
                    self._places[child.id] = f"{child.id}-{self._numbers[ref]}"
                started = await ref.call(StartChild(spec(self, child, self.names.get(ref, supervisor))), math.inf)
                return "ignored" if started is None else "started"
            case ("terminate", child) if dynamic:
                return await self._terminate_dynamic(ref, child)
            case ("terminate", child):
                await ref.call(TerminateChild(child), math.inf)
            case ("restart", child):
                started = await ref.call(RestartChild(child), math.inf)
                return "ignored" if started is None else "started"
            case ("delete", child):
                await ref.call(DeleteChild(child), math.inf)
            case ("which",):
                infos = await ref.call(WhichChildren(), math.inf)
                if not dynamic:
                    return " ".join(f"{info.id}={info.state}" for info in infos)
                known = [(re.sub(r"-\d+$", "", info.id) if info.ref is not None else "-", info.state) for info in infos]
                return " ".join(sorted(f"{name}={state}" for name, state in known))
            case ("count",):
                counts = await ref.call(CountChildren(), math.inf)
                # OTP has one spec for all children of a dynamic supervisor, here there is one of each.
                specs = 1 if dynamic else counts.specs
                return f"specs={specs} active={counts.active} supervisors={counts.supervisors} workers={counts.workers}"
            case _:
                raise AssertionError(f"no request: {what} {arguments}")
        return "ok"

    async def _terminate_dynamic(self, supervisor: ActorRef[Any], id_: str) -> str:
        """By its reference, as OTP does by its process, which says ok to whatever is dead.

        By its id if it will be found being restarted: there OTP knows it by the process that it was.
        """
        child = self.refs.get(id_)
        if child is None:
            return "not_found"
        fails = not child.is_alive() and self._next_start(id_) == "fail"
        try:
            await supervisor.call(TerminateChild(self._places.get(id_, id_) if fails else child), math.inf)
        except Refused:
            return "not_found" if child.is_alive() else "ok"
        return "ok"

    # --- what happens ---

    def note(self, event: str) -> None:
        """Write down an event."""
        self.lines.append(f"{self._loop.time():.0f} {event}")

    def begins(self, ref: ActorRef[Any], node: Node, above: str) -> Start:
        """Somebody begins to start. Returns how that goes."""
        id_ = node.id
        outcome = self._next_start(id_, node)
        self._counts[id_] += 1
        self.names[ref] = f"{id_}#{self._counts[id_]}"
        if outcome not in ("fail", "ignore"):
            self.refs[id_] = ref
        self.note(f"up {self.names[ref]} {above} {f'slow{outcome}' if isinstance(outcome, int) else outcome}")
        return outcome

    def _next_start(self, id_: str, node: Node | None = None) -> Start:
        if node is not None:
            self._scripts[id_] = node.starts if isinstance(node, Worker) else ()
        script, count = self._scripts.get(id_, ()), self._counts[id_]
        return script[count] if count < len(script) else "ok"

    def _ended(self, end: Ended) -> None:
        if end.ref in self.started:
            self.note(f"down {self.names[end.ref]} {reason_of(end.reason)}")

    async def _quiet(self) -> None:
        """Wait until nobody has anything to do but to wait for time to pass."""
        self._is_quiet = self._loop.create_future()
        await self._is_quiet

    def _nobody_is_ready(self) -> None:
        if self._is_quiet is None:
            self._jump()
        else:
            self._is_quiet.set_result(None)
            self._is_quiet = None


class Puppet(Actor):
    """A worker. Starts and ends as its script has it."""

    stop_timeout = 100.0

    def __init__(self, stage: _Stage, node: Worker, above: str) -> None:
        super().__init__()
        self._stage = stage
        self._node = node
        self._above = above

    def on_start(self) -> Any:
        outcome = self._stage.begins(self.actor_ref, self._node, self._above)
        if outcome == "fail":
            raise Crash
        if outcome == "ignore":
            raise Ignore
        self._stage.started.add(self.actor_ref)
        return self._start_slowly(outcome) if isinstance(outcome, int) else None

    async def _start_slowly(self, seconds: int) -> None:
        self._stage.starting.add(self.actor_ref)
        await asyncio.sleep(seconds)
        self._stage.starting.discard(self.actor_ref)
        self._note("ready")

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise Crash
        return Stop(ENDS[message])

    def on_failure(self, *_: Any) -> None:
        self._note("stopping", "crash")

    def on_stop(self, reason: ExitReason) -> Any:
        self._note("stopping", reason_of(reason))
        ending = self._node.ending
        if reason != Shutdown() or ending == "quick":  # only the plain request to end takes as long as its script says
            return None
        if ending == "crash":
            raise Crash
        return asyncio.sleep(ending) if isinstance(ending, int) else self._loop_forever()

    async def _loop_forever(self) -> None:
        await asyncio.Event().wait()

    def _note(self, what: str, rest: str = "") -> None:
        self._stage.note(f"{what} {self._stage.names[self.actor_ref]} {rest}".rstrip())


class Limb(Supervisor):
    """A supervisor of a scenario's tree."""

    def __init__(self, stage: _Stage, node: Branch, above: str) -> None:
        assert node.strategy != "dynamic", "those are others"
        super().__init__(**settings(node), strategy=node.strategy)
        self._stage = stage
        self._node = node
        self._above = above

    async def on_start(self) -> None:
        self._stage.begins(self.actor_ref, self._node, self._above)
        await super().on_start()
        self._stage.started.add(self.actor_ref)

    def children(self) -> list[Child]:
        return [spec(self._stage, child, self._stage.names[self.actor_ref]) for child in self._node.children]


class DynamicLimb(DynamicSupervisor):
    """A dynamic one."""

    def __init__(self, stage: _Stage, node: Branch, above: str) -> None:
        super().__init__(**settings(node))
        self._stage = stage
        self._node = node
        self._above = above

    async def on_start(self) -> None:
        self._stage.begins(self.actor_ref, self._node, self._above)
        self._stage.dynamic.add(self.actor_ref)
        await super().on_start()
        self._stage.started.add(self.actor_ref)


def settings(node: Branch) -> dict[str, Any]:
    """What kind of supervisor it is."""
    return {"intensity": node.intensity, "period": float(node.period), "auto_shutdown": node.auto_shutdown}


def spec(stage: _Stage, node: Node, above: str) -> Child:
    """The spec of a node of the tree, under the supervisor of that name."""
    cls = Puppet if isinstance(node, Worker) else DynamicLimb if node.strategy == "dynamic" else Limb
    return Child(
        cls,
        args=(stage, node, above),
        id=node.id,
        restart=node.restart,
        shutdown=node.shutdown,
        significant=node.significant,
    )


def reason_of(reason: ExitReason) -> str:
    """In Erlang's words. What a `Shutdown` of ours says more than that is for people."""
    match reason:
        case Normal():
            return "normal"
        case Shutdown("term"):
            return "shutdown:term"
        case Shutdown():
            return "shutdown"
        case Killed():
            return "killed"
        case Failure():
            return "crash"
    raise AssertionError(f"no such end in a scenario: {reason}")


def _refusal(text: str) -> str:
    """In Erlang's words."""
    for ours, erlangs in (
        ("exists already", "exists"),
        ("no child", "not_found"),
        ("is running", "running"),
        ("is restarting", "restarting"),
    ):
        if ours in text:
            return erlangs
    return "failed"

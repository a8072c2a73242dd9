"""The scheduler: the actor named "runs". It places runs on engines, knows how each of them is, and keeps how they ended.

    Launch ──▶ candidates: active members with the role "engine", the one with the fewest runs first
               ──StartRun──▶ the first that does not refuse ──▶ RunInfo(state="starting")
    RunBegan, Frame, RunEnded from the run; Down when it, its engine or its node dies ──▶ RunChanged to every follower

It waits for nobody: while an engine starts a run, others are served. Frames go from the run straight to its viewers; the
scheduler gets one a second and keeps it, so that a viewer who comes late, or after the end, has a picture at once.
The last 200 runs that ended are kept, each with its result and last frame; then they are forgotten, the oldest first.

One that keeps its runs (`keep`) may be one of several lives, on one node after the other: its runs play on while nobody
schedules them, and its successor takes them over from the engines before it serves anybody.

    [Runs, the next] ── TakeOver ──▶ every engine ──▶ the runs there, and the last ones that ended there
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    DeadlineExceeded,
    Down,
    ExitReason,
    Failure,
    Killed,
    Later,
    NoConnection,
    Refused,
    Shutdown,
    UnderstudyError,
)
from understudy.engine.audience import Audience, tell
from understudy.engine.catalog import CatalogError, check_arguments, check_rate
from understudy.engine.messages import (
    ENDED,
    Cancel,
    CancelRun,
    EndRun,
    Follow,
    Following,
    Frame,
    GetRun,
    Launch,
    ListRuns,
    RunBegan,
    RunChanged,
    RunEnded,
    RunInfo,
    RunStarted,
    RunView,
    StartRun,
    TakeOver,
    Unwatch,
    UnwatchRun,
    Watch,
    WatchRun,
)

logger = logging.getLogger("understudy.engine")

HISTORY = 200
"""Runs that ended and are still known."""

SETTLES_WITHIN = 3.0
"""Seconds that a successor waits for the engines before it serves; it goes on asking those that have not answered."""

PATIENCE = 10.0
"""Seconds an engine has to start a run."""

ROLE = "engine"


class Member(Protocol):
    """What the scheduler looks at in a member of the cluster."""

    @property
    def node(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def roles(self) -> Sequence[str]: ...


class Cluster(Protocol):
    """What the scheduler needs of a node."""

    def members(self) -> Sequence[Member]:
        """The members, also those that are gone."""
        ...

    def ref(self, name: str) -> ActorRef[Any]:
        """The actor of that name: "engine@engine-1"."""
        ...


@dataclass(frozen=True, slots=True)
class Placed:
    """To oneself: an engine started the run. `later`: the answer that is owed."""

    started: RunStarted
    later: Later


@dataclass(frozen=True, slots=True)
class TakenOver:
    """To oneself: what an engine has of an earlier life."""

    views: Sequence[RunView]


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """To oneself: no engine took the run."""

    run: str
    why: str
    later: Later


class Record:
    """What is known about one run. `ref` is None until an engine has started it."""

    __slots__ = ("frame", "info", "ref", "viewers")

    def __init__(self, info: RunInfo, viewers: Audience) -> None:
        self.info = info
        self.viewers = viewers
        self.ref: ActorRef[Any] | None = None
        self.frame: Frame | None = None

    @property
    def over(self) -> bool:
        return self.info.state in ENDED


class Runs(Actor):
    """Schedules runs over the engines of a cluster. One per cluster; its runs end `keep` seconds after it, at once unless
    told otherwise, or go on with its successor.
    """

    def __init__(self, cluster: Cluster, *, history: int = HISTORY, keep: float = 0.0) -> None:
        super().__init__()
        self._cluster = cluster
        self._history = history
        self._keep = keep
        self._records: dict[str, Record] = {}
        self._past: deque[str] = deque()
        self._monitors: dict[int, str] = {}
        self._followers = Audience(self)

    async def on_start(self) -> None:
        nodes = self._candidates() if self._keep > 0 else []
        early: list[TakenOver] = []
        settled = asyncio.Event()

        async def ask(node: str) -> TakenOver | None:
            answer = await self._ask(node)
            if settled.is_set():
                return answer
            early.append(answer)
            if len(early) == len(nodes):
                settled.set()
            return None

        for node in nodes:
            self.run(ask(node))
        if nodes:
            with suppress(TimeoutError):
                await asyncio.wait_for(settled.wait(), SETTLES_WITHIN)
        settled.set()
        for answer in early:
            self._take_over(answer.views)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Launch():
                return self._launch(message)
            case Placed(started, later):
                self._placed(started, later)
            case NotPlaced(run, why, later):
                del self._records[run]
                later.fail(Refused(why))
            case TakenOver(views):
                self._take_over(views)
            case RunBegan(run):
                self._update(run, state="running")
            case Frame(run, seq):
                self._update(run, frame=message, turn=seq)
            case RunEnded(run, state, result, reason):
                self._over(run, state, result, reason)
            case ListRuns():
                return [record.info for record in self._records.values() if record.ref is not None]
            case GetRun(run):
                return self._known(run).info
            case CancelRun(run):
                return self._cancel(self._known(run))
            case WatchRun(run, viewer):
                return self._watch(self._known(run), viewer)
            case UnwatchRun(run, viewer):
                self._unwatch(run, viewer)
            case Follow(listener):
                return self._follow(listener)
            case Down(token, _, reason):
                self._down(token, reason)
            case _:
                return self.unhandled(message)
        return None

    # --- launching ---

    def _launch(self, wanted: Launch) -> Later:
        if not isinstance(wanted.program, str):
            raise Refused(f"a program is known by its name, not by {wanted.program!r}")
        try:
            check_arguments(wanted.args)
            check_rate(wanted.rate)
        except CatalogError as error:
            raise Refused(str(error)) from None
        nodes = self._candidates()
        if not nodes:
            raise Refused(
                "no engine node is up; start one: understudy node NAME MODULE:ATTRIBUTE --role engine, "
                "or wait for its restart"
            )
        run = self._new_id()
        info = RunInfo(run, wanted.program, wanted.args, "starting", node=nodes[0])
        self._records[run] = Record(info, Audience(self))
        later = Later()
        order = StartRun(run, wanted.program, wanted.args, wanted.rate, self.actor_ref, self._keep)
        self.run(self._place(order, nodes, later))
        return later

    def _candidates(self) -> list[str]:
        """The engine nodes, that with the fewest runs under way first."""
        loads = Counter(record.info.node for record in self._records.values() if not record.over)
        nodes = {each.node for each in self._cluster.members() if each.status == "active" and ROLE in each.roles}
        return sorted(nodes, key=lambda node: (loads[node], node))

    def _new_id(self) -> str:
        while (run := self.system.world.token()[:8]) in self._records:
            pass
        return run

    async def _place(self, order: StartRun, nodes: Sequence[str], later: Later) -> Placed | NotPlaced:
        """In the background: ask one engine after the other. What it learns goes to the scheduler as a message."""
        refusals: list[str] = []
        for node in nodes:
            engine = self._cluster.ref(f"{ROLE}@{node}")
            try:
                return Placed(await engine.call(order, timeout=PATIENCE), later)
            except Refused as refusal:
                refusals.append(str(refusal))
            except ActorDied as death:
                refusals.append(f"the engine on {node} is not there ({death.reason})")
            except DeadlineExceeded:
                # It may still start the run, so nobody else may be asked to, and this one must not keep it.
                tell(engine, EndRun(order.run))
                refusals.append(f"the engine on {node} did not answer within {PATIENCE:g} s")
                break
            except UnderstudyError as error:
                refusals.append(f"the engine on {node} could not be asked: {error}")
        return NotPlaced(order.run, "; ".join(dict.fromkeys(refusals)), later)

    def _placed(self, started: RunStarted, later: Later) -> None:
        record = self._records[started.run]
        record.ref = started.ref
        record.info = replace(
            record.info,
            node=started.node,
            pid=started.pid,
            worker_pid=started.worker_pid,
            started=self.system.world.wall(),
        )
        self._monitors[self.monitor(started.ref)] = started.run
        later.set(record.info)
        self._changed(record)

    # --- what an earlier life left ---

    async def _ask(self, node: str) -> TakenOver:
        """What that engine has, however long it takes to say so; nothing if it is gone."""
        engine = self._cluster.ref(f"{ROLE}@{node}")
        while True:
            try:
                return TakenOver(await engine.call(TakeOver(self.actor_ref, self.fence), timeout=PATIENCE))
            except DeadlineExceeded:
                continue
            except UnderstudyError as error:
                logger.info("the engine on %s has nothing to take over: %s", node, error)
                return TakenOver(())

    def _take_over(self, views: Sequence[RunView]) -> None:
        for view in views:
            if view.info.run in self._records:
                continue
            record = self._records[view.info.run] = Record(view.info, Audience(self))
            record.frame = view.frame
            record.ref = view.ref or self.actor_ref
            if view.ref is not None:
                self._monitors[self.monitor(view.ref)] = view.info.run
            self._changed(record)

    # --- what becomes of a run ---

    def _update(self, run: str, *, state: str | None = None, frame: Frame | None = None, turn: int = 0) -> None:
        record = self._records.get(run)
        if record is None or record.over:
            return
        if frame is not None:
            record.frame = frame
            record.info = replace(record.info, turn=turn)
        if state is not None:
            record.info = replace(record.info, state=state)
            self._changed(record)

    def _over(self, run: str, state: str, result: Any = None, reason: str | None = None) -> None:
        record = self._records.get(run)
        if record is None or record.over:
            return
        record.info = replace(record.info, state=state, result=result, reason=reason, ended=self.system.world.wall())
        record.viewers.tell(RunEnded(run, state, result, reason))
        record.viewers.clear()
        self._changed(record)

    def _changed(self, record: Record) -> None:
        """Tell the followers, and let the history take its course. A run that ends before its start is known waits for that."""
        if record.ref is None:
            return
        self._followers.tell(RunChanged(record.info))
        if record.over:
            self._past.append(record.info.run)
            while len(self._past) > self._history:
                del self._records[self._past.popleft()]

    def _down(self, token: int, reason: ExitReason) -> None:
        run = self._monitors.pop(token, None)
        if run is not None:
            record = self._records.get(run)
            node = record.info.node if record is not None else None
            self._over(run, "failed" if isinstance(reason, Failure) else "lost", reason=_why(node, reason))
        elif not self._followers.down(token):
            for record in self._records.values():
                if record.viewers.down(token):
                    break

    # --- requests ---

    def _known(self, run: str) -> Record:
        record = self._records.get(run)
        if record is None or record.ref is None:
            raise Refused(f"no run {run!r} is known; besides those under way, the last {self._history} are")
        return record

    def _cancel(self, record: Record) -> RunInfo:
        if not record.over and record.ref is not None:
            tell(record.ref, Cancel())
        return record.info

    def _watch(self, record: Record, viewer: ActorRef[Any]) -> RunView:
        if not record.over and record.ref is not None:
            record.viewers.add(viewer)
            tell(record.ref, Watch(viewer, tell_end=False))
        return RunView(record.info, record.frame, self.actor_ref)

    def _unwatch(self, run: str, viewer: ActorRef[Any]) -> None:
        record = self._records.get(run)
        if record is not None:
            record.viewers.remove(viewer)
            if not record.over and record.ref is not None:
                tell(record.ref, Unwatch(viewer))

    def _follow(self, listener: ActorRef[Any]) -> Following:
        self._followers.add(listener)
        known = [record.info for record in self._records.values() if record.ref is not None]
        for info in known:
            tell(listener, RunChanged(info))
        return Following(self.actor_ref, known)


def _why(node: str | None, reason: ExitReason) -> str:
    """Why a run that did not say how it ended is over."""
    match reason:
        case NoConnection(detail):
            return f"its engine node {node} is gone{f' ({detail})' if detail else ''}"
        case Shutdown():
            return f"its engine on {node} was shut down"
        case Killed():
            return f"its actor on {node} was killed"
        case Failure():
            return f"its actor on {node} failed: {reason}"
        case _:
            return f"its actor on {node} was gone before it could say how it ended"

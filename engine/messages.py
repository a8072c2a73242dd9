"""What is said around a run. Names in brackets are the actors; all of it may cross between machines.

    [caller]  Launch ───────────▶ [Runs]  StartRun ─────────▶ [Engine] ──starts──▶ [Run] ◀──pipes──▶ worker process
              ◀── RunInfo                 ◀── RunStarted                            │
                                  [Runs]  ◀── RunBegan, Frame (one a second), RunEnded ┤ the run's owner
    [viewer]  WatchRun ─────────▶ [Runs]  Watch ───────────────────────────────────▶ │
              ◀── RunView         [viewer] ◀── Frame, Frame, Frame ... ──────────────┘
              ◀── RunEnded ────── [Runs]
    [caller]  CancelRun ────────▶ [Runs]  Cancel ──────────────────────────────────▶ [Run]
                          its successor ── TakeOver ─▶ [Engine]  Serve ─────────────▶ [Run]

States of a run: `starting` (its worker process exists), `running` (its program runs), and one of the ends:
`finished` (with a result), `cancelled`, `failed` (the program's or its worker's fault), `lost` (with its engine node).
Arguments, frames and results are plain values; see catalog.py. Times are Unix seconds.
"""

from dataclasses import field
from typing import Any

from understudy.actors import ActorRef, Request, message

ENDED = frozenset({"finished", "cancelled", "failed", "lost"})
"""The states that do not change any more."""


# --- a run and its viewers ---


@message("understudy.engine.Frame")
class Frame:
    """One streamed value of a run. `seq` counts them from 0; a viewer that cannot keep up misses some, and sees the gap."""

    run: str
    seq: int
    data: Any


@message("understudy.engine.RunBegan")
class RunBegan:
    """To a run's owner: the program is loaded and runs."""

    run: str


@message("understudy.engine.RunEnded")
class RunEnded:
    """A run is over. `state`: see above. `reason`: a sentence in the first line, details (a traceback) in the others."""

    run: str
    state: str
    result: Any = None
    reason: str | None = None


@message("understudy.engine.RunState")
class RunState:
    """What a run answers a new viewer. `frame`: the latest one, None before the first."""

    run: str
    state: str
    frame: Frame | None


@message("understudy.engine.Watch")
class Watch(Request[RunState]):
    """To a run: tell `viewer` each further Frame and, with `tell_end`, one RunEnded. Viewers that die are dropped."""

    viewer: ActorRef[Any]
    tell_end: bool = True


@message("understudy.engine.Unwatch")
class Unwatch:
    """To a run: no more frames for `viewer`."""

    viewer: ActorRef[Any]


@message("understudy.engine.Cancel")
class Cancel:
    """To a run: end its worker (SIGTERM, one second, SIGKILL); it is then `cancelled`."""

    reason: str | None = None


# --- an engine ---


@message("understudy.engine.RunStarted")
class RunStarted:
    """The run's actor, its node and that node's process, and its worker's process."""

    run: str
    ref: ActorRef[Any]
    node: str
    pid: int
    worker_pid: int


@message("understudy.engine.StartRun")
class StartRun(Request[RunStarted]):
    """To an engine: execute a program. The run reports to `owner` and ends when the owner does, or `keep` seconds later,
    unless somebody else takes it over.

    Refused, with the reason: unknown program, arguments that do not fit it, the engine is full, the id is taken.
    """

    run: str
    program: str
    args: dict[str, Any]
    rate: float | None
    owner: ActorRef[Any]
    keep: float = 0.0


@message("understudy.engine.EndRun")
class EndRun:
    """To an engine: cancel this run if there is one. For an owner that never learned whether it started."""

    run: str


# --- the scheduler ---


@message("understudy.engine.RunInfo")
class RunInfo:
    """All that is known about a run. `turn`: the latest frame's `seq`, at most a second old. `pid`: the engine node's process."""

    run: str
    program: str
    args: dict[str, Any]
    state: str
    node: str | None = None
    pid: int | None = None
    worker_pid: int | None = None
    started: float | None = None
    ended: float | None = None
    turn: int = 0
    result: Any = None
    reason: str | None = None


@message("understudy.engine.Launch")
class Launch(Request[RunInfo]):
    """Run a program on the engine with the fewest runs. `rate`: frames per second; None: the program's own; 0: unpaced.

    Refused, with the reason: no engine is up, all are full, unknown program, arguments that do not fit it.
    """

    program: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    rate: float | None = None


@message("understudy.engine.ListRuns")
class ListRuns(Request[list[RunInfo]]):
    """All runs under way and the last ones that ended, in the order of their launch."""


@message("understudy.engine.GetRun")
class GetRun(Request[RunInfo]):
    """One run. Refused: unknown."""

    run: str


@message("understudy.engine.CancelRun")
class CancelRun(Request[RunInfo]):
    """End a run. The answer is what it was when asked; `cancelled` follows. One that ended stays as it is. Refused: unknown."""

    run: str


@message("understudy.engine.RunView")
class RunView:
    """A run as a late viewer finds it. `frame`: the latest that is known, at most a second old; None before the first.
    `ref`: who answers for it; to a viewer that is the scheduler, to the scheduler that takes the run over, the run itself.
    """

    info: RunInfo
    frame: Frame | None
    ref: ActorRef[Any] | None = None


@message("understudy.engine.WatchRun")
class WatchRun(Request[RunView]):
    """Tell `viewer` each further Frame of this run and then one RunEnded, also when the run is lost. Refused: unknown.

    A frame may overtake the answer: the higher `seq` counts. A run that ended is answered with its last frame, and that is all.
    """

    run: str
    viewer: ActorRef[Any]


@message("understudy.engine.TakeOver")
class TakeOver(Request[list[RunView]]):
    """To an engine: the runs here that are kept beyond their owner report to `owner` from now on. The answer is those runs and,
    before them, the last ones that ended. `fence`: that of the owner's name; refused if a later one was here before.
    """

    owner: ActorRef[Any]
    fence: int = 0


@message("understudy.engine.UnwatchRun")
class UnwatchRun:
    """No more of this run for `viewer`. (A viewer that dies is dropped anyway.)"""

    run: str
    viewer: ActorRef[Any]


@message("understudy.engine.Following")
class Following:
    """Who is followed from now on, and the runs that it knows. Where `Runs` has a successor, that is another actor."""

    runs: ActorRef[Any]
    known: list[RunInfo]


@message("understudy.engine.Follow")
class Follow(Request[Following]):
    """Tell `listener` RunChanged for every known run now, and then at each change of state of any."""

    listener: ActorRef[Any]


@message("understudy.engine.RunChanged")
class RunChanged:
    """A run appeared or changed its state."""

    info: RunInfo

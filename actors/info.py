"""What is known about one living actor, as plain data that may cross the wire: `system.info(ref)`.

It is read from outside, in whatever thread, while the actor goes on: each figure was true a moment ago, and no two of them
need be of the same moment. Nothing is kept for it while messages are handled. The message at hand stands in the frame of the
handler's task, or of the thread that runs it, and is read there.
"""

from __future__ import annotations

from pathlib import Path
from types import FrameType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.actors.envelope import Envelope
from understudy.actors.errands import suspended
from understudy.actors.errors import ActorDied
from understudy.actors.frames import all_frames
from understudy.actors.message import message
from understudy.actors.mortician import DEAD
from understudy.actors.reasons import NoProc
from understudy.actors.ref import ActorRef
from understudy.actors.scheduler import Scheduler
from understudy.actors.signals import title
from understudy.actors.sketch import class_name
from understudy.actors.standby import Standbys

if TYPE_CHECKING:
    from understudy.actors.cell import Cell


@message("understudy.info")
class Info:
    """One actor.

    `state`: starting, alive, busy (a message is being handled), suspended (by an operator) or ending. `handling` is the class
    of the message at hand, `handling_for` the seconds since it, or the actor, began. `mailbox` counts what waits, `oldest` the
    seconds that the oldest of it has waited: right to one tick of the loop, or to one handler if that is longer, and never too
    much. `stashed` counts what it has put aside itself. `monitors` are those it watches, `watchers` the actors that watch it, `others_watching` how many others do: `ended()`,
    other machines. `restarts`: how often its supervisor has started it again. `runs_on`: loop or thread.
    """

    ref: ActorRef[Any]
    cls: str
    name: str | None
    parent: ActorRef[Any] | None
    children: tuple[ActorRef[Any], ...]
    links: tuple[ActorRef[Any], ...]
    monitors: tuple[ActorRef[Any], ...]
    watchers: tuple[ActorRef[Any], ...]
    others_watching: int
    mailbox: int
    oldest: float
    stashed: int
    handled: int
    restarts: int
    state: str
    handling: str | None
    handling_for: float
    runs_on: str


def info(cell: Cell[Any]) -> Info:
    """Look at one actor. Raises ActorDied if it is dead."""
    actor, bonds, scheduler = cell.actor, cell.bonds, cell.scheduler
    if cell.stage == DEAD or (actor is None and cell.reason is not None):
        raise ActorDied(cell.reason or NoProc(), repr(cell))
    now = scheduler.loop.time()
    work = at_hand(cell)
    children = () if bonds is None else tuple(child for child in bonds.children.copy() if child.stage != DEAD)
    watchers = () if bonds is None else tuple(watcher for _, watcher in bonds.watchers.copy())
    watching = tuple(watcher for watcher in watchers if isinstance(watcher, ActorRef))
    return Info(
        ref=cell,
        cls=class_name(cell.kind),
        name=cell.name,
        parent=cell.parent,
        children=children,
        links=() if bonds is None else tuple(bonds.links.copy()),
        monitors=() if bonds is None else tuple(monitor.ref for monitor in bonds.monitors.copy().values()),
        watchers=watching,
        others_watching=len(watchers) - len(watching),
        mailbox=len(cell.mailbox or ()),
        oldest=scheduler.ages.oldest(cell, now),
        stashed=0 if bonds is None else len(bonds.stashed or ()),
        handled=cell.handled,
        restarts=0 if bonds is None else bonds.restarts,
        state=_state(cell, work is not None),
        handling=None if work is None else work[0],
        handling_for=0.0 if work is None else max(0.0, now - work[1]),
        runs_on="thread" if cell.threaded else "loop",
    )


def at_hand(cell: Cell[Any]) -> tuple[str, float] | None:
    """The class of the message that an actor handles now, and since when in the loop's seconds; None: it handles none."""
    if suspended(cell):
        return None
    if cell.threaded:
        return cell.at_work()
    task, scheduler = cell.task, cell.scheduler
    if task is not None:
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is None or frame.f_code is not _BURST:
            return None
        standby = frame.f_locals["standby"]
        return named(standby.entry), standby.since
    if scheduler.runs() is cell:
        place = placed(all_frames().get(scheduler.thread))
        if place is not None and place.cell is cell:
            return place.message, scheduler.now
    return None


class Place(NamedTuple):
    """Where a stack stands: in which actor's code, for which message. Do not keep its frame: that holds variables alive."""

    cell: Cell[Any]
    message: str
    frame: FrameType
    """The outermost frame of the actor's own code, or the kernel's if there is none."""


def placed(frame: FrameType | None) -> Place | None:
    """The innermost actor whose code a stack runs."""
    own: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_KERNEL):
            own = frame
        elif (label := _LABELS.get(code.co_name)) is not None and not _in_hand_off(frame):
            values = frame.f_locals
            cell = values.get("cell")
            if cell is not None:
                return Place(cell, named(values[label]) if label in values else label, own or frame)
        frame = frame.f_back
    return None


def named(entry: object) -> str:
    """The class of what a mailbox entry brings, or what it is called; for a hook, its name."""
    if isinstance(entry, FunctionType | MethodType):
        return "on_start" if entry.__name__ in ("_come_to_life", "_run_on_start") else entry.__name__
    return title(entry.message if isinstance(entry, Envelope) else entry)


def _in_hand_off(frame: FrameType) -> bool:
    """Whether this is the way into the actor's context, and the message is known one frame further out."""
    outer = frame.f_back
    return frame.f_code.co_name == "isolated" and outer is not None and outer.f_code.co_name == "hand_off"


def _state(cell: Cell[Any], working: bool) -> str:
    if cell.reason is not None:
        return "ending"
    if cell.actor is None or getattr(getattr(cell.task, "get_coro", _nothing)(), "__name__", "") == "_run_start":
        return "starting"
    if suspended(cell):
        return "suspended"
    return "busy" if working or cell.task is not None else "alive"


def _nothing() -> None:
    """A cell without a task has no coroutine."""


_BURST = Standbys.burst.__code__

_KERNEL = str(Path(Scheduler._run.__code__.co_filename).parent)

_LABELS = {
    "_run": "item",
    "_turn": "item",
    "burst": "item",
    "begin": "item",
    "hand_off": "message",
    "isolated": "function",
    "_work": "item",  # of a thread actor
    "_serve": "entry",  # of a reentrant handler
    "_run_start": "on_start",
    "_slow_hook": "its last hook",
    "_background": "a background task",
}
"""The kernel's functions that run an actor's code, by name: all have it as `cell`. What they run is in that variable, or is
that."""

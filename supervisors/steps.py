"""The words in which a supervisor's decisions are told: what happens to it, and what it is to do next.

happens:  Begin, Finish                     the supervisor itself starts, or ends
          Exit                              a child has ended by itself (the kernel's message)
          Lost                              its node was lost, or stops, and the child with it
          Due                               the time of another attempt has come
          Move                              its node drains, and another one has room for it
          StartChild and its like           an operator asks (requests.py)
          Started, NotStarted, Ignored      what came of a Start
          Stopped, AllStopped               what came of a StopOne, a StopAll
to do:    Start, StopOne, StopAll           takes time; what came of it happens next
          Answer, Refuse, Retry, GiveUp, ShutDown, Hold, LeaveDown, Abort
                                            the last thing to do for now
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from understudy.actors import Exit, ExitReason, Shutdown
from understudy.supervisors.place import Place
from understudy.supervisors.requests import (
    CountChildren,
    DeleteChild,
    RestartChild,
    StartAnother,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from understudy.supervisors.spec import Child


class Begin(NamedTuple):
    """The supervisor starts: with these children, in this order."""

    children: tuple[Child, ...]


class Finish(NamedTuple):
    """The supervisor ends: all that runs is to be ended, whatever was under way."""


class Lost(NamedTuple):
    """The node of this child is gone for good, in that life of it. `orderly`: it stops, and that is no failure."""

    handle: Any
    reason: ExitReason
    orderly: bool = False


class Due(NamedTuple):
    """The time of an attempt to start a child again has come: the one that `Retry` announced under that number."""

    id: str
    attempt: int


class Move(NamedTuple):
    """The child of that id is to go elsewhere, from that node, which drains."""

    id: str
    node: str


class Started(NamedTuple):
    """`handle` is what the child is known by from now on; its `Exit` will come from there. `again`: as its Start said.

    `node`: where it was placed.
    """

    place: Place
    handle: Any
    again: bool
    node: str | None = None


class NotStarted(NamedTuple):
    """`error` is what is to be said of it, `reason` how the attempt ended."""

    place: Place
    error: Exception
    reason: ExitReason


class Ignored(NamedTuple):
    """The child said that it is not needed."""

    place: Place


Outcome: TypeAlias = Started | NotStarted | Ignored


class Stopped(NamedTuple):
    """The child has ended, as it was told to."""

    place: Place
    reason: ExitReason


class AllStopped(NamedTuple):
    """They have ended, as they were told to."""

    places: tuple[Place, ...]
    reasons: tuple[ExitReason, ...]


Event: TypeAlias = (
    Begin
    | Finish
    | Exit
    | Lost
    | Due
    | Move
    | Outcome
    | Stopped
    | AllStopped
    | StartChild
    | StartAnother
    | TerminateChild
    | RestartChild
    | DeleteChild
    | WhichChildren
    | CountChildren
)


class Start(NamedTuple):
    """Start the child. `again`: since it, or one that it goes with, has ended."""

    place: Place
    again: bool


class StopOne(NamedTuple):
    """End the child by its shutdown spec, and wait for that. `gently`: what waits in its mailbox is handled before."""

    place: Place
    gently: bool = False


class StopAll(NamedTuple):
    """End these children all at once, each by its shutdown spec, and wait for that."""

    places: tuple[Place, ...]


class Answer(NamedTuple):
    """What the operator asked for."""

    value: Any


class Refuse(NamedTuple):
    """What the operator asked for cannot be done."""

    why: str


class Retry(NamedTuple):
    """Have `Due(id, attempt)` happen: after the place's backoff for its failures, without one after all that waits; and not
    before its node is there."""

    place: Place
    attempt: int


class GiveUp(NamedTuple):
    """Too many restarts, the last one of this child: end the supervisor."""

    place: Place
    reason: Shutdown


class ShutDown(NamedTuple):
    """A significant child has ended, or is held down: end the supervisor."""

    place: Place
    reason: Shutdown


class Hold(NamedTuple):
    """Too many restarts, the last one of this child: it stays down, and the others go on."""

    place: Place


class LeaveDown(NamedTuple):
    """A transient supervisor below has given up. That is no abnormal end: it stays down, and somebody should know."""

    place: Place


class Abort(NamedTuple):
    """The supervisor's own start has failed, and what was started is ended again."""

    error: Exception


LastAction: TypeAlias = Answer | Refuse | Retry | GiveUp | ShutDown | Hold | LeaveDown | Abort

Action: TypeAlias = Start | StopOne | StopAll | LastAction

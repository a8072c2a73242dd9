"""What ties an actor to others: children, links, monitors, timers, tasks, its name. Made on first need only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.ref import ActorRef, Watcher
    from understudy.actors.signals import Later
    from understudy.actors.timers import Timer


class Monitor:
    """A monitor that an actor holds. It is the ticket of its own `Down`: no longer active, that is void."""

    __slots__ = ("active", "ref")

    def __init__(self, ref: ActorRef[Any]) -> None:
        self.ref = ref
        self.active = True


class Void:
    """The ticket of an entry that was taken back."""

    active = False


VOID = Void()


class Bonds:
    """`children` maps each child, in order of start, to whether the link to it still stands."""

    __slots__ = ("children", "links", "monitors", "name", "owed", "tasks", "timers", "watchers")

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.children: dict[Cell[Any], bool] = {}
        self.links: set[ActorRef[Any]] = set()
        self.monitors: dict[int, Monitor] = {}
        self.watchers: dict[tuple[int, Watcher], None] = {}  # systems of one process may use the same tokens
        self.timers: set[Timer] = set()
        self.owed: dict[Later, None] = {}  # in order: whoever asked first is answered first
        self.tasks: set[asyncio.Task[Any]] = set()

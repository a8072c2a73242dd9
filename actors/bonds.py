"""What ties an actor to others: children, links, monitors, timers, tasks, its name. Made on first need only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.errands import Desk
    from understudy.actors.later import Owed
    from understudy.actors.patience import Patience
    from understudy.actors.ref import ActorRef, Watcher
    from understudy.actors.timers import Timer


class Monitor:
    """A monitor that an actor holds. It is the ticket of its own `Down`: no longer active, that is void."""

    __slots__ = ("__weakref__", "active", "ref")

    def __init__(self, ref: ActorRef[Any]) -> None:
        self.ref = ref
        self.active = True


class ExitTicket:
    """That of an exit signal's place in the mailbox: valid if it is trapped, as decided when it arrives."""

    __slots__ = ("_cell", "_sender", "trapped")

    def __init__(self, cell: Cell[Any], sender: ActorRef[Any] | None) -> None:
        self._cell = cell
        self._sender = sender
        self.trapped = False

    @property
    def active(self) -> bool:
        """Whether it is to be delivered; an actor's own thread may ask before it has arrived on the loop."""
        return self.trapped or self.traps()

    def traps(self) -> bool:
        """Whether the actor traps it as things are: it does not trap its parent's."""
        actor, parent = self._cell.actor, self._cell.parent
        return actor is not None and actor.trap_exit and (self._sender is None or self._sender is not parent)


class Bonds:
    """`children` maps each child, in order of start, to whether the link to it still stands.

    `behaviour` handles the messages instead of the actor's own `on_receive`, and each of `wrappers`, innermost first, makes
    one such callable of another. After a change of either: `cell.behave()`.
    """

    __slots__ = (
        "behaviour",
        "behaviours",
        "children",
        "desk",
        "fallen",
        "fence",
        "joined",
        "links",
        "monitors",
        "name",
        "owed",
        "patience",
        "restarts",
        "stashed",
        "tasks",
        "timers",
        "under_way",
        "watchers",
        "watching",
        "wrappers",
    )

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.behaviour: Callable[[Any], Any] | None = None
        self.behaviours: tuple[Callable[[Any], Any], ...] = ()  # those below it
        self.patience: Patience | None = None  # the receive timeout
        self.stashed: deque[Any] | None = None  # with the first message put aside
        self.wrappers: tuple[Callable[[Callable[[Any], Any]], Callable[[Any], Any]], ...] = ()
        self.desk: Desk | None = None  # with the first errand of an operator
        self.restarts = 0
        self.fence = 0  # of the name that it has in the cluster
        self.children: dict[Cell[Any], bool] = {}
        self.links: set[ActorRef[Any]] = set()
        self.monitors: dict[int, Monitor] = {}
        self.fallen: WeakValueDictionary[int, Monitor] | None = None  # those whose `Down` is still in the mailbox
        self.watchers: dict[tuple[int, Watcher], None] = {}  # systems of one process may use the same tokens
        self.timers: set[Timer] = set()
        self.joined: dict[str, None] = {}
        self.watching: dict[str | None, None] = {}  # groups; None: all of them
        self.owed: Owed | None = None  # with the first request that is answered later
        self.tasks: set[asyncio.Task[Any]] = set()
        self.under_way: dict[asyncio.Task[None], Any] = {}  # the reentrant handlers, and the entry that each handles

    def loosen(self) -> None:
        """Nothing ties a dead actor any more, and nothing of it is kept; its name stays, and children that are still ending."""
        self.links, self.watchers, self.monitors = set(), {}, {}
        self.behaviour = self.patience = self.stashed = self.desk = self.fallen = None
        self.behaviours = self.wrappers = ()
        self.restarts = 0

"""What a supervisor decides, without any actor: a state, to which things happen, and which says what to do next.

    action = tree.decide(event, now)        None: nothing more
    while action is not None:
        event = ... carry it out ...        Start, StopOne and StopAll have an outcome, which happens to the tree in turn
        action = tree.decide(event, now)

OTP's algorithm. A restart is a plan, such as "end d, end c, start X, start c, start d"; an attempt that fails drops what is
left of it, and is tried anew when all that waits has had its turn. Nothing else happens in the midst of a plan, but the end
of the supervisor. Time is an argument, a child's handle may be anything: equal histories have equal ends.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, TypeAlias

from understudy.actors import Draining, Exit, ExitReason, NoConnection, NoRoom, Shutdown
from understudy.supervisors.intensity import Intensity, gave_up, too_many
from understudy.supervisors.place import Place
from understudy.supervisors.policy import Policy
from understudy.supervisors.requests import (
    ChildCounts,
    CountChildren,
    DeleteChild,
    RestartChild,
    StartAnother,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from understudy.supervisors.spec import Child
from understudy.supervisors.steps import (
    Abort,
    Action,
    AllStopped,
    Answer,
    Begin,
    Due,
    Event,
    Finish,
    GiveUp,
    Hold,
    Ignored,
    LeaveDown,
    Lost,
    Move,
    NotStarted,
    Refuse,
    Retry,
    ShutDown,
    Start,
    Started,
    StopAll,
    StopOne,
    Stopped,
)

NAMED = 20
"""Children that a refusal names, at most."""

Purpose: TypeAlias = Literal["begin", "add", "revive", "restart", "stop"]


class Tree:
    """The children of one supervisor. `places` are in order of start; `running` finds those that run by their handles."""

    def __init__(self, policy: Policy, template: Child | None = None) -> None:
        self.policy = policy
        self.template = template
        self.intensity = Intensity(policy.intensity, policy.period)
        self.places: dict[str, Place] = {}
        self.running: dict[Any, Place] = {}
        self._plan: deque[Action] = deque()
        self._purpose: Purpose = "begin"
        self._number = 0  # of the last child of a dynamic supervisor
        self._lost: set[str | None] = set()  # nodes whose loss was counted, and where no child was started since

    def decide(self, event: Event, now: float) -> Action | None:
        """What to do next, after what has happened `now` (seconds of a clock that only goes forward)."""
        return _RULES[event.__class__](self, event, now)

    # --- the supervisor itself ---

    def _begin(self, event: Begin, now: float) -> Action | None:
        self.places = {child.id: Place(child.id, child, self.policy.backoff) for child in event.children}
        return self._follow("begin", *(Start(place, False) for place in self.places.values()))

    def _finish(self, event: Finish, now: float) -> Action | None:
        return self._follow("stop", *self._stops())

    def _stops(self) -> list[Action]:
        """End all that runs: in reverse order, or all at once."""
        if not self.policy.dynamic:
            return [StopOne(place) for place in reversed(self.places.values()) if place.state == "running"]
        return [StopAll(tuple(self.running.values()))] if self.running else []

    # --- a child ends ---

    def _exit(self, event: Exit, now: float) -> Action | None:
        place = self.running.pop(event.sender, None)
        if place is None:
            return None  # one that was told to end, or no child at all
        return self._ended(place, event.reason, now)

    def _lose(self, event: Lost, now: float) -> Action | None:
        place = self.running.pop(event.handle, None)
        if place is None:
            return None
        if event.orderly:
            self._lost.add(place.node)  # as if it was counted
        return self._ended(place, event.reason, now, lost=True)

    def _ended(self, place: Place, reason: ExitReason, now: float, lost: bool = False) -> Action | None:
        child = place.child
        place.handle = None
        place.state = "stopped"
        place.last_exit = reason
        if child.comes_back(reason):
            if place.backoff is not None and now - place.since >= place.backoff.healthy:
                place.failures = 0
            return self._again_there(place, now) if lost else self._again(place, now)
        self._settle(place)
        if child.significant and self._is_over():
            return ShutDown(place, Shutdown(f"auto shutdown, after the end of {place.id!r}: {reason}"))
        if child.restart == "transient" and child.kind == "supervisor" and gave_up(reason):
            return LeaveDown(place)
        return None

    def _settle(self, place: Place) -> None:
        """It stands still. One that never comes back is forgotten."""
        place.state = "stopped"
        if self.policy.dynamic or place.child.restart == "temporary":
            del self.places[place.id]

    def _is_over(self) -> bool:
        """Whether the end of a significant child is the end of all."""
        if self.policy.auto_shutdown == "any_significant":
            return True
        return self.policy.auto_shutdown == "all_significant" and not any(
            place.child.significant and place.state in ("running", "restarting") for place in self.places.values()
        )

    # --- starting again ---

    def _again(self, place: Place, now: float) -> Action | None:
        """One more attempt, if that is not too many: now, or after its backoff."""
        if self.intensity.add(now):
            return self._too_many(place)
        if not place.waits:
            return self._attempt(place)
        place.failures += 1
        return self._wait(place)

    def _again_there(self, place: Place, now: float) -> Action | None:
        """Its node was lost. That counts once, however many children ran there, and however long it is away."""
        node = place.node
        if node in self._lost:
            place.failures += 1
            return self._wait(place)
        self._lost.add(node)
        return self._again(place, now)

    def _too_many(self, place: Place) -> Action:
        if not self.policy.degraded:
            place.state = "stopped"
            return GiveUp(place, too_many(place.id, place.last_exit))
        place.state = "held"
        self.intensity.restarts.clear()  # the others begin anew, as after a supervisor that gave up
        if place.child.significant and self._is_over():
            return ShutDown(place, Shutdown(f"auto shutdown, after {place.id!r} was held down: {place.last_exit}"))
        return Hold(place)

    def _wait(self, place: Place) -> Action:
        place.state = "restarting"
        place.attempt += 1
        return Retry(place, place.attempt)

    def _due(self, event: Due, now: float) -> Action | None:
        place = self.places.get(event.id)
        if place is None or place.state != "restarting":
            return None  # it was told to end meanwhile, or was started with its siblings
        if not place.waits:
            return self._again(place, now)
        # It was counted before the wait, so that nobody waits only to give up. What is left of an earlier wait is void.
        return self._attempt(place) if place.attempt == event.attempt else None

    def _move(self, event: Move, now: float) -> Action | None:
        """That is no failure, and counts for none. Whoever goes with it is started again with it."""
        place = self.places.get(event.id)
        if place is None or place.state != "running" or place.node != event.node or not place.child.moves:
            return None  # it has ended, or was started elsewhere meanwhile
        if self.policy.strategy == "one_for_one":
            return self._follow("restart", StopOne(place, gently=True), Start(place, True))
        return self._attempt(place, gently=True)

    def _attempt(self, place: Place, gently: bool = False) -> Action | None:
        """Start a child again, and with it whoever goes with it."""
        strategy = self.policy.strategy
        if strategy == "one_for_one":
            self._purpose = "restart"
            self._plan.clear()
            return Start(place, True)
        group: list[Place] = []
        for one in reversed(self.places.values()):
            group.append(one)
            if strategy == "rest_for_one" and one is place:
                break  # nobody before it is even looked at
        group.reverse()
        stops = [StopOne(one, gently) for one in reversed(group) if one.state == "running"]
        coming = [one for one in group if one.child.restart != "temporary"]  # those are ended, and that is all
        for one in coming:
            if one.state == "restarting":
                one.state = "stopped"  # this attempt is theirs too
        return self._follow("restart", *stops, *(Start(one, True) for one in coming))

    # --- what came of it ---

    def _follow(self, purpose: Purpose, *steps: Action) -> Action | None:
        """Make a plan, and begin with it. What is left of the one before is dropped."""
        self._purpose = purpose
        self._plan = deque(steps)
        return self._next()

    def _next(self) -> Action | None:
        return self._plan.popleft() if self._plan else None

    def _started(self, event: Started, now: float) -> Action | None:
        place, handle, again, node = event
        place.handle = handle
        place.node = node or place.child.node
        place.state = "running"
        place.since = now
        self.running[handle] = place
        self._lost.discard(place.node)
        if again:
            place.restarts += 1
        return Answer(handle) if self._purpose in ("add", "revive") else self._next()

    def _not_started(self, event: NotStarted, now: float) -> Action | None:
        place, error, reason = event
        place.last_exit = reason
        if self._purpose == "restart":
            place.restarts += 1
            if isinstance(
                error, NoRoom | Draining
            ):  # it waits for another node, or life of it, and has not failed itself
                return self._wait(place)
            if isinstance(reason, NoConnection) and place.child.elsewhere:
                return self._again_there(place, now)
            return self._again(place, now) if place.waits else self._wait(place)
        if self._purpose == "begin":
            return self._follow("stop", *self._stops(), Abort(error))
        if self._purpose == "add":
            del self.places[place.id]
        return Refuse(str(error))

    def _ignored(self, event: Ignored, now: float) -> Action | None:
        self._settle(event.place)
        return Answer(None) if self._purpose in ("add", "revive") else self._next()

    def _stopped(self, event: Stopped, now: float) -> Action | None:
        self._has_ended(*event)
        return self._next()

    def _all_stopped(self, event: AllStopped, now: float) -> Action | None:
        for place, reason in zip(event.places, event.reasons):
            self._has_ended(place, reason)
        return self._next()

    def _has_ended(self, place: Place, reason: ExitReason) -> None:
        del self.running[place.handle]
        place.handle = None
        place.last_exit = reason
        if any(isinstance(step, Start) and step.place is place for step in self._plan):
            place.state = "stopped"  # for a moment
        else:
            self._settle(place)

    # --- operators ---

    def _add(self, event: StartChild, now: float) -> Action | None:
        try:
            child = self.policy.admits(event.child, "StartChild takes a")
        except (TypeError, ValueError) as error:
            return Refuse(str(error))
        return self._start_new(child)

    def _add_another(self, event: StartAnother, now: float) -> Action | None:
        template = self.template
        if template is None:
            return Refuse("there is no template to start another child of: StartChild takes a whole Child(...)")
        if not isinstance(event.args, tuple | list):  # pyright: ignore[reportUnnecessaryIsInstance]
            return Refuse(f"StartAnother.args is a tuple of arguments, not {event.args!r}")
        if not isinstance(event.kwargs, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            return Refuse(f"StartAnother.kwargs maps names to arguments, not {event.kwargs!r}")
        try:
            child = replace(template, args=(*template.args, *event.args), kwargs={**template.kwargs, **event.kwargs})
        except (TypeError, ValueError) as error:
            return Refuse(str(error))
        return self._start_new(child)

    def _start_new(self, child: Child) -> Action | None:
        limit = self.policy.max_children
        known = self.places.get(child.id) if not self.policy.dynamic else None
        if known is not None:
            return Refuse(f"the child {child.id!r} exists already and is {known.state}")
        if limit is not None and len(self.places) >= limit:
            return Refuse(f"no room for {child.id!r}: there are {limit} children, and that is all there may be")
        name = child.id
        if self.policy.dynamic:
            self._number += 1
            while (name := f"{child.id}-{self._number}") in self.places:
                self._number += 1
        place = self.places[name] = Place(name, child, self.policy.backoff)
        return self._follow("add", Start(place, False))

    def _terminate(self, event: TerminateChild, now: float) -> Action | None:
        place = self._find(event.id)
        if place is None:
            return self._unknown(event.id)
        if place.state == "running":
            return self._follow("stop", StopOne(place), Answer(None))
        self._settle(place)
        return Answer(None)

    def _revive(self, event: RestartChild, now: float) -> Action | None:
        place = self._find(event.id)
        if place is None:
            return self._unknown(event.id)
        if place.state in ("running", "restarting"):
            return Refuse(f"the child {place.id!r} is {place.state}")
        place.failures = 0
        return self._follow("revive", Start(place, False))

    def _delete(self, event: DeleteChild, now: float) -> Action | None:
        place = self._find(event.id)
        if place is None:
            return self._unknown(event.id)
        if place.state in ("running", "restarting"):
            return Refuse(f"the child {place.id!r} is {place.state}")
        del self.places[place.id]
        return Answer(None)

    def _find(self, child: object) -> Place | None:
        """By id or by handle. It may come from anywhere."""
        try:
            return self.places.get(child) if isinstance(child, str) else self.running.get(child)
        except TypeError:  # nothing that could be looked for
            return None

    def _unknown(self, child: object) -> Refuse:
        known = [repr(id_) for id_ in islice(self.places, NAMED)]
        if len(self.places) > NAMED:
            known.append(f"and {len(self.places) - NAMED} more")
        return Refuse(f"no child {child!r}; there are: {', '.join(known) or 'none'}")

    def _which(self, event: WhichChildren, now: float) -> Action | None:
        return Answer([place.info for place in self.places.values()])

    def _count(self, event: CountChildren, now: float) -> Action | None:
        states = Counter(place.state for place in self.places.values())
        specs, workers = len(self.places), sum(place.child.kind == "worker" for place in self.places.values())
        return Answer(
            ChildCounts(specs, states["running"], specs - workers, workers, states["restarting"], states["held"])
        )


_OF_MESSAGES: dict[type, Callable[[Tree, Any, float], Action | None]] = {
    Exit: Tree._exit,
    Due: Tree._due,
    Move: Tree._move,
    StartChild: Tree._add,
    StartAnother: Tree._add_another,
    TerminateChild: Tree._terminate,
    RestartChild: Tree._revive,
    DeleteChild: Tree._delete,
    WhichChildren: Tree._which,
    CountChildren: Tree._count,
}

_RULES: dict[type, Callable[[Tree, Any, float], Action | None]] = {
    **_OF_MESSAGES,
    Begin: Tree._begin,
    Finish: Tree._finish,
    Lost: Tree._lose,
    Started: Tree._started,
    NotStarted: Tree._not_started,
    Ignored: Tree._ignored,
    Stopped: Tree._stopped,
    AllStopped: Tree._all_stopped,
}

MESSAGES = frozenset(_OF_MESSAGES)
"""The classes of what may reach a supervisor as a message; all else happens within it."""

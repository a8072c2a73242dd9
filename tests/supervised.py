"""Plays the actors for what a supervisor decides, so that its decisions are tested without any."""

from dataclasses import dataclass, field
from typing import Any

from understudy.actors import Actor, Exit, ExitReason, Failure, Killed, NoConnection, NoProc, Normal, Shutdown
from understudy.supervisors import (
    Child,
    WhichChildren,
)
from understudy.supervisors.policy import Policy
from understudy.supervisors.steps import (
    Abort,
    Action,
    AllStopped,
    Answer,
    Begin,
    Due,
    Event,
    GiveUp,
    Ignored,
    LastAction,
    NotStarted,
    Retry,
    ShutDown,
    Start,
    Started,
    StopAll,
    StopOne,
    Stopped,
)
from understudy.supervisors.tree import Tree

REASONS: list[ExitReason] = [Normal(), Shutdown(), Shutdown("x"), Killed(), Failure("E", "m"), NoProc(), NoConnection()]
ABNORMAL = Failure("E", "m")


class Nobody(Actor):
    pass


@dataclass
class Stage:
    """Plays the actors: carries out what a tree says, and keeps the book of it.

    `outcomes` says of the next starts how they go; after its end all of them succeed.
    """

    tree: Tree
    outcomes: list[str] = field(default_factory=list)
    now: float = 0.0
    book: list[str] = field(default_factory=list)
    alive: dict[int, str] = field(default_factory=dict)
    pending: list[Retry] = field(default_factory=list)
    over: LastAction | None = None
    number: int = 0

    def happens(self, event: Event) -> LastAction | None:
        assert self.over is None, "nothing happens to a supervisor that has ended, but its end"
        return self.play(self.tree.decide(event, self.now))

    def play(self, action: Action | None) -> LastAction | None:
        while True:
            match action:
                case Start(place, again):
                    event: Event = self.start(place, again)
                case StopOne(place):
                    event = Stopped(place, self.stop(place))
                case StopAll(places):
                    self.book.append("all")
                    event = AllStopped(places, tuple(self.stop(place) for place in places))
                case Retry():
                    self.pending.append(action)
                    return action
                case GiveUp() | ShutDown() | Abort():
                    self.over = action
                    return action
                case _:
                    return action
            action = self.tree.decide(event, self.now)

    def start(self, place: Any, again: bool) -> Event:
        outcome = self.outcomes.pop(0) if self.outcomes else "up"
        assert place.id not in self.alive.values(), "a child is never twice there"
        self.book.append({"up": "+", "fails": "!", "ignores": "?"}[outcome] + place.id)
        if outcome == "fails":
            return NotStarted(place, ValueError(f"{place.id} fails"), ABNORMAL)
        if outcome == "ignores":
            return Ignored(place)
        self.number += 1
        self.alive[self.number] = place.id
        return Started(place, self.number, again)

    def stop(self, place: Any) -> ExitReason:
        self.book.append("-" + place.id)
        del self.alive[place.handle]
        return Shutdown()

    def end(self, name: str, reason: ExitReason = ABNORMAL) -> LastAction | None:
        """A living child ends by itself."""
        (handle,) = [handle for handle, one in self.alive.items() if one == name]
        del self.alive[handle]
        return self.happens(Exit(handle, reason))  # type: ignore[arg-type]

    def due(self) -> LastAction | None:
        """The attempt that has waited longest."""
        retry = self.pending.pop(0)
        return self.happens(Due(retry.place.id, retry.attempt))

    def taken(self) -> list[str]:
        """What was done since the last look."""
        book, self.book = self.book, []
        return book

    def states(self) -> dict[str, str]:
        action = self.tree.decide(WhichChildren(), self.now)
        assert isinstance(action, Answer)
        return {info.id: info.state for info in action.value}

    def check(self) -> None:
        """What holds after everything."""
        running = {handle: place.id for handle, place in self.tree.running.items()}
        assert running == self.alive
        for place in self.tree.places.values():
            assert (place.handle is not None) == (place.state == "running")
            assert place.handle is None or self.tree.running[place.handle] is place
        for place in self.tree.places.values():
            if place.state == "restarting":
                assert any(r.place is place and r.attempt == place.attempt for r in self.pending), (
                    "somebody tries again"
                )


def stage(*children: Child, outcomes: tuple[str, ...] = (), **policy: Any) -> Stage:
    """A supervisor that has started."""
    made = Stage(Tree(Policy(**policy)), list(outcomes))
    made.happens(Begin(children))
    return made


def worker(name: str, **fields: Any) -> Child:
    return Child(Nobody, id=name, **fields)


def workers(names: str, **fields: Any) -> list[Child]:
    return [worker(name, **fields) for name in names]

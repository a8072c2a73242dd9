"""The kernel's rules as a small model: what any order of commands must lead to. Written from the design's tables and from
Erlang's rules of signals, links and monitors, without a look at how the kernel does it.

A model has no time: after each command everything that follows from it has happened. Where several exit signals of one
cascade reach an actor, the kernel may let any of them be the one that ends it; the model keeps them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["plain", "async", "thread"]

NORMAL, KILLED, NOPROC, PARENT, CRASH = "normal", "killed", "no such actor", "shutdown: its parent ended", "crash"

Heard: TypeAlias = tuple[Any, ...]
"""What an actor has received: ("say", n), ("down", label, who), ("exit", who); who: an actor's number, None from outside.
The reason follows where it does not depend on how that actor died."""

Reached: TypeAlias = tuple[int, set[str] | None]
"""Whom an exit signal of a death reaches, and why if not for the dead one's own reason."""

WATCHERS: list[Reached] = []
"""The turn of those who monitor the dead."""


@dataclass
class Life:
    """One actor. `reasons`: what may have ended it; empty while it lives. `hook`: which last hook has run."""

    number: int
    kind: Kind
    traps: bool
    name: str | None
    parent: int | None
    children: dict[int, bool] = field(default_factory=dict)
    """Each child, in order of start, and whether the link to it still stands."""
    links: set[int] = field(default_factory=set)
    monitors: dict[int, int] = field(default_factory=dict)
    """Label of the monitor, and whom it watches."""
    heard: list[Heard] = field(default_factory=list)
    perhaps: list[Heard] = field(default_factory=list)
    """Deaths that it may have been told of, or not: it may have ended before it came to them."""
    reasons: set[str] = field(default_factory=set)
    hook: str | None = None
    busy: int | None = None
    """The call that a suspended handler is to answer, -1 for a tell; None: it is not busy."""
    queue: list[Any] = field(default_factory=list)
    owed: list[int] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return not self.reasons


class Model:
    """All actors of a system, the outcomes of calls, and what became a dead letter."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.calls: dict[int, str] = {}
        """Outcome of each call that has ended: "ok", "refused", "late", or "died" with the callee's reason."""
        self.open: set[int] = set()
        self.dead_letters: list[int] = []
        """The numbers said to nobody."""
        self._signals: list[int] = []
        self._cascading = False

    # --- questions ---

    def living(self) -> list[Life]:
        return [life for life in self.lives if life.alive]

    def owner(self, name: str) -> Life | None:
        return next((life for life in self.living() if life.name == name), None)

    # --- commands ---

    def spawn(self, kind: Kind, traps: bool, name: str | None, parent: int | None) -> bool:
        """False: the name is taken."""
        if name is not None and self.owner(name) is not None:
            return False
        self.lives.append(Life(len(self.lives), kind, traps, name, parent))
        if parent is not None:
            self.lives[parent].children[self.lives[-1].number] = True
        return True

    def link(self, a: int, b: int) -> None:
        one, other = self.lives[a], self.lives[b]
        if a == b:
            return
        if not other.alive:
            self._deliver_exit(a, b, {NOPROC}, NOPROC)
        elif b in one.children:
            one.children[b] = True
        elif a in other.children:
            other.children[a] = True
        else:
            one.links.add(b)
            other.links.add(a)
        self._settle()

    def unlink(self, a: int, b: int) -> None:
        one, other = self.lives[a], self.lives[b]
        one.links.discard(b)
        other.links.discard(a)
        if b in one.children:
            one.children[b] = False
        if a in other.children:
            other.children[a] = False

    def monitor(self, a: int, b: int, label: int) -> None:
        if self.lives[b].alive:
            self.lives[a].monitors[label] = b
        else:
            self._put(a, ("down", label, b, NOPROC))

    def demonitor(self, a: int, label: int, flush: bool) -> None:
        life = self.lives[a]
        life.monitors.pop(label, None)
        if flush:
            life.queue = [entry for entry in life.queue if entry[:2] != ("down", label)]

    def exit(self, sender: int | None, b: int, reason: str) -> None:
        if self.lives[b].alive:
            self._deliver_exit(b, sender, {reason}, reason)
            self._settle()

    def kill(self, b: int) -> None:
        self._end(b, {KILLED}, None)
        self._settle()

    def put(self, b: int, entry: tuple[Any, ...]) -> None:
        """A message: ("say", n), ("stop",), ("crash", call), ("echo", call), ("refuse", call), ("defer", call),
        ("answer",), ("hang", call). `call` is -1 for a tell."""
        if self._call_of(entry) >= 0:
            self.open.add(entry[1])
        self._put(b, entry)
        self._settle()

    def release(self, b: int) -> None:
        """The suspended handler goes on, then whatever waits."""
        life = self.lives[b]
        call, life.busy = life.busy, None
        if call is not None and call >= 0:
            self._answer(call, "ok")
        while life.queue and life.alive and life.busy is None:
            self._handle(life, life.queue.pop(0))
            self._settle()

    # --- what follows ---

    @staticmethod
    def _call_of(entry: tuple[Any, ...]) -> int:
        return entry[1] if entry[0] in ("crash", "echo", "refuse", "defer", "hang") else -1

    def _put(self, b: int, entry: tuple[Any, ...]) -> None:
        life = self.lives[b]
        if not life.alive:
            self._bury(entry, {NOPROC})
        elif life.busy is not None:
            life.queue.append(entry)
        else:
            self._handle(life, entry)

    def _handle(self, life: Life, entry: tuple[Any, ...]) -> None:
        match entry:
            case ("say" | "down" | "exit", *_):
                if self._cascading and entry[0] != "say":
                    life.perhaps.append(entry)
                else:
                    life.heard.append(entry)
            case ("stop",):
                self._end(life.number, {NORMAL}, "stop")
            case ("echo", call):
                self._answer(call, "ok")
            case ("refuse", call):
                self._answer(call, "refused")
            case ("defer", call):
                if call >= 0:
                    life.owed.append(call)
            case ("answer",):
                for call in life.owed:
                    self._answer(call, "late")
                life.owed.clear()
            case ("hang", call):
                life.busy = call
            case ("crash", call):
                self._answer(call, f"died {life.number}")
                self._end(life.number, {CRASH}, "failure")
            case _:
                raise AssertionError(f"no such entry: {entry}")

    def _answer(self, call: int, outcome: str) -> None:
        if call >= 0:
            self.open.discard(call)
            self.calls[call] = outcome

    def _bury(self, entry: tuple[Any, ...], reasons: set[str], number: int | None = None) -> None:
        if entry[0] == "say":
            self.dead_letters.append(entry[1])
        self._answer(self._call_of(entry), "died" if number is None else f"died {number}")

    def _deliver_exit(self, b: int, sender: int | None, reasons: set[str], sure: str | None = None) -> None:
        life = self.lives[b]
        if not life.alive:
            return
        if sender is not None and sender == life.parent:
            self._end(b, reasons, "stop")
        elif life.traps:
            self._put(b, ("exit", sender) if sure is None else ("exit", sender, sure))
        elif reasons != {NORMAL} or sender == b:
            self._end(b, reasons, "stop")

    def _end(self, b: int, reasons: set[str], hook: str | None) -> None:
        life = self.lives[b]
        if not life.alive:
            return
        life.reasons |= reasons
        life.hook = hook
        for call in (life.busy, *life.owed):
            if call is not None:
                self._answer(call, f"died {b}")
        life.busy = None
        life.owed.clear()
        for entry in life.queue:
            self._bury(entry, reasons, b)
        life.queue.clear()
        self._signals.append(b)

    def _settle(self) -> None:
        """Let every death have its consequences."""
        self._cascading = True
        ended: list[Life] = []
        reached: list[
            tuple[Life, int, set[str] | None]
        ] = []  # by whose death, whom, and why if not for the same reason
        while self._signals:
            life = self.lives[self._signals.pop(0)]
            ended.append(life)
            family: list[Reached] = [(child, {PARENT}) for child in reversed(life.children)]
            friends: list[Reached] = [(other, None) for other in sorted(life.links)]
            above: list[Reached] = (
                [(life.parent, None)] if life.parent is not None and self._is_linked_child(life) else []
            )
            # A kill is over for the world at once, any other death when the children have ended. The parent learns of it last.
            for step in (friends, WATCHERS, family, above) if life.hook is None else (family, friends, WATCHERS, above):
                if step is WATCHERS:
                    for watcher, label in list(self._watchers(life.number)):
                        del self.lives[watcher].monitors[label]
                        self._put(watcher, ("down", label, life.number))
                for other, why in step:
                    reached.append((life, other, why))
                    self._deliver_exit(other, life.number, why or life.reasons)
        self._cascading = False
        self._spread_reasons(ended, reached)
        for each in self.lives:
            each.links.difference_update(life.number for life in ended)
            for life in ended:
                each.children.pop(life.number, None)
            if each.alive:
                each.heard += each.perhaps
                each.perhaps.clear()

    def _is_linked_child(self, life: Life) -> bool:
        return life.parent is not None and self.lives[life.parent].children.get(life.number, False)

    def _spread_reasons(self, ended: list[Life], reached: list[tuple[Life, int, set[str] | None]]) -> None:
        """Whichever of the exit signals of one cascade came first may have ended an actor."""
        changed = True
        while changed:
            changed = False
            for source, other, why in reached:
                target = self.lives[other]
                new = (why or source.reasons) - target.reasons - {NORMAL}
                if new and target in ended and target.hook == "stop":
                    target.reasons |= new
                    changed = True

    def _watchers(self, b: int) -> Iterator[tuple[int, int]]:
        for life in self.living():
            for label, whom in life.monitors.items():
                if whom == b:
                    yield life.number, label

"""A bounded mailbox against a list that obeys the same rules: any order of what is put in, put first, offered and taken."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from understudy.actors import Actor, ActorSystem, Bounded, DeadLetter, Down, Envelope, Killed, Overloaded, conflate
from understudy.actors.mailbox import BoundedMailbox


def key(entry: Any) -> Hashable | None:
    """Two keys, and none."""
    return entry % 3 or None


@dataclass
class Model:
    """`line` has an entry and whether it takes up room. `full` says what then happens to the next one."""

    capacity: int
    full: str
    conflates: bool
    front: list[Any] = field(default_factory=list)
    line: list[tuple[Any, bool]] = field(default_factory=list)
    offers: list[Any] = field(default_factory=list)
    lost: list[tuple[Any, str]] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.capacity - sum(takes for _, takes in self.line)

    def place_of(self, entry: Any) -> int | None:
        if not self.conflates or key(entry) is None:
            return None
        return next((n for n, (old, takes) in enumerate(self.line) if takes and key(old) == key(entry)), None)

    def put(self, entry: Any) -> bool:
        place = self.place_of(entry)
        if place is not None:
            self.lost.append((self.line[place][0], "conflated"))
            self.line[place] = (entry, True)
        elif self.room > 0:
            self.line.append((entry, True))
        elif self.full == "reject":
            return False
        elif self.full == "drop_newest":
            self.lost.append((entry, "dropped newest"))
        else:
            oldest = next(n for n, (_, takes) in enumerate(self.line) if takes)
            self.lost.append((self.line.pop(oldest)[0], "dropped oldest"))
            self.line.append((entry, True))
        return True

    def offer(self, entry: Any) -> bool:
        if self.room > 0 or self.place_of(entry) is not None:
            return self.put(entry)
        self.offers.append(entry)
        return False

    def take(self) -> Any:
        if self.front:
            return self.front.pop(0)
        entry, _ = self.line.pop(0)
        while self.offers and self.room > 0:
            self.put(self.offers.pop(0))
        return entry


class MailboxMachine(RuleBasedStateMachine):
    """Nobody takes the messages but the test: the actor is never opened."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.numbers = 0
        self.letters: list[tuple[Any, str]] = []
        self.waiting: dict[int, Any] = {}

    @initialize(
        capacity=st.integers(1, 4),
        overflow=st.sampled_from(("reject", "drop_oldest", "drop_newest")),
        conflates=st.booleans(),
    )
    def begin(self, capacity: int, overflow: Any, conflates: bool) -> None:
        bounds = Bounded(capacity, conflate(key, overflow) if conflates else overflow)
        self.model = Model(capacity, overflow, conflates)

        async def make() -> None:
            system = ActorSystem()
            system.hooks.subscribe(DeadLetter, lambda letter: self.letters.append((letter.message, letter.reason)))
            self.cell: Any = Actor._make_cell(system.scheduler, 1, None)

        self.loop.run_until_complete(make())
        self.box = BoundedMailbox(self.cell, bounds)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    @rule()
    def tell(self) -> None:
        entry = self.number()
        try:
            self.box.append(entry)
        except Overloaded:
            assert not self.model.put(entry)
        else:
            assert self.model.put(entry)

    @rule()
    def the_kernel_tells(self) -> None:
        entry = Envelope(Down(self.number(), self.cell, Killed()), ticket=None)
        entry.ticket = _Valid()
        self.box.append(entry)
        self.model.line.append((entry, False))

    @rule()
    def put_first(self) -> None:
        entry = self.number()
        self.box.appendleft(entry)
        self.model.front.insert(0, entry)

    @rule()
    def offer(self) -> None:
        entry = self.number()

        async def enter() -> Any:
            return self.box.enter(entry, self.loop)

        waiting = self.loop.run_until_complete(enter())
        assert (waiting is None) == self.model.offer(entry)
        if waiting is not None:
            self.waiting[entry] = waiting

    @precondition(lambda self: self.model.offers)
    @rule(which=st.integers(0, 10))
    def withdraw(self, which: int) -> None:
        entry = self.model.offers.pop(which % len(self.model.offers))
        assert self.box.withdraw(self.waiting.pop(entry))

    @precondition(lambda self: self.model.front or self.model.line)
    @rule()
    def take(self) -> None:
        assert self.box.popleft() is self.model.take()

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        assert list(self.box) == [*self.model.front, *(entry for entry, _ in self.model.line)]
        assert len(self.box) == len(self.model.front) + len(self.model.line)
        assert self.letters == self.model.lost
        assert sum(takes for _, takes in self.model.line) <= self.model.capacity
        for entry, waiting in tuple(self.waiting.items()):
            assert waiting.outcome is (None if entry in self.model.offers else True)

    def teardown(self) -> None:
        self.loop.close()


class _Valid:
    active = True


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

"""What a hop is made of: `python -m benchmarks.floor`. The price of the semantics, one after the other.

One message goes round a ring of 1,000. The first row is the least that Python can do: a queue and a function call. Each
row adds one thing that an actor system must do for every message, written as plainly as it can be; the last row is
Understudy. Nanoseconds for each hop, the best of some rounds that take turns: what a hop costs when nothing disturbs it.
"""

import gc
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

import click

from benchmarks.__main__ import table
from benchmarks.programs.with_understudy import measured, ring

RING = 1_000
HOPS = 300_000
ROUNDS = 7
WARM_UP = 20
"""Short rounds before: Python specializes a function when it has been called some times, and these loops count as one call."""

TURN = 64
"""Messages until a look at the clock."""

ready: deque[Any] = deque()
signals: deque[Any] = deque()


class Envelope:
    """A message that is more than itself."""


class Seat:
    """Who runs now."""

    __slots__ = ("cell",)
    cell: "Ref"


class Bare:
    """Hands on the message to the next, through the one queue that there is."""

    next: "Bare"

    def receive(self, left: int) -> None:
        if left:
            ready.append((self.next, left - 1))


class Boxed:
    """Has a mailbox of its own, and is in the queue as often as there are messages in it."""

    next: "Boxed"

    def __init__(self) -> None:
        self.mailbox: deque[Any] = deque()

    def receive(self, left: int) -> None:
        if left:
            following = self.next
            following.mailbox.append(left - 1)
            ready.append(following)


class Ref:
    """What others hold of an actor: `tell` is a method, and an idle actor is put into the queue once."""

    __slots__ = ("context", "free", "handled", "idle", "mailbox", "receive", "scheduler")
    receive: Callable[[Any], None]

    def __init__(self) -> None:
        self.mailbox: deque[Any] = deque()
        self.idle = True
        self.free = True
        self.context: Context | None = None
        self.handled = 0
        self.scheduler = ready

    def tell(self, message: Any) -> None:
        self.mailbox.append(message)
        if self.idle:
            self.idle = False
            self.scheduler.append(self)


class Told:
    """An actor apart from its reference."""

    next: Ref

    def receive(self, left: int) -> None:
        if left:
            self.next.tell(left - 1)


def bare() -> None:
    while ready:
        actor, message = ready.popleft()
        actor.receive(message)


def boxed() -> None:
    while ready:
        actor = ready.popleft()
        actor.receive(actor.mailbox.popleft())


def told() -> None:
    while ready:
        ref = ready.popleft()
        receive = ref.receive
        receive(ref.mailbox.popleft())
        ref.idle = True


def safely_woken() -> None:
    """As `told`, and a message that comes from another thread just now is not overlooked; a turn is many messages."""
    while ready:
        ref = ready.popleft()
        mailbox, receive = ref.mailbox, ref.receive
        while mailbox:
            receive(mailbox.popleft())
        ref.idle = True
        if mailbox and ref.idle:
            ref.idle = False
            ready.append(ref)


def fair() -> None:
    """And a turn has an end, for the sake of others; what was handled is counted."""
    while ready:
        numbers = iter(range(1, TURN + 1))
        for number in numbers:
            if not ready:
                return
            ref = ready.popleft()
            mailbox, receive = ref.mailbox, ref.receive
            receive(mailbox.popleft())
            ref.handled += 1
            ref.idle = True
            if mailbox and ref.idle:
                ref.idle = False
                more(ref, numbers, number)


def guarded() -> None:
    """And an error ends one actor alone; calls, stops, replies and coroutines are told from plain messages."""
    while ready:
        numbers = iter(range(1, TURN + 1))
        for number in numbers:
            if not ready:
                return
            ref = ready.popleft()
            if not ref.free:
                continue
            mailbox, receive = ref.mailbox, ref.receive
            try:
                item = mailbox.popleft()
                ref.handled += 1
                if item.__class__ is Envelope:
                    raise TypeError(item)
                result = receive(item)
                if result is not None:
                    raise TypeError(result)
            except Exception:  # noqa: BLE001 - whatever a handler raises
                ref.free = False
            if ref.free:
                ref.idle = True
                if mailbox and ref.idle:
                    ref.idle = False
                    more(ref, numbers, number)


def isolated() -> None:
    """And signals come between messages; it is known who runs; what a handler sets in its context stays its actor's own."""
    seat, base = Seat(), copy_context()
    base.run(run_isolated, seat, base.copy(), base)


def run_isolated(seat: Seat, scratch: Context, base: Context) -> None:
    """In a context that all actors share, as long as none of them changes it."""
    while ready:
        numbers = iter(range(1, TURN + 1))
        for number in numbers:
            if signals:
                raise RuntimeError(signals)
            if not ready:
                return
            ref = ready.popleft()
            if not ref.free:
                continue
            seat.cell = ref
            if ref.context is not None:
                continue
            mailbox, receive = ref.mailbox, ref.receive
            try:
                item = mailbox.popleft()
                ref.handled += 1
                if item.__class__ is Envelope:
                    raise TypeError(item)
                result = receive(item)
                if result is not None:
                    raise TypeError(result)
            except Exception:  # noqa: BLE001
                ref.free = False
            if ref.free:
                ref.idle = True
                if mailbox and ref.idle:
                    ref.idle = False
                    more(ref, numbers, number)
            if scratch != base:
                ref.context = scratch
                return


def more(ref: Ref, numbers: Iterator[int], before: int) -> None:
    """The rest of a turn, when there is more than one message. Not in a ring."""
    number = before
    for number in numbers:  # noqa: B007 - how far it came is what counts
        ref.receive(ref.mailbox.popleft())
        if not ref.mailbox:
            break
    ref.handled += number - before
    ref.idle = True
    if ref.mailbox:
        ref.idle = False
        ready.append(ref)


STEPS: dict[str, tuple[Callable[[], None], type[Any]]] = {
    "a queue and a call": (bare, Bare),
    "a mailbox for each actor": (boxed, Boxed),
    "references: tell is a method, who is idle waits in no queue": (told, Told),
    "turns; no wake-up is lost to another thread": (safely_woken, Told),
    "a turn has an end; messages are counted": (fair, Told),
    "errors end one actor; calls and coroutines are told apart": (guarded, Told),
    "signals; who runs now; a context for each actor": (isolated, Told),
}


def step(name: str, hops: int) -> float:
    """Nanoseconds for each hop."""
    run, kind = STEPS[name]
    actors = [kind() for _ in range(RING)]
    places: list[Any] = actors
    if kind is Told:
        places = [Ref() for _ in actors]
        for ref, actor in zip(places, actors):
            ref.receive = actor.receive
    for index, actor in enumerate(actors):
        actor.next = places[(index + 1) % RING]
    if kind is Bare:
        ready.append((actors[0], hops))
    elif kind is Boxed:
        actors[0].mailbox.append(hops)
        ready.append(actors[0])
    else:
        places[0].tell(hops)
    began = time.process_time()
    run()
    return (time.process_time() - began) / hops * 1e9


@click.command()
@click.option("--rounds", default=ROUNDS, show_default=True, help="The best of so many.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
def main(rounds: int, as_json: Path | None) -> None:
    """Show what a hop from actor to actor costs, step by step."""
    last = "all of Understudy: the clock, the loop, waking it"
    found: dict[str, list[float]] = {name: [] for name in (*STEPS, last)}
    for name in STEPS:
        for _ in range(WARM_UP):
            step(name, 1_000)
    for _ in range(rounds):
        for name, times in found.items():
            gc.collect()
            times.append(measured(ring, HOPS).cpu * 1000 if name == last else step(name, HOPS))
    best = {name: min(times) for name, times in found.items()}
    rows: list[list[str]] = []
    before = 0.0
    for name, nanoseconds in best.items():
        rows.append([name, f"{nanoseconds:.0f}", f"{nanoseconds - before:+.0f}", f"{1e3 / nanoseconds:.1f}"])
        before = nanoseconds
    click.echo(table(["with", "ns a hop", "more", "M hops/s"], rows))
    if as_json is not None:
        as_json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

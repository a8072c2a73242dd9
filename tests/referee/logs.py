"""What a log is, and when two of them are equal.

    0 -- 1                          step 1 begins; the number before everything is the second it happened in
    0 up a#2 s#1 ok                 the second attempt to start a, a child of the first s: ok, fail, ignore, slow4
    4 ready a#2                     a slow start is over
    4 stopping a#2 shutdown         its last hook runs (terminate, on_stop, on_failure)
    4 down a#2 killed               it has ended
    4 answer s which: a=running     an operator has the answer

Some things are left open by design, on one side or the other, and are made equal here:

- An answer reaches its operator while the supervisor goes on. It counts in which step and second it came.
- Whoever asks a supervisor that is ending hears that it is gone: from Erlang's when it has ended, from ours at once. It counts that
  he hears that.
- The children of a supervisor that was *killed* end after it, in whatever order, and nobody waits for that. Of them it counts
  that they started.
- A dynamic supervisor ends its children all at once: what happens to each stays in order, among them there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise
from typing import NamedTuple

from tests.referee.scenario import Branch, Scenario


class Event(NamedTuple):
    """A line. `who` is a name with its number, as `a#2`."""

    time: int
    what: str
    who: str
    rest: str

    def __str__(self) -> str:
        return " ".join([str(self.time), self.what, self.who, *([self.rest] if self.rest else [])])


def parsed(lines: Iterable[str]) -> list[Event]:
    """The events of a log."""
    events: list[Event] = []
    for line in lines:
        time, what, who, *rest = line.split(" ", 3)
        events.append(Event(int(time), what, who, rest[0] if rest else ""))
    return events


def normal(lines: Iterable[str], scenario: Scenario) -> list[str]:
    """A log without what is left open."""
    events = parsed(lines)
    above = {event.who: event.rest.split()[0] for event in events if event.what == "up"}
    dynamic = {each.id for each in scenario.everybody if isinstance(each, Branch) and each.strategy == "dynamic"}
    gone = sorted(f"{event.who} {event.rest}" for event in events if event.rest.endswith(": gone"))
    events = [event for event in events if not event.rest.endswith(": gone")]
    ordered = _in_order(_answers_last(_without_orphans(events, above)), above, dynamic)
    return [*map(str, ordered), *gone]


def _answers_last(events: list[Event]) -> list[Event]:
    step = 0

    def when(event: Event) -> tuple[int, int]:
        nonlocal step
        step += event.what == "--"
        return step, event.time

    ordered: list[Event] = []
    for _, group in groupby(events, when):
        together = list(group)
        ordered += [event for event in together if event.what != "answer"]
        ordered += sorted(event for event in together if event.what == "answer")
    return ordered


def _without_orphans(events: list[Event], above: dict[str, str]) -> list[Event]:
    killed: set[str] = set()
    kept: list[Event] = []
    for event in events:
        if event.what in ("down", "stopping", "ready") and not killed.isdisjoint(_line_of(event.who, above)[1:]):
            continue
        kept.append(event)
        if event.what == "down" and event.rest == "killed":
            killed.add(event.who)
    return kept


def _in_order(events: list[Event], above: dict[str, str], dynamic: set[str]) -> list[Event]:
    """What ends under a dynamic supervisor in one go, child by child."""

    def whose(numbered: tuple[int, Event]) -> tuple[int, str]:
        """When and under which dynamic supervisor it ends; whatever else happens is by itself."""
        number, event = numbered
        if event.what in ("down", "stopping"):
            for name in reversed(_line_of(event.who, above)[1:]):
                if name.split("#")[0] in dynamic:
                    return event.time, name
        return number, ""

    def branch(event: Event) -> list[str]:
        """Which child it is, or is under, of each dynamic supervisor above it, from the top; such a one itself comes last."""
        line = [*reversed(_line_of(event.who, above)), "~"]
        return [under for name, under in pairwise(line) if name.split("#")[0] in dynamic]

    ordered: list[Event] = []
    for (_, top), group in groupby(enumerate(events), whose):
        together = [event for _, event in group]
        ordered += sorted(together, key=branch) if top else together
    return ordered


def _line_of(who: str, above: dict[str, str]) -> list[str]:
    """It, its supervisor, that one's supervisor, and so on."""
    line = [who]
    while line[-1] in above:
        line.append(above[line[-1]])
    return line


def beside(left: list[str], right: list[str], titles: tuple[str, str] = ("Erlang", "ours")) -> str:
    """Two logs side by side, with a mark where they first differ."""
    width = max(map(len, [*left, titles[0]])) + 2
    first = next(
        (at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other),
        min(len(left), len(right)),
    )
    rows = [f"   {titles[0]:{width}}| {titles[1]}"]
    for at in range(max(len(left), len(right))):
        one, other = (log[at] if at < len(log) else "" for log in (left, right))
        rows.append(f"{'->' if at == first else '  '} {one:{width}}| {other}")
    return "\n".join(row.rstrip() for row in rows)

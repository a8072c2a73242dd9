"""How each member stands with this node: what it has seen of it, who accuses it, and what comes next. For people.

    Watch (probes) ──┐
    the table's rows ┼──▶ explain ──▶ a Standing for each member
    Rules            ┘

It is the same arithmetic by which votes are cast (`suspicion.py`), read forwards: "nothing changes, so in 2 s ...".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from understudy.transport.suspicion import Key, Rules, Watch, is_silent, is_suspect, needed, votes
from understudy.transport.table import Member, Suspicion


@dataclass(frozen=True, slots=True)
class Standing:
    """One member, as this node sees it.

    `missed`: probes in a row that it has not answered; `seconds` of them. `silent`: so many that one cannot count on it. `connected`: a
    connection to it stands all the same, so that its process is there. `votes`: the nodes that accuse it, in the table; `needed`:
    how many declare it dead; `accused_here`: this node is one of them. `due`: seconds until this node would accuse it, if it goes
    on like that; None: it does already, or has no reason to.
    """

    member: Member
    missed: int = 0
    seconds: float = 0.0
    silent: bool = False
    connected: bool = False
    votes: tuple[str, ...] = ()
    needed: int = 0
    accused_here: bool = False
    due: float | None = None


def explain(watch: Watch, members: Iterable[Member], me: Key, rules: Rules) -> list[Standing]:
    """All members that the table knows, by name, those that are over too."""
    rows = tuple(members)
    return [_standing(watch, rows, row, me, rules) for row in sorted(rows, key=lambda row: row.node)]


def _standing(watch: Watch, rows: tuple[Member, ...], row: Member, me: Key, rules: Rules) -> Standing:
    if row.status != "active":
        return Standing(row)
    missed, connected = watch.misses.get(row.key, 0), row.key in watch.standing
    accused_here = Suspicion(*me) in row.suspicions
    after = max(rules.misses * rules.interval, rules.blocked_after if connected else 0.0)
    waits = missed > 0 and not accused_here
    return Standing(
        row,
        missed=missed,
        seconds=missed * rules.interval,
        silent=is_silent(watch, row.key, rules),
        connected=connected,
        votes=tuple(sorted(node for node, _ in votes(rows, row))),
        needed=needed(rows, row),
        accused_here=accused_here,
        due=(0.0 if is_suspect(watch, row.key, rules) else max(0.0, after - missed * rules.interval))
        if waits
        else None,
    )

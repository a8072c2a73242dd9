"""When a node is suspected and when it is dead: Orleans' rules, as pure functions. Time is an argument.

    a round of probes ──▶ observe ──▶ Watch ──▶ judge ──▶ rows to commit: votes cast, votes withdrawn, deaths
                                                  ▲
                          the table's members ────┘

    3 probes missed       ──▶ a vote against it is written; an answer later on withdraws the vote
    10 seconds of them    ──▶ the same for one whose connection stands all the while: it is there, and something holds its loop
    votes >= needed       ──▶ the voter who sees it writes the death
    needed                =   min(2, live voters who are not accused themselves), at least 1: of two nodes one suffices,
                              and when two of three die together the third is enough

Who may be wrong about everybody holds back:

    Our own timers came late                The pause was ours: nobody is accused for it.
    We suspect more than half of the rest   Perhaps it is we who are cut off. Wait long enough for a majority to accuse
                                            us first, check our own health, read the table, and only then vote.
    We stand accused                        Our vote is not wanted while somebody whom we still reach could cast his.
                                            If there is nobody, the accuser may have died of the same thing: vote after
                                            a patience that is longer than the others need to decide about us.

Votes of members that are not active any more are void. There are no times in the table: every duration is measured by
one node on its own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from understudy.transport.table import Member, Suspicion

Key: TypeAlias = tuple[str, int]
"""(node, incarnation)"""


@dataclass(frozen=True, slots=True)
class Rules:
    """`interval`: seconds from probe to probe; `misses`: how many in a row make a suspect; `blocked_after`: seconds without an
    answer that make one of a node whose connection stands: its process is there, and its loop blocked; `sweep_after`: seconds after
    which the names of a node that is gone are deleted, if nobody has taken them."""

    interval: float = 1.0
    misses: int = 3
    blocked_after: float = 10.0
    sweep_after: float = 60.0

    @property
    def answer_within(self) -> float:
        """Seconds a probe may take: less than the interval, so that a round ends before the next begins."""
        return 0.75 * self.interval

    @property
    def claim_within(self) -> float:
        """Seconds that a live process has to defend its node name against a newcomer."""
        return 1.5 * self.interval

    @property
    def majority_first(self) -> float:
        """Seconds that a node waits which suspects more than half: the others notice at most one interval later."""
        return 2 * self.interval

    @property
    def patience(self) -> float:
        """Seconds that an accused node waits for the others' decision about it."""
        return 2 * self.misses * self.interval


@dataclass(frozen=True, slots=True)
class Watch:
    """What one node has seen of the others: probes missed in a row, whose connections stand all the same, and since when it has
    been in doubt itself."""

    misses: Mapping[Key, int] = field(default_factory=dict[Key, int])
    standing: frozenset[Key] = frozenset()
    overwhelmed_since: float | None = None
    accused_since: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """`rows`: what this node should write now; `held`: why it does not vote, for people ("" if it does).

    `check`: before it writes, it must find itself healthy.
    """

    watch: Watch
    rows: tuple[Member, ...] = ()
    held: str = ""
    check: bool = False


def observe(
    watch: Watch, answers: Mapping[Key, bool], late: float, rules: Rules, standing: frozenset[Key] = frozenset()
) -> Watch:
    """Count a round of probes, in which our own timers were `late` seconds behind. Members not probed are forgotten.

    `standing`: those to whom a connection stands, whether or not they answered.
    """
    if late > rules.interval:
        return replace(watch, misses={}, overwhelmed_since=None)
    misses = {key: 0 if answered else watch.misses.get(key, 0) + 1 for key, answered in answers.items()}
    return replace(watch, misses=misses, standing=standing)


def is_silent(watch: Watch, key: Key, rules: Rules) -> bool:
    """Whether that member has missed so many probes that one cannot count on it, whatever is the matter with it."""
    return watch.misses.get(key, 0) >= rules.misses


def is_suspect(watch: Watch, key: Key, rules: Rules) -> bool:
    """Whether it has been silent for long enough to be accused."""
    missed = watch.misses.get(key, 0)
    return missed >= rules.misses and (key not in watch.standing or missed * rules.interval >= rules.blocked_after)


def judge(watch: Watch, members: Iterable[Member], me: Key, now: float, rules: Rules) -> Judgement:
    """What `me` should write into the table, given what it saw and what stands there."""
    members = tuple(members)
    others = active(members) - {me}
    suspects = frozenset(key for key in others if is_suspect(watch, key, rules))
    overwhelmed = 2 * len(suspects) > len(others)
    accused = any(votes(members, row) for row in members if row.key == me)
    watch = replace(
        watch,
        overwhelmed_since=_since(watch.overwhelmed_since, overwhelmed, now),
        accused_since=_since(watch.accused_since, accused, now),
    )
    # Of two nodes there is no majority to wait for.
    if len(others) > 1 and _younger(watch.overwhelmed_since, now, rules.majority_first):
        return Judgement(watch, held="it suspects more than half of the others and lets them vote first")
    if accused and suspects:
        if _younger(watch.accused_since, now, rules.patience):
            return Judgement(watch, held="it is accused itself and leaves the vote to the others")
        reached = others - suspects
        voted = Suspicion(*me)
        rows = [row for row in members if row.key in suspects]
        suspects = frozenset(row.key for row in rows if voted in row.suspicions or not free(members, row) & reached)
    return Judgement(watch, ballot(members, me, suspects), check=overwhelmed)


def ballot(members: Iterable[Member], me: Key, suspects: frozenset[Key]) -> tuple[Member, ...]:
    """The rows that change when `me` votes against exactly these suspects and writes the deaths this makes certain."""
    before = {row.node: row for row in members}
    rows = before | {row.node: _voted(row, me, row.key in suspects) for row in before.values() if row.key != me}
    # One death at a time: the votes of the dead are void for the next. Only voters write deaths, so nobody dies of
    # the votes of nodes that are gone.
    while condemned := [row for row in rows.values() if row.key in suspects and is_condemned(rows.values(), row)]:
        dead = max(condemned, key=lambda row: (len(votes(rows.values(), row)), row.node))
        voters = sorted(node for node, _ in votes(rows.values(), dead))
        rows[dead.node] = replace(dead, status="dead", reason=f"did not answer {' and '.join(voters)}")
    return tuple(row for row in rows.values() if row != before[row.node])


def is_condemned(members: Iterable[Member], suspect: Member) -> bool:
    """Whether an active member has as many votes against it as are needed."""
    members = tuple(members)
    return suspect.status == "active" and len(votes(members, suspect)) >= needed(members, suspect)


def needed(members: Iterable[Member], suspect: Member) -> int:
    """How many votes declare `suspect` dead: two, or one if there is only one voter who is not accused himself."""
    return max(1, min(2, len(free(members, suspect))))


def free(members: Iterable[Member], suspect: Member) -> frozenset[Key]:
    """The live voters about `suspect` who are not accused themselves."""
    members = tuple(members)
    accused = {row.key for row in members if votes(members, row)}
    return active(members) - accused - {suspect.key}


def votes(members: Iterable[Member], suspect: Member) -> frozenset[Key]:
    """Who stands behind the suspicions against `suspect`: members that are still active, not itself."""
    if not suspect.suspicions:
        return frozenset()
    return active(members).intersection((vote.node, vote.incarnation) for vote in suspect.suspicions) - {suspect.key}


def active(members: Iterable[Member]) -> frozenset[Key]:
    """The members that are active."""
    return frozenset(row.key for row in members if row.status == "active")


def _voted(row: Member, me: Key, against: bool) -> Member:
    mine = Suspicion(*me)
    if row.status != "active" or against == (mine in row.suspicions):
        return row
    others = tuple(vote for vote in row.suspicions if vote != mine)
    return replace(row, suspicions=(*others, mine) if against else others)


def _since(since: float | None, holds: bool, now: float) -> float | None:
    return (now if since is None else since) if holds else None


def _younger(since: float | None, now: float, than: float) -> bool:
    return since is not None and now - since < than

"""Who is in which group on one node, as another one knows it: plain data, merged by plain rules.

    the node itself     changes ──▶ Unsaid: what the other has not been told, as a difference ──▶ slices ──┐
    the other one       Roster: what it was told  ◀── JOINED, PARTED, in the order they were sent ◀────────┘

A join that is undone before it was said is never said. So what waits is never more than what differs, however long the other
one cannot be reached and however much happens meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from understudy.actors.names import NAME_LIMIT
from understudy.transport.schema import Unreadable

K = TypeVar("K")


class Slice(NamedTuple, Generic[K]):
    """Some members of one group who have joined it, or have left."""

    group: str
    joined: bool
    members: list[K]


class Unsaid(Generic[K]):
    """What another node has not been told yet of the groups here."""

    __slots__ = ("_changes",)

    def __init__(self) -> None:
        self._changes: dict[str, dict[K, bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._changes)

    def begin(self, groups: dict[str, tuple[K, ...]]) -> None:
        """It knows nothing, and these are the groups."""
        self._changes = {group: dict.fromkeys(members, True) for group, members in groups.items() if members}

    def change(self, group: str, member: K, *, joined: bool) -> None:
        """A member came or went. The changes of one member alternate, so a second one undoes the first."""
        changes = self._changes.setdefault(group, {})
        if member not in changes:
            changes[member] = joined
            return
        del changes[member]
        if not changes:
            del self._changes[group]

    def take(self, most: int) -> list[Slice[K]]:
        """Up to so many changes, which are said from now on."""
        slices: list[Slice[K]] = []
        while self._changes and most > 0:
            group, changes = self._changes.popitem()
            taken = list(islice(changes, most))
            by_kind: dict[bool, list[K]] = {}
            for member in taken:
                by_kind.setdefault(changes.pop(member), []).append(member)
            slices += [Slice(group, joined, members) for joined, members in by_kind.items()]
            most -= len(taken)
            if changes:
                self._changes[group] = changes
        return slices


class Roster:
    """Who is in which group on one other node, by the ids of its actors, as that node has told."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[str, dict[int, None]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._groups))

    def ids(self, group: str) -> tuple[int, ...]:
        """Who is in that group, in the order in which they were told of."""
        return tuple(self._groups.get(group, ()))

    def has(self, group: str, member: int) -> bool:
        """Whether that one is in the group."""
        return member in self._groups.get(group, ())

    def count(self, group: str) -> int:
        """How many are in that group."""
        return len(self._groups.get(group, ()))

    def join(self, group: object, ids: Sequence[object]) -> list[int]:
        """These are in the group from now on; returns those that were not before. Unreadable for what is none."""
        name, members = _checked(group, ids)
        there = self._groups.get(name, {})
        new = [each for each in dict.fromkeys(members) if each not in there]
        if new:
            self._groups.setdefault(name, there).update(dict.fromkeys(new))
        return new

    def part(self, group: object, ids: Sequence[object]) -> list[int]:
        """These are not in the group any more; returns those that were. Unreadable for what is none."""
        name, members = _checked(group, ids)
        there = self._groups.get(name, {})
        gone = [each for each in dict.fromkeys(members) if each in there]
        for each in gone:
            del there[each]
        if gone and not there:
            del self._groups[name]
        return gone

    def clear(self) -> dict[str, tuple[int, ...]]:
        """Nobody is in any group; returns who was."""
        groups, self._groups = self._groups, {}
        return {group: tuple(ids) for group, ids in groups.items()}


def checked_group(group: object) -> str:
    """The name of a group as it came over the wire. Unreadable if it cannot be one."""
    if type(group) is not str or not 0 < len(group) <= NAME_LIMIT or "@" in group:
        raise Unreadable(f"this is no name of a group: {str(group)[:100]!r}")
    return group


def _checked(group: object, ids: Sequence[object]) -> tuple[str, list[int]]:
    members = [each for each in ids if type(each) is int and 0 <= each < 1 << 64]
    if len(members) != len(ids):
        raise Unreadable(f"the members of a group are ids of actors, not {str(ids)[:100]}")
    return checked_group(group), members

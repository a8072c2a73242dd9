"""Who is a member and who owns a name: one small table, changed only by compare-and-swap.

    node A                       table                        node B
    read() ───────────────────▶ members at 7
                                members at 7 ◀─────────────── read()
    commit(expect 7, change) ──▶ members at 8
                                members at 8 ◀─────────────── commit(expect 7, change)
                                             ───── None ────▶ lost the race: read again, think again

The members have ONE version together, since a decision about one of them rests on all the others. Every name has a
version of its own, so that claims of different names do not get into each other's way; all are taken from one counter
of the names. So versions and fences grow for ever, and a name that was given up needs no row that remembers it. A
commit batches rows of both kinds; all of it happens or nothing. Rows carry no times and no leases: while
the table cannot be reached nothing in it changes, so nobody dies of an outage.

Beside a name may stand values that only its present owner can write: `guarded_write` checks the fence in the same
transaction (`guard.py`).

Implementations: `memory` (tests, simulation), `sqlite` (a file that processes of one machine share), `served` (a node's
table, over its link), `postgres`, `etcd`. One contract suite holds them all: `tests/contract/test_membership_table.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import field, fields
from typing import Any, Literal, Protocol, TypeAlias, get_args

from understudy.actors import UnderstudyError, message

Status: TypeAlias = Literal["active", "left", "dead"]
"""A member is `active` until it left in order, or was declared dead by the others or replaced by a new incarnation."""

STATUSES: tuple[str, ...] = get_args(Status)


class TableError(UnderstudyError):
    """The membership table did not do what was asked; the text says which table, why, and what to do."""


class TableUnavailable(TableError):
    """The table cannot be reached or written for now: it is locked, its disk is full, its server is away.

    Whether a commit that was under way took effect is unknown: read again. Nothing dies of it.
    """


class TableUnusable(TableError):
    """This can never be our table as it stands: another program's file, another version's, a folder we may not use."""


@message("membership.suspicion")
class Suspicion:
    """One member's vote that another is dead. Void once the voter itself is no longer an active member."""

    node: str
    incarnation: int


@message("membership.member")
class Member:
    """One row per node name; a new incarnation of the node overwrites the old one's row.

    `incarnation` grows with every start of a node of that name (milliseconds of Unix time, unless the clock ran
    backwards); `address` is where its link listens, `curve_key` its public key ("" on loopback), `pid` its
    operating-system process, `reason` why it is dead, for people. What may be placed on it: `tags` say what it has
    ("gpu"), `capacity` how many placed actors it takes (0: no limit), `draining` that it takes nothing new.
    """

    node: str
    incarnation: int
    address: str
    status: Status = "active"
    curve_key: str = ""
    roles: tuple[str, ...] = ()
    pid: int = 0
    suspicions: tuple[Suspicion, ...] = ()
    reason: str = ""
    tags: tuple[str, ...] = ()
    capacity: int = 0
    draining: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """(node, incarnation): what never comes back."""
        return self.node, self.incarnation


@message("membership.name")
class Name:
    """One row for each cluster-wide name that somebody has; a row with the node "" gives the name up.

    Writers choose `name`, `node` and `incarnation`; the table sets the rest. `version` is the names' version at which
    the row was written last; `fence` the one at which the present owner took it, higher than every earlier owner's.
    """

    name: str
    node: str = ""
    incarnation: int = 0
    version: int = 0
    fence: int = 0


@message("membership.versions")
class Versions:
    """How far a table has come, in the changes of its members and of its names. Each only grows; commits that touch
    different names may have happened at the same version."""

    members: int = 0
    names: int = 0


@message("membership.snapshot")
class Snapshot:
    """The table, or what changed in it since the versions that the reader named; `versions` are those it is at now.

    `whole`: this is everything there is, so what the reader knew besides is gone. Otherwise a name that was given up
    stands among the others, without a node.
    """

    versions: Versions = Versions()
    members: tuple[Member, ...] = ()
    names: tuple[Name, ...] = ()
    whole: bool = False

    def member(self, node: str) -> Member | None:
        """The row of that node name."""
        return next((row for row in self.members if row.node == node), None)

    def name(self, name: str) -> Name | None:
        """The row of that name."""
        return next((row for row in self.names if row.name == name), None)


@message("membership.expect")
class Expect:
    """What the writer last saw: the members' version, and for each name its row's version (0: nobody has it).

    Whatever a change touches must be expected. What is expected without being changed is a condition all the same.
    """

    members: int | None = None
    names: Mapping[str, int] = field(default_factory=dict[str, int])


@message("membership.change")
class Change:
    """Rows to be written over those of the same node or name."""

    members: tuple[Member, ...] = ()
    names: tuple[Name, ...] = ()


Commit: TypeAlias = tuple[Expect, Change]
"""A change, and what it rests on."""


class MembershipTable(Protocol):
    """Every method may be called from several tasks at once, and raises TableError when the table fails."""

    async def read(self, since: Versions | None = None) -> Snapshot:
        """The rows that changed after `since`, in that order, and the present versions; everything without it.

        Also everything when the table is *behind* `since`: it is another table than the one read then. And when that
        is so long ago that the table no longer knows which names were given up after it.
        """
        ...

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """Write the change if everything is as expected, and return the new versions; None: lost the race, read again.

        The names written have the version `names` of the result, and so has the fence of each that changed its owner.
        Many may be under way at once: they share the way to the disk, and each is accepted or refused on its own.
        ValueError when the change touches what is not expected, or a row that makes no sense: a mistake in the caller.
        """
        ...

    async def guarded_write(self, name: str, fence: int, key: str, value: bytes) -> None:
        """Write `value` under `key`, beside the name, if `fence` is that of the name's owner at this very moment.

        Raises Fenced, and writes nothing, if it is not: whoever wrote is no longer the owner. ValueError for a value of
        more than 512 KiB.
        """
        ...

    async def guarded_read(self, name: str, key: str) -> bytes | None:
        """What was last written there, under whichever fence; None: nothing."""
        ...

    def hints(self) -> AsyncIterator[Versions]:
        """The versions now, and each time that they moved. Only hints: some may be missing, and an outage is silence."""
        ...

    async def close(self) -> None:
        """Let go of the table. Its rows stay."""
        ...


NAMES_LIMIT = 100
"""Names that one commit may touch. Whoever has more makes more commits at once: they share the way to the disk."""

NAME_LIMIT = 500
"""Characters of a name."""


def check(expect: Expect, change: Change) -> None:
    """Refuse, with ValueError, a commit that no table may accept: one wrong row would be wrong for every reader."""
    for member in change.members:
        _check_types(member, Member)
        for suspicion in member.suspicions:
            _check_types(suspicion, Suspicion)
        if any(type(word) is not str for word in (*member.roles, *member.tags)):
            raise ValueError(f"roles and tags of {member.node!r} must be texts, not {member.roles!r}, {member.tags!r}")
        if member.status not in STATUSES:
            raise ValueError(
                f"the status of {member.node!r} must be one of {', '.join(STATUSES)}; it is {member.status!r}"
            )
    for name in change.names:
        _check_types(name, Name)
    if change.members and expect.members is None:
        raise ValueError("a change to members must expect the members' version that it rests on")
    unexpected = [row.name for row in change.names if row.name not in expect.names]
    if unexpected:
        raise ValueError(f"a change to the names {unexpected} must expect the version of each of them (0: a new one)")
    if len(expect.names) > NAMES_LIMIT:
        raise ValueError(f"one commit must touch no more than {NAMES_LIMIT} names, not {len(expect.names)}")
    for each in expect.names:
        check_text(each, "a name")
    for kind, keys in (("node", [row.node for row in change.members]), ("name", [row.name for row in change.names])):
        if "" in keys:
            raise ValueError(f"a row needs a {kind}, this one has none")
        if len(set(keys)) < len(keys):
            raise ValueError(f"one change may write each {kind} once: {keys}")


def check_text(text: str, what: str, limit: int | None = NAME_LIMIT) -> None:
    """ValueError for what some table could not keep as it is: no UTF-8, or one that a database ends at a zero."""
    if limit is not None and len(text) > limit:
        raise ValueError(f"{what} must have no more than {limit} characters, not {len(text):,}")
    if "\0" in text or (not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)):
        raise ValueError(f"{what} must have no NUL in it and no half of a surrogate pair: {text[:80]!r}")


def _check_types(row: object, cls: type[Member | Suspicion | Name]) -> None:
    """Rows also come from other machines."""
    if type(row) is not cls:
        raise ValueError(f"a {cls.__name__} must stand here, not {row!r}")
    for name, kind in _TYPES[cls]:
        value: Any = getattr(row, name)
        found = type(value)
        if found is not kind:
            raise ValueError(f"{name} of a {cls.__name__} must not be {value!r}")
        if kind is str:
            check_text(value, f"{name} of a {cls.__name__}", limit=None)
        elif kind is int and not 0 <= value < 2**63:
            raise ValueError(f"{name} of a {cls.__name__} must be a number of 63 bits, not {value}")


_REQUIRED = {"node": str, "incarnation": int, "address": str, "name": str}
_TYPES: dict[type, tuple[tuple[str, type], ...]] = {
    cls: tuple(
        (each.name, type(each.default) if each.name not in _REQUIRED else _REQUIRED[each.name]) for each in fields(cls)
    )
    for cls in (Member, Suspicion, Name)
}

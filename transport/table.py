"""Who is a member and who owns a name: one small table, changed only by compare-and-swap.

    node A                       table                        node B
    read() ───────────────────▶ members at 7
                                members at 7 ◀─────────────── read()
    commit(expect 7, change) ──▶ members at 8
                                members at 8 ◀─────────────── commit(expect 7, change)
                                             ───── None ────▶ lost the race: read again, think again

The members have ONE version together, since a decision about one of them rests on all the others. Every name has a
version of its own, so that claims of different names do not get into each other's way. A commit batches any number of
rows of both kinds; all of it happens or nothing. Rows carry no times and no leases: while the table cannot be
reached nothing in it changes, so nobody dies of an outage.

Implementations: `memory` (tests, simulation), `sqlite` (a file that processes of one machine share), `served` (a node's
table, over its link). One contract suite holds them all: `tests/contract/test_membership_table.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import field, fields, replace
from typing import Literal, Protocol, TypeAlias, get_args

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
    """One row per cluster-wide name. `node` is "" once it was given up: the row stays, so that its fence only grows.

    Writers choose `name`, `node` and `incarnation`; the table sets the rest. `version` counts the commits to this
    row; `fence` is the version at which the present owner took it, and is higher than every earlier owner's.
    """

    name: str
    node: str = ""
    incarnation: int = 0
    version: int = 0
    fence: int = 0


@message("membership.versions")
class Versions:
    """How far a table has come: the commits to its members, and those to any of its names."""

    members: int = 0
    names: int = 0


@message("membership.snapshot")
class Snapshot:
    """The table, or what changed in it since the versions that the reader named; `versions` are those it is at now."""

    versions: Versions = Versions()
    members: tuple[Member, ...] = ()
    names: tuple[Name, ...] = ()

    def updated(self, delta: Snapshot) -> Snapshot:
        """This snapshot with a later reading laid over it."""
        members = {row.node: row for row in (*self.members, *delta.members)}
        names = {row.name: row for row in (*self.names, *delta.names)}
        return Snapshot(delta.versions, tuple(members.values()), tuple(names.values()))

    def member(self, node: str) -> Member | None:
        """The row of that node name."""
        return next((row for row in self.members if row.node == node), None)

    def name(self, name: str) -> Name | None:
        """The row of that name."""
        return next((row for row in self.names if row.name == name), None)


@message("membership.expect")
class Expect:
    """What the writer last saw: the members' version, and per name its row's version (0: there is no such row).

    Whatever a change touches must be expected. What is expected without being changed is a condition all the same.
    """

    members: int | None = None
    names: Mapping[str, int] = field(default_factory=dict[str, int])


@message("membership.change")
class Change:
    """Rows to be written over those of the same node or name."""

    members: tuple[Member, ...] = ()
    names: tuple[Name, ...] = ()


class MembershipTable(Protocol):
    """Every method may be called from several tasks at once, and raises TableError when the table fails."""

    async def read(self, since: Versions | None = None) -> Snapshot:
        """The rows that changed after `since`, in that order, and the present versions; everything without it.

        Also everything when the table is *behind* `since`: it is another table than the one read then.
        """
        ...

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        """Write the change if everything is as expected, and return the new versions; None: lost the race, read again.

        ValueError when the change touches what is not expected, or a row that makes no sense: a mistake in the caller.
        """
        ...

    def hints(self) -> AsyncIterator[Versions]:
        """The versions now, and each time that they moved. Only hints: some may be missing, and an outage is silence."""
        ...

    async def close(self) -> None:
        """Let go of the table. Its rows stay."""
        ...


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
    for kind, keys in (("node", [row.node for row in change.members]), ("name", [row.name for row in change.names])):
        if "" in keys:
            raise ValueError(f"a row needs a {kind}, this one has none")
        if len(set(keys)) < len(keys):
            raise ValueError(f"one change may write each {kind} once: {keys}")


def _check_types(row: object, cls: type[Member | Suspicion | Name]) -> None:
    """Rows also come from other machines."""
    if type(row) is not cls:
        raise ValueError(f"a {cls.__name__} must stand here, not {row!r}")
    for each in fields(cls):
        value = getattr(row, each.name)
        if type(value) is not type(each.default) and type(value) is not _REQUIRED.get(each.name):
            raise ValueError(f"{each.name} of a {cls.__name__} must not be {value!r}")
        if type(value) is int and not 0 <= value < 2**63:
            raise ValueError(f"{each.name} of a {cls.__name__} must be a number of 63 bits, not {value}")


_REQUIRED = {"node": str, "incarnation": int, "address": str, "name": str}


def written(old: Name | None, new: Name) -> Name:
    """The row of a name as the table stores it: one version up, and a new fence for a new owner."""
    old = old or Name(new.name)
    version = old.version + 1
    same_owner = (old.node, old.incarnation) == (new.node, new.incarnation)
    return replace(new, version=version, fence=old.fence if same_owner and old.fence else version)

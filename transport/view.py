"""The table as somebody has it in memory: kept up by deltas, and read by the delta in turn.

    table.read(view.versions) ──▶ view.update ──▶ members, names ──▶ view.since(versions) ──▶ another reader

Rows lie in the order of their last change, so that both cost what changed and not what there is. Names that were given
up are no rows; the last few thousand are remembered for readers that saw them owned.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from understudy.transport.table import Member, Name, Snapshot, Versions

GIVEN_UP = 10_000
"""So many names that were given up are remembered at least. A reader that missed one which is forgotten reads everything."""


class View:
    """Starts empty. `members` by node and `names` by name are its own: look, and change nothing."""

    def __init__(self, given_up: int = GIVEN_UP) -> None:
        self.versions = Versions()
        self.members: dict[str, Member] = {}
        self.names: dict[str, Name] = {}
        self._changed: dict[str, int] = {}  # node -> the members' version at which its row was known to be new
        self._given_up: dict[str, Name] = {}
        self._remember = given_up
        self._forgotten = 0  # the names' version up to which given-up names may be missing

    def member(self, node: str) -> Member | None:
        """The row of that node name."""
        return self.members.get(node)

    def name(self, name: str) -> Name | None:
        """The row of that name; None if nobody has it."""
        return self.names.get(name)

    def update(self, snapshot: Snapshot) -> None:
        """Lay a later reading over it."""
        if snapshot.whole:
            for rows in (self.members, self.names, self._changed, self._given_up):
                rows.clear()
            self._forgotten = snapshot.versions.names
        self.versions = snapshot.versions
        for member in snapshot.members:
            self.members.pop(member.node, None)
            self._changed.pop(member.node, None)
            self.members[member.node] = member
            self._changed[member.node] = snapshot.versions.members
        for name in snapshot.names:
            self.names.pop(name.name, None)
            self._given_up.pop(name.name, None)
            (self.names if name.node else self._given_up)[name.name] = name
        if len(self._given_up) > 2 * self._remember:
            for old in list(self._given_up)[: -self._remember or None]:
                self._forgotten = self._given_up.pop(old).version

    def since(self, versions: Versions | None) -> Snapshot:
        """See `MembershipTable.read`."""
        now = self.versions
        if versions is None or not has_delta(versions, now, self._forgotten):
            return Snapshot(now, tuple(self.members.values()), tuple(self.names.values()), whole=True)
        changed = takewhile(lambda node: self._changed[node] > versions.members, reversed(self._changed))
        members = [self.members[node] for node in changed]
        names = sorted((*_after(self.names, versions), *_after(self._given_up, versions)), key=lambda row: row.version)
        return Snapshot(now, tuple(reversed(members)), tuple(names))


def has_delta(since: Versions, now: Versions, forgotten: int) -> bool:
    """Whether a reader that knows the table at `since` can be told what changed, by a table that is at `now`.

    `forgotten`: the names' version up to which names that were given up may be missing.
    """
    return since.members <= now.members and forgotten <= since.names <= now.names


def _after(rows: dict[str, Name], versions: Versions) -> Iterator[Name]:
    return takewhile(lambda row: row.version > versions.names, reversed(rows.values()))

"""Who is in a topic: Phoenix Presence as pure state.

    key (a person)  ->  metas (one per connection of theirs), each with a `phx_ref` of its own

                    track                    lost(until)
    (nobody) ─────────────────▶ shown ─────────────────────▶ shown, away ── expire: `until` has passed ──▶ gone
                                │   ▲                            │
                          hide  ▼   │ show                       └── the same key is tracked again: the newcomer has its
                               hidden                                place, and nobody sees a thing if the metas are equal

`track`, `untrack` and the others change the state and remember the change; `take_diff` hands over all changes since the
last one as one `{"joins": ..., "leaves": ...}`. What came and went in between is in neither: nobody saw it.
An update is the leave of the old meta and the join of the new one, which names the old in `phx_ref_prev`.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, TypeAlias

Meta: TypeAlias = dict[str, Any]
Entries: TypeAlias = dict[str, dict[str, list[Meta]]]
"""`{key: {"metas": [meta, ...]}}`: the shape in which clients get states, joins and leaves."""


@dataclass(slots=True)
class _Entry:
    """One connection. `said`: its meta as clients get it."""

    key: str
    meta: Meta
    said: Meta = field(default_factory=dict[str, Any])
    shown: bool = False

    @property
    def ref(self) -> str:
        return str(self.said["phx_ref"])


class Presence:
    """The presences of one topic. An *owner* (a connection) has at most one presence in it.

    `origin` makes this instance's `phx_ref`s differ from those of any other: clients tell metas apart by them alone.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._count = 0
        self._entries: dict[Hashable, _Entry] = {}
        self._owners: dict[str, dict[Hashable, None]] = {}  # of each key, in the order they came
        self._away: dict[Hashable, float] = {}  # until when; who is lost first is gone first
        self._joins: dict[str, tuple[str, Meta]] = {}
        self._leaves: dict[str, tuple[str, Meta]] = {}

    def track(self, owner: Hashable, key: str, meta: Meta) -> Hashable | None:
        """`owner` is here, under `key`. Tracked already: the new key and meta replace the old.

        A newcomer has the place of one that is away under that key: of one with an equal meta, if there is such a one.
        Returns whose place that is, and None if nobody's.
        """
        if not isinstance(key, str) or not key:
            raise ValueError(f"a presence key is a non-empty string, not {key!r}")
        if any(field in meta for field in ("phx_ref", "phx_ref_prev")):
            raise ValueError(f"phx_ref and phx_ref_prev are given by Presence; leave them out of the meta of {key!r}")
        absent = self._absent(key, meta) if owner not in self._entries else None
        before = self._remove(owner if absent is None else absent)
        entry = _Entry(key, meta)
        self._insert(owner, entry)
        if before is not None and absent is not None and before.meta == meta:
            entry.said, entry.shown = before.said, True
            return absent
        if before is not None and before.shown:
            self._vanish(before)
        self._appear(entry, before.ref if before is not None and before.key == key else None)
        return absent

    def update(self, owner: Hashable, meta: Meta) -> None:
        """A new meta under the same key. Raises KeyError when `owner` is not tracked."""
        if owner not in self._entries:
            raise KeyError(f"{owner!r} is not tracked: track it first")
        self.track(owner, self._entries[owner].key, meta)

    def untrack(self, owner: Hashable) -> None:
        """`owner` is gone; nothing happens if it was not here."""
        if (entry := self._remove(owner)) is not None and entry.shown:
            self._vanish(entry)

    # --- who may come back ---

    def lost(self, owner: Hashable, until: float) -> None:
        """The connection of `owner` has ended. It is shown until that time, or until its key is tracked again.

        One that is hidden is gone. Who is lost later is not shown less long.
        """
        entry = self._entries.get(owner)
        if entry is None:
            return
        if entry.shown:
            self._away.setdefault(owner, until)
        else:
            self._remove(owner)

    def expire(self, now: float) -> list[Hashable]:
        """Whose time has come is gone. Returns who that is."""
        gone = list(takewhile(lambda owner: self._away[owner] <= now, self._away))
        for owner in gone:
            self.untrack(owner)
        return gone

    @property
    def due(self) -> float | None:
        """When `expire` is to be called next; None: not before somebody else is lost."""
        return next(iter(self._away.values()), None)

    # --- of whom it is not known whether they are here ---

    def hide(self, owner: Hashable) -> None:
        """Show `owner` no more for now. One that is away is gone."""
        entry = self._entries.get(owner)
        if entry is None or not entry.shown:
            return
        if owner in self._away:
            self.untrack(owner)
        else:
            self._vanish(entry)

    def show(self, owner: Hashable) -> None:
        """Show it again, if it was hidden."""
        entry = self._entries.get(owner)
        if entry is None or entry.shown:
            return
        if self._leaves.pop(entry.ref, None) is not None:
            entry.shown = True  # nobody was told that it had gone
        else:
            self._appear(entry)

    def replace(self, owner: Hashable, by: Hashable, key: str, meta: Meta) -> None:
        """`by` is here, a newcomer, and perhaps what has become of `owner`, its twin: that is hidden in exchange."""
        entry = self._entries[owner]
        self._insert(by, _Entry(key, meta, entry.said, shown=True))
        entry.said, entry.shown = self._named(meta), False

    # --- what there is ---

    def twins(self, key: str, meta: Meta) -> list[Hashable]:
        """Who is shown under `key` with just that meta, and not away."""
        owners = [owner for owner in self._owners.get(key, ()) if owner not in self._away]
        return [owner for owner in owners if self._entries[owner].shown and self._entries[owner].meta == meta]

    def is_away(self, owner: Hashable) -> bool:
        """Whether it was lost, and is shown still."""
        return owner in self._away

    def is_hidden(self, owner: Hashable) -> bool:
        """Whether it is tracked, and not in the state."""
        return owner in self._entries and not self._entries[owner].shown

    def __contains__(self, owner: object) -> bool:
        """Whether it is tracked, shown or hidden."""
        return owner in self._entries

    def state(self) -> Entries:
        """Everybody, for `presence_state`."""
        return _grouped((entry.key, entry.said) for entry in self._entries.values() if entry.shown)

    def take_diff(self) -> dict[str, Entries] | None:
        """What changed since the last call, for `presence_diff`; None if nothing did."""
        if not self._joins and not self._leaves:
            return None
        diff = {"joins": _grouped(self._joins.values()), "leaves": _grouped(self._leaves.values())}
        self._joins, self._leaves = {}, {}
        return diff

    def __len__(self) -> int:
        """How many metas are shown: connections, not people."""
        return sum(entry.shown for entry in self._entries.values())

    # --- changes ---

    def _absent(self, key: str, meta: Meta) -> Hashable | None:
        away = [owner for owner in self._owners.get(key, ()) if owner in self._away]
        return next((owner for owner in away if self._entries[owner].meta == meta), away[0] if away else None)

    def _insert(self, owner: Hashable, entry: _Entry) -> None:
        self._entries[owner] = entry
        self._owners.setdefault(entry.key, {})[owner] = None

    def _remove(self, owner: Hashable) -> _Entry | None:
        entry = self._entries.pop(owner, None)
        if entry is None:
            return None
        self._away.pop(owner, None)
        owners = self._owners[entry.key]
        del owners[owner]
        if not owners:
            del self._owners[entry.key]
        return entry

    def _appear(self, entry: _Entry, before: str | None = None) -> None:
        entry.said = self._named(entry.meta)
        if before is not None:
            entry.said["phx_ref_prev"] = before
        entry.shown = True
        self._joins[entry.ref] = (entry.key, entry.said)

    def _vanish(self, entry: _Entry) -> None:
        entry.shown = False
        if self._joins.pop(entry.ref, None) is None:
            self._leaves[entry.ref] = (entry.key, entry.said)

    def _named(self, meta: Meta) -> Meta:
        self._count += 1
        return {**meta, "phx_ref": f"{self._origin}.{self._count}"}


def _grouped(entries: Iterable[tuple[str, Meta]]) -> Entries:
    grouped: Entries = {}
    for key, meta in entries:
        grouped.setdefault(key, {"metas": []})["metas"].append(meta)
    return grouped

"""Who is in a topic: Phoenix Presence as pure state.

    key (a person)  ->  metas (one per connection of theirs), each with a `phx_ref` of its own

`track`, `update` and `untrack` change the state and remember the change; `take_diff` hands over all changes since the
last one as one `{"joins": ..., "leaves": ...}`. What came and went in between is in neither: nobody saw it.
An update is the leave of the old meta and the join of the new one, which names the old in `phx_ref_prev`.
"""

from collections.abc import Hashable
from typing import Any, TypeAlias

Meta: TypeAlias = dict[str, Any]
Entries: TypeAlias = dict[str, dict[str, list[Meta]]]
"""`{key: {"metas": [meta, ...]}}`: the shape in which clients get states, joins and leaves."""


class Presence:
    """The presences of one topic. An *owner* (a connection) has at most one presence in it.

    `origin` makes this instance's `phx_ref`s differ from those of any other: clients tell metas apart by them alone.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._count = 0
        self._present: dict[Hashable, tuple[str, Meta]] = {}
        self._joins: dict[str, tuple[str, Meta]] = {}
        self._leaves: dict[str, tuple[str, Meta]] = {}

    def track(self, owner: Hashable, key: str, meta: Meta) -> None:
        """`owner` is here, under `key`. Tracked already: the new key and meta replace the old."""
        if not isinstance(key, str) or not key:
            raise ValueError(f"a presence key is a non-empty string, not {key!r}")
        if any(field in meta for field in ("phx_ref", "phx_ref_prev")):
            raise ValueError(f"phx_ref and phx_ref_prev are given by Presence; leave them out of the meta of {key!r}")
        previous = self._leave(owner)
        self._count += 1
        entry = {**meta, "phx_ref": f"{self._origin}.{self._count}"}
        if previous is not None and previous[0] == key:
            entry["phx_ref_prev"] = previous[1]["phx_ref"]
        self._present[owner] = (key, entry)
        self._joins[entry["phx_ref"]] = (key, entry)

    def update(self, owner: Hashable, meta: Meta) -> None:
        """A new meta under the same key. Raises KeyError when `owner` is not tracked."""
        if owner not in self._present:
            raise KeyError(f"{owner!r} is not tracked: track it first")
        self.track(owner, self._present[owner][0], meta)

    def untrack(self, owner: Hashable) -> None:
        """`owner` is gone; nothing happens if it was not here."""
        self._leave(owner)

    def state(self) -> Entries:
        """Everybody, for `presence_state`."""
        return _grouped(self._present.values())

    def take_diff(self) -> dict[str, Entries] | None:
        """What changed since the last call, for `presence_diff`; None if nothing did."""
        if not self._joins and not self._leaves:
            return None
        diff = {"joins": _grouped(self._joins.values()), "leaves": _grouped(self._leaves.values())}
        self._joins, self._leaves = {}, {}
        return diff

    def __len__(self) -> int:
        """How many metas: connections, not people."""
        return len(self._present)

    def _leave(self, owner: Hashable) -> tuple[str, Meta] | None:
        gone = self._present.pop(owner, None)
        if gone is not None and self._joins.pop(gone[1]["phx_ref"], None) is None:
            self._leaves[gone[1]["phx_ref"]] = gone
        return gone


def _grouped(entries: Any) -> Entries:
    grouped: Entries = {}
    for key, meta in entries:
        grouped.setdefault(key, {"metas": []})["metas"].append(meta)
    return grouped

"""Who is in a topic, as a client knows it: Phoenix Presence's merge rules.

State is `{key: [meta, ...]}`: one key per person, one meta per connection of theirs, told apart by its `phx_ref`. After each
join comes `presence_state` (everybody), then `presence_diff`; a diff that comes before the state of the current join is
kept until that state is here.
"""

from typing import Any, TypeAlias

Meta: TypeAlias = dict[str, Any]
People: TypeAlias = dict[str, list[Meta]]


class Presence:
    """The people of one topic. `people` is replaced at each change, never changed."""

    def __init__(self) -> None:
        self.people: People = {}
        self._early: list[Any] | None = []

    def joining(self) -> None:
        """A new join is under way: its state is to come."""
        self._early = []

    def state(self, payload: Any) -> None:
        """`presence_state`: `{key: {"metas": [...]}}`."""
        self.people = _people(payload)
        early, self._early = self._early or [], None
        for diff in early:
            self.diff(diff)

    def diff(self, payload: Any) -> None:
        """`presence_diff`: joins before leaves, so that an update, which is both, keeps its key."""
        if self._early is not None:
            self._early.append(payload)
            return
        people = dict(self.people)
        for key, metas in _people(payload.get("joins", {})).items():
            people[key] = [*_without(people.get(key, []), metas), *metas]
        for key, metas in _people(payload.get("leaves", {})).items():
            rest = _without(people.pop(key, []), metas)
            if rest:
                people[key] = rest
        self.people = people


def _people(entries: Any) -> People:
    return {key: list(entry["metas"]) for key, entry in entries.items()}


def _without(metas: list[Meta], others: list[Meta]) -> list[Meta]:
    refs = {meta.get("phx_ref") for meta in others}
    return [meta for meta in metas if meta.get("phx_ref") not in refs]

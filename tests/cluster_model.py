"""Names, groups, singletons and entities of a cluster as a small model: what commands must lead to once it has been quiet.

A model has neither time nor messages: after each command everything that follows from it has happened. Where the
cluster may choose (which candidate runs a singleton, which node an entity), the model says only among whom.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Somebody:
    """An actor: where it lives, what it has."""

    number: int
    node: str
    name: str | None = None
    groups: set[str] = field(default_factory=set)


@dataclass
class Entity:
    """One that has been called: how often, since it last had to begin anew. `lost`: it has to, at the next call."""

    calls: int = 0
    lost: bool = False


class Model:
    """What there is in the whole cluster. Nodes that are not up have nothing."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes
        self.up = set(nodes)
        self.actors: dict[int, Somebody] = {}
        self.entities: dict[str, Entity] = {}

    # --- questions ---

    def owner(self, name: str) -> Somebody | None:
        return next((each for each in self.actors.values() if each.name == name), None)

    def members(self, group: str) -> set[int]:
        return {each.number for each in self.actors.values() if group in each.groups}

    # --- commands ---

    def spawn(self, number: int, node: str) -> None:
        self.actors[number] = Somebody(number, node)

    def end(self, number: int) -> None:
        """However it ends, it has nothing any more."""
        del self.actors[number]

    def register(self, number: int, name: str) -> bool:
        """False: the name is taken."""
        if self.owner(name) is not None:
            return False
        self.actors[number].name = name
        return True

    def unregister(self, name: str) -> None:
        owner = self.owner(name)
        if owner is not None:
            owner.name = None

    def join(self, number: int, group: str) -> None:
        self.actors[number].groups.add(group)

    def leave(self, number: int, group: str) -> None:
        self.actors[number].groups.discard(group)

    def call(self, key: str) -> int:
        """How often this instance of the entity has been called now."""
        entity = self.entities.setdefault(key, Entity())
        entity.calls = 1 if entity.lost else entity.calls + 1
        entity.lost = False
        return entity.calls

    def fail(self, key: str) -> None:
        """Its handler fails: the next call begins anew."""
        if key in self.entities:
            self.entities[key].lost = True

    def down(self, node: str, held: set[str]) -> None:
        """A node is gone; `held`: the keys of the entities that it ran."""
        self.up.discard(node)
        self.actors = {number: each for number, each in self.actors.items() if each.node != node}
        for key in held:
            self.entities[key].lost = True

    def back(self, node: str) -> None:
        self.up.add(node)

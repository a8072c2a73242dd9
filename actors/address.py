"""Where an actor is. An address never comes back: a restarted node has a new incarnation, a restarted actor a new id."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """`id` is unique within one incarnation of one node."""

    node: str
    incarnation: int
    id: int

    def __str__(self) -> str:
        return f"{self.node}:{self.id}"

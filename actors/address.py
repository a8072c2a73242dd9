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


def urn(token: str, number: int) -> str:
    """A UUID made of 16 random hexadecimal digits and a number, which can be read in its last digits."""
    digits = f"{number:015x}"
    return f"urn:uuid:{token[:8]}-{token[8:12]}-4{token[12:15]}-8{digits[:3]}-{digits[3:]}"

"""Chance: the one door by which it enters the arena. The same key draws the same numbers, in every process and on every machine."""

from random import Random as Chance  # noqa: TID251 - never the global generator, always one with a key


def chance(*key: int) -> Chance:
    """A generator for these numbers."""
    return Chance(repr(key))  # noqa: S311 - for a game, not for a secret


__all__ = ["Chance", "chance"]

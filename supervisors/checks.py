"""What may stand in a spec: each check says which field is wrong, what it has to be, and what it was.

Used where something is declared, so that what cannot be meant is refused there and not at three in the morning.
"""

from __future__ import annotations

import math
from typing import Any


def checked_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """One of a few words. ValueError if not."""
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{field} is one of {', '.join(choices)}, not {value!r}")


def checked_flag(field: str, value: object) -> None:
    """True or False. TypeError if not."""
    if not isinstance(value, bool):
        raise TypeError(f"{field} is True or False, not {value!r}")


def checked_count(field: str, value: object, least: int) -> None:
    """A whole number from `least` up. TypeError for what is none, ValueError for one that is too small."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field} is a whole number from {least} up, not {value!r}")
    if value < least:
        raise ValueError(f"{field} is a whole number from {least} up, not {value!r}")


def checked_seconds(field: str, value: object, *, zero: bool = False, endless: bool = False, instead: str = "") -> None:
    """Seconds above 0, or from 0 up; infinitely many only if `endless`. TypeError for no number, ValueError for others.

    `instead`: the words that may stand there too, for the text.
    """
    meant = f"{field} is a number of seconds {'from 0 up' if zero else 'above 0'}{instead}, not {value!r}"
    number: Any = value
    if not isinstance(number, int | float) or isinstance(number, bool):
        raise TypeError(meant)
    if not (number >= 0 if zero else number > 0) or (number == math.inf and not endless):
        raise ValueError(meant)

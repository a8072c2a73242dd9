"""What may stand in a spec: each check says which field is wrong, what it has to be, and what it was.

Used where something is declared, so that what cannot be meant is refused there and not at three in the morning.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from understudy.actors import Actor

SHAPES = 512
"""Of so many ways to make an actor it is remembered whether its class takes them."""


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


def checked_arguments(cls: type[Actor], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, all_there: bool) -> None:
    """What `cls` is to be made with. TypeError for an argument that it does not take; if `all_there`, for one that it lacks."""
    wrong = _misfit(cls.__init__, len(args), tuple(kwargs), all_there)
    if wrong is not None:
        field, why = wrong
        raise TypeError(f"{field} does not fit {cls.__name__}, {why}")


@lru_cache(SHAPES)  # thousands of children are made in few ways, and each look at a signature takes its time
def _misfit(init: Callable[..., None], count: int, names: tuple[str, ...], all_there: bool) -> tuple[str, str] | None:
    """Which field does not fit that `__init__`, and why: of `count` arguments by position and those of these names.

    None: neither, as far as can be seen.
    """
    try:
        # Who wraps an __init__ may add arguments: only what the wrapper itself takes is certain.
        takes = inspect.signature(_nothing if init is Actor.__init__ else init, follow_wrapped=False)
    except (TypeError, ValueError):  # it is not written in Python
        return None
    given, by_name = (None,) * (1 + count), dict.fromkeys(names)
    field = "Child.args"
    try:
        takes.bind_partial(*given)
        field = "Child.kwargs"
        takes.bind_partial(*given, **by_name)
        if all_there:
            field = "Child.args"
            takes.bind(*given, **by_name)
    except TypeError as error:
        own = list(takes.parameters)[1:]
        return field, f"which takes {', '.join(own) or 'no arguments'}: {error}"
    return None


def _nothing(self: object) -> None:
    """What an Actor takes that has no __init__ of its own: its base's takes anything for others' sake."""

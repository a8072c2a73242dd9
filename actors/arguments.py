"""What users pass, looked at where they pass it: numbers, and functions that are called later.

True is a number to Python. As a count, or as the setting of a time, it is a slip, and refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

YIELDS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def is_number(value: object) -> bool:
    """Whether it is a number, be it NaN or infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """Whether it is a whole number from 1 up."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def takes(function: Callable[..., Any], count: int = 1) -> bool:
    """Whether something can be called with so many arguments, and does its work then: what yields has only begun.

    Plain functions and methods are looked at in a fraction of the time that `inspect.signature` takes.
    """
    plain: Any = getattr(function, "__func__", function)
    if plain.__class__ is not FunctionType:
        return callable(function) and _binds(function, count)
    code = plain.__code__
    given, most = count + (plain is not function), code.co_argcount
    return bool(
        most - len(plain.__defaults__ or ()) <= given
        and (given <= most or code.co_flags & inspect.CO_VARARGS)
        and code.co_kwonlyargcount <= len(plain.__kwdefaults__ or ())
        and not code.co_flags & YIELDS
    )


def _binds(function: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some built-in functions nothing is known
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True

"""The actor classes that another node may name: those that are imported here. Nothing is ever imported by a name off the wire.

Engine ── named ──> "shop.engine:Engine" ── on the other node: found in sys.modules ──> its own Engine

A class of the program that was started is one of the module that `python -m` was given; of `python program.py` it is found by
the same program only.
"""

from __future__ import annotations

import sys
from typing import Any

from understudy.actors import Actor, NotRegistered


def named(cls: type[Actor]) -> str:
    """What a class is called on every node that has imported its module. NotRegistered for one that nobody else can have."""
    if "<locals>" in cls.__qualname__:
        raise NotRegistered(
            f"{cls.__qualname__} is declared inside a function, where no other node finds it: put it into a module that both import"
        )
    return f"{_real_name(cls.__module__)}:{cls.__qualname__}"


def found(name: str) -> type[Actor]:
    """The class of that name. NotRegistered with the remedy if it is not imported here."""
    module, _, path = name.partition(":")
    at: Any = sys.modules.get(module)
    if at is None and module == _real_name("__main__"):
        at = sys.modules["__main__"]
    for part in path.split("."):
        at = vars(at).get(part) if hasattr(at, "__dict__") else None
    if (
        isinstance(at, type)
        and issubclass(at, Actor)
        and (_real_name(at.__module__), at.__qualname__) == (module, path)
    ):
        return at
    raise NotRegistered(f"no actor class {name!r} is imported on that node: import its module there")


def _real_name(module: str) -> str:
    """The program that was started is `__main__`, and to everybody else the module that `python -m` was given."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if module == "__main__" and spec is not None else module

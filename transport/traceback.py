"""What was raised on another node, as the cause of the error that came here: Python prints it above that, with the node's name.

understudy.transport.traceback.RemoteTraceback:
On node engine-1:
Traceback (most recent call last):
  File "/srv/shop/engine.py", line 12, in Engine.on_receive
ValueError: no such part

The above exception was the direct cause of the following exception:
...
understudy.actors.errors.ActorDied: <actor 'engine' at engine-1> died: ValueError: no such part (at ...)
"""

from __future__ import annotations

from typing import TypeVar

from understudy.actors import Failure

E = TypeVar("E", bound=Exception)


class RemoteTraceback(Exception):
    """`failure` says the same as a value: the type with its module, the text, the innermost frames. Never raised itself."""

    def __init__(self, node: str, failure: Failure) -> None:
        super().__init__(node, failure)
        self.node = node
        self.failure = failure

    def __str__(self) -> str:
        return f"\nOn node {self.node}:\n{self.failure.traceback()}"


def caused(error: E, node: str, failure: object) -> E:
    """The error, caused by what was raised on that node, if that is known."""
    if isinstance(failure, Failure):
        error.__cause__ = RemoteTraceback(node, failure)
    return error

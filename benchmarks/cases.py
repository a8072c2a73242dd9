"""The cases of the comparison: what is timed, in which unit, and what Understudy is to reach."""

from typing import NamedTuple


class Measure(NamedTuple):
    """One row. `target` is what Understudy is to reach, in `unit`; `pinnable`: measured on one core, too."""

    what: str
    unit: str
    less_is_better: bool
    target: float
    pinnable: bool = True


MEASURES = {
    "tell": Measure("one actor tells another, until the last message was handled", "messages/s", False, 6e6),
    "call": Measure("a request and its reply, callee idle, plain handler, p50", "us", True, 0.6),
    "queued": Measure("the same behind a message that was told just before", "us", True, 3.0),
    "async": Measure("the same, callee idle, asynchronous handler", "us", True, 3.0),
    "ring": Measure("one message handed round a ring of 1,000 actors", "hops/s", False, 4e6),
    "fan-in": Measure("100 actors tell one, until the last message was handled", "messages/s", False, 6e6),
    "thread": Measure("a plain thread tells an actor, until the last message was handled", "messages/s", False, 1e6),
    "spawn": Measure("start an actor whose `on_start` sets an attribute", "actors/s", False, 250e3),
    "memory": Measure("resident memory for each idle actor, everything included", "bytes", True, 500, pinnable=False),
    "alive": Measure("actors alive in one process, until it breaks or 1,000,000", "actors", False, 1e6, pinnable=False),
    "restart": Measure("a crash until the replacement answers, under a supervisor, p50", "us", True, 25),
    "crashes": Measure("crash after crash, each once the last one is replaced", "crashes/s", False, 15e3),
    "logged": Measure("`restart` with the default logger on (ours limits crash reports)", "us", True, 231),
}
"""`logged`'s target is what Erlang's default logger leaves of a restart."""

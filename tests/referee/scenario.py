"""What a scenario is: a tree of supervisors and workers, and the steps that are done to it, one after the other.

    Branch("s", strategy="rest_for_one", children=(Worker("a"), Worker("b", starts=("ok", "fail"))))
    ("end", "a", "crash")              a worker ends: crash, normal, shutdown, term ({shutdown, term}), kill
    ("end", "s", "stop")               a supervisor ends: stop, kill
    ("ask", "s", "terminate", "a")     an operator's request: terminate, restart, delete, which, count
    ("ask", "s", "start", Worker("c")) the same: start
    ("burst", "s", (step, ...))        what happens while the supervisor is held, so that it finds all of it at once
    ("wait", 3)                        seconds pass

Times are whole seconds. Each step begins when the one before has nothing left to do at that time. The tree itself is a
child of a supervisor "top", which takes no part but to start it and, in the last step, to end it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Shutdown: TypeAlias = int | Literal["brutal_kill", "infinity"]
Start: TypeAlias = int | Literal["ok", "fail", "ignore"]
"""How an attempt to start goes; a number is the seconds that it takes."""
Ending: TypeAlias = int | Literal["quick", "never", "crash"]
"""What a worker does that is asked to end by its supervisor; a number is the seconds that it takes."""
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one", "dynamic"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
Step: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Worker:
    """`starts`: how its attempts to start go, one after the other, in the whole scenario; those after them go well."""

    id: str
    restart: Restart = "permanent"
    shutdown: Shutdown = 6
    significant: bool = False
    starts: tuple[Start, ...] = ()
    ending: Ending = "quick"
    kind: ClassVar[str] = "worker"


@dataclass(frozen=True)
class Branch:
    """A supervisor. A dynamic one has one child, which is the template of those that are started in it."""

    id: str
    restart: Restart = "permanent"
    shutdown: Shutdown = "infinity"
    significant: bool = False
    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: int = 5
    auto_shutdown: AutoShutdown = "never"
    children: tuple[Worker | Branch, ...] = ()
    kind: ClassVar[str] = "supervisor"


Node: TypeAlias = Worker | Branch


class Scenario(NamedTuple):
    """`name` says where it comes from."""

    name: str
    tree: Branch
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(
            [self.name, *outline(self.tree), *(f"{number:3} {told(step)}" for number, step in self.numbered())]
        )

    @property
    def seed(self) -> int:
        """A number made of its name."""
        return int.from_bytes(sha256(self.name.encode()).digest()[:4], "big")

    @property
    def everybody(self) -> Iterator[Node]:
        """All that are in the tree, and all that are started in a step."""
        yield from nodes(self.tree)
        for step in flat(self.steps):
            for part in step:
                if isinstance(part, Worker | Branch):
                    yield from nodes(part)

    def numbered(self) -> Iterator[tuple[int, Step]]:
        """The steps with their numbers in the logs; 0 is the start of the tree."""
        return enumerate(self.steps, 1)


def nodes(tree: Node) -> Iterator[Node]:
    """All of a tree, whoever is above first."""
    yield tree
    for child in tree.children if isinstance(tree, Branch) else ():
        yield from nodes(child)


def flat(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, those of a burst one by one."""
    for step in steps:
        if step[0] == "burst":
            yield from flat(step[2])
        else:
            yield step


def outline(tree: Node, depth: int = 1) -> list[str]:
    """A tree as people read it, one line each. What is as usual is left out."""
    lines = [f"{'    ' * depth}{summary(tree)}"]
    for child in tree.children if isinstance(tree, Branch) else ():
        lines += outline(child, depth + 1)
    return lines


def summary(node: Node) -> str:
    """One node in one line."""
    said = [
        f"{each.name}={value!r}"
        for each in fields(node)
        if each.name not in ("id", "children") and (value := getattr(node, each.name)) != each.default
    ]
    return f"{type(node).__name__} {' '.join([node.id, *said])}"


def told(step: Step) -> str:
    """A step as people read it."""
    what, *rest = step
    if what == "burst":
        return f"burst {rest[0]}: {'; '.join(map(told, rest[1]))}"
    return " ".join([what, *(summary(each) if isinstance(each, Worker | Branch) else str(each) for each in rest)])


def erlang(value: object) -> str:
    """A scenario's part as an Erlang term."""
    if is_dataclass(value) and not isinstance(value, type):
        known = {each.name: getattr(value, each.name) for each in fields(value)}
        pairs = {"kind": value.kind, **known}  # type: ignore[attr-defined]
        return f"#{{{', '.join(f'{name} => {erlang(each)}' for name, each in pairs.items())}}}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, tuple):
        return f"[{', '.join(map(erlang, value))}]"
    assert isinstance(value, int), f"no part of a scenario: {value!r}"
    return str(value)

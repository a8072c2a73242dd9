"""Other nodes, as a system knows them: whose actors it can speak to, and where it can have actors started.

    system.nodes ── Alone, a system that is no node: it says so
                 └─ what `Node` puts in its place (the transport wing)

The kernel, and supervisors above it, ask no more of other machines than this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeAlias, TypeVar

from understudy.actors.errors import NodeDown
from understudy.actors.reasons import NoConnection

if TYPE_CHECKING:
    from understudy.actors.actor import Actor
    from understudy.actors.cell import Cell
    from understudy.actors.groups import Assembly
    from understudy.actors.ref import ActorRef
    from understudy.actors.system import ActorSystem

A = TypeVar("A", bound="Actor")

Stage: TypeAlias = Literal["names", "runs", "clients", "mailboxes", "rest"]
"""In which a node drains, one after the other: what it has gives way in that order."""

SPAWN_TIMEOUT = 30.0
"""Seconds that a start on another node may take, the way there and back included, unless told otherwise."""


class Nodes(Protocol):
    """On the system's own loop."""

    @property
    def groups(self) -> Assembly:
        """The groups of all nodes together. From any thread."""
        ...

    def ref(self, node: str, name: str) -> ActorRef[Any]:
        """Whoever has that name on that node at the time."""
        ...

    def entity(self, kind: str, key: str) -> ActorRef[Any]:
        """The entity of that kind and key, wherever it runs and whether or not it does."""
        ...

    def cluster_ref(self, name: str) -> ActorRef[Any]:
        """Whoever has that name in the cluster, which nobody else has there."""
        ...

    async def register(self, name: str, ref: ActorRef[Any]) -> int:
        """Give an actor here a name that nobody else in the cluster has, until it ends; returns the fence. Raises NameTaken."""
        ...

    async def unregister(self, name: str) -> None:
        """Take that name from it."""
        ...

    def is_up(self, node: str) -> bool:
        """Whether a life of that node is known which is not over, and does not stop."""
        ...

    async def up(self, node: str) -> None:
        """Wait until one is."""
        ...

    async def spawn_on(
        self,
        node: str,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        name: str | None,
        timeout: float,
        owner: Cell[Any] | None = None,
        restarts: int = 0,
    ) -> ActorRef[A]:
        """Start an actor there: the child of `owner`, an actor here, or a top-level one of that node.

        `restarts`: how often it was started before, for `info`. Raises StartFailed, NameTaken, NodeDown, NotRegistered,
        TooLarge, Overloaded, Draining; nothing is left behind then, there neither.
        """
        ...

    async def place(
        self,
        cls: type[A],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        role: str | None,
        tags: tuple[str, ...],
        name: str | None,
        timeout: float,
        owner: Cell[Any] | None = None,
        restarts: int = 0,
    ) -> ActorRef[A]:
        """Start an actor on the node with the most free capacity that has the role and all tags.

        Raises NoRoom if there is none, and else as `spawn_on` does; NodeDown and Draining it does not: it tries another.
        """
        ...

    def has_room(self, role: str | None, tags: tuple[str, ...]) -> bool:
        """Whether there is such a node now, as far as is known."""
        ...

    async def room(self, role: str | None, tags: tuple[str, ...]) -> None:
        """Wait until there is."""
        ...

    def is_draining(self, node: str) -> bool:
        """Whether that node has said that it takes nothing new."""
        ...

    def is_stopping(self, node: str) -> bool:
        """Whether that node has said that this life of it ends now, and what it has with it."""
        ...

    async def drains(self, node: str) -> None:
        """Wait until that node drains, or is gone."""
        ...

    @property
    def draining(self) -> bool:
        """Whether this node takes nothing new, since it is to be stopped."""
        ...

    def at_drain(
        self, stage: Stage, name: str, step: Callable[[float], Awaitable[Iterable[str] | None]]
    ) -> Callable[[], None]:
        """Have `step(deadline)` done when this node drains: it returns what it leaves behind, in words. See `Node.drain`.

        Call what is returned when there is nothing more to drain.
        """
        ...

    def refuses(self) -> str:
        """Why this node takes nothing more that could as well run elsewhere: it drains, or is full; "" if it does."""
        ...

    def hold(self, kind: str) -> Hold:
        """One more of that kind counts as placed on this node, an "actor", an "entity", a "run", until the hold is dropped."""
        ...


class Hold(Protocol):
    """One thing that counts as placed on a node."""

    def until_end_of(self, ref: ActorRef[Any]) -> None:
        """It is that actor: it counts until that ends."""
        ...

    def drop(self) -> None:
        """It is gone. Once, and not of one that is an actor."""
        ...


class Uncounted:
    """A hold of a system that is no node."""

    def until_end_of(self, ref: ActorRef[Any]) -> None:
        """It counts for nothing."""

    def drop(self) -> None:
        """It counts for nothing."""


class Alone:
    """No other node: the system was not started by a `Node`."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    @property
    def groups(self) -> Assembly:
        """Those of this system."""
        return self._system.groups

    def ref(self, node: str, name: str) -> NoReturn:
        """There is none."""
        raise self._no_node(f"{name}@{node}")

    def entity(self, kind: str, key: str) -> NoReturn:
        """There is none."""
        raise self._no_node(f"{kind}/{key}")

    def cluster_ref(self, name: str) -> NoReturn:
        """There is no cluster."""
        raise self._no_node(f"whoever has the name {name!r}")

    async def register(self, name: str, ref: ActorRef[Any]) -> NoReturn:
        """There is no cluster."""
        raise self._no_node(f"the name {name!r}")

    async def unregister(self, name: str) -> NoReturn:
        """There is no cluster."""
        raise self._no_node(f"the name {name!r}")

    def is_up(self, node: str) -> bool:
        """There is none."""
        raise self._no_node(node)

    async def up(self, node: str) -> NoReturn:
        """There is none."""
        raise self._no_node(node)

    async def spawn_on(self, node: str, *_: Any, **__: Any) -> NoReturn:
        """There is none."""
        raise self._no_node(node)

    async def place(self, *_: Any, role: str | None, **__: Any) -> NoReturn:
        """There is none."""
        raise self._no_node(_of(role))

    def has_room(self, role: str | None, tags: tuple[str, ...]) -> NoReturn:
        """There is none."""
        raise self._no_node(_of(role))

    async def room(self, role: str | None, tags: tuple[str, ...]) -> NoReturn:
        """There is none."""
        raise self._no_node(_of(role))

    def is_draining(self, node: str) -> NoReturn:
        """There is none."""
        raise self._no_node(node)

    def is_stopping(self, node: str) -> NoReturn:
        """There is none."""
        raise self._no_node(node)

    async def drains(self, node: str) -> NoReturn:
        """There is none."""
        raise self._no_node(node)

    draining = False
    """It is stopped, and that is all."""

    def at_drain(self, stage: Stage, name: str, step: Any) -> Callable[[], None]:
        """It never does."""
        return _nothing

    def refuses(self) -> str:
        """It has nobody to send it to."""
        return ""

    def hold(self, kind: str) -> Uncounted:
        """Nobody chooses it or another."""
        return Uncounted()

    def _no_node(self, what: str) -> NodeDown:
        name = self._system.name
        why = f"the system {name!r} is no node: `async with Node({name!r}) as node` makes one that reaches others"
        return NodeDown(NoConnection(why), what)


async def start_on(
    nodes: Nodes,
    where: str | type[A],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    role: str | None,
    tags: tuple[str, ...],
    name: str | None,
    timeout: float,
    owner: Cell[Any] | None = None,
) -> ActorRef[Any]:
    """What `spawn_on` means: `where` is a node, and then `args` begin with the class; or it is the class, and a node is chosen."""
    if isinstance(where, type):
        return await nodes.place(where, args, kwargs, role=role, tags=tags, name=name, timeout=timeout, owner=owner)
    if role is not None or tags:
        raise TypeError(
            f"spawn_on takes a node or what chooses one, not both: spawn_on({where!r}, Engine) or spawn_on(Engine, role={role!r})"
        )
    if not args:
        raise TypeError(f"spawn_on({where!r}) lacks the class: spawn_on({where!r}, Engine, ...)")
    return await nodes.spawn_on(where, args[0], args[1:], kwargs, name=name, timeout=timeout, owner=owner)


def _nothing() -> None:
    """There is nothing to take back."""


def _of(role: str | None) -> str:
    return f"a node of the role {role!r}" if role is not None else "a node of any role"

"""The steward: what a node does for others with its actors. It starts some for them, and shows its own to their operators.

    another node                               this one
    Spawn(n, owner, "shop:Engine", ...)  ──▶   Steward ── starts ──▶ a top-level actor, or, if it has an owner,
                      ◀── its reference ──                           a child of the Deputy of that owner
    Kept(n)      ──▶ it lives on; from now on its owner learns of its end
                      ◀── NotStarted: why not; "refused" if this node drains or is full
    Forsaken(n)  ──▶ nobody waits any more: it is ended, or its start is
    Show(ref)    ──▶ `info` and its like

A deputy stands for an actor of another node: it is the parent that the children of that actor have here. It ends with that
actor, or with the link to its node, and they end with it, in reverse order, whatever they trap. Until `Kept` has come the
spawner may have got the answer or not: if its node dies before, what was started is ended. So nothing is ever left that nobody
knows of.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeAlias, cast

from understudy.actors import (
    Actor,
    ActorRef,
    Cell,
    Down,
    Draining,
    Exit,
    ExitReason,
    Failure,
    Later,
    NameTaken,
    NotRegistered,
    Refused,
    Request,
    Shutdown,
    StartFailed,
    Stop,
    message,
)
from understudy.actors.mortician import DEAD
from understudy.actors.waiting import last_of
from understudy.transport.classes import found
from understudy.transport.loads import Load
from understudy.transport.placement import Placement

logger = logging.getLogger("understudy.transport")

STEWARD = "understudy/steward"
"""The name of each node's."""


@message("understudy.nodes.Spawn")
class Spawn(Request[Any]):
    """Start an actor. `number` is the sponsor's; `sponsor` the steward of the spawner's node, `owner` whose child it is to be.

    `placed`: this node was chosen for its free capacity, and may find that it has none; else it was meant, and only drains or not.
    """

    number: int
    sponsor: ActorRef[Any]
    owner: ActorRef[Any] | None
    cls: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str | None
    timeout: float
    restarts: int = 0
    placed: bool = False


@message("understudy.nodes.NotStarted")
class NotStarted:
    """The answer if there is no actor. `kind`: failed, taken (its name), unknown (its class) or refused, with this node's load."""

    kind: str
    who: str
    reason: ExitReason
    load: Load | None = None


@message("understudy.nodes.Placed")
class Placed:
    """The answer if it was placed: the actor, and how loaded this node is with it."""

    ref: ActorRef[Any]
    load: Load


@message("understudy.nodes.Kept")
class Kept:
    """The spawner has the reference."""

    number: int
    sponsor: ActorRef[Any]


@message("understudy.nodes.Forsaken")
class Forsaken:
    """The spawner does not wait for it any more, and will not have it."""

    number: int
    sponsor: ActorRef[Any]


@message("understudy.nodes.Show")
class Show(Request[Any]):
    """What an operator asks of one actor: info, get_state, suspend or resume, within so many seconds."""

    ref: ActorRef[Any]
    what: str
    timeout: float


Key: TypeAlias = tuple[ActorRef[Any], int]


class Order:
    """One Spawn that is not kept yet. `made`: the actor, once it has started."""

    __slots__ = ("forsaken", "made", "task", "what")

    def __init__(self, what: Spawn) -> None:
        self.what = what
        self.made: Cell[Any] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.forsaken = False


class Steward(Actor):
    """One on each node."""

    trap_exit = True

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self._placement = placement
        self._orders: dict[Key, Order] = {}
        self._deputies: dict[ActorRef[Any], ActorRef[Deputy]] = {}
        self._sponsors: dict[ActorRef[Any], int] = {}

    def on_receive(self, message: Any) -> Any:
        match message:
            # Of other nodes: what is none of these kinds inside is not known here, and harms nobody.
            case Spawn(
                int(),
                ActorRef(),
                ActorRef() | None,
                str(),
                tuple(),
                dict(),
                str() | None,
                float() | int(),
                int(),
                bool(),
            ):
                return self._spawn(message)
            case Kept(int(number), ActorRef() as sponsor):
                self._keep((sponsor, number))
            case Forsaken(int(number), ActorRef() as sponsor):
                self._forsake((sponsor, number))
            case Show(ActorRef(), str(), float() | int()):
                later = Later()
                self.run(self._show(message, later))
                return later
            case Down(_, ref):
                self._gone(ref)
            case Exit():
                pass  # a follower of this node's own has ended (following.py)
            case _:
                return self.unhandled(message)
        return None

    # --- starting ---

    def _spawn(self, what: Spawn) -> Later:
        if what.sponsor not in self._sponsors:
            self._sponsors[what.sponsor] = self.monitor(what.sponsor)
        order = self._orders[what.sponsor, what.number] = Order(what)
        later = Later()
        self.run(self._start(order, later))
        return later

    async def _start(self, order: Order, later: Later) -> None:
        what, order.task = order.what, asyncio.current_task()
        if order.forsaken:
            return
        answer: Any
        try:
            answer = order.made = cast("Cell[Any]", await self._started(what))
        except asyncio.CancelledError:  # forsaken; a start that is cancelled leaves nothing behind
            return
        except StartFailed as error:
            answer = NotStarted("failed", error.who, error.reason)
        except NameTaken as error:
            answer = NotStarted("taken", str(error), Failure.of(error))
        except NotRegistered as error:
            answer = NotStarted("unknown", str(error), Failure.of(error))
        except Draining as error:
            answer = NotStarted("refused", str(error), Failure.of(error), self._placement.load)
        except Exception as error:  # noqa: BLE001 - what cannot be meant is the spawner's fault, and must not end the steward
            answer = NotStarted("failed", what.cls, Failure.of(error))
        if order.made is None:
            self._orders.pop((what.sponsor, what.number), None)
        elif order.forsaken:
            end(order.made, "nobody waits for it any more")
            return
        elif what.placed:
            answer = Placed(order.made, self._placement.load)
        later.set(answer)

    async def _started(self, what: Spawn) -> ActorRef[Any]:
        if what.owner == what.sponsor:  # what another node's own parts have here (following.py) is no load of anybody's
            return await self._made(what)
        placement = self._placement
        # Whoever is named here, and restarted, is nothing new to a node that drains; one that stops takes nobody.
        new = not what.restarts or placement.is_stopping(self.system.name)
        why = placement.refuses() if what.placed else placement.drained() if new else ""
        if why:
            raise Draining(why)
        hold = placement.hold("actor")
        try:
            made = await self._made(what)
        except BaseException:
            hold.drop()
            raise
        hold.until_end_of(made, _moves(what))
        return made

    async def _made(self, what: Spawn) -> ActorRef[Any]:
        cls = found(what.cls)
        if what.owner is None:
            made = await self.system.spawn(cls, *what.args, name=what.name, start_timeout=what.timeout, **what.kwargs)
        else:
            deputy = cast("Cell[Any]", await self._deputy(what.owner))
            await _families_of_the_dead(deputy)
            made = await self.system.spawn_child(deputy, cls, what.args, what.kwargs, what.name, what.timeout)
        if what.restarts:
            cast("Cell[Any]", made).tied().restarts = what.restarts
        return made

    async def _deputy(self, owner: ActorRef[Any]) -> ActorRef[Deputy]:
        deputy = self._deputies.get(owner)
        if deputy is None or not deputy.is_alive():
            deputy = self._deputies[owner] = await self.system.spawn(Deputy, owner)
            self.monitor(deputy)
        return deputy

    def _keep(self, key: Key) -> None:
        order = self._orders.pop(key, None)
        if order is None or order.made is None or order.what.owner is None:
            return
        made, news = order.made, News(order.what.owner)
        if made.stage == DEAD:  # then the cell knows why, which a monitor made now would not
            assert made.reason is not None, "a dead cell has its reason"
            news.down(0, made, made.reason)
        else:
            made._monitor(self.system.next_token(), news)

    def _forsake(self, key: Key) -> None:
        order = self._orders.pop(key, None)
        if order is None:
            return
        order.forsaken = True
        if order.made is not None:
            end(order.made, "nobody waits for it any more")
        elif order.task is not None:
            order.task.cancel()

    def _gone(self, ref: ActorRef[Any]) -> None:
        """A sponsor, and its node with it, or a deputy."""
        if self._sponsors.pop(ref, None) is not None:
            for key in [key for key in self._orders if key[0] == ref]:
                self._forsake(key)
        for owner in [owner for owner, deputy in self._deputies.items() if deputy == ref]:
            del self._deputies[owner]

    # --- showing ---

    async def _show(self, what: Show, later: Later) -> None:
        system, ref = self.system, what.ref
        try:
            match what.what:
                case "info":
                    later.set(await ref.info())
                case "get_state":
                    later.set(await system.get_state(ref, what.timeout))
                case "suspend":
                    await system.suspend(ref, what.timeout)
                    later.set(None)
                case "resume":
                    await system.resume(ref, what.timeout)
                    later.set(None)
                case _:
                    raise Refused(f"this node does not know how to show {what.what!r} of an actor")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is whoever asked who is to have it
            later.fail(error)


class Deputy(Actor):
    """Stands here for `owner`, an actor of another node: the parent of the children that it has here."""

    trap_exit = True

    def __init__(self, owner: ActorRef[Any]) -> None:
        super().__init__()
        self.owner = owner

    def on_start(self) -> None:
        self.monitor(self.owner)

    def on_receive(self, message: Any) -> Any:
        match message:
            case Down(_, _, reason):
                return Stop(Shutdown(f"{self.owner!r} is gone: {reason}"))
            case _:
                return None  # its children's ends: their owner hears of them


class News:
    """The watcher by which an owner learns of the end of its child here, as of a link."""

    __slots__ = ("_owner",)

    def __init__(self, owner: ActorRef[Any]) -> None:
        self._owner = owner

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """It has ended."""
        self._owner._linked_exit(ref, reason)


def sender_of(signal: ActorRef[Any] | None, to: ActorRef[Any]) -> ActorRef[Any] | None:
    """From whom an exit signal of another node's actor comes: to its children here, from their parent, its deputy."""
    parent = to.parent if isinstance(to, Cell) else None
    deputy = parent.actor if parent is not None else None
    return parent if isinstance(deputy, Deputy) and deputy.owner == signal else signal


def end(made: Cell[Any], why: str) -> None:
    """End an actor that was started for somebody else, whatever it traps."""
    made.on_loop(made.scheduler.mortician.dismiss, made, Shutdown(why))


def _moves(what: Spawn) -> bool | None:
    """Whether somebody starts it elsewhere when this node drains; None: its supervisor meant this node, and waits for it."""
    if what.owner is None:
        return False
    return True if what.placed else None


async def _families_of_the_dead(deputy: Cell[Any]) -> None:
    """Whoever is started next finds their names free."""
    children = tuple(deputy.bonds.children) if deputy.bonds is not None else ()
    for child in children:
        if child.stage == DEAD:
            await last_of(child)

"""Routes: where this node's messages to each entity go. Written once, for tells, calls, offers, monitors.

    HOLDING     nobody is known to have it: what is sent waits here, in order ──┐
       ▲  ▲                                                                     │ seek: its owner, or a node with room,
       │  │ its owner's node is gone, its actor here has ended                  │       is asked to start it
       │  │                                                                     ▼
       │  └──────────────────────────────────────────────────────────────── SETTLED: an actor here, or an address elsewhere
       │                                                                        │
       └─ RETURNING: all that was sent to an address where it is no more  ◀─────┘ the first RETURNED, a call that `Moved`, or
          comes back; a last call behind it says when nothing is under way          its node drains, and has given it up

An address is one life of one entity and never comes back. What its node gets for it after that life has closed goes back to
the node it came from, all of it, in order; and there it waits for the next life before anything newer. So nothing
overtakes, and nobody but the sender's own node ever holds what an actor here has sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from understudy.actors import Cell, DeadLetter, Overloaded, UnderstudyError
from understudy.actors.dead_letters import OVERLOADED
from understudy.transport.activation import HOST, Settled
from understudy.transport.entity_mail import Asked, Deed, post_all_the_same, put
from understudy.transport.remote import RemoteRef

if TYPE_CHECKING:
    from understudy.transport.entity_ref import EntityRef
    from understudy.transport.frames import Peer
    from understudy.transport.link import Link
    from understudy.transport.links import Links
    from understudy.transport.table import Name

HELD = 1_000
"""Messages that may wait for one entity to be there. What comes back from where it was does not count."""

HELD_FOR = 10.0
"""Seconds that a message waits for an entity to be there. A call waits until its own deadline."""

NO_ENTITY = "no entity"
"""Why it is a dead letter: nobody could be found to have the entity it was sent to, in time or at all."""


ANSWER_WITHIN = 10.0
"""Seconds that the host of another node is given for what takes it no time."""


class Route:
    """One entity, as this node sees it. `cell`: the actor, if it is here; `away`: its address, if it is elsewhere.

    `held` is what waits while it is neither, and `returned` what comes back before that; each with its time.
    """

    __slots__ = ("away", "cell", "held", "ref", "returned", "seeking", "timer", "used")

    def __init__(self, ref: EntityRef[Any]) -> None:
        self.ref = ref
        self.cell: Cell[Any] | None = None
        self.away: RemoteRef[Any] | None = None
        self.held: deque[tuple[float, Any]] | None = None
        self.returned: deque[tuple[float, Any]] | None = None
        self.seeking: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.used = True


class LastOne:
    """The reply of the call behind all that comes back: it fails with `Moved` too, or with the link."""

    __slots__ = ("_all_back",)

    def __init__(self, all_back: Callable[[], None]) -> None:
        self._all_back = all_back

    def set(self, value: Any) -> None:
        self._all_back()

    def fail(self, error: Exception) -> None:
        self._all_back()

    def abandoned(self) -> bool:
        return False


class Routes:
    """Those of one node, by the entity's name. Used on its loop only; `seek(route)` settles it, or `give_up`s."""

    def __init__(self, links: Links, seek: Callable[[Route], Awaitable[None]]) -> None:
        self._system = links.system
        self._seek = seek
        self._routes: dict[str, Route] = {}
        self._addresses: dict[tuple[Peer, int], Route] = {}
        self._over = ""
        links.returned = self._returned

    def __len__(self) -> int:
        return len(self._routes)

    def route(self, ref: EntityRef[Any]) -> Route:
        """The one to that entity, made if there was none."""
        name = ref.name
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = Route(ref)
        return route

    def known(self, name: str) -> Route | None:
        """The one to that entity, if there is one."""
        return self._routes.get(name)

    # --- sending ---

    def send(self, route: Route, what: Any) -> None:
        """A message, an `Asked` or a `Deed`: to where the entity is, or in line. Raises what `tell` does."""
        if route.held is None:
            cell, away = route.cell, route.away
            if cell is not None and cell.reason is None:
                put(cell, what)
                return
            if away is not None and away.link.lost is None:
                self._post(route, away, what)
                return
            self.unsettle(route)
        self._hold(route, what)

    def came_back(self, at: RemoteRef[Any], what: Any) -> bool:
        """What was sent there has found the entity gone. False if nothing can come back from there any more."""
        route = self._addresses.get((at.link.peer, _number(at)))
        if route is None:
            return False
        if route.returned is None:
            self._recall(route, at)
        assert route.returned is not None, "it is recalled"
        route.returned.append((self._system.loop.time(), what))
        return True

    def leave(self, peer: Peer, owner: Callable[[str], Name | None]) -> None:
        """That node drains, and has given up names: nothing more is sent to who was there, and what is under way comes back."""
        for route in tuple(self._addresses.values()):
            at = route.away
            if at is None or at.link.peer != peer:
                continue
            row = owner(route.ref.name)
            if row is None or (row.node, row.incarnation) != peer:
                self._recall(route, at)

    def _recall(self, route: Route, at: RemoteRef[Any]) -> None:
        """That life is over: what was sent to it comes back, and a last call behind it."""
        route.returned = deque()
        route.away = None
        if route.held is None:
            route.held = deque()
        at.link.calls.ask(at, None, LastOne(lambda: self._all_back(route, at)), None, urgent=True)

    def _returned(self, link: Link, target: int, message: Any) -> None:
        at = RemoteRef[Any](link, target)
        if not self.came_back(at, message):
            self._system.dead_letters.add(DeadLetter(at, message, NO_ENTITY))

    def _all_back(self, route: Route, at: RemoteRef[Any]) -> None:
        """Nothing is under way to its last address: what has come back is older than what waits."""
        self._addresses.pop((at.link.peer, _number(at)), None)
        assert route.returned is not None, "the last one comes behind others"
        held, route.returned = route.returned, None
        held.extend(route.held or ())
        route.held = held
        self._begin(route)

    def _post(self, route: Route, away: RemoteRef[Any], what: Any) -> None:
        route.used = True
        if isinstance(what, Asked):
            if away.link.full:
                raise away.link.overloaded()
            what.post(away)
        elif isinstance(what, Deed):
            what.do(away)
        else:
            away.tell(what)

    # --- waiting ---

    def _hold(self, route: Route, what: Any) -> None:
        assert route.held is not None, "it is not settled"
        if self._over:
            route.held = None
            self._refuse(route, what, self._nowhere(route))
            return
        if len(route.held) >= HELD and not isinstance(what, Deed):
            self._prune(route)
            if len(route.held) >= HELD:
                full = Overloaded(f"{HELD:,} messages wait for {route.ref!r} to be there already: call again later")
                self._refuse(route, what, full)
                return
        route.held.append((self._system.loop.time(), what))
        self._begin(route)

    def _begin(self, route: Route) -> None:
        if route.returned is not None or route.held is None:
            return
        if not route.held:
            self._forget(route)
            return
        loop = self._system.loop
        if route.seeking is None:
            route.seeking = loop.create_task(self._sought(route), context=self._system.scheduler.neutral_context())
        if route.timer is None:
            context = self._system.scheduler.neutral_context()
            route.timer = loop.call_later(HELD_FOR, self._time_is_up, route, context=context)

    async def _sought(self, route: Route) -> None:
        try:
            await self._seek(route)
        finally:
            route.seeking = None
            if route.held is not None and not self._over:
                self._begin(route)

    def _time_is_up(self, route: Route) -> None:
        """Some have waited too long. Calls have deadlines of their own."""
        route.timer = None
        if route.held is None:
            return
        due = self._system.loop.time() - HELD_FOR + 1e-6
        self._prune(route)
        kept: deque[tuple[float, Any]] = deque()
        for since, what in route.held:
            if since > due or isinstance(what, Asked):
                kept.append((since, what))
            else:
                self._refuse(route, what, UnderstudyError(f"it waited {HELD_FOR:g} s for {route.ref!r} to be there"))
        route.held = kept
        first = next((since for since, what in kept if not isinstance(what, Asked)), None)
        if kept:
            loop = self._system.loop
            again = HELD_FOR if first is None else first + HELD_FOR - loop.time()
            context = self._system.scheduler.neutral_context()
            route.timer = loop.call_later(again, self._time_is_up, route, context=context)

    def _prune(self, route: Route) -> None:
        """Let go of calls that nobody waits for any more."""
        if route.held is not None:
            route.held = deque(
                (since, what) for since, what in route.held if not (isinstance(what, Asked) and what.abandoned())
            )

    # --- what the seeker finds ---

    def settle(self, route: Route, at: Cell[Any] | RemoteRef[Any]) -> None:
        """It is there: what waited goes to it, in order."""
        held, route.held = route.held or (), None
        self._stop_timer(route)
        if isinstance(at, RemoteRef):
            route.away = at
            self._addresses[at.link.peer, _number(at)] = route
        else:
            route.cell = at
        for _, what in held:
            if isinstance(what, Asked) and what.abandoned():
                continue
            try:
                if isinstance(at, RemoteRef):
                    post_all_the_same(at, what)
                else:
                    put(at, what)
            except UnderstudyError as error:
                self._refuse(route, what, error)

    def give_up(self, route: Route, error: UnderstudyError) -> None:
        """It cannot be had: calls fail with `error`, tells are dead letters."""
        held, route.held = route.held or (), None
        self._stop_timer(route)
        self._forget(route)
        for _, what in held:
            self._refuse(route, what, error)

    def waits(self, route: Route) -> bool:
        """Whether anything waits for it still, and nothing is on its way back."""
        if route.returned is not None or route.held is None:
            return False
        if any(isinstance(what, Asked) and what.abandoned() for _, what in route.held):
            self._prune(route)
        return bool(route.held)

    # --- what happens to it ---

    def unsettle(self, route: Route) -> None:
        """It is no more where it was: what is sent from now on waits."""
        route.cell = None
        if route.away is not None:
            self._addresses.pop((route.away.link.peer, _number(route.away)), None)
            route.away = None
        if route.held is None:
            route.held = deque()

    def left(self, name: str, cell: Cell[Any]) -> None:
        """The actor here closes; what was told to it before it still handles."""
        route = self._routes.get(name)
        if route is not None and route.cell is cell:
            route.cell = None
            self._forget(route)

    def end(self, why: str) -> None:
        """This node ends: nothing is sought any more."""
        self._over = why
        for route in tuple(self._routes.values()):
            if route.seeking is not None:
                route.seeking.cancel()
            self.give_up(route, self._nowhere(route))

    async def sweep(self) -> None:
        """Forget the routes to other nodes that nobody used since the last sweep, and to which nothing is under way."""
        idle: dict[Link, list[Route]] = {}
        for route in self._addresses.values():
            if route.used or route.away is None:
                route.used = False
            else:
                idle.setdefault(route.away.link, []).append(route)
        for link, routes in idle.items():
            if link.lost is None and not await _heard(link):
                continue  # whatever of theirs comes back from there comes before that answer
            for route in routes:
                if route.away is not None and route.away.link is link and not route.used and route.held is None:
                    self._addresses.pop((link.peer, _number(route.away)), None)
                    route.away = None
                    self._forget(route)

    def _forget(self, route: Route) -> None:
        """Whoever sends next makes another."""
        if route.held is None or not route.held:
            route.held = None
            self._stop_timer(route)
            if self._routes.get(route.ref.name) is route:
                del self._routes[route.ref.name]

    def _stop_timer(self, route: Route) -> None:
        if route.timer is not None:
            route.timer.cancel()
            route.timer = None

    def _nowhere(self, route: Route) -> UnderstudyError:
        return UnderstudyError(f"{route.ref!r} cannot be reached: {self._over}")

    def _refuse(self, route: Route, what: Any, error: UnderstudyError) -> None:
        if isinstance(what, Asked):
            assert what.entry.reply is not None, "what is asked is to be answered"
            what.entry.reply.fail(error)
        elif isinstance(what, Deed):
            what.failed(error)
        else:
            reason = OVERLOADED if isinstance(error, Overloaded) else NO_ENTITY
            self._system.dead_letters.add(DeadLetter(route.ref, what, reason))


async def _heard(link: Link) -> bool:
    """Whether that node has answered: whatever it sent back before has arrived then."""
    try:
        await RemoteRef[Any](link, HOST).call(Settled(), ANSWER_WITHIN)
    except UnderstudyError:
        return False
    return True


def _number(at: RemoteRef[Any]) -> int:
    assert type(at.target) is int, "an entity's address is a number"
    return at.target

"""A draining node's own steps: those who were placed here go, what has arrived is handled, what was sent is acknowledged.

    moved      children of supervisors elsewhere: those hear that this node drains, end them here and start them elsewhere
    parted     the others have read in the table what this node has given up, and send elsewhere what they sent here
    emptied    no message in any mailbox and none at hand, at one moment, and no link with anything on the way; nothing that came
               for a name which was given up here waits for its next owner, no answer is to come from there by way of this node

Not waited for: actors whose own handlers wait for this drain, and those who wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from understudy.actors import ActorSystem, Cell
from understudy.actors.info import at_hand
from understudy.actors.mortician import ALIVE
from understudy.transport.loads import HERALD, Look
from understudy.transport.remote import RemoteRef

if TYPE_CHECKING:
    from understudy.transport.links import Links
    from understudy.transport.placement import Placement

LOOK = 0.02
"""Seconds between two looks at all mailboxes."""

AT_LEAST = 0.5
"""Seconds that the mailboxes get though the time is up: what waits for an acknowledgement alone is not left behind."""

PARTING = 5.0
"""Seconds that the others have to look into the table."""

SUCCESSION = 5.0
"""Seconds in which somebody is to have the names that were given up here; for a name that nobody wants nothing waits longer."""

NAMED = 10
"""Of those who are left so many are named, at most."""


async def moved(placement: Placement, deadline: float) -> list[str]:
    """Wait until whoever was placed here by a supervisor elsewhere has gone there."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while placement.guests():
                await placement.moved()
    left = [f"{ref!r} could not be moved: no other node has room for it" for ref in placement.guests()]
    return named(left + [f"{ref!r} was started here by spawn_on, and ends with the node" for ref in placement.strays()])


async def emptied(links: Links, drainers: Callable[[], Collection[Cell[Any]]], deadline: float) -> list[str]:
    """Wait until there is nothing on the way. `drainers`: the actors whose handlers wait for this drain now."""
    loop, system = asyncio.get_running_loop(), links.system
    deadline = max(deadline, loop.time() + AT_LEAST)
    await _part(links, min(deadline, loop.time() + PARTING))
    succession = min(deadline, loop.time() + SUCCESSION)
    while True:
        left = [*_busy(system, drainers()), *_on_the_way(links)]
        waiting = links.registry.waiting() if links.registry is not None else []
        now = loop.time()
        if now >= deadline or not (left or (waiting and now < succession)):
            return named([*left, *waiting, *_stashed(system)])
        await asyncio.sleep(LOOK)


async def _part(links: Links, deadline: float) -> None:
    """Ask the others to look into the table. Their answers come after all that they had sent to those who are gone from here.

    Who does not answer in time may yet send something: that comes back to it, as long as this node is up.
    """
    within = max(0.0, deadline - asyncio.get_running_loop().time())
    others = [RemoteRef[Any](link, HERALD) for link in links.all() if link.connected]
    await asyncio.gather(*(other.call(Look(*links.me), timeout=within) for other in others), return_exceptions=True)


def _busy(system: ActorSystem, drainers: Collection[Cell[Any]]) -> Iterable[str]:
    waiting = system.scheduler.waits.upon(drainers)
    for ref in system.actors():
        if not isinstance(ref, Cell) or ref in waiting:
            continue
        if ref.mailbox:
            yield f"{ref!r} has {len(ref.mailbox)} messages in its mailbox"
        elif ref.stage == ALIVE and (work := at_hand(ref)) is not None:
            yield f"{ref!r} still handles {work[0]}"


def _on_the_way(links: Links) -> Iterable[str]:
    for link in links.all():
        link.flush()
        if count := link.out.offered - link.out.delivered:
            yield f"{link.peer} has not acknowledged the last {count} frames"
        if calls := link.calls.passed_on():
            yield f"{link.peer} has not answered {calls} calls that were passed on to it from here"


def _stashed(system: ActorSystem) -> Iterable[str]:
    for ref in system.actors():
        if isinstance(ref, Cell) and ref.bonds is not None and ref.bonds.stashed:
            yield f"{ref!r} has put aside {len(ref.bonds.stashed)} messages"


def named(left: list[str]) -> list[str]:
    """The first of them, and how many there are besides."""
    return left if len(left) <= NAMED else [*left[:NAMED], f"and {len(left) - NAMED} more"]

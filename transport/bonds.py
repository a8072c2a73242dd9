"""Monitors and links of actors here on actors of one peer. Each fires once: at a death there, or when the link is lost.

monitor ── MONITOR(token, target) ──▶ Delivery there, a Watch on the actor
        ◀── DOWN(token, reason) ──
link    ── LINK(target, sender) ────▶ both ends remember the tie
        ◀── LINKED_EXIT(target, sender, reason) ──
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors import ActorRef, ExitReason, Watcher
from understudy.transport.operations import DEMONITOR, LINK, LINKED_EXIT, MONITOR, UNLINK

if TYPE_CHECKING:
    from understudy.transport.link import Link
    from understudy.transport.remote import RemoteRef


class Bonds:
    """Used on the loop's thread only."""

    __slots__ = ("_link", "_monitors", "_ties")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._monitors: dict[int, tuple[RemoteRef[Any], Watcher]] = {}
        self._ties: dict[tuple[ActorRef[Any], RemoteRef[Any]], ActorRef[Any]] = {}

    # --- monitors ---

    def monitor(self, ref: RemoteRef[Any], token: int, watcher: Watcher) -> None:
        """Tell `watcher` when that actor ends, or its node does."""
        lost = self._link.lost
        if lost is not None:
            watcher.down(token, ref, lost)
            return
        self._monitors[token] = (ref, watcher)
        self._link.signal(MONITOR, token, ref.target)

    def demonitor(self, token: int) -> None:
        """Tell that watcher no more."""
        if self._monitors.pop(token, None) is not None:
            self._link.signal(DEMONITOR, token)

    def down(self, token: int, reason: ExitReason) -> None:
        """What a monitor watched is dead."""
        monitor = self._monitors.pop(token, None)
        if monitor is not None:
            monitor[1].down(token, monitor[0], reason)

    # --- links ---

    def link(self, ref: RemoteRef[Any], sender: ActorRef[Any]) -> None:
        """Link `sender` here to the actor there."""
        lost = self._link.lost
        if lost is not None:
            sender._linked_exit(ref, lost)
            return
        self.tie(sender, ref)
        self._link.signal(LINK, ref.target, sender)

    def unlink(self, ref: RemoteRef[Any], sender: ActorRef[Any]) -> None:
        """Undo it."""
        there = self._tied(sender, ref)
        self.untie(sender, there)
        self._link.signal(UNLINK, there.target, sender)

    def linked_exit(self, ref: RemoteRef[Any], sender: ActorRef[Any], reason: ExitReason) -> None:
        """`sender` here ended, and takes with it whom it is linked to."""
        there = self._tied(sender, ref)
        self.untie(sender, there)
        self._link.signal(LINKED_EXIT, there.target, sender, reason)

    def tie(self, here: ActorRef[Any], there: RemoteRef[Any], known_as: ActorRef[Any] | None = None) -> None:
        """Remember a link between two actors. `known_as` is the reference, perhaps a name, that `here` linked itself to."""
        self._ties[here, there] = known_as if known_as is not None else there

    def untie(self, here: ActorRef[Any], there: RemoteRef[Any]) -> ActorRef[Any]:
        """Forget it; returns what `here` knows the other one as."""
        return self._ties.pop((here, there), there)

    def named(self, here: ActorRef[Any], name: RemoteRef[Any], there: RemoteRef[Any]) -> None:
        """The name that `here` linked itself to is that actor's, unless the link was undone meanwhile."""
        known_as = self._ties.pop((here, name), None)
        if known_as is not None:
            self._ties[here, there] = known_as

    def _tied(self, here: ActorRef[Any], known_as: RemoteRef[Any]) -> RemoteRef[Any]:
        """The actor that `here` is linked to under that reference, which may be a name."""
        if (here, known_as) in self._ties:
            return known_as
        return next((to for (by, to), known in self._ties.items() if by is here and known == known_as), known_as)

    # --- the end ---

    def lose(self, reason: ExitReason) -> None:
        """The link is lost: whoever watched or was linked is told."""
        monitors, self._monitors = self._monitors, {}
        for token, (ref, watcher) in monitors.items():
            watcher.down(token, ref, reason)
        ties, self._ties = self._ties, {}
        for (here, _), there in ties.items():
            here._linked_exit(there, reason)

"""The half of a cell that ties it to others: where links and monitors have their ends, and exit signals arrive.

    another actor, any thread                    this actor's loop, before its next message
    -------------------------                    ------------------------------------------
    ref._link(me), ref._monitor(token, me)  ──>  noted in its bonds; if it is dead already, the answer comes at once
    ref._exit(me, reason)                   ──>  ignored, trapped as a message, or its end (mortician.py)
    its end                                 <──  watcher.down(...) of each watcher, ref._linked_exit(...) of each link

All of it goes through `on_loop`: one after the other, in the order sent, never inside a handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from understudy.actors.bonds import ExitTicket
from understudy.actors.deadlines import speaker
from understudy.actors.envelope import Envelope
from understudy.actors.hooks import Linked, Unlinked
from understudy.actors.mortician import DEAD, LEAVING
from understudy.actors.reasons import ExitReason, NoProc, Shutdown, checked_reason
from understudy.actors.ref import A, ActorRef, Watcher
from understudy.actors.signals import Down, Exit

if TYPE_CHECKING:
    from understudy.actors.bonds import Bonds
    from understudy.actors.cell import Cell
    from understudy.actors.scheduler import Scheduler
    from understudy.actors.timers import Timer


class Ties(ActorRef[A]):
    """A base of `Cell`, which has what is declared here."""

    __slots__ = ()

    if TYPE_CHECKING:
        bonds: Bonds | None
        parent: Cell[Any] | None
        scheduler: Scheduler
        stage: int

        def on_loop(self, function: Callable[..., object], *arguments: Any) -> None: ...
        def tied(self) -> Bonds: ...

    def keep_timer(self, timer: Timer) -> bool:
        """Remember a timer so that it ends with the actor; False if the actor ended already."""
        if self.stage >= LEAVING:
            return False
        self.tied().timers.add(timer)
        return True

    def drop_timer(self, timer: Timer) -> None:
        """Forget a timer that fired or was cancelled."""
        if self.bonds is not None:
            self.bonds.timers.discard(timer)

    # --- signals, from any thread ---

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        self._exit(speaker(), checked_reason(reason))

    def kill(self) -> None:
        me: Any = self
        self.on_loop(self.scheduler.mortician.kill, me)

    def _monitor(self, token: int, watcher: Watcher) -> None:
        self.on_loop(self._watched, token, watcher)

    def _demonitor(self, token: int, watcher: Watcher) -> None:
        self.on_loop(self._unwatched, token, watcher)

    def _link(self, sender: ActorRef[Any]) -> None:
        self.on_loop(self._linked, sender)

    def _unlink(self, sender: ActorRef[Any]) -> None:
        self.on_loop(self._unlinked, sender)

    def _exit(self, sender: ActorRef[Any] | None, reason: ExitReason) -> None:
        me: Any = self
        ticket = ExitTicket(me, sender)  # if it is trapped, it keeps its place among what is sent
        self.tell(Envelope(Exit(sender, reason), ticket=ticket))
        self.on_loop(self.scheduler.mortician.exit_signal, me, sender, reason, ticket)

    def _linked_exit(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        self.on_loop(self._other_end_died, sender, reason)

    def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        """A monitor of this actor fired (the cell is its own actor's `Watcher`)."""
        self.on_loop(self._went_down, token, ref, reason)

    def flush_down(self, token: int) -> None:
        """Make void the `Down` of this monitor if it waits in the mailbox already."""
        fallen = self.bonds.fallen if self.bonds is not None else None
        monitor = fallen.get(token) if fallen is not None else None
        if monitor is not None:
            monitor.active = False

    # --- signals, on the loop ---

    def _went_down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
        bonds = self.bonds
        monitor = bonds.monitors.get(token) if bonds is not None else None
        if bonds is not None and monitor is not None:
            if bonds.fallen is None:
                bonds.fallen = WeakValueDictionary()
            # First note, then forget: a demonitor in another thread finds the monitor in one place or the other.
            bonds.fallen[token] = monitor  # weakly: once its Down is handled, nothing holds it
            self.tell(Envelope(Down(token, ref, reason), ticket=monitor))
            bonds.monitors.pop(token, None)

    def _watched(self, token: int, watcher: Watcher) -> None:
        if self.stage == DEAD:
            watcher.down(token, self, NoProc())
        else:
            self.tied().watchers[token, watcher] = None

    def _unwatched(self, token: int, watcher: Watcher) -> None:
        if self.bonds is not None:
            self.bonds.watchers.pop((token, watcher), None)

    def _linked(self, sender: ActorRef[Any]) -> None:
        child: Any = sender
        if self.stage == DEAD:
            sender._linked_exit(self, NoProc())
        elif sender is self.parent:
            return  # that link is the family's: the parent keeps it
        elif child in self.tied().children:
            self.tied().children[child] = True
        else:
            self.tied().links.add(sender)
            self._tell_hooks(Linked, sender)

    def _unlinked(self, sender: ActorRef[Any]) -> None:
        child: Any = sender
        if self.bonds is not None:
            if sender in self.bonds.links:
                self.bonds.links.discard(sender)
                self._tell_hooks(Unlinked, sender)
            if child in self.bonds.children:
                self.bonds.children[child] = False

    def _tell_hooks(self, event: type[Linked] | type[Unlinked], other: ActorRef[Any]) -> None:
        hooks = self.scheduler.system.hooks
        if hooks.wants(event):
            hooks.emit(event(self, other))

    def _other_end_died(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        me: Any = self
        if self.bonds is not None and sender in self.bonds.links:
            self.bonds.links.discard(sender)
            self.scheduler.mortician.exit_signal(me, sender, reason)

"""A reference that means whoever has a name, at each use: what all such references have in common, whatever kind of name it is.

    ByName ── someone() ──▶ NamedRef    a name of one system          (names.py)
                        └── ClusterRef  a name that is unique in the cluster: transport/cluster_ref.py

While nobody has the name there is nobody to stop, watch or link: the same comes of it as with an actor that has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors.address import Address
from understudy.actors.answer import Answer
from understudy.actors.errors import ActorDied
from understudy.actors.reasons import ExitReason, NoProc, Shutdown
from understudy.actors.ref import A, ActorRef, Watcher

if TYPE_CHECKING:
    from understudy.actors.scheduler import Scheduler


class ByName(ActorRef[A]):
    """How it is spoken to is its own affair, and who has the name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def scheduler(self) -> Scheduler:
        """That of the system whose reference it is."""
        raise NotImplementedError

    def _someone(self) -> ActorRef[A] | None:
        """Who has the name now."""
        raise NotImplementedError

    # --- ending ---

    def stop(self) -> Answer[bool]:
        to = self._someone()
        if to is not None:
            return to.stop()
        nobody: Answer[bool] = Answer(self.scheduler)
        nobody.set(False)
        return nobody

    def exit(self, reason: ExitReason = Shutdown()) -> None:  # noqa: B008 - reasons are immutable values
        to = self._someone()
        if to is not None:
            to.exit(reason)

    def kill(self) -> None:
        to = self._someone()
        if to is not None:
            to.kill()

    def is_alive(self) -> bool:
        to = self._someone()
        return to is not None and to.is_alive()

    async def ended(self, timeout: float | None = None) -> ExitReason:
        to = self._someone()
        return await to.ended(timeout) if to is not None else NoProc()

    # --- who it is ---

    @property
    def address(self) -> Address:
        return self._now().address

    @property
    def name(self) -> str:
        return self._name

    # --- signals ---

    def _monitor(self, token: int, watcher: Watcher) -> None:
        to = self._someone()
        if to is not None:
            to._monitor(token, watcher)
        else:
            self.scheduler.signal(watcher.down, (token, self, NoProc()))

    def _demonitor(self, token: int, watcher: Watcher) -> None:
        to = self._someone()
        if to is not None:
            to._demonitor(token, watcher)

    def _link(self, sender: ActorRef[Any]) -> None:
        to = self._someone()
        if to is not None:
            to._link(sender)
        else:
            sender._linked_exit(self, NoProc())

    def _unlink(self, sender: ActorRef[Any]) -> None:
        to = self._someone()
        if to is not None:
            to._unlink(sender)

    def _exit(self, sender: ActorRef[Any] | None, reason: ExitReason) -> None:
        to = self._someone()
        if to is not None:
            to._exit(sender, reason)

    def _linked_exit(self, sender: ActorRef[Any], reason: ExitReason) -> None:
        to = self._someone()
        if to is not None:
            to._linked_exit(sender, reason)

    # --- inside ---

    def _refuse_blocking(self, what: str, remedy: str) -> None:
        self.scheduler.refuse_blocking(what, remedy)

    def _meant(self) -> ActorRef[Any]:
        return self._someone() or self

    def _now(self) -> ActorRef[A]:
        to = self._someone()
        if to is None:
            raise ActorDied(NoProc(), repr(self))
        return to

"""The host actor: what other nodes ask of the entities of this one. Its children are the entities, which end with it.

another node ── Activate(kind, key) ──▶ Here(address) | Elsewhere(node) | Unwilling | NotStarted | Trouble
             ── Retire(name) ─────────▶ True, once it has ended
             ── Settled ──────────────▶ None: what that node sent before has arrived
this node    ── Hosts(kind, so) ──▶ it joins the group of that kind, or leaves it: so all nodes know who hosts what
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from understudy.actors import Actor, Cell, Exit, Later
from understudy.transport.activation import HOST, Activate, Here, Retire, Settled
from understudy.transport.entity_host import Host, address_of


class HostActor(Actor):
    """What other nodes ask: one on each, by the name of HOST. It is in the group of each kind that is hosted here, and the parent
    of the entities, which end with it."""

    trap_exit = True

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host

    def on_receive(self, message: Any) -> Any:
        match message:
            case Activate(str(), str()):
                return self._later(self._activate(message))
            case Retire(str(name)):
                return self._later(self._retire(name))
            case Settled() | Exit():  # what another node sent before has arrived; an entity has ended
                return None
            case Hosts(kind, True):
                self.join(group_of(kind))
            case Hosts(kind, False):
                self.leave(group_of(kind))
            case _:
                return self.unhandled(message)
        return None

    def _later(self, work: Any) -> Later:
        later = Later()

        async def answer() -> None:
            try:
                later.set(await work)
            except Exception as error:  # noqa: BLE001 - it is whoever asked who is to have it
                later.fail(error)

        self.run(answer())
        return later

    async def _activate(self, what: Activate) -> Any:
        answer = await self._host.activate(what.kind, what.key)
        return Here(address_of(answer)) if isinstance(answer, Cell) else answer

    async def _retire(self, name: str) -> bool:
        return await retire(self._host, name)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Told to the host actor by its own node: that kind is hosted here from now on, or no more."""

    kind: str
    so: bool


async def retire(host: Host, name: str) -> bool:
    """End the entity of that name in order, if it is here; True once it has ended."""
    seat = host.seat(name)
    if seat is None:
        return False
    host.close(seat)
    await host.ended(seat)
    return True


def group_of(kind: str) -> str:
    """The group of the hosts of that kind."""
    return f"{HOST}/{kind}"

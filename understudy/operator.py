"""The operator: what a node answers to operators who sit at other nodes, and does for them.

    another node                          this one: the actor `understudy/operator`
    Describe()                     ──▶    which version, which application, since when, how much there is
    ShowTree()                     ──▶    its live tree
    Wind("drain" or "leave", ...)  ──▶    begins to hand over what it has; and then, perhaps, to end
    HowFar()                       ──▶    how far it is with that, and what is left

Nothing here may be done by whoever is no member: with keys, nobody else gets that far (docs/security.md).
"""

import json
import logging
import platform
import zlib
from importlib.metadata import version
from typing import Any, Protocol

from understudy.actors import Actor, Later, Refused, Request, message
from understudy.transport import Node
from understudy.tree import Process

logger = logging.getLogger("understudy.app")

OPERATOR = "understudy/operator"
"""The name of each node's."""


@message("understudy.operator.Describe")
class Describe(Request[dict[str, Any]]):
    """What runs there: `version`, `python`, `application`, `phase`, `up` (seconds), `actors`, `health` (an address)."""


@message("understudy.operator.ShowTree")
class ShowTree(Request[bytes]):
    """The process there as `tree.Process`, as JSON that zlib has made small."""


@message("understudy.operator.Wind")
class Wind(Request[dict[str, Any]]):
    """`what`: drain, or leave: drain and then end. `timeout`: seconds for handing over. `by`: who asks, for the log there.

    Answered at once, as HowFar is.
    """

    what: str
    timeout: float
    by: str


@message("understudy.operator.HowFar")
class HowFar(Request[dict[str, Any]]):
    """`phase`: running, draining, drained or stopping; `names`, `placed`: how many it still has; `left`: what was left of a drain."""


class Hosting(Protocol):
    """The process around a node."""

    phase: str
    """starting, running, draining, drained or stopping."""
    left: str
    """What a drain has left behind; "" if nothing."""

    async def look(self) -> Process:
        """Its live tree."""
        ...

    def describe(self) -> dict[str, Any]:
        """`application`, `up` and `health`."""
        ...

    async def drain(self, timeout: float) -> None:
        """Hand over what the node has."""
        ...

    def leave(self, timeout: float, why: str) -> None:
        """Begin to drain and to end."""
        ...


class Operator(Actor):
    """Of one node."""

    def __init__(self, node: Node, hosting: Hosting) -> None:
        super().__init__()
        self._node = node
        self._hosting = hosting

    def on_receive(self, message: Any) -> Any:
        match message:
            case Describe():
                return self._description()
            case ShowTree():
                later = Later()
                self.run(self._show(later))
                return later
            case HowFar():
                return self._progress()
            case Wind() if self._hosting.phase == "starting":
                raise Refused(f"{self._node.name} is still starting: ask again when it is ready")
            case Wind("drain", float() | int() as timeout, str(by)):
                logger.info("%s drains, as %s asks", self._node.name, by)
                if self._hosting.phase == "running":
                    self.run(self._hosting.drain(timeout))
                return self._progress()
            case Wind("leave", float() | int() as timeout, str(by)):
                self._hosting.leave(timeout, f"{by} asks it to leave")
                return self._progress() | {"phase": "draining"}
            case _:
                return self.unhandled(message)

    async def _show(self, later: Later) -> None:
        try:
            later.set(zlib.compress(json.dumps(await self._hosting.look()).encode()))
        except Exception as error:  # noqa: BLE001 - it is whoever asked who is to have it
            later.fail(error)

    def _description(self) -> dict[str, Any]:
        return {
            "version": version("understudy"),
            "python": platform.python_version(),
            "phase": self._hosting.phase,
            "actors": len(self.system.actors()),
            **self._hosting.describe(),
        }

    def _progress(self) -> dict[str, Any]:
        return {
            "phase": self._hosting.phase,
            "names": len(self._node.names.mine()),
            "placed": self._node.placement.load.placed,
            "left": self._hosting.left,
        }

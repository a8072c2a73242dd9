"""One node of the demonstration as a process: a stage (gateway, rooms, sessions, the list of runs) or an engine.

stage ── runs        which runs there are, where they play               (understudy.engine.Runs)
      ── billboard   what the lobby shows                                (billboard.py)
      ── gateway     the page, topics lobby, run:*, room:*, and /runs    (understudy.gateway.Gateway)

engine ── engine     starts runs, each with a worker process             (understudy.engine.Engine)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.actors import ActorRef
from understudy.app import serve
from understudy.demo.billboard import Billboard
from understudy.demo.lobby import Lobby
from understudy.demo.show import Show
from understudy.engine import Engine, Runs
from understudy.examples import arena, chat
from understudy.gateway import Gateway, Mount, Topic
from understudy.runs import run_routes
from understudy.supervisors import Child, Supervisor
from understudy.transport import Node

PROGRAMS = ("understudy.examples.arena",)
"""Where the programs that engines of the demonstration run are published."""

PAGES = (Mount("/", Path(__file__).parent / "web"), Mount("/arena", Path(arena.__file__).parent / "web"), chat.PAGES)


class Stage(Supervisor):
    """What a stage node runs."""

    intensity = 5
    period = 10.0

    def __init__(self, node: Node, host: str, port: int, hosts: Sequence[str] = ()) -> None:
        super().__init__()
        self._node = node
        self._host = host
        self._port = port
        self._hosts = hosts

    def children(self) -> list[Child]:
        runs, billboard = self.system.ref("runs"), self.system.ref("billboard")
        gateway = {
            "host": self._host,
            "port": self._port,
            "hosts": self._hosts,
            "topics": {
                "lobby": Topic(Lobby, (runs, billboard)),
                "run:*": Topic(Show, (runs, billboard)),
                "room:*": chat.ChatRoom,
            },
            "pages": PAGES,
            "routes": run_routes(runs),
        }
        return [
            Child(Runs, args=(self._node,), name="runs"),
            Child(Billboard, args=(self._node, runs), name="billboard"),
            Child(Gateway, args=(self._node.name,), kwargs=gateway, name="gateway"),
        ]


class EngineRoom(Supervisor):
    """What an engine node runs."""

    intensity = 5
    period = 10.0

    def children(self) -> list[Child]:
        return [Child(Engine, args=(list(PROGRAMS),), name="engine")]


async def node(
    name: str,
    *,
    role: str,
    listen: str,
    join: str | None,
    keys: Path | None = None,
    state: Path,
    host: str,
    port: int,
    allow_host: Sequence[str],
    supervised: bool,
) -> int:
    """Run one node of the demonstration until it is told to stop; returns the exit status."""

    async def open_root(node: Node) -> ActorRef[Any]:
        if role == "stage":
            return await node.spawn(Stage, node, host, port, allow_host, name="stage")
        return await node.spawn(EngineRoom, name="engine-room")

    def announcement(node: Node) -> str:
        others = ", ".join(row.node for row in node.members() if row.status == "active" and row.node != node.name)
        return f"{node.name} at {node.address} is in the cluster with {others or 'nobody yet'}. Ctrl-C leaves it."

    member = Node(name, listen=listen, join=join, keys=keys, state=state, roles=(role,))
    return await serve(member, open_root, supervised=supervised, announce=announcement)

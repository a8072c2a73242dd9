"""What runs on the nodes of the demonstration: a stage (gateway, rooms, sessions, the list of runs) or an engine.

stage ── billboard   what the lobby shows                                (billboard.py)
      ── gateway     the page, topics lobby, run:*, room:*, and /runs    (understudy.gateway.Gateway)

engine ── engine     starts runs, each with a worker process             (understudy.engine.Engine)

Of these there is one in the cluster, on one of the stages; when its node is gone, it is on another:

      ── runs        a singleton: which runs there are, where they play  (understudy.engine.Runs)
      ── room/*      entities: the chat rooms, each by its topic         (understudy.examples.chat.ChatRoom)

Both are applications as anybody's: `understudy node stage-1 understudy.demo.stage:stage`.
"""

import math
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from understudy.demo.billboard import Billboard
from understudy.demo.lobby import Lobby
from understudy.demo.record import TableRecord
from understudy.demo.show import Show
from understudy.engine import Engine, Runs
from understudy.examples import arena, chat
from understudy.gateway import Gateway, Mount, Shared, Topic
from understudy.runs import run_routes
from understudy.settings import Settings
from understudy.supervisors import Child, Supervisor
from understudy.transport import Node

PROGRAMS = ("understudy.examples.arena",)
"""Where the programs that engines of the demonstration run are published."""

RUNS, ROOM = "runs", "room"
"""The name of the singleton, and the kind of the entities."""

KEEP = 60.0
"""Seconds that games play on while nobody schedules them."""

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
        runs, billboard = self._node.cluster_ref(RUNS), self.system.ref("billboard")
        gateway = {
            "host": self._host,
            "port": self._port,
            "hosts": self._hosts,
            "topics": {
                "lobby": Topic(Lobby, (runs, billboard)),
                "run:*": Topic(Show, (runs, billboard)),
                "room:*": Shared(ROOM),
            },
            "pages": PAGES,
            "routes": run_routes(runs),
        }
        return [
            Child(Billboard, args=(self._node, runs), name="billboard"),
            Child(Gateway, args=(self._node.name,), kwargs=gateway, name="gateway"),
        ]


class EngineRoom(Supervisor):
    """What an engine node runs."""

    intensity = 5
    period = 10.0

    def children(self) -> list[Child]:
        return [Child(Engine, args=(list(PROGRAMS),), name="engine")]


async def stage(node: Node, settings: Settings) -> list[Child]:
    """The application of a stage. `[app] open = true` in its file: the page may be served beyond loopback."""
    if settings.app.get("open") is not True:
        _on_loopback(settings.gateway_host)
    node.host(ROOM, chat.ChatRoom, TableRecord(node, ROOM), idle=math.inf)
    await node.singleton(RUNS, Runs, node, keep=KEEP)
    arguments = (node, settings.gateway_host, settings.gateway_port, settings.gateway_names)
    return [Child(Stage, args=arguments, name="stage")]


def engine() -> list[Child]:
    """The application of an engine."""
    return [Child(EngineRoom, name="engine-room")]


async def theatre(node: Node, settings: Settings) -> list[Child]:
    """Both in one process."""
    return [*engine(), *await stage(node, settings)]


def _on_loopback(host: str) -> None:
    """The page knows no users yet, and whoever reaches it may start games: not for strangers."""
    try:
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise ValueError(
            f"the host {host} is not on loopback: refused, because the page knows no users yet; "
            f"use an address of 127.0.0.0/8, or put a proxy that asks who comes in front of it, and say that you have: "
            f"`open = true` in the table [app] of the node's file"
        )

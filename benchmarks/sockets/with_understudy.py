"""Understudy's gateway, with a room that says to everybody what a member says.

with_understudy                       prints its port
with_understudy node NAME FOLDER      a node of a cluster whose table is in FOLDER; the first hosts the room
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.sockets import open_files
from understudy import ActorSystem, Node
from understudy.app import run
from understudy.gateway import Gateway, GetUrl, Limits, Member, Room, Shared


class Hall(Room):
    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        self.broadcast("said", payload)


LIMITS: dict[str, Any] = {
    "limits": Limits(clients=20_000, idle=600.0, messages=None, bytes=None, messages_of_one=None, bytes_of_one=None)
}
"""A load test is what the gateway's limits are there to prevent."""


def listening(url: str) -> None:
    print(url.rpartition(":")[2], flush=True)


async def alone() -> None:
    async with ActorSystem("hall") as system:
        gateway = await system.spawn(Gateway, "hall", port=0, topics={"hall": Hall}, **LIMITS)
        listening(await gateway.call(GetUrl()))
        await gateway.ended()


async def node(name: str, folder: Path, hosts: bool) -> None:
    async with Node(name, state=folder) as here:
        if hosts:
            here.host("hall", Hall)
        gateway = await here.spawn(Gateway, name, port=0, topics={"hall": Shared("hall")}, **LIMITS)
        listening(await gateway.call(GetUrl()))
        await gateway.ended()


if __name__ == "__main__":
    open_files()
    match sys.argv[1:]:
        case ["node", name, folder]:
            run(node(name, Path(folder), hosts=name == "here"))
        case _:
            run(alone())

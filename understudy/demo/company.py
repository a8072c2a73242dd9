"""`understudy demo`: the director supervises the node processes of the demonstration.

    director, this process ── Company (a Supervisor) ─┬─ stage      a process: gateway, chat rooms, client sessions
                                                      └─ engine-1   a process: engine runs

The director is a member of the cluster too, and its first node: its address is the one to join, and its supervisor can be
asked from any node: `node.ref("company@director").call(WhichChildren())`.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.actors import ActorRef
from understudy.app import command, serve
from understudy.console import say
from understudy.supervisors import Child, OsProcess, Supervisor
from understudy.transport import Node

logger = logging.getLogger("understudy.demo")

GRACE = 1.5
"""Seconds a node process has to end in order; two of them in a row stay below the 5 s promised after Ctrl-C."""


class NodeProcess(OsProcess):
    """A node as a child process. Its ready line says where it listens."""

    async def on_start(self) -> None:
        await super().on_start()
        logger.info("%s", self.ready_line.replace("ready ", "started ", 1))


class Company(Supervisor):
    """The node processes, in order of start. A killed one is back at once, many times over: it is a demonstration."""

    intensity = 20
    period = 60.0

    def __init__(self, nodes: Sequence[tuple[str, Sequence[str]]]) -> None:
        super().__init__()
        self._nodes = nodes

    def children(self) -> list[Child]:
        return [
            Child(
                NodeProcess,
                id=name,
                args=(argv,),
                kwargs={"ready": "ready ", "grace": GRACE},
                shutdown=GRACE + 1.0,
            )
            for name, argv in self._nodes
        ]


async def demo(*, host: str, port: int, state: Path, verbose: bool) -> int:
    """Run the demonstration until it is told to stop; returns the exit status."""
    common = ["--supervised", "--state", str(state), *(["--verbose"] if verbose else [])]
    nodes = [
        ("stage", command("node", "stage", "--role", "stage", "--host", host, "--port", str(port), *common)),
        ("engine-1", command("node", "engine-1", "--role", "engine", *common)),
    ]

    async def open_company(node: Node) -> ActorRef[Any]:
        return await node.spawn(Company, nodes, name="company")

    async def curtain(node: Node) -> str:
        say("")
        say(f"  Open  http://{host}:{port}/")
        say(
            f"  One more engine:  understudy node engine-2 --listen tcp://127.0.0.2:0 --join {node.address} --state other"
        )
        say("  Ctrl-C ends everything.")
        say("")
        return ""

    logger.info("director is process %s", os.getpid())
    return await serve(Node("director", state=state, roles=("director",)), open_company, ready=curtain)

"""`understudy demo`: the director supervises the node processes of the demonstration.

    director, this process ── Company (a Supervisor) ─┬─ stage      a process: gateway, chat rooms, client sessions
                                                      └─ engine-1   a process: engine runs

With `--stages 2 --engines 2` there are as many of them: two pages that share their rooms and games.

The director is a member of the cluster too, and its first node: its address is the one to join, and its supervisor can be
asked from any node: `node.ref("company@director").call(WhichChildren())`.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.actors import ActorRef, ExitReason, Failure, Shutdown
from understudy.app import command, serve
from understudy.supervisors import Child, OsProcess, ProcessStatus, Supervisor, WhichChildren
from understudy.transport import Node, NodeLost, NodeUp

logger = logging.getLogger("understudy.demo")

GRACE = 1.5
"""Seconds a node process has to end in order; two of them in a row stay below the 5 s promised after Ctrl-C."""

PARTING = 0.2
"""Seconds of it for the drain: games that go on then are lost, and its process ends in order all the same."""

STAGE, ENGINE = "understudy.demo.stage:stage", "understudy.demo.stage:engine"
"""The applications of its nodes."""


class NodeProcess(OsProcess):
    """A node as a child process. Its ready line says where it listens."""

    async def on_start(self) -> None:
        await super().on_start()
        logger.info("%s", self.ready_line.replace("ready ", "started ", 1))

    async def on_stop(self, reason: ExitReason) -> None:
        await super().on_stop(reason)
        if not isinstance(reason, Failure):
            logger.info("%s has stopped", self.label)


class Company(Supervisor):
    """The node processes, in order of start. A killed one is back at once, many times over: it is a demonstration.

    One that hangs is noticed by the other nodes: once they have declared it dead, its process is ended and replaced.
    """

    intensity = 20
    period = 60.0

    def __init__(self, node: Node, nodes: Sequence[tuple[str, Sequence[str]]]) -> None:
        super().__init__()
        self._node = node
        self._nodes = nodes

    def children(self) -> list[Child]:
        return [
            Child(
                NodeProcess,
                id=name,
                args=(argv,),
                kwargs={"label": name, "ready": "ready ", "grace": GRACE},
                shutdown=GRACE + 1.0,
            )
            for name, argv in self._nodes
        ]

    async def on_start(self) -> None:
        await super().on_start()
        self._node.subscribe(self.actor_ref)

    async def on_receive(self, message: Any) -> Any:
        match message:
            case NodeUp():
                return None
            case NodeLost(name, incarnation, reason):
                return await self._replace(name, incarnation, reason)
            case _:
                return await super().on_receive(message)

    async def _replace(self, name: str, incarnation: int, reason: str) -> None:
        lost = next((row for row in self._node.members() if row.key == (name, incarnation)), None)
        for child in await super().on_receive(WhichChildren()):
            if lost is None or lost.status != "dead" or child.id != name or child.ref is None:
                continue
            if (await child.ref.call(ProcessStatus()))["pid"] == lost.pid:
                logger.error("%s hangs (%s): ending process %s", name, reason, lost.pid)
                child.ref.exit(Shutdown(reason))


async def demo(
    *,
    host: str,
    port: int,
    allow_host: Sequence[str],
    state: Path,
    verbose: bool,
    stages: int = 1,
    engines: int = 1,
) -> int:
    """Run the demonstration until it is told to stop; returns the exit status. Of several stages, each has the next port."""
    common = ["--supervised", "--log-format", "console", "--state", str(state), *(["--verbose"] if verbose else [])]
    common += ["--drain-timeout", str(PARTING)]
    page = ["--gateway-host", host, *(word for name in allow_host for word in ("--gateway-name", name))]
    ports = {"stage": port} if stages == 1 else {f"stage-{number + 1}": port + number for number in range(stages)}
    told = {name: [STAGE, "--role", "stage", *page, "--gateway-port", str(its)] for name, its in ports.items()}
    told |= {f"engine-{number + 1}": [ENGINE, "--role", "engine"] for number in range(engines)}
    nodes = [(name, command("node", name, *words, *common)) for name, words in told.items()]

    async def open_company(node: Node) -> ActorRef[Any]:
        return await node.spawn(Company, node, nodes, name="company")

    def curtain(node: Node) -> str:
        more = f"understudy node engine-{engines + 1} {ENGINE} --role engine"
        join = f"{more} --listen tcp://127.0.0.2:0 --join {node.address}"
        links = "  and  ".join(f"http://{host}:{its}/" for its in ports.values())
        return f"\n  Open  {links}\n  One more engine:  {join}\n  Ctrl-C ends everything.\n"

    logger.info("director is process %s", os.getpid())
    return await serve(Node("director", state=state, roles=("director",)), open_company, announce=curtain)

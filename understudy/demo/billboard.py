"""What is on: the runs, who watches them, the nodes, and the news of both. One per stage; lobbies show it.

Runs ── RunChanged ──> [Billboard] ── Poster(run) ──> every lobby that called Attend
node ── NodeUp, NodeLost ──> │    ── Poster(nodes), Poster(notice)
Show ── Audience(run, n) ──> │
"""

import logging
import os
from collections import deque
from dataclasses import replace
from typing import Any

from understudy.actors import Actor, ActorRef, Down, Request, message
from understudy.engine import ENDED, Follow, RunChanged, RunInfo
from understudy.runs import run_json
from understudy.transport import Member, Node, NodeLost, NodeUp

logger = logging.getLogger("understudy.demo")


@message("understudy.demo.Poster")
class Poster:
    """Something changed that every lobby shows: an event of the topic `lobby` and its payload."""

    event: str
    payload: dict[str, Any]


@message("understudy.demo.Audience")
class Audience:
    """So many clients watch this run now."""

    run: str
    viewers: int


@message("understudy.demo.Attend")
class Attend(Request[dict[str, Any]]):
    """Tell `lobby` each Poster from now on; the answer is everything as it is now."""

    lobby: ActorRef[Any]


SHOWN = 100
"""Games that ended and are still shown; the list of runs itself remembers more."""


class Billboard(Actor):
    """`runs` is the `Runs` actor of this stage."""

    def __init__(self, node: Node, runs: ActorRef[Any]) -> None:
        super().__init__()
        self._node = node
        self._runs_ref = runs
        self._runs: dict[str, RunInfo] = {}
        self._viewers: dict[str, int] = {}
        self._members: dict[str, Member] = {}
        self._past: deque[str] = deque()
        self._lobbies: dict[int, ActorRef[Any]] = {}

    def on_start(self) -> None:
        own = next(member for member in self._node.members() if member.node == self._node.name)
        self._members[own.node] = own
        self._runs_watch = self.monitor(self._runs_ref)
        self._node.subscribe(self.actor_ref)
        self._runs_ref.tell(Follow(self.actor_ref))

    def on_receive(self, message: object) -> Any:
        match message:
            case RunChanged(info):
                self._changed(info)
            case Audience(run, viewers):
                if run in self._runs:
                    self._viewers[run] = viewers
                    self._post("run", self._run(self._runs[run]))
            case NodeUp(member):
                known = self._members.get(member.node)
                self._members[member.node] = member
                self._post("nodes", {"nodes": self._nodes()})
                if known is not None and known.status != "active":
                    self._notice("info", f"{member.node} is back, as process {member.pid}.")
                elif known is None:
                    self._notice("info", f"{member.node} is here, as process {member.pid}.")
            case NodeLost(node, incarnation, reason):
                self._lost(node, incarnation, reason)
            case Attend(lobby):
                if lobby not in self._lobbies.values():  # it asks again for each client
                    self._lobbies[self.monitor(lobby)] = lobby
                return self._everything()
            case Down(token) if token == self._runs_watch:
                # All that is shown came from there; the supervisor starts us anew, and we ask its successor.
                raise RuntimeError("the list of runs is gone")
            case Down(token):
                self._lobbies.pop(token, None)
            case _:
                return self.unhandled(message)
        return None

    def _changed(self, info: RunInfo) -> None:
        if info.state in ENDED and info.run not in self._past:
            self._past.append(info.run)
            if info.state in ("lost", "failed"):
                logger.warning("game %s is %s: %s", info.run, info.state, (info.reason or "").partition("\n")[0])
        self._runs[info.run] = info
        self._post("run", self._run(info))
        while len(self._past) > SHOWN:
            forgotten = self._past.popleft()
            self._runs.pop(forgotten, None)
            self._viewers.pop(forgotten, None)

    def _lost(self, node: str, incarnation: int, reason: str) -> None:
        known = self._members.get(node)
        if known is None or known.incarnation != incarnation:
            return
        row = next((row for row in self._node.members() if row.key == known.key and row.status != "active"), None)
        self._members[node] = row if row is not None else replace(known, status="dead", reason=reason)
        self._post("nodes", {"nodes": self._nodes()})
        self._notice("warn", f"{node} is gone: {reason}.")

    def _everything(self) -> dict[str, Any]:
        return {
            "node": self._node.name,
            "pid": os.getpid(),
            "nodes": self._nodes(),
            "runs": [self._run(info) for info in self._runs.values()],
        }

    def _run(self, info: RunInfo) -> dict[str, Any]:
        return run_json(info) | {"viewers": self._viewers.get(info.run, 0)}

    def _nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "name": member.node,
                "roles": list(member.roles),
                "status": member.status,
                "address": member.address,
                "pid": member.pid,
                "incarnation": member.incarnation,
                "reason": member.reason,
            }
            for member in sorted(self._members.values(), key=lambda member: member.node)
        ]

    def _notice(self, level: str, text: str) -> None:
        logger.log(logging.WARNING if level == "warn" else logging.INFO, "%s", text)
        self._post("notice", {"level": level, "text": text, "at": self.system.world.wall()})

    def _post(self, event: str, payload: dict[str, Any]) -> None:
        for lobby in self._lobbies.values():
            lobby.tell(Poster(event, payload))

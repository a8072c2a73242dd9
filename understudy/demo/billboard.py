"""What is on: the runs, who watches them, the nodes, and the news of both. One per stage; lobbies show it.

Runs ── RunChanged ──> [Billboard] ── Poster(run) ──> every lobby that called Attend
node ── NodeUp, NodeLost, PeerUnreachable ... ──> │ ── Poster(nodes), Poster(notice)
Show ── Audience(run, n) ──> │ ── Seen(stage, run, n) ──> the billboards of all stages, a process group

Runs may move: whoever schedules next is followed next, and what it does not know any more is still shown here.
"""

import asyncio
import logging
import os
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from understudy.actors import Actor, ActorRef, CallError, Down, Request, message
from understudy.engine import ENDED, Follow, Following, RunChanged, RunInfo
from understudy.runs import run_json
from understudy.transport import Member, Node, NodeLost, NodeUp, PeerReachable, PeerUnreachable

logger = logging.getLogger("understudy.demo")


@message("understudy.demo.Poster")
class Poster:
    """Something changed that every lobby shows: an event of the topic `lobby` and its payload."""

    event: str
    payload: dict[str, Any]


@message("understudy.demo.Audience")
class Audience:
    """So many clients watch this run now, on this stage."""

    run: str
    viewers: int


@message("understudy.demo.Seen")
class Seen:
    """So many clients of that stage watch this run now."""

    stage: str
    run: str
    viewers: int


@message("understudy.demo.Attend")
class Attend(Request[dict[str, Any]]):
    """Tell `lobby` each Poster from now on; the answer is everything as it is now."""

    lobby: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class _Trouble:
    """To oneself: whether the membership table can be reached has changed, perhaps."""


BILLBOARDS = "understudy/demo/billboards"
"""The group of all stages' billboards."""

SHOWN = 100
"""Games that ended and are still shown; the list of runs itself remembers more."""

AGAIN_AFTER = 0.5
"""Seconds after which nobody having scheduled runs, somebody may."""

LOOKS_EVERY = 1.0
"""Seconds between two looks at whether the membership table can be reached."""


class Billboard(Actor):
    """`runs` is whoever schedules the runs of the cluster, by name."""

    def __init__(self, node: Node, runs: ActorRef[Any]) -> None:
        super().__init__()
        self._node = node
        self._runs_ref = runs
        self._runs_watch: int | None = None
        self._runs: dict[str, RunInfo] = {}
        self._viewers: dict[str, dict[str, int]] = {}
        self._members: dict[str, Member] = {}
        self._silent: dict[tuple[str, int], str] = {}
        self._past: deque[str] = deque()
        self._lobbies: dict[int, ActorRef[Any]] = {}
        self._trouble = ""

    def on_start(self) -> None:
        own = next(member for member in self._node.members() if member.node == self._node.name)
        self._members[own.node] = own
        self._node.subscribe(self.actor_ref)
        me = self.actor_ref
        for news in (PeerUnreachable, PeerReachable):  # of the node, which outlives this actor
            self._node.system.hooks.subscribe(news, lambda event: me.tell(event) if me.is_alive() else None)
        self.join(BILLBOARDS)
        self.run(self._follow())
        self.send_every(LOOKS_EVERY, _Trouble())

    def on_receive(self, message: object) -> Any:
        match message:
            case RunChanged(info):
                self._changed(info)
            case Audience(run, viewers):
                self._node.groups[BILLBOARDS].broadcast(Seen(self._node.name, run, viewers))
            case Seen(stage, run, viewers):
                self._seen(stage, run, viewers)
            case NodeUp(member):
                self._up(member)
            case NodeLost(node, incarnation, reason):
                self._lost(node, incarnation, reason)
            case PeerUnreachable(node, incarnation, why):
                self._silent[node, incarnation] = why
                self._post("nodes", {"nodes": self._nodes()})
            case PeerReachable(node, incarnation):
                self._silent.pop((node, incarnation), None)
                self._post("nodes", {"nodes": self._nodes()})
            case _Trouble():
                self._look_at_table()
            case Attend(lobby):
                if lobby not in self._lobbies.values():  # it asks again for each client
                    self._lobbies[self.monitor(lobby)] = lobby
                return self._everything()
            case Following(runs, known):
                self._followed(runs, known)
            case Down(token) if token == self._runs_watch:
                self._runs_watch = None
                self.run(self._follow())
            case Down(token):
                self._lobbies.pop(token, None)
            case _:
                return self.unhandled(message)
        return None

    # --- runs ---

    async def _follow(self) -> Following:
        """Until there is somebody to follow."""
        while True:
            try:
                return await self._runs_ref.call(Follow(self.actor_ref))
            except CallError:
                await asyncio.sleep(AGAIN_AFTER)

    def _followed(self, runs: ActorRef[Any], known: list[RunInfo]) -> None:
        self._runs_watch = self.monitor(runs)
        there = {info.run for info in known}
        for info in list(self._runs.values()):
            if info.run not in there and info.state not in ENDED:
                self._changed(replace(info, state="lost", reason="nobody knows it any more"))

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

    def _seen(self, stage: str, run: str, viewers: int) -> None:
        stages = self._viewers.setdefault(run, {})
        if viewers:
            stages[stage] = viewers
        else:
            stages.pop(stage, None)
        if not stages:
            del self._viewers[run]
        if run in self._runs:
            self._post("run", self._run(self._runs[run]))

    # --- nodes ---

    def _up(self, member: Member) -> None:
        known = self._members.get(member.node)
        self._members[member.node] = member
        self._post("nodes", {"nodes": self._nodes()})
        if known is not None and known.status != "active":
            self._notice("info", f"{member.node} is back, as process {member.pid}.")
        elif known is None:
            self._notice("info", f"{member.node} is here, as process {member.pid}.")
        own = self._node.name
        for run, stages in self._viewers.items():
            if own in stages:
                self._node.groups[BILLBOARDS].broadcast(Seen(own, run, stages[own]))

    def _lost(self, node: str, incarnation: int, reason: str) -> None:
        self._silent.pop((node, incarnation), None)
        known = self._members.get(node)
        if known is None or known.incarnation != incarnation:
            return
        for run in [run for run, stages in self._viewers.items() if node in stages]:
            self._seen(node, run, 0)
        row = next((row for row in self._node.members() if row.key == known.key and row.status != "active"), None)
        self._members[node] = row if row is not None else replace(known, status="dead", reason=reason)
        self._post("nodes", {"nodes": self._nodes()})
        self._notice("warn", f"{node} is gone: {reason}.")

    def _look_at_table(self) -> None:
        if bool(self._node.trouble) == bool(self._trouble):
            return
        self._trouble = self._node.trouble
        if self._trouble:
            self._notice(
                "warn", f"{self._node.name} does not reach the table of the cluster. It plays on, and keeps trying."
            )
        else:
            self._notice("info", f"{self._node.name} reaches the table of the cluster again.")

    # --- what lobbies are told ---

    def _everything(self) -> dict[str, Any]:
        return {
            "node": self._node.name,
            "pid": os.getpid(),
            "nodes": self._nodes(),
            "runs": [self._run(info) for info in self._runs.values()],
        }

    def _run(self, info: RunInfo) -> dict[str, Any]:
        return run_json(info) | {"viewers": sum(self._viewers.get(info.run, {}).values())}

    def _nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "name": member.node,
                "roles": list(member.roles),
                "status": member.status,
                "silent": self._silent.get(member.key, ""),
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

"""The watchman: one actor of a node, who knows whether the gateways of other nodes are there.

    room ──Watch(room, fan-outs)──> watchman ──Reached()──> each of those fan-outs, every half second
    room <──Silent(fan-out)──────── watchman <──()───────── no answer for 3 seconds, and for every 3 more

He is started by the first room of the node that has members elsewhere, and serves all of them: what he asks does not grow
with the number of rooms. What he says is no verdict: a silent gateway may be dead, cut off or slow.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from understudy.actors import Actor, ActorRef, Down, Request, UnderstudyError, message

WATCHMAN = "gateway/watchman"
"""His name on his node."""

EVERY = 0.5
"""Seconds from question to question, and how long an answer may take."""

SILENCE = 3.0
"""Seconds without an answer after which a gateway is silent."""


@message("gateway.reached")
class Reached(Request[tuple[str, ...]]):
    """To a fan-out: which of these members do you still reach?"""

    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell `room` of these fan-outs, and of no others any more; nothing if there are none."""

    room: ActorRef[Any]
    fanouts: tuple[ActorRef[Any], ...]


@dataclass(frozen=True, slots=True)
class Silent:
    """To a room: that fan-out has not answered for SILENCE seconds."""

    fanout: ActorRef[Any]


@dataclass(slots=True)
class _Line:
    """Who wants to know of a fan-out, and when it answered last."""

    heard: float
    rooms: dict[ActorRef[Any], None] = field(default_factory=dict[ActorRef[Any], None])
    silences: int = 0


class Watchman(Actor):
    """Asks, and tells who is silent."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[ActorRef[Any], _Line] = {}
        self._monitors: dict[ActorRef[Any], int] = {}

    def on_receive(self, message: object) -> Any:
        match message:
            case Watch(room, fanouts):
                self._watch(room, fanouts)
            case Down(_, room):
                self._watch(room, ())
            case _:
                return self.unhandled(message)
        return None

    def _watch(self, room: ActorRef[Any], fanouts: tuple[ActorRef[Any], ...]) -> None:
        for fanout in [fanout for fanout, line in self._lines.items() if room in line.rooms and fanout not in fanouts]:
            line = self._lines[fanout]
            del line.rooms[room]
            if not line.rooms:
                del self._lines[fanout]
        for fanout in fanouts:
            if fanout not in self._lines:
                self._lines[fanout] = _Line(self.system.loop.time())
                self.run(self._ask(fanout, self._lines[fanout]))
            line = self._lines[fanout]
            if room not in line.rooms and line.silences:
                room.tell(Silent(fanout))
            line.rooms[room] = None
        if fanouts and room not in self._monitors:
            self._monitors[room] = self.monitor(room)
        elif not fanouts and (token := self._monitors.pop(room, None)) is not None:
            self.demonitor(token, flush=True)

    async def _ask(self, fanout: ActorRef[Any], line: _Line) -> None:
        """As long as somebody wants to know."""
        clock = self.system.loop.time
        while self._lines.get(fanout) is line:
            asked = clock()
            try:
                await fanout.call(Reached(), timeout=EVERY)
            except UnderstudyError:
                if clock() - asked > 2 * EVERY:
                    line.heard = clock()  # this node stood still: it has missed the answers, if there were any
            else:
                line.heard, line.silences = clock(), 0
            if clock() - line.heard >= SILENCE * (line.silences + 1):
                line.silences += 1
                for room in line.rooms:
                    room.tell(Silent(fanout))
            await asyncio.sleep(max(0.0, asked + EVERY - clock()))

"""Two nodes, each a process of its own, play a rally: `python -m understudy.examples.ping_pong`.

    process 1: node "ping"                                   process 2: node "pong"
      Player, named "player"  ◀── Ball(1, from pong's player) ──  Player
                              ─── Ball(2, from ping's player) ─▶
                              ◀── Ball(3, ...) ─────────────────

The one idea: a reference works wherever it came from. Pong finds its partner by name, "player@ping"; ping answers the
reference that came with the ball. Neither knows, or asks, whether the other is on this machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from understudy import Actor, ActorRef, Node, message

RALLY = 10
"""Hits until somebody misses."""


@message("ping_pong.ball")
class Ball:
    hits: int
    sender: ActorRef[Player]


class Player(Actor):
    """Sends every ball back, and goes home after the rally."""

    def on_receive(self, message: object) -> object:
        match message:
            case Ball(hits, sender):
                print(f"{self.system.name}: hit {hits} arrived in process {os.getpid()}", flush=True)
                if hits < RALLY:
                    sender.tell(Ball(hits + 1, self.actor_ref))
                if hits >= RALLY - 1:
                    self.stop()
                return None
            case _:
                return self.unhandled(message)


async def pong(state: Path) -> None:
    """The second process: it finds ping by name, and serves."""
    async with Node("pong", state=state) as node:
        player = await node.spawn(Player)
        node.ref("player@ping").tell(Ball(1, player))
        await player.ended()


async def ping(state: Path) -> None:
    """The first process: it starts the second one and waits for the serve."""
    async with Node("ping", state=state) as node:
        player = await node.spawn(Player, name="player")
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "understudy.examples.ping_pong", "pong", str(state)
        )
        await player.ended()
        await other.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pong", folder]:
            asyncio.run(pong(Path(folder)))
        case _:
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(ping(Path(folder)))

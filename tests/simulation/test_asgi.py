"""Clients of a gateway behind an ASGI server that takes what is sent when it likes: each hears everything, in order, or is cut off."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.asgi_helpers import Exchange
from understudy.gateway import AsgiGateway, Member, Room
from understudy.simulation import Simulation

MESSAGES = 40


class Hall(Room):
    def on_event(self, member: Member, event: str, payload: Any) -> None:
        self.broadcast("said", payload)


@pytest.mark.seeds(300)
async def test_whoever_is_slow_hears_everything_in_order_up_to_its_end(simulation: Simulation) -> None:
    live = AsgiGateway("stage", topics={"hall": Hall})
    exchanges = [Exchange(live, "websocket", "/socket/websocket", query_string=b"vsn=2.0.0") for _ in range(3)]
    ended = [False] * len(exchanges)

    async def attend(number: int, exchange: Exchange) -> list[int]:
        heard: list[int] = []
        async with exchange.open():
            exchange.say("websocket.connect")
            await exchange.hear("websocket.accept")
            exchange.say("websocket.receive", text=json.dumps(["1", "1", "hall", "phx_join", {}]))
            await exchange.hear("websocket.send")
            joined[number].set()
            while len(heard) < MESSAGES:
                if simulation.chance(0.3):
                    await asyncio.sleep(simulation.delay(0, 0.2))
                event = await exchange.take()
                if event is None or event["type"] == "websocket.close":
                    ended[number] = True
                    return heard
                frame = json.loads(event["text"])
                if frame[3] == "said":
                    heard.append(frame[4]["n"])
        return heard

    joined = [asyncio.Event() for _ in exchanges]
    async with live.lifespan():
        attending = [asyncio.ensure_future(attend(number, exchange)) for number, exchange in enumerate(exchanges)]
        for event in joined:
            await event.wait()
        for number in range(MESSAGES):
            size = 20_000 if simulation.chance(0.3) else 10
            said = {"n": number, "filling": "x" * size}
            exchanges[0].say("websocket.receive", text=json.dumps(["1", None, "hall", "say", said]))
            await asyncio.sleep(simulation.delay(0, 0.02))
        async with asyncio.timeout(60):
            for number, attendance in enumerate(attending):
                heard = await attendance
                assert heard == list(range(len(heard))), "a gap, or out of order"
                assert ended[number] or len(heard) == MESSAGES

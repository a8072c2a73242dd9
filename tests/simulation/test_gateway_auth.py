"""Tokens that end and are renewed while their connection goes on, in virtual time; and permissions that are asked slowly."""

import asyncio
import json
from collections.abc import Hashable
from typing import Any

import pytest

from understudy.actors import ActorRef
from understudy.gateway import Member, Room, SignedToken, phoenix
from understudy.gateway.auth import Action, Door, May
from understudy.gateway.credentials import Credentials
from understudy.gateway.fanout import Fanout
from understudy.gateway.limits import Bucket, Meter, Rate
from understudy.gateway.principal import Principal
from understudy.gateway.rooms import Rooms
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.session import RENEW_AHEAD, STUBBORN, Received, Session
from understudy.gateway.visitor import Visitor
from understudy.simulation import Simulation

KEY = "k" * 32


LINES = PhoenixSerializer(phoenix, bytes)
"""Frames without what a WebSocket puts around them."""


class Desk(Room):
    """Answers what is pushed to it."""

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        return {"who": member.principal.id, "claims": member.principal.claims}

    def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any]:
        return {}


class Browser:
    """A connection, and a client at the end of it."""

    serializer = LINES

    def __init__(self) -> None:
        self.closed = False
        self.buffered = 0
        self.frames: list[list[Any]] = []
        self.end: tuple[int, str] | None = None
        self.written = asyncio.Event()
        self.session: ActorRef[Any] | None = None
        self.count = 0

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        if not self.closed:
            self.frames.append(json.loads(frame))
            self.written.set()

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self.end = (code, reason)
            self.written.set()

    def reset(self) -> None:
        self.close(1006, "reset")

    def push(self, topic: str, event: str, payload: Any, join_ref: str | None = None) -> str:
        assert self.session is not None
        self.count += 1
        ref = f"r{self.count}"
        self.session.tell(Received(json.dumps([join_ref or ref, ref, topic, event, payload])))
        return ref

    def renew(self, token: Any) -> str:
        return self.push(phoenix.SOCKET_TOPIC, "access_token", {"token": token})

    async def reply(self, ref: str) -> tuple[str, dict[str, Any]]:
        while True:
            for frame in self.frames:
                if frame[1] == ref and frame[3] == "phx_reply":
                    return frame[4]["status"], frame[4]["response"]
            assert not self.closed, self.end
            self.written.clear()
            await self.written.wait()

    async def asked(self) -> dict[str, Any]:
        """What the server says when it wants another token."""
        while not (said := [frame[4] for frame in self.frames if frame[2:4] == ["phoenix", "access_token"]]):
            self.written.clear()
            await self.written.wait()
        return dict(said[-1])

    def heard(self, topic: str, event: str) -> int:
        return sum(1 for frame in self.frames if frame[2:4] == [topic, event])


class Scene:
    """A gateway without a server."""

    def __init__(self, simulation: Simulation, may: May | None = None) -> None:
        self.system = simulation.system("stage")
        self.simulation = simulation
        self.tokens = SignedToken(KEY, world=self.system.world)
        self.door = Door(self.tokens, may)

    async def __aenter__(self) -> "Scene":
        await self.system.__aenter__()
        self.fanout = await self.system.spawn(Fanout)
        self.rooms = await self.system.spawn(Rooms, {"desk:*": Desk})
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.system.__aexit__(*error)

    def token(self, id: str = "ada", *, lifetime: float = 60.0, **claims: Any) -> str:  # noqa: A002
        return self.tokens.issue(id, lifetime=lifetime, claims=claims)

    async def browser(self, token: str, meter: Meter | None = None) -> Browser:
        credentials, world = Credentials(token=token), self.system.world
        principal = await self.door.authenticate(credentials, world)
        visitor = Visitor(self.door, principal, credentials, world, meter or Meter())
        browser = Browser()
        browser.session = await self.system.spawn(Session, browser, self.rooms, self.fanout, "stage", 10_000.0, visitor)
        return browser


async def test_a_client_is_asked_for_a_new_token_in_time_and_goes_on_with_it(simulation: Simulation) -> None:
    async with Scene(simulation) as scene:
        ada, began = await scene.browser(scene.token(lifetime=100)), simulation.time
        assert (await ada.reply(ada.push("desk:a", "phx_join", {})))[1]["who"] == "ada"
        asked = await ada.asked()
        assert simulation.time - began == pytest.approx(100 - RENEW_AHEAD, abs=2)
        assert asked["within"] == pytest.approx(1000 * RENEW_AHEAD, abs=1000)
        status, response = await ada.reply(ada.renew(scene.token(lifetime=1000)))
        assert (status, response["ended"]) == ("ok", [])
        assert response["expires_in"] == pytest.approx(1_000_000, abs=1000)
        await asyncio.sleep(500)
        assert ada.end is None
        assert (await ada.reply(ada.push("desk:a", "say", {}, "r1")))[0] == "ok"


async def test_who_brings_no_new_token_is_let_go_when_the_old_one_ends_and_told_to_come_back(
    simulation: Simulation,
) -> None:
    async with Scene(simulation) as scene:
        ada, began = await scene.browser(scene.token(lifetime=100)), simulation.time
        while ada.end is None:
            ada.written.clear()
            await ada.written.wait()
        assert ada.end == (4001, "token_expired: that token has expired; come back with a new one")
        assert simulation.time - began == pytest.approx(100, abs=2)
        assert ada.heard("phoenix", "access_token") == 1


@pytest.mark.parametrize(
    ("bring", "code"),
    [
        (lambda scene: scene.token("eve"), "token_invalid"),
        (lambda scene: "a.b.c", "token_invalid"),
        (lambda scene: scene.token(lifetime=-1), "token_expired"),
        (lambda scene: 7, "token_invalid"),
    ],
)
async def test_a_token_that_is_no_good_is_refused_and_changes_nothing(
    simulation: Simulation, bring: Any, code: str
) -> None:
    async with Scene(simulation) as scene:
        ada = await scene.browser(scene.token(lifetime=1000))
        await ada.reply(ada.push("desk:a", "phx_join", {}))
        status, response = await ada.reply(ada.renew(bring(scene)))
        assert (status, response["code"], response["reason"]) == ("error", code, code.replace("_", " "))
        assert (await ada.reply(ada.push("desk:a", "say", {}, "r1")))[0] == "ok"


def by_claims(principal: Principal, topic: str, action: Action) -> bool:
    return topic.removeprefix("desk:") in principal.claims.get(action, "")


async def test_what_a_new_token_no_longer_allows_ends_with_it(simulation: Simulation) -> None:
    async with Scene(simulation, by_claims) as scene:
        ada = await scene.browser(scene.token(join="abc", publish="ab"))
        refs = {topic: ada.push(f"desk:{topic}", "phx_join", {}) for topic in "abcd"}
        assert [(await ada.reply(refs[topic]))[0] for topic in "abcd"] == ["ok", "ok", "ok", "error"]
        assert (await ada.reply(refs["d"]))[1] == {"reason": "forbidden", "code": "forbidden", "retry": False}
        said = [await ada.reply(ada.push(f"desk:{topic}", "say", {}, refs[topic])) for topic in "abc"]
        assert [(status, response.get("code")) for status, response in said] == [
            ("ok", None),
            ("ok", None),
            ("error", "forbidden"),
        ]
        status, response = await ada.reply(ada.renew(scene.token(join="ac", publish="c")))
        assert (status, response["ended"]) == ("ok", ["desk:b"])
        assert ada.heard("desk:b", "phx_close") == 1
        said = [await ada.reply(ada.push(f"desk:{topic}", "say", {}, refs[topic])) for topic in "abc"]
        assert [response.get("code") for _, response in said] == ["forbidden", "unmatched_topic", None]


@pytest.mark.seeds(30)
async def test_in_the_end_it_is_where_its_last_token_allows_and_nowhere_else(simulation: Simulation) -> None:
    """Joins, leaves and renewals cross each other, while `may` takes its time about each."""
    draw = simulation.random

    async def slowly(principal: Principal, topic: str, action: Action) -> bool:
        await asyncio.sleep(draw.choice((0.0, 0.1, 1.0)))
        return by_claims(principal, topic, action)

    async with Scene(simulation, slowly) as scene:
        ada = await scene.browser(scene.token(lifetime=1000, join="abc", publish="abc"))
        stays: dict[str, str] = {}
        last, can = "abc", "abc"
        for _ in range(draw.randrange(5, 40)):
            topic = draw.choice("abc")
            match draw.choice(("join", "join", "leave", "renew", "wait")):
                case "join":
                    stays[topic] = ada.push(f"desk:{topic}", "phx_join", {})
                case "leave" if topic in stays:
                    ada.push(f"desk:{topic}", "phx_leave", {}, stays.pop(topic))
                case "renew":
                    last, can = ("".join(letter for letter in "abc" if draw.random() < 0.6) for _ in range(2))
                    await ada.reply(ada.renew(scene.token(lifetime=1000, join=last, publish=can)))
                case _:
                    await asyncio.sleep(draw.choice((0.05, 0.5, 3.0)))
        await asyncio.sleep(10)
        for topic, ref in stays.items():
            joined = (await ada.reply(ref))[0] == "ok"
            closed = any(frame[0] == ref and frame[3] == "phx_close" for frame in ada.frames)
            status, response = await ada.reply(ada.push(f"desk:{topic}", "say", {}, ref))
            assert (status == "ok") == (joined and not closed and topic in can)
            assert not (joined and not closed) or topic in last
            assert (response.get("code") == "unmatched_topic") == (closed or not joined)


async def test_who_floods_is_refused_and_then_let_go_and_who_talks_is_not(simulation: Simulation) -> None:
    async with Scene(simulation) as scene:
        rate = Rate(10, burst=20)
        flood, talk = [
            await scene.browser(scene.token(lifetime=1000), Meter([Bucket(rate, scene.system.loop.time())]))
            for _ in range(2)
        ]
        for browser in (flood, talk):
            await browser.reply(browser.push("desk:a", "phx_join", {}))
        said = [await flood.reply(flood.push("desk:a", "say", {}, "r1")) for _ in range(30)]
        assert [status for status, _ in said] == ["ok"] * 19 + ["error"] * 11
        assert said[-1][1] | {"detail": ""} == {
            "reason": "rate limited",
            "code": "rate_limited",
            "retry": True,
            "detail": "",
        }
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert (await talk.reply(talk.push("desk:a", "say", {}, "r1")))[0] == "ok"
        assert (await flood.reply(flood.push("desk:a", "say", {}, "r1")))[0] == "ok"  # forgiven by now
        for _ in range(20 + STUBBORN):
            flood.push("desk:a", "say", {}, "r1")
        while flood.end is None:
            flood.written.clear()
            await flood.written.wait()
        assert flood.end == (4029, "rate_limited: too much in too short a time")
        assert talk.end is None


async def test_bytes_are_counted_as_well_as_messages(simulation: Simulation) -> None:
    async with Scene(simulation) as scene:
        meter = Meter(bytes=[Bucket(Rate(1000, burst=5000), scene.system.loop.time())])
        ada = await scene.browser(scene.token(lifetime=1000), meter)
        await ada.reply(ada.push("desk:a", "phx_join", {}))
        statuses = [(await ada.reply(ada.push("desk:a", "say", "x" * 2000, "r1")))[0] for _ in range(4)]
        assert statuses == ["ok", "ok", "error", "error"]
        assert (await ada.reply(ada.push("desk:a", "say", {}, "r1")))[0] == "ok"  # a small one still passes
        await asyncio.sleep(5)
        assert (await ada.reply(ada.push("desk:a", "say", "x" * 2000, "r1")))[0] == "ok"

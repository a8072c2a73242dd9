"""Who may do what in a room, who may not come in, and how much of it: over real connections, and by itself."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import pytest

from tests.gateway_helpers import Client, declined, gateway
from understudy.actors import ActorRef, ActorSystem
from understudy.gateway import Anonymous, Member, Principal, Rate, Room
from understudy.gateway.credentials import Credentials
from understudy.gateway.moderation import Moderation

ROOM = "court:a"


class Court(Room):
    """Whoever is a moderator sends others out by their number in the order of their arrival."""

    rates: Mapping[str, Rate] = {"shout": Rate(0.001, burst=2)}

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.came: list[Member] = []
        self.gone: list[Member] = []

    async def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        self.came.append(member)
        self.track(member, {})
        return {"role": self.role(member), "number": len(self.came) - 1}

    def on_leave(self, member: Member) -> None:
        self.gone.append(member)

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        match event:
            case "kick":
                self.demand(member, "moderator")
                self.kick(self.came[payload], "too loud")
            case "ban":
                self.demand(member, "moderator")
                self.ban(self.came[payload], 3600)
            case "unban":
                self.unban(payload)
            case "appoint":
                self.appoint(self.came[payload["who"]], payload["role"])
            case "banned":
                return {who: round(left) for who, left in self.bans.items()}
            case "who":
                return {"members": len(self.members), "gone": len(self.gone), "out": len(self._sent_out)}
            case "shout":
                pass
            case _:
                return super().on_event(member, event, payload)
        return {"done": event}


class Names:
    """Believes whatever name stands in the header."""

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        name = credentials.headers.get("x-name")
        return None if name is None else Principal(name, {"role": "moderator"} if name == "judge" else {})


def court() -> Any:
    return gateway({"court:*": Court}, auth=[Names(), Anonymous()])


async def entered(client: Client, join_ref: str = "j") -> dict[str, Any]:
    status, response = await client.join(ROOM, join_ref=join_ref)
    assert status == "ok", response
    return dict(response)


async def test_a_member_that_is_kicked_is_told_why_and_may_come_back() -> None:
    async with (
        court() as served,
        served.client(**{"X-Name": "judge"}) as judge,
        served.client(**{"X-Name": "ada"}) as ada,
    ):
        assert await entered(judge) == {"role": "moderator", "number": 0}
        assert await entered(ada) == {"role": "member", "number": 1}
        await judge.until(lambda frame: frame[3] == "presence_diff" and "ada" in frame[4]["joins"])
        assert await ada.ask(ROOM, "kick", 0) == declined("forbidden")
        assert (await judge.ask(ROOM, "kick", 1))[0] == "ok"
        closed = await ada.until(lambda frame: frame[3] == "phx_close")
        assert closed[0] == "j"
        assert closed[4] == {"reason": "kicked", "code": "kicked", "retry": False, "detail": "too loud"}
        await judge.until(lambda frame: frame[3] == "presence_diff" and "ada" in frame[4]["leaves"])
        assert await ada.ask(ROOM, "shout", 1) == declined("unmatched topic")
        assert await entered(ada, "again") == {"role": "member", "number": 2}
        assert (await judge.ask(ROOM, "kick", 1))[0] == "ok"
        assert await judge.ask(ROOM, "who", None) == ("ok", {"members": 2, "gone": 1, "out": 0})


async def test_who_is_banned_is_sent_out_of_every_connection_and_not_let_in_before_the_ban_is_lifted() -> None:
    async with court() as served, served.client(**{"X-Name": "judge"}) as judge:
        await entered(judge)
        async with served.client(**{"X-Name": "ada"}) as one, served.client(**{"X-Name": "ada"}) as two:
            for client in (one, two):
                await entered(client)
            assert (await judge.ask(ROOM, "ban", 1))[0] == "ok"
            for client in (one, two):
                assert (await client.until(lambda frame: frame[3] == "phx_close"))[4]["code"] == "kicked"
                assert await client.join(ROOM, join_ref="2") == declined("banned")
            assert await judge.ask(ROOM, "banned", None) == ("ok", {"ada": 3600})
            await judge.ask(ROOM, "unban", "ada")
            await entered(one, "3")


async def test_somebody_at_the_door_who_is_kicked_does_not_come_in() -> None:
    class Slow(Court):
        gate = asyncio.Event()

        async def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
            response = await super().on_join(member, payload)
            if "wait" in payload:
                await self.gate.wait()
            return response

    async with (
        gateway({"court:*": Slow}, auth=[Names(), Anonymous()]) as served,
        served.client(**{"X-Name": "judge"}) as judge,
        served.client(**{"X-Name": "ada"}) as ada,
    ):
        await entered(judge)
        await ada.send("j", "j", ROOM, "phx_join", {"wait": True})
        await judge.until(lambda frame: frame[3] == "presence_diff" and "ada" in frame[4]["joins"])
        assert (await judge.ask(ROOM, "kick", 1))[0] == "ok"
        assert (await ada.until(lambda frame: frame[1] == "j"))[4] == {
            "status": "error",
            "response": declined("kicked")[1],
        }
        Slow.gate.set()
        await judge.until(lambda frame: frame[3] == "presence_diff" and "ada" in frame[4]["leaves"])
        assert (await judge.ask(ROOM, "who", None))[1]["members"] == 1


async def test_a_role_that_is_given_holds_until_the_room_ends_and_is_nobody_elses() -> None:
    async with (
        court() as served,
        served.client(**{"X-Name": "judge"}) as judge,
        served.client(**{"X-Name": "ada"}) as ada,
    ):
        await entered(judge)
        await entered(ada)
        await judge.ask(ROOM, "appoint", {"who": 1, "role": "owner"})
        await ada.send("j", None, ROOM, "phx_leave", {})
        assert (await entered(ada, "2"))["role"] == "owner"
        assert (await ada.ask(ROOM, "kick", 0))[0] == "ok"
        async with served.client() as stranger:
            assert (await entered(stranger))["role"] == "member"


async def test_more_of_an_event_than_its_rate_is_refused_also_to_who_joins_anew_and_other_events_are_not() -> None:
    async with court() as served, served.client() as ada, served.client() as bob:
        await entered(ada)
        await entered(bob)
        for _ in range(2):
            assert (await ada.ask(ROOM, "shout", 1))[0] == "ok"
        assert await ada.ask(ROOM, "shout", 1) == declined("rate limited")
        await entered(ada, "2")
        assert await ada.ask(ROOM, "shout", 1) == declined("rate limited")
        assert (await ada.ask(ROOM, "who", None))[0] == "ok"
        assert (await bob.ask(ROOM, "shout", 1))[0] == "ok"


async def test_a_listener_that_is_kicked_hears_the_end_of_its_stream() -> None:
    async with court() as served, served.client(**{"X-Name": "judge"}) as judge:
        await entered(judge)
        async with served.http.get(f"{served.url}/topics/{ROOM}/events") as listening:
            assert await listening.content.readline() != b""
            assert (await judge.ask(ROOM, "kick", 1))[0] == "ok"
            async with asyncio.timeout(5):
                await listening.content.read()


# --- by itself ---


def person(name: str, session: ActorRef[Any] | None = None, *, anonymous: bool = False) -> Member:
    nobody: Any = session
    return Member(f"stay of {name}", nobody, nobody, "here", Principal(name, anonymous=anonymous))


def test_a_ban_ends_when_its_time_is_over() -> None:
    moderation = Moderation(("member",), {})
    moderation.ban("ada", 10.0)
    moderation.ban("bob", math.inf)
    assert moderation.banned("ada", 9.9)
    assert moderation.bans(9.0) == {"ada": 1.0, "bob": math.inf}
    assert not moderation.banned("ada", 10.0)
    assert moderation.bans(10.0) == {"bob": math.inf}


def test_of_too_many_bans_the_one_that_ends_first_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.gateway.moderation.BAN_LIMIT", 2)
    moderation = Moderation(("member",), {})
    for name, until in (("ada", 5.0), ("bob", 3.0), ("eve", 4.0)):
        moderation.ban(name, until)
    assert moderation.bans(0.0).keys() == {"ada", "eve"}


async def test_a_bucket_fills_again_in_time_and_never_over_its_rim() -> None:
    async with ActorSystem("test") as system:
        ada = person("ada", system.ref("ada"))
        moderation = Moderation(("member",), {"*": Rate(2.0, burst=3), "draw": Rate(1.0)})
        assert [moderation.admits(ada, "say", 0.0) for _ in range(4)] == [True, True, True, False]
        assert [moderation.admits(ada, "other", 0.5) for _ in range(2)] == [True, False], (
            "one bucket for all the others"
        )
        assert [moderation.admits(ada, "draw", 0.5) for _ in range(2)] == [True, False]
        assert [moderation.admits(ada, "say", 100.0) for _ in range(4)] == [True, True, True, False]


def test_nonsense_is_refused_with_what_is_wanted() -> None:
    moderation = Moderation(("member", "owner"), {})
    with pytest.raises(ValueError, match="no role 'king' in this room, but member, owner"):
        moderation.appoint("ada", "king")
    with pytest.raises(ValueError, match="can only be kicked"):
        moderation.ban("", 1.0)
    with pytest.raises(ValueError, match="at least one role"):
        Moderation((), {})
    for nonsense in ((0, 1), (-1, 1), (math.inf, 1), (math.nan, 1), (1, 0)):
        with pytest.raises(ValueError, match="more than 0 per second"):
            Rate(*nonsense)


def test_a_role_of_somebody_anonymous_ends_with_the_stay() -> None:
    moderation = Moderation(("member", "owner"), {})
    stranger = person("x", anonymous=True)
    moderation.appoint(stranger, "owner")
    assert moderation.role(stranger, "") == "owner"
    moderation.forget(stranger.id)
    assert moderation.role(stranger, "nonsense") == "member"
    assert not moderation.may("member", "owner")


async def test_an_empty_room_ends_after_a_while_and_one_that_somebody_comes_back_to_does_not() -> None:
    ended: dict[str, asyncio.Event] = {topic: asyncio.Event() for topic in ("inn:a", "inn:b", "castle:a")}

    class Inn(Room):
        idle_after = 0.05

        def on_stop(self, *_: Any) -> None:
            ended[self.topic].set()

    class Castle(Inn):
        idle_after = math.inf

    async with gateway({"inn:*": Inn, "castle:*": Castle}) as served, served.client() as ada:
        await ada.join("castle:a")
        await ada.send("j", None, "castle:a", "phx_leave", {})
        await ada.join("inn:a")
        await ada.join("inn:b")
        await ada.send("j", None, "inn:b", "phx_leave", {})
        async with asyncio.timeout(5):
            await ended["inn:b"].wait()
        assert [topic for topic, end in ended.items() if end.is_set()] == ["inn:b"]
        assert (await ada.join("inn:b", join_ref="2"))[0] == "ok"

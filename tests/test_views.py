"""Events of which not everybody sees the same."""

from typing import Any

from tests.gateway_helpers import Client, gateway
from understudy.gateway import Member, Principal, Room, conflate

ROOM = "table:a"


class Table(Room):
    """A card is seen by whoever has it; the others see that there is one. A whisper is heard by one alone."""

    intercept = frozenset({"card", "whisper", "look"})

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.seats: dict[str, str] = {}

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        self.seats[member.id] = payload["seat"]

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        delivery = {"delivery": conflate("one")} if event == "look" else {}
        self.broadcast(event, payload, excluding=member if "but me" in payload else None, **delivery)

    def on_outgoing(self, member: Member | None, event: str, payload: Any) -> Any:
        seat = None if member is None else self.seats[member.id]
        if event == "whisper":
            return payload if seat == payload["to"] else None
        if seat != payload["to"]:
            payload["card"] = "?"
        return payload

    def on_read(self, principal: Principal) -> None:
        pass


async def seated(client: Client, seat: str, **resume: Any) -> dict[str, Any]:
    status, response = await client.join(ROOM, {"seat": seat, **resume}, join_ref=f"join {client.count}")
    assert status == "ok"
    return dict(response)


async def test_each_member_sees_what_is_meant_for_it() -> None:
    async with gateway({"table:*": Table}) as served, served.client() as ada, served.client() as bob:
        await seated(ada, "ada")
        await seated(bob, "bob")
        await ada.ask(ROOM, "card", {"to": "bob", "card": "queen"})
        await ada.ask(ROOM, "whisper", {"to": "bob", "text": "psst"})
        await ada.ask(ROOM, "card", {"to": "ada", "card": "king", "but me": True})
        await ada.ask(ROOM, "say", {"to": "all"})
        assert await ada.event(ROOM, "card") == {"to": "bob", "card": "?"}
        assert await ada.event(ROOM, "say") == {"to": "all"}
        assert [frame for frame in ada.kept if frame[3] in ("card", "whisper")] == []
        assert await bob.event(ROOM, "card") == {"to": "bob", "card": "queen"}
        assert await bob.event(ROOM, "whisper") == {"to": "bob", "text": "psst"}
        assert await bob.event(ROOM, "card") == {"to": "ada", "card": "?", "but me": True}


async def test_what_was_missed_what_is_kept_and_what_is_read_show_no_more_than_what_was_heard() -> None:
    async with gateway({"table:*": Table}) as served, served.client() as ada:
        await seated(ada, "ada")
        resume = dict(ada.cursors[ROOM])
        await ada.ask(ROOM, "card", {"to": "bob", "card": "queen"})
        await ada.ask(ROOM, "whisper", {"to": "bob", "text": "psst"})
        await ada.ask(ROOM, "look", {"to": "bob", "card": "jack"})
        async with served.client() as bob, served.client() as eve:
            for client, seat, card in ((bob, "bob", "queen"), (eve, "eve", "?")):
                await client.send("r", "r", ROOM, "phx_join", {"seat": seat, "resume": resume})
                reply = (await client.until(lambda frame: frame[1] == "r"))[4]["response"]
                assert reply["recovered"]
                heard = [event for _, event, _ in reply["events"]]
                assert heard == (["card", "whisper"] if seat == "bob" else ["card"])
                assert reply["events"][0][2] == {"to": "bob", "card": card}
                assert reply["offset"] == 2
            assert (await bob.event(ROOM, "look"))["card"] == "jack"
            assert (await eve.event(ROOM, "look"))["card"] == "?"
        status, history = await served.json(f"/topics/{ROOM}/history")
        assert (status, [event[1:] for event in history["events"]]) == (200, [["card", {"to": "bob", "card": "?"}]])

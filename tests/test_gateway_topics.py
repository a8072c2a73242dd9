"""Topics over plain HTTP: state, history, presence, publish; and pages of other origins, which may read them if allowed."""

import asyncio
import json
from typing import Any

import pytest

from tests.gateway_helpers import Served, gateway
from understudy.actors import Refused
from understudy.gateway import Limits, Member, Principal, Rate, Room


class Board(Room):
    """A notice board that anybody may read, and stick something on."""

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any]:
        self.track(member, {"device": "desk"}, key=payload.get("key"))
        return {}

    def snapshot(self, member: Member | None) -> Any:
        return {"notes": [entry.event for entry in self.feed.log.last(100)], "inside": member is not None}

    def on_read(self, principal: Principal) -> None:
        pass

    def on_publish(self, principal: Principal, event: str, payload: Any) -> Any:
        match event:
            case "note":
                self.broadcast("note", payload)
                return {"stuck": True}
            case "later":
                return self.later(payload)
            case "crash":
                raise RuntimeError("on purpose")
            case "odd":
                return {"what": object()}
            case "bytes":
                self.broadcast("bytes", b"\x00\xff")
                return None
            case _:
                raise Refused("this board takes notes only")

    async def later(self, payload: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.broadcast("note", payload)
        return {"late": True}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        match event:
            case "finish":
                self.stop()
                return {}
            case _:
                return super().on_event(member, event, payload)


class Cellar(Board):
    """Somebody decides slowly who may look, and breaks at it."""

    async def on_read(self, principal: Principal) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        raise RuntimeError("on purpose")


class Dark(Board):
    async def on_read(self, principal: Principal) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        raise Refused("the light is off")


TOPICS = {"board:*": Board, "cellar": Cellar, "dark": Dark, "plain:*": Room}


async def post(served: Served, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    return await served.json(path, "POST", data=json.dumps(body), headers=headers)


async def test_the_state_of_a_topic_says_where_it_stands_who_is_there_and_what_its_room_shows() -> None:
    async with gateway(TOPICS) as served, served.client() as client:
        status, before = await served.json("/topics/board:a/state")
        assert (status, before["topic"], before["offset"], before["members"]) == (200, "board:a", 0, 0)
        await client.join("board:a", {"key": "ada"})
        await post(served, "/topics/board:a/publish", {"event": "note", "payload": {"n": 1}})
        _, after = await served.json("/topics/board:a/state")
        assert after["epoch"] == before["epoch"] == client.cursors["board:a"]["epoch"]
        assert (after["offset"], after["members"]) == (1, 1)
        assert after["snapshot"] == {"notes": ["note"], "inside": False}
        _, body = await served.json("/topics/board:a/presence")
        assert [meta["device"] for meta in body["presence"]["ada"]["metas"]] == ["desk"]
        assert (await served.json("/topics/board:b/presence"))[1] == {"topic": "board:b", "presence": {}}


async def test_what_is_published_reaches_members_and_the_history_and_is_answered_by_the_room() -> None:
    async with gateway(TOPICS) as served, served.client() as client:
        await client.join("board:a")
        assert await post(served, "/topics/board:a/publish", {"event": "note", "payload": {"n": 1}}) == (
            200,
            {"response": {"stuck": True}},
        )
        assert await client.event("board:a", "note") == {"n": 1}
        assert (await post(served, "/topics/board:a/publish", {"event": "later", "payload": [2]}))[1] == {
            "response": {"late": True}
        }
        assert await client.event("board:a", "note") == [2]
        assert (await post(served, "/topics/board:a/publish", {"event": "bytes"}))[1] == {"response": {}}
        _, history = await served.json("/topics/board:a/history")
        assert history["events"] == [[1, "note", {"n": 1}], [2, "note", [2]], [3, "bytes", {"_b": "AP8="}]]
        assert (history["offset"], history["recovered"]) == (3, False)


async def test_many_are_published_in_order_and_each_has_its_own_result() -> None:
    async with gateway(TOPICS) as served:
        notes = [{"event": "note", "payload": {"n": n}} for n in range(3)]
        body = {"events": [notes[0], {"event": "speech"}, notes[1], {"event": "crash"}, {"event": "odd"}, notes[2]]}
        status, answer = await post(served, "/topics/board:a/publish", body)
        ok = {"status": "ok", "response": {"stuck": True}}
        assert status == 200
        assert [result["status"] for result in answer["results"]] == ["ok", "error", "ok", "error", "error", "ok"]
        assert answer["results"][0] == ok
        assert answer["results"][1]["response"] == {
            "reason": "this board takes notes only",
            "code": "refused",
            "retry": False,
        }
        assert answer["results"][3]["response"]["code"] == answer["results"][4]["response"]["code"] == "failed"
        _, history = await served.json("/topics/board:a/history")
        assert [payload["n"] for _, _, payload in history["events"]] == [0, 1, 2]


async def test_many_topics_are_published_to_in_one_request() -> None:
    async with gateway(TOPICS) as served:
        topics = ["board:a", "board:b", "nowhere", "plain:x", "board:a"]
        body = {"events": [{"topic": t, "event": "note", "payload": {"n": n}} for n, t in enumerate(topics)]}
        _, answer = await post(served, "/publish", body)
        assert [result["response"].get("code", "ok") for result in answer["results"]] == [
            "ok",
            "ok",
            "unmatched_topic",
            "refused",
            "ok",
        ]
        _, history = await served.json("/topics/board:a/history")
        assert [payload["n"] for _, _, payload in history["events"]] == [0, 4]


async def test_history_goes_on_from_a_place_or_says_that_something_is_missing() -> None:
    async with gateway(TOPICS) as served:
        body = {"events": [{"event": "note", "payload": {"n": n}} for n in range(5)]}
        await post(served, "/topics/board:a/publish", body)

        async def offsets(query: str) -> tuple[bool, list[int]]:
            _, said = await served.json(f"/topics/board:a/history?{query}")
            return said["recovered"], [offset for offset, _, _ in said["events"]]

        _, state = await served.json("/topics/board:a/state")
        epoch = state["epoch"]
        assert await offsets("limit=2") == (False, [4, 5])
        assert await offsets(f"since={epoch}-2") == (True, [3, 4, 5])
        assert await offsets(f"since={epoch}-2&limit=2") == (True, [3, 4])
        assert await offsets(f"since={epoch}-5") == (True, [])
        assert await offsets(f"since={epoch}-6") == (False, [])
        assert await offsets("since=0000-2") == (False, [])
        await post(served, "/topics/board:a/publish", {"events": [{"event": "note"}] * 100})
        for _ in range(10):
            await post(served, "/topics/board:a/publish", {"events": [{"event": "note"}] * 100})
        assert await offsets(f"since={epoch}-2") == (False, []), "the log does not go back that far"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/topics/nowhere/state", 404, "unmatched_topic"),
        ("/topics/plain:a/state", 403, "refused"),
        ("/topics/plain:a/history", 403, "refused"),
        ("/topics/plain:a/presence", 403, "refused"),
        ("/topics/dark/history", 403, "refused"),
        ("/topics/cellar/state", 500, "failed"),
        ("/topics/" + "a" * 300 + "/state", 400, "malformed"),
        ("/topics/board:a/history?limit=0", 400, "malformed"),
        ("/topics/board:a/history?limit=1001", 400, "malformed"),
        ("/topics/board:a/history?limit=٣", 400, "malformed"),
        ("/topics/board:a/history?limit=99999999999999999999", 400, "malformed"),
        ("/topics/board:a/history?since=7", 400, "malformed"),
    ],
)
async def test_a_topic_that_cannot_be_read_is_an_error_that_says_why(path: str, status: int, code: str) -> None:
    async with gateway(TOPICS) as served:
        got, body = await served.json(path)
        assert (got, body["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"event": "note", "payload": {}}, 403, "refused"),
        (b"{", 400, "malformed"),
        (b"[1]", 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b'{"event": "note", "payload": NaN}', 400, "malformed"),
        (b'{"event": "note", "payload": "\\ud800"}', 400, "malformed"),
        (b'{"event": "note", "payload": ' + b"[" * 33 + b"]" * 33 + b"}", 400, "malformed"),
        (b'{"event": "note", "payload": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400, "malformed"),
        ({"event": ""}, 400, "malformed"),
        ({"event": "x" * 129}, 400, "malformed"),
        ({"payload": {}}, 400, "malformed"),
        ({"events": []}, 400, "malformed"),
        ({"events": [{"event": "note"}] * 101}, 400, "malformed"),
        ({"events": ["note"]}, 400, "malformed"),
        ({"events": {"event": "note"}}, 400, "malformed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_published_is_an_error_and_nothing_of_it_is_said(
    body: Any, status: int, code: str
) -> None:
    async with gateway(TOPICS) as served:
        topic = "plain:a" if code == "refused" else "board:a"
        data = body if isinstance(body, bytes) else json.dumps(body)
        got, answer = await served.json(f"/topics/{topic}/publish", "POST", data=data)
        assert (got, answer["error"]["code"]) == (status, code)
        assert (await served.json("/topics/board:a/state"))[1]["offset"] == 0


async def test_whoever_may_not_is_refused_before_the_room_hears_of_it() -> None:
    def may(principal: Principal, topic: str, action: str) -> bool:
        return (topic, action) == ("board:a", "read")

    async with gateway(TOPICS, may=may) as served:
        assert (await served.json("/topics/board:a/state"))[0] == 200
        assert (await served.json("/topics/board:b/state"))[1]["error"]["code"] == "forbidden"
        status, body = await post(served, "/topics/board:a/publish", {"event": "note"})
        assert (status, body["error"]["code"]) == (403, "forbidden")


async def test_each_event_counts_as_a_message_and_of_too_many_none_is_said() -> None:
    async with gateway(TOPICS, limits=Limits(messages=Rate(1, burst=3))) as served:
        notes = [{"event": "note"}] * 4
        status, body = await post(served, "/topics/board:a/publish", {"events": notes})
        assert (status, body["error"]["code"]) == (429, "rate_limited")
        assert (await served.json("/topics/board:a/state"))[1]["offset"] == 0
        assert (await post(served, "/topics/board:a/publish", {"events": notes[:3]}))[0] == 200


async def test_a_room_that_crashes_for_a_stranger_stays_up_for_its_members() -> None:
    async with gateway(TOPICS) as served, served.client() as client:
        await client.join("board:a")
        _, before = await served.json("/topics/board:a/state")
        for event in ("crash", "odd"):
            status, body = await post(served, "/topics/board:a/publish", {"event": event})
            assert (status, body["error"]["code"]) == (500, "failed")
        _, after = await served.json("/topics/board:a/state")
        assert (after["epoch"], after["members"]) == (before["epoch"], 1)


async def test_a_room_that_ends_is_started_anew_by_the_next_question() -> None:
    async with gateway(TOPICS) as served, served.client() as client:
        await client.join("board:a")
        _, before = await served.json("/topics/board:a/state")
        await client.ask("board:a", "finish", {})
        _, after = await served.json("/topics/board:a/state")
        assert after["epoch"] != before["epoch"]


SHOP, STRANGER = "https://shop.example", "https://stranger.example"


async def test_pages_of_an_allowed_origin_may_read_what_they_ask_for_and_those_of_others_may_not() -> None:
    async with gateway(TOPICS, origins=[SHOP]) as served:
        for path in (
            "/topics/board:a/state",
            "/healthz",
            "/understudy/understudy.js",
            "/nowhere",
            "/topics/plain:a/state",
        ):
            async with served.http.get(served.url + path, headers={"Origin": SHOP}) as response:
                assert response.headers["Access-Control-Allow-Origin"] == SHOP
                assert response.headers["Access-Control-Allow-Credentials"] == "true"
                assert "Origin" in response.headers["Vary"]
            async with served.http.get(served.url + path, headers={"Origin": STRANGER}) as response:
                assert "Access-Control-Allow-Origin" not in response.headers
            async with served.http.get(served.url + path) as response:
                assert "Access-Control-Allow-Origin" not in response.headers
                assert "Origin" in response.headers["Vary"], "a cache that has this answer must not give it to a page"
        url = served.url + "/topics/board:a/events"
        async with served.http.get(url, headers={"Origin": SHOP}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == SHOP
        async with served.http.get(url, headers={"Origin": STRANGER}) as response:
            assert response.status == 403


async def test_a_browser_that_asks_first_is_told_what_a_page_may_send() -> None:
    async with gateway(TOPICS, origins=[SHOP]) as served:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        url = served.url + "/topics/board:a/publish"
        async with served.http.options(url, headers={"Origin": SHOP, **asks}) as response:
            assert (response.status, await response.read()) == (204, b"")
            assert response.headers["Access-Control-Allow-Origin"] == SHOP
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            allowed = response.headers["Access-Control-Allow-Headers"].lower()
            assert {"authorization", "content-type", "last-event-id"} <= set(allowed.replace(" ", "").split(","))
        async with served.http.options(url, headers={"Origin": STRANGER, **asks}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Access-Control-Allow-Methods" not in response.headers
        status, _ = await post(served, "/topics/board:a/publish", {"event": "note"}, Origin=SHOP)
        assert status == 200
        status, body = await post(served, "/topics/board:a/publish", {"event": "note"}, Origin=STRANGER)
        assert (status, body["error"]["code"]) == (403, "origin_refused")


async def test_any_origin_may_be_allowed_but_never_with_cookies() -> None:
    async with (
        gateway(TOPICS, origins=["*"]) as served,
        served.http.get(served.url + "/topics/board:a/state", headers={"Origin": STRANGER}) as response,
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_without_allowed_origins_nothing_is_said_about_them() -> None:
    async with (
        gateway(TOPICS) as served,
        served.http.get(served.url + "/healthz", headers={"Origin": SHOP}) as response,
    ):
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        assert "Vary" not in response.headers


async def test_a_room_that_does_not_open_says_why() -> None:
    class Closed(Room):
        def on_start(self) -> None:
            raise Refused("closed today")

    async with gateway({"shop": Closed}) as served:
        status, body = await served.json("/topics/shop/state")
        assert (status, body["error"]["message"]) == (403, "closed today")

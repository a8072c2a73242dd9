"""The chat: what people in a room see of each other."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.gateway_helpers import Client, declined, gateway
from understudy.examples.chat import PAGES, ChatRoom
from understudy.examples.chat.history import History
from understudy.gateway import Credentials, Principal

ROOM = "room:kitchen"


async def enter(client: Client, name: str) -> dict[str, Any]:
    status, response = await client.join(ROOM, {"name": name})
    assert status == "ok", response
    return {**response, **(client.recovered[ROOM]["snapshot"] or {})}


async def test_what_is_said_reaches_everybody_and_newcomers_find_it_in_the_history() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada, served.client() as bob:
        key = (await enter(ada, "Ada"))["key"]
        status, response = await ada.ask(ROOM, "say", {"text": "  hello "})
        line = await ada.event(ROOM, "line")
        assert (status, response) == ("ok", {"id": line["id"]})
        assert (line["key"], line["author"], line["text"]) == (key, "Ada", "hello")
        entered = await enter(bob, "Bob")
        assert (entered["lines"], entered["earlier"], entered["name"]) == ([line], False, "Bob")
        await bob.ask(ROOM, "say", {"text": "hi"})
        assert (await ada.event(ROOM, "line"))["author"] == "Bob"


async def test_presence_shows_name_node_and_since_when() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        key = (await enter(ada, "Ada"))["key"]
        (meta,) = (await ada.event(ROOM, "presence_state"))[key]["metas"]
        assert (meta["name"], meta["node"]) == ("Ada", "stage")
        assert meta["online_at"] > 1_700_000_000


async def test_each_keystroke_is_told_to_the_others_and_a_draft_ends_with_its_line_and_with_leaving() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        await enter(ada, "Ada")
        async with served.client() as bob:
            key = (await enter(bob, "Bob"))["key"]
            for text in ("h", "hi", "hi", "h", None):
                assert await bob.ask(ROOM, "draft", {"text": text}) == ("ok", {})
            for text in ("h", "hi", "h", None):
                assert await ada.event(ROOM, "draft") == {"key": key, "name": "Bob", "text": text}
            await bob.ask(ROOM, "say", {"text": "there"})
            assert (await ada.event(ROOM, "draft"))["text"] == ""
            await bob.ask(ROOM, "draft", {"text": "and"})
            assert (await ada.event(ROOM, "draft"))["text"] == "and"
        assert (await ada.event(ROOM, "draft"))["text"] == ""
        assert all(frame[3] != "draft" for frame in bob.kept), "nobody is told what they write themselves"


async def test_who_comes_while_somebody_writes_sees_what_stands_there_and_nothing_that_was_taken_back() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada, served.client() as bob:
        await enter(ada, "Ada")
        for text in ("h", "he", "hem"):
            await ada.ask(ROOM, "draft", {"text": text})
        await enter(bob, "Bob")
        assert (await bob.event(ROOM, "draft"))["text"] == "hem"
        await ada.ask(ROOM, "draft", {"text": ""})
        async with served.client() as eve:
            await enter(eve, "Eve")
            await eve.ask(ROOM, "earlier", {"before": "x"})
            assert all(frame[3] != "draft" for frame in eve.kept)


async def test_who_comes_back_is_given_every_line_that_was_said_meanwhile() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        await enter(ada, "Ada")
        async with served.client() as bob:
            await enter(bob, "Bob")
            cursor = dict(bob.cursors[ROOM])
        for text in ("one", "two"):
            await ada.ask(ROOM, "say", {"text": text})
        async with served.client() as again:
            await again.join(ROOM, {"name": "Bob", "resume": cursor})
            found = again.recovered[ROOM]
            assert (found["recovered"], found["snapshot"]) == (True, None)
            assert [(event, line["text"]) for _, event, line in found["events"]] == [("line", "one"), ("line", "two")]


async def test_several_windows_of_a_browser_are_one_person_whom_nobody_else_can_be() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada, served.client() as tab:
        secret = "a secret of this browser"
        _, first = await ada.join(ROOM, {"name": "Ada", "me": secret})
        _, second = await tab.join(ROOM, {"name": "Ada", "me": secret})
        assert first["key"] == second["key"]
        assert secret not in first["key"]
        (person,) = (await tab.event(ROOM, "presence_state")).items()
        assert (person[0], len(person[1]["metas"])) == (first["key"], 2)
        assert "secret" in (await tab.join(ROOM, {"name": "Ada", "me": "short"}))[1]["reason"]


async def test_a_new_name_is_shown_without_leaving() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada, served.client() as bob:
        key = (await enter(ada, "Ada"))["key"]
        await enter(bob, "Bob")
        await bob.event(ROOM, "presence_state")
        assert await ada.ask(ROOM, "rename", {"name": " Countess "}) == ("ok", {"name": "Countess"})
        diff = await bob.event(ROOM, "presence_diff")
        assert diff["joins"][key]["metas"][0]["name"] == "Countess"
        await ada.ask(ROOM, "say", {"text": "hello"})
        assert (await bob.event(ROOM, "line"))["author"] == "Countess"


async def test_what_was_said_before_is_read_page_by_page_up_to_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatRoom, "rates", {})
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada, served.client() as bob:
        await enter(ada, "Ada")
        for number in range(120):
            await ada.ask(ROOM, "say", {"text": str(number)})
        page = await enter(bob, "Bob")
        read = page["lines"]
        assert (len(read), page["earlier"]) == (50, True)
        while page["earlier"]:
            _, page = await bob.ask(ROOM, "earlier", {"before": read[0]["id"]})
            read = page["lines"] + read
        assert [line["text"] for line in read] == [str(number) for number in range(120)]
        assert await bob.ask(ROOM, "earlier", {"before": "?"}) == declined("this room does not remember that line")


async def test_whoever_says_too_much_is_told_to_wait() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        await enter(ada, "Ada")
        for number in range(100):
            await ada.send(None, str(number), ROOM, "say", {"text": str(number)})
        replies = [await ada.until(lambda frame: frame[3] == "phx_reply") for _ in range(100)]
        answers = [payload for *_, payload in replies]
        assert [answer["status"] for answer in answers[:20]] == ["ok"] * 20
        assert (answers[-1]["response"]["code"], answers[-1]["response"]["retry"]) == ("rate_limited", True)


async def test_whom_the_gateway_knows_is_that_person_and_no_secret_is_asked_for() -> None:
    async def known(_: Credentials) -> Principal:
        return Principal("ada", {"name": "Ada Lovelace"})

    async with gateway({"room:*": ChatRoom}, auth=known) as served, served.client() as ada:
        _, response = await ada.join(ROOM, {"me": "a secret of this browser"})
        assert response == {"key": "ada", "name": "Ada Lovelace"}


def said(number: int, text: str = "") -> dict[str, Any]:
    return {"id": str(number), "text": text}


def test_a_room_forgets_its_oldest_lines_when_there_are_too_many_or_too_much() -> None:
    history = History((said(number) for number in range(10)), most=7)
    assert [line["id"] for line in history] == list("3456789")
    assert history.page("5") == {"lines": [said(3), said(4)], "earlier": False}
    assert "2" not in history
    history = History((said(number, "x" * 40) for number in range(10)), characters=100)
    assert [line["id"] for line in history] == ["8", "9"]
    history.append(said(10, "x" * 500))
    assert [line["id"] for line in history] == ["10"], "the latest stays, however long it is"


@pytest.mark.parametrize("payload", [{}, {"name": ""}, {"name": "   "}, {"name": 7}, {"name": "x" * 41}])
async def test_a_name_is_needed_to_come_in(payload: dict[str, Any]) -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        assert await ada.join(ROOM, payload) == declined("choose a name of 1 to 40 characters")


@pytest.mark.parametrize(
    ("event", "payload", "reason"),
    [
        ("say", {"text": "   "}, "empty message"),
        ("say", {"text": "x" * 2001}, "a message has at most 2000 characters, this one has 2001"),
        ("say", {"text": 7}, "say needs a text"),
        ("say", None, "say needs a text"),
        ("draft", {}, "draft needs a text, or null"),
        ("draft", {"text": "x" * 2001}, "a message has at most 2000 characters, this one has 2001"),
        ("earlier", {"before": 7}, "earlier needs before: the id of a line"),
        ("rename", {"name": ""}, "choose a name of 1 to 40 characters"),
        ("rename", {}, "rename needs a name"),
        ("dance", {}, "unknown event"),
    ],
)
async def test_what_a_chat_cannot_do_is_refused_with_the_reason(event: str, payload: Any, reason: str) -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        await enter(ada, "Ada")
        assert await ada.ask(ROOM, event, payload) == declined(reason)


async def test_the_page_and_its_modules_are_served() -> None:
    async with (
        gateway({"room:*": ChatRoom}, pages=[PAGES]) as served,
        served.http.get(served.url + "/chat/") as response,
    ):
        assert "<title>" in await response.text()


def test_it_runs_alone_and_ends_on_ctrl_c() -> None:
    command = [sys.executable, "-m", "understudy.examples.chat", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("chat at http://127.0.0.1:")
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=10) == 0


def test_a_port_in_use_is_one_line() -> None:
    command = [sys.executable, "-m", "understudy.examples.chat", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split("/")[2].rpartition(":")[2]
        second = subprocess.run([*command[:-1], port], capture_output=True, text=True, timeout=10)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0
    assert second.returncode == 1
    assert "is in use by another program" in second.stderr
    assert second.stderr.count("\n") == 1

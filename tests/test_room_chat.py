"""The chat: what people in a room see of each other."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.gateway_helpers import Client, declined, gateway
from understudy.examples.chat import PAGES, ChatRoom

ROOM = "room:kitchen"


async def enter(client: Client, name: str) -> dict[str, Any]:
    status, response = await client.join(ROOM, {"name": name})
    assert status == "ok", response
    return dict(response)


async def test_what_is_said_reaches_everybody_and_newcomers_find_it_in_the_history() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada, served.client() as bob:
        key = (await enter(ada, "Ada"))["key"]
        status, response = await ada.ask(ROOM, "say", {"text": "  hello "})
        line = await ada.event(ROOM, "line")
        assert (status, response) == ("ok", {"id": line["id"]})
        assert (line["key"], line["author"], line["text"]) == (key, "Ada", "hello")
        assert (await enter(bob, "Bob"))["history"] == [line]
        await bob.ask(ROOM, "say", {"text": "hi"})
        assert (await ada.event(ROOM, "line"))["author"] == "Bob"


async def test_presence_shows_name_node_and_since_when() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        key = (await enter(ada, "Ada"))["key"]
        (meta,) = (await ada.event(ROOM, "presence_state"))[key]["metas"]
        assert (meta["name"], meta["node"]) == ("Ada", "stage")
        assert meta["online_at"] > 1_700_000_000


async def test_typing_is_told_to_the_others_once_and_ends_with_the_line_and_with_leaving() -> None:
    async with gateway({"room:*": ChatRoom}) as served, served.client() as ada:
        await enter(ada, "Ada")
        async with served.client() as bob:
            key = (await enter(bob, "Bob"))["key"]
            for _ in range(3):
                assert await bob.ask(ROOM, "typing", {"typing": True}) == ("ok", {})
            assert await ada.event(ROOM, "typing") == {"key": key, "name": "Bob", "typing": True}
            await bob.ask(ROOM, "say", {"text": "there"})
            assert await ada.event(ROOM, "typing") == {"key": key, "name": "Bob", "typing": False}
            await bob.ask(ROOM, "typing", {"typing": True})
            assert (await ada.event(ROOM, "typing"))["typing"]
        assert not (await ada.event(ROOM, "typing"))["typing"]
        assert all(frame[3] != "typing" for frame in bob.kept), "nobody is told of their own typing"


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
        ("typing", {}, "typing needs typing: true or false"),
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

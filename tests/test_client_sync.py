"""The client without `await`, against a real gateway in another thread: the same names, promises and errors."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_helpers import PATIENCE, gateway
from understudy.client.sync import Event, NotConnected, PushRefused, PushTimeout, connect
from understudy.gateway import Member, Room


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A gateway that runs in a thread of its own while the test blocks this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = gateway(getattr(request, "param", None))
    try:
        yield asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(PATIENCE).url
    finally:
        asyncio.run_coroutine_threadsafe(served.__aexit__(None, None, None), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_script_joins_pushes_and_iterates(url: str) -> None:
    with connect(url) as socket:
        room = socket.join("room:a", {"key": "ada"})
        assert room.response["topic"] == "room:a"
        assert room.push("echo", {"n": 1}) == {"n": 1}
        for number in range(3):
            room.send("shout", {"number": number})
        room.push("finish")
        assert [event.payload for event in room if event.name == "heard"] == [{"number": n} for n in range(3)]
        assert (room.state, list(room.people)) == ("left", ["ada"])


def test_errors_are_those_of_the_client_with_await(url: str) -> None:
    with connect(url) as socket:
        with pytest.raises(PushRefused, match="full house"):
            socket.join("room:a", {"refuse": "full house"})
        room = socket.join("room:a")
        with pytest.raises(PushTimeout):
            room.push("slow", {"wait": "at the door"}, timeout=0.05)
        with pytest.raises(TimeoutError):
            room.next(0.01)
        room.leave()
        with pytest.raises(EOFError):
            room.next(PATIENCE)
    with pytest.raises(NotConnected, match="not open"):
        room.push("echo")
    with pytest.raises(NotConnected, match="cannot connect"):
        connect("http://127.0.0.1:9").open()


def test_a_notebook_opens_and_closes_and_one_thread_listens_while_another_speaks(url: str) -> None:
    socket = connect(url).open()
    states = [socket.state]
    room = socket.join("room:a")
    heard: list[Event] = []
    listener = threading.Thread(target=lambda: heard.extend(room))
    listener.start()
    room.push("shout", {"n": 1})
    socket.close()
    listener.join(PATIENCE)
    assert [event.payload for event in heard] == [{"n": 1}]
    socket.close()
    assert [*states, socket.state] == ["open", "closed"]


def test_control_c_interrupts_a_script_that_waits_and_it_ends_cleanly(url: str) -> None:
    script = f"""
import sys, threading
from understudy.client.sync import connect

def tell_when_it_waits():
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != "wait":
        pass
    print("waiting", flush=True)

try:
    with connect({url!r}) as socket:
        room = socket.join("room:a")
        threading.Thread(target=tell_when_it_waits).start()
        for event in room:
            pass
except KeyboardInterrupt:
    print("interrupted, and", socket.state)
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(2)
        assert process.stdout.read() == "interrupted, and closed\n"
        assert process.stderr.read() == ""


class Cafe(Room):
    """The room of the page's examples."""

    def on_join(self, member: Member, payload: dict[str, Any]) -> Any:
        return {"menu": ["tea"]}

    def on_event(self, member: Member, event: str, payload: Any) -> Any:
        self.broadcast("ordered", payload)
        return {"minutes": 3}


@pytest.mark.parametrize("url", [{"cafe:*": Cafe}], indirect=True)
def test_the_programs_of_the_page_do_what_it_says(url: str) -> None:
    page = (Path(__file__).parent.parent / "docs" / "clients.md").read_text()
    programs = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    said = [["{'menu': ['tea']}", "{'minutes': 3}", "tea"], ["{'dish': 'tea'}"]]
    for program, lines in zip(programs, said, strict=True):
        assert "http://127.0.0.1:4000" in program
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program.replace("http://127.0.0.1:4000", url)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.splitlines() == lines, done.stderr

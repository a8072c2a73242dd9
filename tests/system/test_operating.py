"""A cluster as its operator runs it: real processes, and the commands, signals, addresses and files by which they are run."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.leash import leashed
from tests.servers import PASSWORD, Postgres, missing_postgres
from tests.system.demo import UNDERSTUDY, free_port, still_running
from tests.system.nodes import ENDS_WITHIN, NodeProcess, get, member, seen, understudy, view

PATIENT = ("--probe-interval", "0.5", "--probe-misses", "120", "--blocked-after", "90")
"""A node that does not answer is soon in doubt, and stays so for as long as a test needs to look at it."""

APP = """
    import time
    from understudy import Actor, Child, Supervisor, message

    @message
    class Hold:
        seconds: float

    class Clerk(Actor):
        def on_receive(self, message):
            match message:
                case Hold(seconds):
                    time.sleep(seconds)
                case "crash":
                    raise KeyError("apple")

    class Opener(Actor):
        async def on_start(self):
            import asyncio
            self.run(self.wait())
        async def wait(self):
            import asyncio, os
            while not os.path.exists("orders"):
                await asyncio.sleep(0.05)
            order = open("orders").read().strip()
            self.system.ref("clerk").tell(Hold(60.0) if order == "hold" else order)

    def shop(node, settings):
        print("app", node.name, settings.app.get("greeting"), settings.gateway_port, flush=True)
        return [Child(Clerk, name="clerk"), Child(Opener, name="opener")]

    class Slow(Actor):
        async def on_stop(self, reason):
            import asyncio
            print("stopping", flush=True)
            await asyncio.sleep(60)

    slow = [Child(Slow, name="slow", shutdown=60.0)]

    class Busy(Actor):
        async def on_start(self):
            self.send_after(0.0, "work")
        async def on_receive(self, message):
            import asyncio
            await asyncio.sleep(600)

    busy = [Child(Busy, name="busy", shutdown=0.1)]

    def broken(node):
        raise ValueError("no " + "bread")
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, a runtime folder of our own, and no settings of whoever runs the tests."""
    for variable in [each for each in os.environ if each.startswith("UNDERSTUDY_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield tmp_path


def until(look: Callable[[], Any], within: float = 30.0) -> Any:
    """What `look` returns, once that is something. Each look is a command of its own, or a request."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, f"still {found!r} after {within} s"
    return found


def nodes(stack: ExitStack, *names: str, options: tuple[str, ...] = ()) -> list[NodeProcess]:
    """Nodes of one cluster, which see each other."""
    found = [stack.enter_context(NodeProcess(name, "--state", "state", *options)) for name in names]
    for each in found:
        each.ready()
    until(lambda: [row["state"] in ("up", "here") for row in view(names[0])["members"]] == [True] * len(names))
    return found


# --- a table that is away ---


SECRET = "xyzzy-hunter2"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_table_that_cannot_be_reached_is_waited_for_and_its_password_stays_secret(place: Path, form: str) -> None:
    (place / "table").write_text(f"postgresql://understudy:{SECRET}@127.0.0.1:{free_port()}/understudy\n")
    with NodeProcess("stage-1", "--table-file", "table", "--log-format", form, "--log-level", "debug") as node:
        node.wait_for("waits for the table")
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_status(ENDS_WITHIN) == 0
        assert SECRET not in node.text


def test_a_file_with_the_table_that_vanishes_while_the_table_is_away_is_said_and_waited_for(place: Path) -> None:
    url = f"postgresql://understudy:{SECRET}@127.0.0.1:{free_port()}/understudy"
    (place / "table").write_text(url)
    with NodeProcess("stage-1", "--table-file", "table") as node:
        node.wait_for("waits for the table")
        (place / "table").rename(place / "another")
        node.wait_for("table_file: the file table cannot be read: No such file or directory")
        seen = len(node.lines)
        (place / "another").rename(place / "table")
        node.wait_for("waits for the table: (?!table_file)", after=seen)
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_status(ENDS_WITHIN) == 0
        assert "Traceback" not in node.text
        assert SECRET not in node.text


def test_nodes_outlive_their_postgres_and_joins_resume_when_it_is_back(place: Path) -> None:
    """All that while its password is nowhere to be seen."""
    if why := missing_postgres():
        pytest.skip(why)
    with Postgres() as server, ExitStack() as stack:
        url = server.fresh()
        (place / "table").write_text(url)
        arguments = ("--table-file", "table", "--log-level", "debug")
        first = stack.enter_context(NodeProcess("first", *arguments))
        first.ready()
        assert view("first")["table"]["what"].startswith("PostgreSQL at postgresql://understudy@127.0.0.1")
        server.kill()
        away = until(lambda: None if (now := view("first"))["table"]["reached"] else now)
        assert away["table"]["trouble"]
        assert get(member(away, "first")["health"] + "/readyz")[0] == 200, "what runs there goes on"
        second = stack.enter_context(NodeProcess("second", *arguments))
        second.wait_for("waits for the table")
        server.start()
        second.ready()
        until(lambda: view("first")["table"]["reached"])
        assert {row["node"]: row["state"] for row in view("first")["members"]} == {"first": "here", "second": "up"}
        shown = understudy("status").stdout + understudy("status", "--json").stdout + str(away)
        for text in (shown, first.text, second.text):
            assert PASSWORD not in text
            assert PASSWORD.replace(" ", "%20") not in text


# --- a node and its application ---


def test_an_application_gets_its_node_and_its_settings_and_a_signal_has_it_leave(place: Path) -> None:
    (place / "understudy.toml").write_text('[app]\ngreeting = "hello"\n')
    with ExitStack() as stack:
        other = stack.enter_context(NodeProcess("stage-2", "--state", "state"))
        other.ready()
        node = stack.enter_context(NodeProcess("stage-1", "shop:shop", "--state", "state", "--gateway-port", "4711"))
        node.ready()
        assert "app stage-1 hello 4711" in node.lines
        assert until(lambda: seen("stage-2", "stage-1"))["application"] == "shop:shop"
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_status(ENDS_WITHIN) == 0
        assert seen("stage-2", "stage-1")["state"] == "left"


def test_the_exit_status_says_why(place: Path) -> None:
    def status_of(*arguments: str) -> int:
        with NodeProcess("stage-1", *arguments) as node:
            return node.exit_status(ENDS_WITHIN)

    assert understudy("node").returncode == 2
    assert status_of("nowhere:app") == 3
    assert status_of("shop:broken", "--state", "state") == 4
    assert status_of("--join", f"tcp://127.0.0.1:{free_port()}") == 8
    with NodeProcess("stage-1", "--state", "state") as first:
        first.ready()
        assert status_of("--state", "state") == 8, "its name is taken"


def test_the_second_signal_ends_it_at_once() -> None:
    with NodeProcess("stage-1", "shop:slow", "--state", "state", "--shutdown-timeout", "50") as node:
        node.ready()
        node.process.send_signal(signal.SIGTERM)
        node.wait_for("^stopping$")
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_status(5) == 128 + signal.SIGTERM


def test_what_does_not_end_in_time_is_killed_and_named() -> None:
    with NodeProcess("stage-1", "shop:slow", "--state", "state", "--shutdown-timeout", "0.5") as node:
        node.ready()
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_status(ENDS_WITHIN) == 7
        assert "'slow'" in node.text


# --- status ---


def test_status_says_who_is_there_and_what_it_is() -> None:
    with ExitStack() as stack:
        nodes(stack, "stage-1", options=("--role", "stage", "--tag", "ssd", "--capacity", "7"))
        shown = understudy("status")
        assert shown.returncode == 0
        for word in (
            "1 node",
            "stage-1",
            "here",
            "stage",
            "ssd",
            "0/7",
            "tcp://127.0.0.1:",
            "0.1.0",
            "http://127.0.0.1:",
        ):
            assert word in shown.stdout, word
    nobody = understudy("status")
    assert (nobody.returncode, nobody.stderr) == (1, "Error: no node of this user is running on this machine\n")


def test_status_says_why_a_node_is_unreachable_and_what_will_happen_and_when(place: Path) -> None:
    with ExitStack() as stack:
        _, killed, stopped = nodes(stack, "a", "killed", "stopped", options=PATIENT)
        blocked = stack.enter_context(NodeProcess("blocked", "shop:shop", "--state", "state", *PATIENT))
        blocked.ready()
        until(lambda: seen("a", "blocked")["state"] == "up")
        killed.process.kill()
        os.kill(stopped.process.pid, signal.SIGSTOP)
        (place / "orders").write_text("hold")

        expected = {"killed": "refused", "stopped": "silent", "blocked": "blocked"}

        def causes() -> dict[str, Any] | None:
            now = view("a")
            rows = {name: member(now, name) for name in expected}
            # Until its heartbeats are missed, for some three seconds, the connection of a stopped process stands, too.
            return rows if {name: row["cause"] for name, row in rows.items()} == expected else None

        looks = until(causes, within=60.0)
        assert "connection refused: nobody listens at tcp://127.0.0.1:" in looks["killed"]["why"]
        assert "accepts connections and says nothing" in looks["stopped"]["why"]
        assert "something holds its event loop" in looks["blocked"]["why"]
        assert all(look["next"] for look in looks.values()), looks
        shown = understudy("status", "--via", "a").stdout
        assert "blocked does not answer for" in shown
        assert "  next: " in shown


def test_status_says_that_a_node_is_there_whose_key_is_not_trusted(place: Path) -> None:
    """What a folder says of a name is not overruled by the table: here it is the key that the other one had before."""
    for keys in ("of-a", "of-b", "of-b-before"):
        assert understudy("keys", "init", keys[3:4], "--keys", keys).returncode == 0
    assert understudy("keys", "trust", "b", "of-b-before/own/b.pub", "--keys", "of-a").returncode == 0
    with ExitStack() as stack:
        for name in ("a", "b"):
            stack.enter_context(NodeProcess(name, "--state", "state", "--keys", f"of-{name}", *PATIENT)).ready()
        found = until(lambda: row if (row := seen("a", "b"))["cause"] else None)
        assert (found["state"] in ("doubtful", "unreachable"), found["cause"]) == (True, "key"), found
        assert "does not trust the key of the other" in found["why"]
        assert "compare `understudy keys show` there and here" in understudy("status", "--via", "a").stdout


def test_status_works_while_the_table_is_away_and_says_so() -> None:
    with ExitStack() as stack:
        (seed,) = nodes(stack, "seed")
        guest = stack.enter_context(NodeProcess("guest", "--join", seed.ready()))
        guest.ready()
        assert view("guest")["table"]["reached"] is True
        os.kill(seed.process.pid, signal.SIGSTOP)
        away = until(lambda: None if (now := view("guest"))["table"]["reached"] else now)
        assert away["table"]["trouble"]
        assert "nobody is declared dead" in (member(away, "seed")["next"] or "nobody is declared dead")
        assert "cannot be reached" in understudy("status", "--via", "guest").stdout
        os.kill(seed.process.pid, signal.SIGCONT)


def test_status_that_is_watched_on_a_terminal_follows_the_cluster_until_ctrl_c() -> None:
    ours, its = pty.openpty()
    try:
        with NodeProcess("stage-1", "--state", "state") as node:
            node.ready()
            environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "50"}
            command = leashed(UNDERSTUDY, "status", "--watch")
            with subprocess.Popen(command, env=environment, stdin=its, stdout=its, stderr=its) as watch:
                shown = read_until(ours, "1 node")
                assert "stage-1" in read_until(ours, "here", shown)
                node.process.send_signal(signal.SIGTERM)
                read_until(ours, "no node of this user is running on this machine")
                watch.send_signal(signal.SIGINT)
                rest = read_until(ours, "\x1b[?1049l")
                assert watch.wait(10) == 130
                assert "Traceback" not in rest, "and the terminal is as it was"
    finally:
        os.close(its)
        os.close(ours)


def read_until(terminal: int, words: str, shown: str = "") -> str:
    """What a program writes to a terminal, until these words have come."""
    end = time.monotonic() + 30
    while words not in shown:
        assert time.monotonic() < end, f"no {words!r} in {shown[-2000:]!r}"
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


# --- the tree of another machine, in kind ---


def test_any_node_is_reached_through_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The far one is in a runtime folder of its own, as on a machine of its own: only its links lead to it."""
    with ExitStack() as stack:
        (near,) = nodes(stack, "near")
        with tempfile.TemporaryDirectory(prefix="understudy-") as elsewhere:
            here = os.environ["XDG_RUNTIME_DIR"]
            monkeypatch.setenv("XDG_RUNTIME_DIR", elsewhere)
            far = stack.enter_context(NodeProcess("far", "shop:shop", "--join", near.ready()))
            far.ready()
            monkeypatch.setenv("XDG_RUNTIME_DIR", here)
            until(lambda: seen("near", "far").get("application") == "shop:shop")
            tree = understudy("tree", "far", "--json")
            assert tree.returncode == 0, tree.stderr
            (process,) = json.loads(tree.stdout)
            assert (process["name"], process["pid"]) == ("far", far.process.pid)
            assert "clerk" in understudy("tree", "far").stdout
            drained = understudy("drain", "far", "--timeout", "10")
            assert drained.returncode == 0, drained.stderr
            assert "far is drained" in drained.stdout
            assert seen("near", "far")["draining"] is True
            left = understudy("leave", "far", "--timeout", "10")
            assert (left.returncode, "far has left" in left.stdout) == (0, True), left.stderr
            assert far.exit_status(ENDS_WITHIN) == 0
            assert seen("near", "far")["state"] == "left"
            again = understudy("leave", "far")
            assert (again.returncode, again.stdout) == (1, "")
            assert "there are: near" in again.stderr


def test_a_single_node_leaves_by_its_own_window() -> None:
    with ExitStack() as stack:
        (only,) = nodes(stack, "only")
        left = understudy("leave", "only", "--timeout", "5")
        assert (left.returncode, left.stdout.splitlines()[-1]) == (0, "only has left"), left.stderr
        assert still_running([only.process.pid], 1.0) in ([], [only.process.pid])
        assert only.exit_status(ENDS_WITHIN) == 0
        assert "Traceback" not in only.text
        assert not [line for line in only.log() if line["level"] in ("error", "warning")]


def test_a_drain_that_leaves_something_behind_says_what_and_the_node_leaves_all_the_same() -> None:
    with NodeProcess("stage-1", "shop:busy", "--state", "state", "--drain-timeout", "0.5") as node:
        node.ready()
        drained = understudy("drain", "stage-1", "--timeout", "0.5")
        assert drained.returncode == 3, drained
        assert "stage-1 has not handed over everything: " in drained.stderr
        assert "busy" in drained.stderr
        assert member(view("stage-1"), "stage-1")["phase"] in (None, "drained")
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_status(ENDS_WITHIN) == 0


# --- fence ---


def test_fence_declares_a_node_dead_that_hangs_and_asks_first(place: Path) -> None:
    with ExitStack() as stack:
        _, bad = nodes(stack, "good", "bad", options=PATIENT)
        os.kill(bad.process.pid, signal.SIGSTOP)
        assert understudy("fence", "good").returncode == 1
        itself = understudy("fence", "good", "--via", "good", "--yes")
        assert (itself.returncode, "does not declare itself dead" in itself.stderr) == (1, True)
        unknown = understudy("fence", "nobody", "--yes")
        assert (unknown.returncode, "there is no node 'nobody'" in unknown.stderr) == (1, True)
        unsure = understudy("fence", "bad", stdin="n\n")
        assert (unsure.returncode, unsure.stderr.splitlines()[-1]) == (1, "Error: nothing was done"), unsure
        fenced = understudy("fence", "bad", "--reason", "its disk is on fire", stdin="y\n")
        assert fenced.returncode == 0, fenced.stderr
        dead = seen("good", "bad")
        assert (dead["state"], "its disk is on fire" in dead["why"]) == ("dead", True)
        os.kill(bad.process.pid, signal.SIGCONT)
        assert bad.exit_status(ENDS_WITHIN) == 9
        assert "out of the cluster" in bad.text


@pytest.mark.parametrize("application", [(), ("shop:shop",)], ids=["no application", "an application"])
def test_a_node_that_is_put_out_says_so_and_ends_with_a_status_of_its_own(application: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        nodes(stack, "good", options=PATIENT)
        bad = stack.enter_context(NodeProcess("bad", *application, "--state", "state", *PATIENT))
        bad.ready()
        assert understudy("fence", "bad", "--via", "good", "--yes").returncode == 0
        assert bad.exit_status(ENDS_WITHIN) == 9
        assert "bad is out of the cluster: " in bad.text
        assert "leaves, and has not handed over" not in bad.text


# --- the log ---


def test_the_log_is_an_object_a_line_with_who_spoke_and_what_failed(place: Path) -> None:
    (place / "orders").write_text("crash")
    with NodeProcess("stage-1", "shop:shop", "--state", "state") as node:
        node.ready()
        node.wait_for("KeyError")
        node.process.send_signal(signal.SIGTERM)
        node.exit_status(ENDS_WITHIN)
        for line in node.log():
            assert list(line)[:3] == ["time", "level", "node"], line
            assert (line["node"], type(line["message"])) == ("stage-1", str)
        crash = next(line for line in node.log() if line["logger"] == "understudy.actors" and "crash" in line)
        assert (crash["level"], crash["actor"], crash["error"]["type"]) == ("error", "clerk", "KeyError")
        assert crash["incarnation"] > 0
        assert crash["error"]["trace"][-1][0].endswith("shop.py")
        assert "\n" not in crash["message"]


# --- health ---


def test_a_node_is_live_before_it_has_joined_and_ready_after(place: Path) -> None:
    port = free_port()
    address, url = f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"
    table = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with NodeProcess("stage-1", "--table", table, "--health", address) as waiting:
        waiting.wait_for("waits for the table")
        assert get(f"{url}/healthz")[0] == 200
        status, answer = get(f"{url}/readyz")
        assert (status, answer["ready"]) == (503, False)
        assert "it has not joined yet: " in answer["why"][0]
    with NodeProcess("stage-1", "--state", "state", "--health", address) as node:
        node.ready()
        status, answer = get(f"{url}/readyz")
        assert (status, answer["ready"], answer["node"], answer["table"]) == (200, True, "stage-1", "reached")
        assert understudy("drain", "stage-1").returncode == 0
        status, answer = get(f"{url}/readyz")
        assert (status, answer["why"]) == (503, ["it hands over what it has, and takes nothing new"])
        assert get(f"{url}/healthz")[0] == 200


def test_a_port_of_health_that_is_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with NodeProcess("stage-1", "--state", "state", "--health", address) as node:
            assert node.exit_status(ENDS_WITHIN) == 8
            assert [line for line in node.lines if address in line], node.text


def test_clients_of_health_that_say_nothing_or_read_nothing_hurt_nobody() -> None:
    port = free_port()
    with NodeProcess("stage-1", "--state", "state", "--health", f"127.0.0.1:{port}") as node:
        node.ready()
        before = len(os.listdir(f"/proc/{node.process.pid}/fd"))
        with ExitStack() as stack:
            deaf = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(200)]
            for each in deaf[:20]:
                each.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
            most = 0
            while not all(map(_closed, deaf[64 + 16 :])):  # so many more wait in the socket's queue, perhaps
                most = max(most, len(os.listdir(f"/proc/{node.process.pid}/fd")))
            assert most < before + 64 + 32
            assert get_when_possible(port) == 200
        assert [row["state"] for row in view("stage-1")["members"]] == ["here"]


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def get_when_possible(port: int) -> int:
    """The deaf ones have their deadline; after that others have their turn, though those are still there."""
    end = time.monotonic() + 20
    while True:
        try:
            return get(f"http://127.0.0.1:{port}/readyz")[0]
        except OSError:
            assert time.monotonic() < end
            threading.Event().wait(0.2)

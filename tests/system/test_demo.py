"""`understudy demo` without a browser: what the terminal says, HTTP, supervision, a second machine in kind, the end."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.system.demo import UNDERSTUDY, Demo, Terminal, children_of, command_of, free_port, is_running, still_running
from understudy import Node
from understudy.demo.company import ENGINE, STAGE
from understudy.supervisors import ChildInfo, WhichChildren

GONE_WITHIN = 5.0 * PATIENCE
BACK_WITHIN = 10.0 * PATIENCE
ORPHANS_GONE_WITHIN = 3.0 * PATIENCE
"""Two seconds for an orderly end, and one for a busy machine to see it."""


def states(demo: Demo) -> dict[str, str]:
    """The state of every run."""
    return {run["id"]: run["state"] for run in demo.request("GET", "/runs")[1]["runs"]}


def wait_until_state(demo: Demo, run: str, wanted: set[str], within: float) -> dict[str, object]:
    """The run once it is in one of these states: told by its event stream, not by asking again and again."""
    end = time.monotonic() + within
    known: dict[str, object] = demo.request("GET", f"/runs/{run}")[1]
    if known["state"] not in wanted:
        for name, data in demo.events(f"/runs/{run}/events"):
            if name in ("joined", "run"):
                known = data["run"] if name == "joined" else data
            if known["state"] in wanted:
                break
            assert time.monotonic() < end, f"still {known['state']} after {within} s"
    return known


# --- what the terminal and the supervisor say ---


def test_the_terminal_shows_what_started_where_and_the_link(demo: Demo) -> None:
    for node in ("stage", "engine-1"):
        assert is_running(demo.process_of(node))
    demo.wait_for(rf"Open +{demo.url}/")
    demo.wait_for(
        r"understudy node engine-2 \S+:engine --role engine --listen tcp://127\.0\.0\.2:0 --join tcp://127\.0\.0\.1:\d+"
    )


def test_the_nodes_are_children_of_our_own_supervisor(demo: Demo) -> None:
    async def which_children() -> list[ChildInfo]:
        async with Node("visitor", join=demo.join_address) as visitor:
            return await visitor.ref("company@director").call(WhichChildren())

    children = asyncio.run(which_children())
    assert [(child.id, child.state) for child in children] == [("stage", "running"), ("engine-1", "running")]
    below = {int(pid) for pid in demo.family()}
    assert {demo.process_of("stage"), demo.process_of("engine-1")} <= below


def test_the_trees_of_the_whole_cluster_are_seen_from_another_terminal(demo: Demo) -> None:
    seen = subprocess.run([UNDERSTUDY, "tree", "--json"], capture_output=True, text=True, timeout=30, check=True)
    trees = {process["pid"]: process for process in json.loads(seen.stdout)}
    stage, engine = demo.process_of("stage"), demo.process_of("engine-1")
    assert [trees[pid]["name"] for pid in (demo.process.pid, stage, engine)] == ["director", "stage", "engine-1"]
    [company] = [row for row in trees[demo.process.pid]["children"] if row["id"] == "company"]
    assert [(row["id"], row["pid"]) for row in company["children"]] == [("stage", stage), ("engine-1", engine)]


# --- the same job without a browser ---


def test_a_game_is_started_watched_and_cancelled_over_http(demo: Demo) -> None:
    play_once_possible(demo, time.monotonic() + BACK_WITHIN)
    status, run = demo.request("POST", "/runs")
    assert status == 201
    assert run["program"] == "arena"

    frames = [data for name, data in itertools.islice(demo.events(f"/runs/{run['id']}/events"), 12) if name == "frame"]
    turns = [frame["turn"] for frame in frames]
    assert len(turns) >= 8
    assert turns == list(range(turns[0], turns[0] + len(turns))), "frames come in order, and none is missing"

    status, shown = demo.request("GET", f"/runs/{run['id']}")
    assert (status, shown["state"], shown["node"]) == (200, "running", "engine-1")
    assert is_running(shown["worker_pid"])
    assert shown["worker_pid"] != shown["pid"]

    assert demo.request("DELETE", f"/runs/{run['id']}")[0] == 202
    assert wait_until_state(demo, run["id"], {"cancelled"}, 5)["state"] == "cancelled"
    assert not is_running(shown["worker_pid"])


def test_a_game_ends_with_a_result(demo: Demo) -> None:
    _, run = demo.request("POST", "/runs", {"program": "arena", "args": {"seed": 7, "turns": 40}, "rate": 0})
    over = wait_until_state(demo, run["id"], {"finished", "failed"}, 15)
    assert over["state"] == "finished", over["reason"]
    assert isinstance(over["result"], dict)
    assert over["result"]["seed"] == 7


def test_the_events_of_a_run_end_with_it_and_at_once_when_it_has_ended(demo: Demo) -> None:
    _, run = demo.request("POST", "/runs", {"program": "arena", "args": {"seed": 7, "turns": 40}, "rate": 40})
    told = list(demo.events(f"/runs/{run['id']}/events"))
    assert (told[0][0], told[-1][0], told[-1][1]["state"]) == ("joined", "run", "finished")
    told = list(demo.events(f"/runs/{run['id']}/events"))
    assert [(name, data["run"]["state"]) for name, data in told] == [("joined", "finished")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/runs/no-such-run", None, 404, "unknown_run"),
        ("DELETE", "/runs/no-such-run", None, 404, "unknown_run"),
        ("GET", "/runs/no-such-run/events", None, 404, "unknown_run"),
        ("POST", "/runs", {"program": "no-such-program"}, 409, "refused"),
        ("POST", "/runs", {"program": "arena", "args": {"seeds": 7}}, 409, "refused"),
        ("POST", "/runs", {"program": "arena", "args": {"seed": "seven"}}, 409, "refused"),
        ("POST", "/runs", {"program": "arena", "rate": "fast"}, 400, "malformed_run"),
        ("POST", "/runs", ["arena"], 400, "malformed_run"),
        ("PUT", "/runs", {}, 405, "method_not_allowed"),
        ("GET", "/no/such/page", None, 404, "not_found"),
    ],
)
def test_bad_requests_get_a_code_and_a_sentence(
    demo: Demo, method: str, path: str, body: object, status: int, code: str
) -> None:
    answered, error = demo.request(method, path, body)
    assert (answered, error["error"]["code"]) == (status, code)
    assert len(error["error"]["message"].split()) > 2


# --- what dies comes back ---


def test_a_killed_engine_is_back_three_times_in_a_row_and_its_runs_are_lost_with_a_reason(demo: Demo) -> None:
    for _ in range(3):
        _, run = demo.request("POST", "/runs")
        wait_until_state(demo, run["id"], {"running"}, BACK_WITHIN)
        seen = len(demo.lines)
        engine = int(demo.request("GET", f"/runs/{run['id']}")[1]["pid"])
        worker = int(demo.request("GET", f"/runs/{run['id']}")[1]["worker_pid"])
        killed = time.monotonic()
        os.kill(engine, signal.SIGKILL)

        lost = wait_until_state(demo, run["id"], {"lost"}, GONE_WITHIN)
        assert lost["reason"]
        demo.wait_for(r"engine-1.*SIGKILL", GONE_WITHIN, after=seen)
        assert time.monotonic() - killed < GONE_WITHIN

        assert demo.process_of("engine-1", after=seen) != engine
        plays = play_once_possible(demo, killed + BACK_WITHIN)
        assert wait_until_state(demo, plays, {"running"}, BACK_WITHIN)["node"] == "engine-1"
        assert time.monotonic() - killed < BACK_WITHIN
        assert not is_running(worker), "a worker does not outlive its engine"
        demo.request("DELETE", f"/runs/{plays}")


def play_once_possible(demo: Demo, until: float) -> str:
    """Start a game as soon as an engine takes it: a person presses the button until it works."""
    while True:
        status, answer = demo.request("POST", "/runs")
        if status == 201:
            return str(answer["id"])
        assert answer["error"]["code"] in ("refused", "unavailable"), answer
        assert time.monotonic() < until, answer


def test_a_killed_stage_is_back_and_serves_again(demo: Demo) -> None:
    seen = len(demo.lines)
    os.kill(demo.process_of("stage"), signal.SIGKILL)
    assert is_running(demo.process_of("stage", after=seen))
    assert demo.request("GET", "/healthz")[1]["status"] == "ok"


# --- two machines, in kind ---


def test_a_second_engine_joins_without_sharing_a_file_and_gets_its_share(demo: Demo, tmp_path: Path) -> None:
    arguments = (
        "node",
        "engine-2",
        ENGINE,
        "--role",
        "engine",
        "--listen",
        "tcp://127.0.0.2:0",
        "--join",
        demo.join_address,
    )
    with Terminal(UNDERSTUDY, *arguments, "--log-format", "console") as engine:
        engine.wait_for(r"engine-2 at tcp://127\.0\.0\.2:\d+ is in the cluster with director, engine-1, stage")
        started: list[str] = []
        played: set[object] = set()
        end = time.monotonic() + BACK_WITHIN
        while played != {"engine-1", "engine-2"}:
            status, run = demo.request("POST", "/runs")
            assert status == 201, run
            started.append(run["id"])
            played.add(run["node"])
            assert time.monotonic() < end, f"all of {len(started)} games play on {played}"
        for run in started:
            demo.request("DELETE", f"/runs/{run}")


def test_a_demonstration_of_several_stages_is_one_house_with_several_pages(tmp_path: Path) -> None:
    first = free_port()
    words = ("demo", "--stages", "2", "--engines", "2", "--port", str(first), "--state", tmp_path / "state")
    with Terminal(UNDERSTUDY, *words) as house:
        house.wait_for(rf"Open +http://127\.0\.0\.1:{first}/ +and +http://127\.0\.0\.1:{first + 1}/", 60)
        request = urllib.request.Request(f"http://127.0.0.1:{first}/runs", method="POST")
        with urllib.request.urlopen(request, timeout=15) as answer:
            run = json.loads(answer.read())
        with urllib.request.urlopen(f"http://127.0.0.1:{first + 1}/runs/{run['id']}", timeout=15) as answer:
            assert json.loads(answer.read())["worker_pid"] == run["worker_pid"]


def test_binding_beyond_loopback_is_refused_with_one_line(tmp_path: Path) -> None:
    with Terminal(UNDERSTUDY, "node", "engine-9", "--listen", "tcp://0.0.0.0:0", "--state", tmp_path) as node:
        assert node.exit_status(STARTS) == 8
        assert len(node.lines) == 1
        assert "loopback" in node.text


# --- bad input at the door ---


STARTS = 20.0


def test_a_port_in_use_is_said_in_one_line(demo: Demo, tmp_path: Path) -> None:
    arguments = ("node", "stage-2", STAGE, "--gateway-port", str(demo.port), "--state", tmp_path)
    with Terminal(UNDERSTUDY, *arguments) as stage:
        assert stage.exit_status(STARTS) == 5
        assert any(f"127.0.0.1:{demo.port} is in use" in line for line in stage.lines if line.startswith("Error: "))


def test_a_demonstration_whose_port_is_in_use_says_so_and_leaves_nothing_behind(demo: Demo, tmp_path: Path) -> None:
    with Terminal(UNDERSTUDY, "demo", "--port", str(demo.port), "--state", tmp_path) as second:
        assert second.exit_status(STARTS) == 1
        assert f"127.0.0.1:{demo.port} is in use" in second.text
        assert second.lines[-1].startswith("Error: ")


def test_a_second_demonstration_in_the_same_state_folder_is_refused(demo: Demo) -> None:
    with Terminal(UNDERSTUDY, "demo", "--port", str(free_port()), "--state", demo.state) as second:
        assert second.exit_status(STARTS) == 1
        assert "director" in second.lines[-1]


def test_a_state_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Terminal(UNDERSTUDY, "demo", "--port", str(free_port()), "--state", tmp_path / "file" / "state") as second:
        assert second.exit_status(STARTS) != 0
        assert "cannot be written" in second.text
        assert "--state" in second.text


def test_a_node_to_join_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    arguments = ("node", "engine-9", "--join", f"tcp://127.0.0.1:{free_port()}")
    with Terminal(UNDERSTUDY, *arguments) as node:
        assert node.exit_status(STARTS) == 8
        assert len(node.lines) == 1


# --- the end ---


def test_ctrl_c_while_starting_ends_everything_too(tmp_path: Path) -> None:
    """Even while a node process hangs in its start."""
    demo = Terminal(UNDERSTUDY, "demo", "--port", str(free_port()), "--state", tmp_path / "state")
    with demo:
        demo.wait_for("director is process")
        end = time.monotonic() + STARTS
        while not (stage := [pid for pid in children_of(demo.process.pid) if "--supervised" in command_of(pid)]):
            assert time.monotonic() < end
        os.kill(stage[0], signal.SIGSTOP)
        demo.process.send_signal(signal.SIGINT)
        assert demo.exit_status(5) == 0
        assert still_running(stage, after=0.5) == []
        assert "Open" not in demo.text


def test_a_node_process_that_hangs_is_replaced(demo: Demo) -> None:
    seen = len(demo.lines)
    engine = demo.process_of("engine-1")
    for line in demo.lines:
        if match := re.search(r"started engine-1 \S+ process (\d+)", line):
            engine = int(match.group(1))
    os.kill(engine, signal.SIGSTOP)
    demo.wait_for("engine-1 hangs", BACK_WITHIN, after=seen)
    assert demo.process_of("engine-1", after=seen) != engine
    demo.request("DELETE", f"/runs/{play_once_possible(demo, time.monotonic() + BACK_WITHIN)}")


def test_the_page_is_not_opened_to_strangers(tmp_path: Path) -> None:
    with Terminal(
        UNDERSTUDY, "demo", "--host", "0.0.0.0", "--port", str(free_port()), "--state", tmp_path
    ) as open_house:
        assert open_house.exit_status(STARTS) == 1
        assert len(open_house.lines) == 1
        assert "not on loopback" in open_house.text


def test_ctrl_c_ends_everything_in_order_within_5_s(tmp_path: Path) -> None:
    with Demo(tmp_path / "state") as demo:
        wait_until_state(demo, play_once_possible(demo, time.monotonic() + BACK_WITHIN), {"running"}, BACK_WITHIN)
        family = demo.family()
        assert len(family) >= 4, "director, stage, engine-1 and a worker"
        begin = time.monotonic()
        demo.process.send_signal(signal.SIGINT)
        assert demo.exit_status(5) == 0
        assert time.monotonic() - begin < 5
        assert still_running(family, after=0.5) == []
        assert "Traceback" not in demo.text
        stopped = [line.split()[-3] for line in demo.lines if line.endswith("has stopped")]
        assert stopped == ["engine-1", "stage"], "in reverse order of start"
        assert "engine-1 has drained" in demo.text, "it had the time to, though a game was going on"
        left = {path.name for path in (tmp_path / "state").iterdir()}
        assert not {name for name in left if name.endswith((".sock", ".pid", "-wal", "-shm"))}, left


def test_nothing_outlives_a_director_that_is_killed(tmp_path: Path) -> None:
    with Demo(tmp_path / "state") as demo:
        wait_until_state(demo, play_once_possible(demo, time.monotonic() + BACK_WITHIN), {"running"}, BACK_WITHIN)
        family = demo.family()
        os.kill(demo.process.pid, signal.SIGKILL)
        demo.process.wait()
        assert still_running(family, after=ORPHANS_GONE_WITHIN) == []

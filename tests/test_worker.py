"""The worker process by itself: its protocol, its manners, and its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import msgpack
import pytest

PROGRAMS = "tests.run_programs"


@contextmanager
def worker(program: str, rate: float | None = None, **args: Any) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "understudy.engine.worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            process.stdin.write(msgpack.packb({"program": program, "paths": [PROGRAMS], "args": args, "rate": rate}))
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def said_by(process: subprocess.Popen[bytes]) -> Iterator[Any]:
    assert process.stdout is not None
    unpacker = msgpack.Unpacker(strict_map_key=False)
    while data := os.read(process.stdout.fileno(), 65536):
        unpacker.feed(data)
        yield from unpacker


def all_said(program: str, rate: float | None = None, **args: Any) -> list[Any]:
    with worker(program, rate, **args) as process:
        return list(said_by(process))


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        os.sched_yield()
    return True


def is_gone(pid: int) -> bool:
    """Whether a process has ended. One that nobody has waited for yet has ended too."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_sends_frames_and_then_the_result() -> None:
    frames = [["frame", {"number": number, "note": "n"}] for number in range(3)]
    assert all_said("count", to=3, note="n") == [["began"], *frames, ["result", 3]]


def test_a_plain_function_has_a_result_and_no_frames() -> None:
    assert all_said("sum", numbers=[1, 2]) == [["began"], ["result", 3]]


def test_an_exception_is_told_as_a_sentence_and_where_it_happened() -> None:
    [began, frame, [kind, text]] = all_said("fails", after=1)
    assert (began, frame, kind) == (["began"], ["frame", 0], "failed")
    sentence, *trace = text.splitlines()
    assert sentence == "LookupError: the script is missing a page"
    assert "run_programs.py" in trace[0]
    assert "worker.py" not in text


def test_sys_exit_is_no_result() -> None:
    assert all_said("exits")[-1][0] == "failed"
    assert all_said("exits")[-1][1].startswith("SystemExit: no more")


def test_what_user_code_prints_cannot_disturb_the_protocol() -> None:
    with worker("prints") as process:
        assert list(said_by(process)) == [["began"], ["result", ""]]
        assert process.stderr is not None
        printed = process.stderr.read()
    assert all(each in printed for each in (b"print", b"write", b"raw bytes", b"from a child"))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("object", "frame 1 cannot be sent: can not serialize 'object' object; what can: None, bool"),
        ("huge int", "frame 1 cannot be sent: Integer value out of range"),
        ("int key", "frame 1 cannot be sent: int is not allowed for map key"),
        ("surrogate", "frame 1 cannot be sent: 'utf-8' codec can't encode"),
        ("large", "frame 1 has 1,000,005 bytes as MessagePack; 786,432 is the limit"),
        ("large result", "the result has 200,005 bytes as MessagePack; 131,072 is the limit"),
    ],
)
def test_what_cannot_be_sent_fails_the_run_with_the_reason(what: str, sentence: str) -> None:
    *_, [kind, text] = all_said("yields", what=what)
    assert kind == "failed"
    assert text.startswith(sentence)


def test_a_frame_that_comes_late_does_not_hurry_the_next_ones() -> None:
    with worker("dawdles", rate=10) as process:
        at = [time.monotonic() for said in said_by(process) if said[0] == "frame"]
    gaps = [after - before for before, after in pairwise(at)]
    assert gaps[0] > 0.35
    assert all(gap > 0.08 for gap in gaps[1:])


def test_frames_keep_the_rate() -> None:
    with worker("forever", rate=20) as process:
        speech = said_by(process)
        while next(speech) != ["frame", 0]:
            pass
        begin = time.monotonic()
        while next(speech) != ["frame", 10]:
            pass
        assert 0.45 < time.monotonic() - begin < 1.5


@pytest.mark.parametrize("program", ["stubborn", "locked", "parent"])
def test_it_ends_when_its_starter_is_killed(program: str) -> None:
    """`stubborn` computes, `locked` holds the interpreter's lock, `parent` has a child of its own: kill -9 of the starter ends all."""
    code = (
        "import os, sys, subprocess, msgpack\n"
        "process = subprocess.Popen([sys.executable, '-m', 'understudy.engine.worker'],\n"
        "    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)\n"
        f"process.stdin.write(msgpack.packb({{'program': {program!r}, 'paths': [{PROGRAMS!r}], 'args': {{}}, 'rate': None}}))\n"
        "process.stdin.flush()\n"
        "unpacker = msgpack.Unpacker()\n"
        "while True:\n"
        "    unpacker.feed(os.read(process.stdout.fileno(), 65536))\n"
        "    for said in unpacker:\n"
        "        if said[0] == 'frame':\n"
        "            print(process.pid, said[1], flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = {int(pid) for pid in starter.stdout.readline().split()}
        assert pids
        assert not any(is_gone(pid) for pid in pids)
        starter.send_signal(signal.SIGKILL)
        assert within(2.0, lambda: all(is_gone(pid) for pid in pids))


def test_without_an_order_it_says_who_starts_it() -> None:
    done = subprocess.run([sys.executable, "-m", "understudy.engine.worker"], input=b"", capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"a worker is started by a run" in done.stderr

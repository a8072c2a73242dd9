"""The worker: the operating-system process that executes one run. `python -m understudy.engine.worker`, started by its run.

    run ── stdin ──▶ worker     one MessagePack map: {"program", "paths", "args", "rate"}; then nothing but its end of file
    run ◀─ stdout ── worker     MessagePack arrays: ["began"], ["frame", data]..., then ["result", value] or ["failed", text]

What the program prints goes to standard error, and its standard input is empty: user code cannot disturb the protocol.

End of file on stdin means that the run, or the whole engine, is gone: the worker's process group ends at once. On Linux the
kernel itself sees to it (an asynchronous descriptor whose signal is SIGKILL and whose owner is the group), so it holds while
user code computes, while C code keeps the interpreter's lock, and for processes that user code started; elsewhere a thread
waits for it. One of the few modules that are allowed to be real.
"""

import fcntl
import os
import select
import signal
import sys
import threading  # noqa: TID251 - the watcher of stdin must run beside user code
import time  # noqa: TID251 - frames are paced by the real clock: a worker is outside any virtual world
import traceback
from collections.abc import Generator
from typing import Any, BinaryIO

import msgpack

from understudy.engine.catalog import CARRIED, FRAME_LIMIT, RESULT_LIMIT, load

TEXT_LIMIT = 8_000
"""Characters of a failure's traceback, and of its sentence."""


class Unsendable(Exception):
    """A program yielded or returned what cannot be sent; the text says what, and what can."""


def main() -> None:
    """Execute the run that standard input describes."""
    stdin, stdout = _take_pipes()
    order = _read_order(stdin)
    _tie_life_to(stdin)
    execute(order, stdout)


def execute(order: dict[str, Any], stdout: BinaryIO) -> None:
    """Run the program, and send what it yields and how it ends."""
    try:
        program = load(order["paths"])[order["program"]]
        _send(stdout, ["began"])
        outcome = program.function(**order["args"])
        if isinstance(outcome, Generator):
            outcome = _stream(outcome, order["rate"], stdout)
        _send(stdout, ["result", _carried(outcome, "the result", RESULT_LIMIT)])
    except BaseException as error:  # noqa: BLE001 - however a program ends, sys.exit included, is what there is to report
        _send(stdout, ["failed", describe(error)])


def describe(error: BaseException) -> str:
    """The exception as a sentence, and below it where it happened in the program's own code."""
    if isinstance(error, Unsendable):
        return str(error)
    sentence = "".join(traceback.format_exception_only(error)).strip()[:TEXT_LIMIT]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f"{sentence}\n{''.join(traceback.format_list(own))[-TEXT_LIMIT:]}".rstrip()


def _stream(program: Generator[object, Any, object], rate: float | None, stdout: BinaryIO) -> object:
    """Send each frame when it is due. After one that is late by more than a whole interval, time is counted anew."""
    interval = 1 / rate if rate else 0.0
    due = time.monotonic()
    clock = threading.Event()
    number = 0
    while True:
        try:
            data = next(program)
        except StopIteration as end:
            return end.value
        carried = _carried(data, f"frame {number}", FRAME_LIMIT)
        clock.wait(max(0.0, due - time.monotonic()))
        _send(stdout, ["frame", carried])
        now = time.monotonic()
        due = due + interval if now <= due + interval else now + interval
        number += 1


def _carried(value: object, what: str, limit: int) -> object:
    """The value, if MessagePack carries it there and back and it is no larger than allowed."""
    try:
        packed = msgpack.packb(value)
        if len(packed) <= limit:
            msgpack.unpackb(packed)
            return value
    except (TypeError, ValueError, OverflowError) as error:
        raise Unsendable(f"{what} cannot be sent: {error}; what can: {CARRIED}") from None
    raise Unsendable(f"{what} has {len(packed):,} bytes as MessagePack; {limit:,} is the limit")


def _take_pipes() -> tuple[int, BinaryIO]:
    """Keep the pipes for the protocol; give user code an empty standard input, and standard error as its output."""
    stdin, stdout = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return stdin, os.fdopen(stdout, "wb")


def _read_order(stdin: int) -> dict[str, Any]:
    unpacker = msgpack.Unpacker()
    while data := os.read(stdin, 65536):
        unpacker.feed(data)
        for order in unpacker:
            return dict(order)
    sys.exit("a worker is started by a run, which writes its order to standard input")


def _send(stdout: BinaryIO, spoken: list[object]) -> None:
    try:
        stdout.write(msgpack.packb(spoken))
        stdout.flush()
    except BrokenPipeError:  # nobody listens any more
        _end_at_once()


def _tie_life_to(stdin: int) -> None:
    """From now on the next event of stdin, which is its end of file, ends this process group."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(stdin, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(stdin, fcntl.F_SETOWN, -os.getpgrp() if _leads_a_group() else os.getpid())
        fcntl.fcntl(stdin, fcntl.F_SETFL, fcntl.fcntl(stdin, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([stdin], [], [], 0)[0]:  # it came before we asked
            _end_at_once()
    else:
        threading.Thread(target=_end_at_eof, args=(stdin,), daemon=True).start()


def _end_at_eof(stdin: int) -> None:
    os.read(stdin, 1)
    _end_at_once()


def _leads_a_group() -> bool:
    """A run gives its worker a session of its own, so that its group holds nobody but it and what it started."""
    return os.getpgrp() == os.getpid()


def _end_at_once() -> None:
    """End this process and those it started."""
    if _leads_a_group():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()

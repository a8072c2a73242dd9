"""Programs for the tests of the engine wing: quick, and each with one way to behave."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from typing import Any

from understudy.engine import program


@program("count")
def count(to: int, note: str = "") -> Generator[dict[str, Any], None, int]:
    """Counts, and returns how far."""
    for number in range(to):
        yield {"number": number, "note": note}
    return to


@program("sum")
def add(numbers: list[int]) -> int:
    """A plain function: no frames, a result."""
    return sum(numbers)


@program("forever", rate=50)
def forever() -> Generator[int, None, None]:
    """Never ends by itself."""
    number = 0
    while True:
        yield number
        number += 1


@program("fails")
def fails(after: int = 0) -> Generator[int, None, None]:
    """Raises after some frames."""
    yield from range(after)
    raise LookupError("the script is missing a page")


@program("leaves")
def leaves(status: int) -> None:
    """Says its last words and leaves without another word."""
    print("the roof is on fire", file=sys.stderr)
    os._exit(status)


@program("exits")
def exits() -> None:
    """Calls sys.exit."""
    sys.exit("no more")


@program("prints")
def prints() -> str:
    """Writes to standard output on every level, and reads an empty standard input."""
    print("print")
    sys.stdout.write("write\n")
    os.write(1, b"\x93\x01\x02 raw bytes")
    subprocess.run(["/bin/sh", "-c", "echo from a child"], check=True)
    return sys.stdin.read()


@program("yields")
def yields(what: str) -> Generator[Any, None, Any]:
    """Yields, or returns, what cannot be sent."""
    yield "good"
    bad: dict[str, Any] = {
        "object": object(),
        "huge int": 2**64,
        "int key": {1: "one"},
        "large": b"x" * 1_000_000,
        "surrogate": "\ud800",
    }
    if what == "large result":
        return "x" * 200_000
    yield bad[what]
    return None


@program("dawdles")
def dawdles() -> Generator[int, None, None]:
    """Takes its time for the second frame."""
    yield 0
    threading.Event().wait(0.4)
    yield from range(1, 5)


@program("stubborn")
def stubborn() -> Generator[int, None, None]:
    """Ignores SIGTERM and computes in Python for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield os.getpid()
    while True:
        pass


@program("locked")
def locked() -> Generator[int, None, None]:
    """Sits in C code that never gives the interpreter's lock back: no other thread of the process can run."""
    yield os.getpid()
    ctypes.PyDLL(None).pause()


@program("parent")
def parent() -> Generator[int, None, None]:
    """Starts a process of its own, and waits."""
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child.pid
        child.wait()


@program("hasty")
def hasty(frames: int) -> Generator[int, None, None]:
    """Yields as fast as it can."""
    yield from range(frames)

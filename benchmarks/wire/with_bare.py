"""The floor: what the machine and ZeroMQ leave to anybody who sends over them. Bytes that nobody packs, reads or answers for.

ZeroMQ   tell: ready frames of as many bytes as a batch has, DEALER to ROUTER; call: blocking, to and fro
TCP      the same with plain blocking sockets
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from benchmarks.wire import MEBIBYTE, arguments, latencies, say, timed
from understudy.transport.link import BATCH

CALLS = 5_000
CALL = bytes(60)
ITEM = 91
"""Bytes of one message of the other programs in its batch."""
FRAMES = 5_000
BINARIES = 4_000


@contextmanager
def forked(other: Callable[[], None]) -> Iterator[None]:
    """Run `other` in a process of its own, which is gone at the end."""
    pid = os.fork()
    if not pid:
        try:
            other()
        finally:
            os._exit(0)
    yield
    os.waitpid(pid, 0)


# --- ZeroMQ ---


def zeromq(case: str, scale: float) -> dict[str, float]:
    frames, size = {"tell": (FRAMES, BATCH), "call": (CALLS, len(CALL)), "binaries": (BINARIES, MEBIBYTE)}[case]
    count = int(frames * scale)
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    probe.close()

    def other() -> None:
        context = zmq.Context()
        router: Any = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.RCVHWM, 64)
        router.bind(address)
        got = 0
        while got < count or case == "call":
            path, frame = router.recv_multipart(copy=False)
            got += 1
            if case == "call":
                if not len(frame):
                    break
                router.send_multipart((path, frame), copy=False)
        router.send_multipart((path, b"done"))
        context.destroy(linger=1_000)

    with forked(other):
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.SNDHWM, 64)
        dealer.connect(address)
        if case == "call":

            def ask() -> None:
                dealer.send(CALL)
                dealer.recv()

            found = latencies("call", timed(ask, count))
            dealer.send(b"")
            dealer.recv()
        else:
            frame, begun = bytes(size), time.perf_counter()
            for _ in range(count):
                dealer.send(frame, 0, size <= BATCH)
            dealer.recv()
            found = {case: count * (size / ITEM if case == "tell" else size) / (time.perf_counter() - begun)}
        context.destroy(linger=0)
    return found


# --- TCP ---


def tcp(case: str, scale: float) -> dict[str, float]:
    frames, size = {"tell": (FRAMES, BATCH), "call": (CALLS, len(CALL)), "binaries": (BINARIES, MEBIBYTE)}[case]
    count = int(frames * scale)
    listener = socket.create_server(("127.0.0.1", 0))

    def other() -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if case == "call":
            while data := connection.recv(1_000):
                connection.sendall(data)
            return
        memory, left = bytearray(MEBIBYTE), count * size
        while left:
            left -= connection.recv_into(memory)
        connection.sendall(b"done")

    with forked(other):
        mine = socket.create_connection(listener.getsockname())
        mine.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if case == "call":

            def ask() -> None:
                mine.sendall(CALL)
                mine.recv(1_000)

            found = latencies("call", timed(ask, count))
        else:
            frame, begun = bytes(size), time.perf_counter()
            for _ in range(count):
                mine.sendall(frame)
            mine.recv(10)
            found = {case: count * (size / ITEM if case == "tell" else size) / (time.perf_counter() - begun)}
        mine.close()
    return found


if __name__ == "__main__":
    say((zeromq if sys.argv[3] == "zeromq" else tcp)(*arguments()))

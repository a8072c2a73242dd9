"""Over osBrain: two agents in two processes, PUSH to PULL for tells, REQ to REP for calls. It packs with pickle.

Its calls would disturb a running flood (an agent does one thing at a time), so it has no case of both.
"""

import time
from typing import Any

from osbrain import run_agent, run_nameserver

from benchmarks.wire import MEBIBYTE, PAYLOAD, arguments, latencies, say, timed

MESSAGES = 300_000
CALLS = 5_000
BINARIES = 2_000


def take(agent: Any, message: Any) -> None:
    agent.seen += 1


def seen(agent: Any, message: Any) -> int:
    count: int = agent.seen
    return count


def told(agent: Any, message: Any, count: int) -> float:
    """Send so many, and ask until all have come; returns the seconds."""
    agent.send("ask", None)
    before = agent.recv("ask")
    begun = time.perf_counter()
    for _ in range(count):
        agent.send("tell", message)
    while True:
        agent.send("ask", None)
        if agent.recv("ask") - before == count:
            return time.perf_counter() - begun


def asked(agent: Any, count: int) -> list[float]:
    def ask() -> None:
        agent.send("ask", None)
        agent.recv("ask")

    return timed(ask, count)


def main(case: str, scale: float) -> None:
    names = run_nameserver()
    here, there = run_agent("here", serializer="pickle"), run_agent("there", serializer="pickle")
    there.set_attr(seen=0)
    here.connect(there.bind("PULL", handler=take), alias="tell")
    here.connect(there.bind("REP", handler=seen), alias="ask")
    here.set_method(told=told, asked=asked)
    here.set_attr(_DEBUG=False)
    if case == "tell":
        count = int(MESSAGES * scale)
        here.told({"data": PAYLOAD}, count // 10)
        say({"tell": count / here.told({"data": PAYLOAD}, count)})
    elif case == "call":
        say(latencies("call", here.asked(int(CALLS * scale))))
    else:
        count = int(BINARIES * scale)
        here.told(bytes(MEBIBYTE), count // 10)
        say({"binaries": count * MEBIBYTE / here.told(bytes(MEBIBYTE), count)})
    names.shutdown()


if __name__ == "__main__":
    main(*arguments())

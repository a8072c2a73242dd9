"""Over Ray: an actor in a process of its own, called from the driver. A tell is a call whose result nobody asks for."""

from typing import Any

import ray

from benchmarks.wire import MEBIBYTE, PAYLOAD, arguments, latencies, say, timed

MESSAGES = 20_000
CALLS = 3_000
BINARIES = 500


@ray.remote
class Sink:
    def __init__(self) -> None:
        self.seen = 0

    def take(self, message: Any) -> int:
        self.seen += 1
        return self.seen


def main(case: str, scale: float) -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    kind: Any = Sink
    sink = kind.remote()
    ray.get(sink.take.remote(None))

    def told(message: Any, count: int) -> float:
        def send() -> None:
            last = None
            for _ in range(count):
                last = sink.take.remote(message)
            ray.get(last)

        return timed(send, 1)[0]

    if case == "tell":
        count = int(MESSAGES * scale)
        told({"data": PAYLOAD}, count // 10)
        say({"tell": count / told({"data": PAYLOAD}, count)})
    elif case == "call":
        say(latencies("call", timed(lambda: ray.get(sink.take.remote(None)), int(CALLS * scale))))
    else:
        count = int(BINARIES * scale)
        say({"binaries": count * MEBIBYTE / told(bytes(MEBIBYTE), count)})
    ray.shutdown()


if __name__ == "__main__":
    main(*arguments())

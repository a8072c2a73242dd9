"""While a run is under way clocks, chance and identifiers are virtual, and what cannot be is refused by file and line."""

import asyncio
import logging
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import types
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic as captured_clock
from typing import Any

import pytest
import zmq

from understudy.actors import Actor, ActorSystem
from understudy.simulation import NotVirtual, Simulation, SimulationError, simulate
from understudy.simulation.world import EPOCH

HERE = Path(__file__).name


def draw() -> list[Any]:
    return [
        random.random(), random.randint(0, 10**9), random.Random().random(), random.SystemRandom().random(),
        uuid.uuid4(), uuid.uuid1(), os.urandom(8), os.getrandom(4), secrets.token_hex(8), secrets.randbelow(10**9),
    ]  # fmt: skip


def test_chance_and_identifiers_come_from_the_seed() -> None:
    async def main() -> list[Any]:
        return draw()

    assert simulate(main, 1) == simulate(main, 1)
    for mine, theirs in zip(simulate(main, 1), simulate(main, 2), strict=True):
        assert mine != theirs


def test_reseeding_without_a_seed_is_virtual_too() -> None:
    async def main() -> float:
        random.seed()
        return random.random()

    assert simulate(main, 1) == simulate(main, 1) != simulate(main, 2)


def test_clocks_are_virtual() -> None:
    async def main() -> None:
        started = time.monotonic()
        await asyncio.sleep(100)
        assert time.monotonic() == time.perf_counter() == captured_clock() == started + 100
        assert time.time() == EPOCH + 100
        assert time.time_ns() == (EPOCH + 100) * 10**9
        assert time.monotonic_ns() == 100 * 10**9
        assert time.gmtime()[:6] == (2026, 1, 1, 0, 1, 40)
        assert time.strftime("%Y") == time.strftime("%Y", time.localtime())
        assert logging.makeLogRecord({}).created == time.time()
        time.sleep(2.5)  # noqa: ASYNC251 - the loop itself stands still
        assert asyncio.get_running_loop().time() == 102.5

    simulate(main)


def state() -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for module in (time, random, uuid, os, secrets, socket, subprocess, threading, logging, zmq):
        kept |= {f"{module.__name__}.{name}": value for name, value in vars(module).items() if callable(value)}
    for cls in (threading.Thread, random.Random, zmq.Socket, subprocess.Popen):
        kept |= {f"{cls.__name__}.{name}": value for name, value in vars(cls).items()}
    kept["here"] = captured_clock
    return kept


def test_everything_is_put_back_also_after_a_failure() -> None:
    async def fine() -> None:
        random.random()

    async def failing() -> None:
        random.random()
        raise ValueError

    simulate(fine)  # what is made once, such as the audit hook, is made
    before, drawn = state(), random.getstate()
    simulate(fine)
    with pytest.raises(ValueError):  # noqa: PT011
        simulate(failing)
    assert state() == before
    assert random.getstate() == drawn
    assert abs(time.time() - EPOCH) > 3600
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()


def test_a_module_that_is_imported_in_a_run_keeps_nothing_virtual() -> None:
    module = types.ModuleType("made_in_a_run")

    async def main() -> float:
        import sys

        exec("from time import time", vars(module))
        sys.modules["made_in_a_run"] = module
        return float(module.time())

    assert simulate(main) == EPOCH
    assert module.time is time.time


def test_other_threads_see_the_real_world() -> None:
    seen: list[float] = []
    begin, done = threading.Event(), threading.Event()

    def outside() -> None:
        begin.wait()
        seen.append(time.time())
        done.set()

    thread = threading.Thread(target=outside)
    thread.start()

    async def main() -> None:
        begin.set()
        while not seen:
            pass

    simulate(main)
    thread.join()
    assert abs(seen[0] - time.time()) < 60


def connect() -> None:
    socket.create_connection(("127.0.0.1", 9))


def listen() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))


def bind_zmq() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind("tcp://127.0.0.1:0")


def start_process() -> None:
    subprocess.run(["true"], check=True)


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def bypass() -> None:
    import _thread

    _thread.start_new_thread(print, ())


def run_a_loop() -> None:
    asyncio.get_running_loop().run_in_executor(None, print)


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (connect, "a real name lookup"),
        (listen, "a real socket bound to an address"),
        (bind_zmq, "a ZeroMQ socket"),
        (start_process, "a subprocess"),
        (fork, "a fork"),
        (bypass, "a real thread"),
        (run_a_loop, "run_in_executor"),
    ],
)
def test_what_cannot_be_virtual_is_refused_by_file_and_line(act: Callable[[], None], what: str) -> None:
    async def main() -> None:
        act()

    with pytest.raises(NotVirtual, match=rf"{HERE}:\d+: .*{what}") as caught:
        simulate(main)
    line = int(str(caught.value).split(f"{HERE}:")[1].split(":")[0])
    first = act.__code__.co_firstlineno
    assert first < line <= first + 4


async def test_the_same_is_refused_through_asyncio() -> None:
    async def open_connection() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    async def start_server() -> None:
        await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)

    async def start() -> None:
        await asyncio.create_subprocess_exec("true")

    async def to_thread() -> None:
        await asyncio.to_thread(print)

    def run(main: Any) -> None:
        with pytest.raises(NotVirtual, match=rf"{HERE}:\d+: "):
            simulate(main)

    with ThreadPoolExecutor(1) as pool:  # a loop is running in this thread
        for main in (open_connection, start_server, start, to_thread):
            pool.submit(run, main).result()


def test_one_simulation_at_a_time() -> None:
    async def main() -> None:
        with pytest.raises(SimulationError, match="one at a time"):
            simulate(nothing)

    async def nothing() -> None:
        pass

    simulate(main)
    simulation = Simulation()
    simulation.run(nothing)
    with pytest.raises(SimulationError, match="runs once"):
        simulation.run(nothing)
    with pytest.raises(SimulationError, match="inside the run"):
        Simulation().system("early")


def test_the_order_of_a_set_of_queues_tasks_or_actors_replays_and_differs_by_seed() -> None:
    async def main() -> tuple[list[int], ...]:
        async with ActorSystem() as system:
            queues = [asyncio.Queue[int]() for _ in range(5)]
            tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(5)]
            refs = [await system.spawn(Actor) for _ in range(5)]
            await asyncio.gather(*tasks)
            return tuple([things.index(thing) for thing in set(things)] for things in (queues, tasks, refs))  # type: ignore[arg-type]

    kept = [simulate(main, seed) for seed in range(10) for _ in range(2)]
    assert kept[::2] == kept[1::2]
    assert len({str(queues) for queues, _, _ in kept}) > 1
    assert len({str(refs) for _, _, refs in kept}) > 1

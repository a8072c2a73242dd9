"""Pykka's `Class.start()`: from anywhere, in the system at hand or else the compatibility system, in Pykka's registry."""

import asyncio
import contextlib
import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    PykkaRef,
    StartFailed,
    ThreadActor,
    compatibility_system,
    current_cell,
    end_compatibility_system,
)

THREAD = "understudy-compatibility"


class Counting:
    """What both kinds of actors below have."""

    def __init__(self, count: int = 0, ended: list[object] | None = None) -> None:
        super().__init__()
        self.count = count
        self.ended = ended if ended is not None else []

    def on_receive(self, message: Any) -> Any:
        self.count += message
        return self.count

    def on_stop(self) -> None:
        self.ended.append(self.count)


class Counter(Counting, Actor):
    pass


class ThreadCounter(Counting, ThreadActor):
    use_daemon_thread = True


KINDS = pytest.mark.parametrize("kind", [Counter, ThreadCounter])


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    end_compatibility_system()
    assert pykka.ActorRegistry.get_all() == []
    assert THREAD not in {thread.name for thread in threading.enumerate()}


@KINDS
def test_an_actor_is_started_asked_and_stopped_without_any_loop_at_hand(kind: type[Any]) -> None:
    counter: PykkaRef[Any] = kind.start(3)
    counter.tell(1)
    assert counter.ask(2) == 6
    assert counter.proxy().count.get() == 6
    assert counter.is_alive()
    assert counter.stop() is True
    assert not counter.is_alive()
    assert counter.stop() is False


@KINDS
def test_the_registry_knows_it_from_before_its_start_until_its_end(kind: type[Any]) -> None:
    known: list[object] = []

    class Curious(kind):  # type: ignore[misc]
        def on_start(self) -> None:
            known.append(pykka.ActorRegistry.get_by_urn(self.actor_urn))

        def on_stop(self) -> None:
            known.append(pykka.ActorRegistry.get_by_urn(self.actor_urn))

    counter = Curious.start()
    assert pykka.ActorRegistry.get_by_class(kind) == [counter]
    assert pykka.ActorRegistry.get_by_class_name("Curious") == [counter]
    pykka.ActorRegistry.broadcast(4, target_class=kind)
    assert counter.ask(1) == 5
    counter.stop()
    assert known == [counter, None]


def test_it_lives_in_the_system_of_the_actor_that_starts_it() -> None:
    class Parent(Actor):
        async def on_receive(self, message: Any) -> Any:
            return message.start(3)

    async def main() -> None:
        async with ActorSystem("mine") as system:
            parent = await system.spawn(Parent)
            other = ActorSystem("another")
            for kind in (Counter, ThreadCounter):
                started = await parent.call(kind)
                assert started.system is system
                assert await started.call(1) == 4
            assert len(pykka.ActorRegistry.get_all()) == 2
            await other.shutdown()
        assert pykka.ActorRegistry.get_all() == [], "they ended with the system"

    asyncio.run(main())
    assert THREAD not in {thread.name for thread in threading.enumerate()}


def test_it_lives_in_the_system_of_the_coroutine_that_starts_it_also_by_way_of_a_thread() -> None:
    async def main() -> None:
        async with ActorSystem("mine") as system:
            here: Any = Counter.start(1)
            there: Any = await asyncio.to_thread(Counter.start, 2)
            assert (here.system, there.system) == (system, system)
            assert (await here.call(1), await there.call(1)) == (2, 3)
            assert await here.stop(block=False) is True
        system_of: Any = Counter.start()
        assert system_of.system is compatibility_system()

    asyncio.run(main())


def test_a_reference_from_start_is_like_any_other() -> None:
    class Watcher(Actor):
        def __init__(self, ref: ActorRef[Any]) -> None:
            super().__init__()
            self.token = self.monitor(ref)
            self.told = asyncio.Event()

        def on_receive(self, message: Any) -> Any:
            self.told.set()

    async def main() -> None:
        async with ActorSystem("mine") as system:
            counter = Counter.start()
            assert isinstance(counter, ActorRef)
            watcher: Any = await system.spawn(Watcher, counter)
            ended = asyncio.ensure_future(counter.ended())
            await asyncio.sleep(0)
            counter.kill()
            await watcher.actor.told.wait()
            assert str(await ended) == "killed"

    asyncio.run(main())


@KINDS
def test_construction_happens_here_and_its_error_is_raised_here(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'cuont'"):
        kind.start(cuont=3)

    class Fails(kind):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            leaked.append(self.actor_ref)
            raise LookupError("no")

    leaked: list[Any] = []
    with pytest.raises(LookupError):
        Fails.start()
    with pytest.raises(ActorDied):
        leaked[0].ask(1)
    assert pykka.ActorRegistry.get_all() == []


@KINDS
def test_a_start_that_fails_is_logged_and_answers_whoever_asked(kind: type[Any], caplog: Any) -> None:
    gate = threading.Event()

    class Fails(kind):  # type: ignore[misc]
        def on_start(self) -> None:
            gate.wait(10)
            raise LookupError("no")

    counter = Fails.start()
    answer = counter.ask(1, block=False)
    gate.set()
    with pytest.raises(ActorDied, match="LookupError: no"):
        answer.get(timeout=10)
    assert counter.actor_stopped.wait(10)
    assert f"Unhandled exception in {counter}:" in caplog.text
    with pytest.raises(pykka.ActorDeadError, match="not found"):
        counter.tell(1)
    with pytest.raises(pykka.ActorDeadError, match="not found"):
        counter.proxy()


def test_an_asynchronous_start_is_waited_for_by_the_messages() -> None:
    class Slow(Counter):
        async def on_start(self) -> None:
            await asyncio.sleep(0)
            self.count = 40

    assert Slow.start().ask(2) == 42


@KINDS
def test_pykkas_flag_and_inbox_are_there_when_asked_for(kind: type[Any]) -> None:
    begun, gate = threading.Event(), threading.Event()

    class Busy(kind):  # type: ignore[misc]
        def on_receive(self, message: Any) -> Any:
            begun.set()
            gate.wait(10)

    busy = Busy.start()
    assert busy.actor_inbox.empty()
    for _ in range(3):
        busy.tell(1)
    begun.wait(10)
    assert busy.actor_inbox.qsize() == 2
    assert not busy.actor_inbox.empty()
    assert not busy.actor_stopped.is_set()
    assert busy.actor_stopped.wait(0.001) is False
    gate.set()
    assert busy.stop()
    assert busy.actor_stopped.is_set()
    assert busy.actor_stopped.wait()


@KINDS
def test_pykkas_own_references_lead_to_our_actors_too(kind: type[Any]) -> None:
    counter = kind.start()
    inside = counter._actor_weakref()
    theirs: Any = pykka.ActorRef(inside)
    assert theirs.actor_urn == counter.actor_urn
    theirs.tell(1)
    assert theirs.ask(2, timeout=10) == 3
    assert theirs.proxy().count.get(timeout=10) == 3 if inside.failure_rule == "pykka" else True
    counter.stop()
    assert not theirs.is_alive()


async def test_only_an_actor_that_pykkas_start_began_takes_the_registry_with_it() -> None:
    class Old(Counter):
        failure_rule = "pykka"

        def on_receive(self, message: Any) -> Any:
            raise message

    async with ActorSystem("mine") as system:
        bystander, spawned = Counter.start(), await system.spawn(Old)
        with pytest.raises(ActorDied):
            await spawned.call(SystemExit())
        assert bystander.is_alive()
        with pytest.raises(ActorDied):
            await Old.start().call(SystemExit())
        await bystander.ended()
        assert pykka.ActorRegistry.get_all() == []


def test_a_blocking_stop_on_the_loop_raises_with_the_remedy() -> None:
    async def main() -> None:
        async with ActorSystem("mine"):
            counter = Counter.start()
            with pytest.raises(RuntimeError, match=r"on the loop use: await ref\.stop\(block=False\)"):
                counter.stop()
            with pytest.raises(RuntimeError, match=r"on the loop use: await ref\.ended\(\)"):
                counter.actor_stopped.wait()
            assert await counter.stop(block=False)

    asyncio.run(main())


def test_a_system_that_was_refused_is_at_nobodys_hand() -> None:
    with pytest.raises(RuntimeError, match="loop"):
        ActorSystem()
    counter = Counter.start()
    assert counter.is_alive()
    counter.stop()


def test_the_compatibility_system_ends_its_actors_in_reverse_and_begins_anew_when_needed() -> None:
    ended: list[object] = []
    for number in range(3):
        Counter.start(number, ended).ask(0)
    first = compatibility_system()
    end_compatibility_system()
    assert ended == [2, 1, 0]
    again: Any = Counter.start(5)
    assert again.ask(0) == 5
    assert again.system is compatibility_system() is not first


def test_nothing_can_be_started_in_a_system_that_is_ending() -> None:
    refused: list[object] = []

    class Last(Counter):
        def on_stop(self) -> None:
            with pytest.raises(StartFailed, match="shutting down"):
                Counter.start()
            refused.append(current_cell.get())

    Last.start().ask(0)
    end_compatibility_system()
    assert len(refused) == 1


PROGRAM = """
from understudy import Actor, ThreadActor

class Loop(Actor):
    def on_receive(self, message):
        return message

    def on_stop(self):
        print(type(self).__name__, "ended")

class Thread(ThreadActor):
    use_daemon_thread = True
    on_receive = Loop.on_receive
    on_stop = Loop.on_stop

for kind in (Loop, Thread):
    print(kind.start().ask("hello"))
"""


def test_a_program_that_ends_ends_its_actors(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.stdout.split("\n"), done.stderr) == (["hello", "hello", "Thread ended", "Loop ended", ""], "")


def test_a_thread_actor_keeps_its_program_up_unless_it_says_otherwise(tmp_path: Path) -> None:
    program = PROGRAM.replace("use_daemon_thread = True", "use_daemon_thread = False") + (
        "import threading\n"
        "import pykka\n"
        "def stop():\n"
        "    print('stopping')\n"
        "    for ref in pykka.ActorRegistry.get_all():\n"
        "        ref.stop()\n"
        "threading.Timer(0.2, stop).start()\n"
    )
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.stdout.split("\n") == ["hello", "hello", "stopping", "Loop ended", "Thread ended", ""]
    assert done.stderr == ""


def _child(queue: Any) -> None:
    queue.put(Counter.start(6).ask(1))
    end_compatibility_system()


def test_a_forked_process_has_a_compatibility_system_of_its_own() -> None:
    Counter.start(1).ask(1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=20) == 7
    child.join(20)
    assert child.exitcode == 0


@KINDS
def test_an_actor_that_was_only_made_has_a_name_and_no_reference(kind: type[Any]) -> None:
    made = kind(3)
    assert str(made) == f"{kind.__name__} ({made.actor_urn})"
    assert made.actor_urn == made.actor_urn != kind(3).actor_urn
    assert made.on_receive(2) == 5
    with pytest.raises(RuntimeError, match="was made, not started"):
        _ = made.actor_ref


@KINDS
def test_a_stop_that_races_many_starts_leaves_nothing(kind: type[Any]) -> None:
    for number in range(50):
        counter = kind.start()
        if number % 2:
            counter.kill()
        else:
            counter.stop(block=False)
        with contextlib.suppress(pykka.ActorDeadError):
            counter.ask(1, timeout=10)
        assert counter.actor_stopped.wait(10)


def test_debug_lines_are_pykkas(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pykka")
    counter = Counter.start()
    counter.stop()
    assert [record.getMessage() for record in caplog.records if record.name == "pykka"] == [
        f"Registered {counter}",
        f"Starting {counter}",
        f"Unregistered {counter}",
        f"Stopped {counter}",
    ]

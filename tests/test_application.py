"""The end of an application in virtual time: who has how long, and who is named. The whole of it: system/test_start.py."""

import asyncio
import os
import socket
import tempfile
from contextlib import suppress
from typing import Any

import pytest

from tests.virtual import virtually
from understudy.actors import Actor, ActorSystem
from understudy.application import KILL_TIMEOUT, ServiceManager, end
from understudy.status import Status
from understudy.supervisors import Child, Supervisor
from understudy.target import Unfit, declared


class Slow(Actor):
    """Takes its time to end, and does not let anybody hurry it unless it is killed."""

    stop_timeout = None

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def on_stop(self, reason: Any) -> None:
        await asyncio.sleep(self.seconds)


class Deaf(Actor):
    """Does not heed its cancellation for a minute."""

    stop_timeout = None

    async def on_stop(self, reason: Any) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 60.0
        while loop.time() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1.0)


def ending(children: list[Child], patience: float, spent: float = 0.0) -> tuple[bool, float]:
    """Whether all ended in time, and when it was over."""

    async def main() -> tuple[bool, float]:
        system = ActorSystem("shop", slow_after=None, slow_thread_after=None)
        await system.spawn(Supervisor, children)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        in_time = await end(system, patience, spent)
        return in_time, loop.time() - begun

    return virtually(main())


def test_a_tree_that_ends_in_time_has_all_the_time_that_its_children_need(capfd: pytest.CaptureFixture[str]) -> None:
    children = [Child(Slow, id=name, args=(10.0,), shutdown="infinity") for name in ("a", "b")]
    assert ending(children, 25.0) == (True, 20.0)
    assert capfd.readouterr().err == ""


def test_what_is_left_at_the_deadline_is_killed_and_only_who_is_to_blame_is_named(
    capfd: pytest.CaptureFixture[str],
) -> None:
    children = [
        Child(Slow, name="waits its turn", args=(0.0,)),
        Child(Slow, name="to blame", args=(100.0,), shutdown="infinity"),
        Child(Slow, name="in time", args=(1.0,)),
    ]
    assert ending(children, 25.0) == (False, 25.0)
    assert capfd.readouterr().err == "Error: <Slow 'to blame' at shop:3> did not end within 25.0 s: killed\n"


def test_a_child_that_exceeds_its_own_shutdown_time_costs_the_others_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    children = [Child(Slow, id="a", args=(1.0,)), Child(Slow, id="b", args=(100.0,), shutdown=5.0)]
    assert ending(children, 25.0) == (True, 6.0)


def test_what_a_start_has_taken_of_the_time_is_not_given_twice() -> None:
    children = [Child(Slow, name="slow", args=(100.0,), shutdown="infinity")]
    assert ending(children, 25.0, spent=20.0) == (False, 5.0)
    assert ending(children, 25.0, spent=30.0) == (False, 0.0)


def test_an_end_that_leaves_something_running_is_none_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    in_time, seconds = ending([Child(Deaf, name="deaf", shutdown=1.0)], 25.0)
    assert not in_time
    assert seconds == pytest.approx(1.0 + KILL_TIMEOUT, abs=0.1)
    assert (
        capfd.readouterr().err
        == "Error: <Deaf 'deaf' at shop:2> was given up, and still runs: ended with the process\n"
    )


class Needy(Supervisor):
    def __init__(self, tills: int) -> None:
        super().__init__()


def test_a_root_that_takes_arguments_is_refused_with_a_way_to_give_them() -> None:
    with pytest.raises(Unfit, match=r"'tills': name a function that returns \[Child\(Needy, args="):
        asyncio.run(declared("shop:main", Needy))


@pytest.mark.parametrize("found", [Supervisor(), Actor, Child(Actor), lambda: 5, lambda: None, {}, "main"])
def test_what_is_no_root_is_refused_with_what_is_wanted(found: Any) -> None:
    with pytest.raises(Unfit, match="takes a Supervisor class, a list of Child") as refused:
        asyncio.run(declared("shop:main", found))
    assert refused.value.status == Status.NO_TREE


def test_a_service_manager_is_reached_by_an_abstract_address_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"understudy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        ServiceManager().tell("READY=1")
        assert manager.recv(100) == b"READY=1"
    assert "NOTIFY_SOCKET" not in os.environ


def test_a_service_manager_that_is_not_there_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ServiceManager().tell("READY=1")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/nobody")
        ServiceManager().tell("READY=1")


def test_the_time_of_the_phases_together_stays_below_what_kubernetes_waits() -> None:
    from understudy.application import SHUTDOWN_TIMEOUT

    assert SHUTDOWN_TIMEOUT + 2 * KILL_TIMEOUT < 30.0

"""Supervisors: who is restarted, how often, and in which order all start and end."""

import asyncio
from typing import Any

import pytest

from tests.players import Echo, Hanging, Recorder, inside
from tests.virtual import VirtualLoop, until, virtually
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    ExitReason,
    Failure,
    Killed,
    Normal,
    Refused,
    Shutdown,
    StartFailed,
)
from understudy.supervisors import (
    Child,
    ChildInfo,
    DeleteChild,
    RestartChild,
    StartAnother,
    StartChild,
    Supervisor,
    TerminateChild,
    WhichChildren,
)


class Player(Actor):
    """Says when it starts and stops; crashes on demand; may be told to fail its next starts."""

    def __init__(self, diary: list[str], which: str = "player", fails: list[int] | None = None) -> None:
        super().__init__()
        self.diary = diary
        self.which = which
        self.fails = fails if fails is not None else [0]

    def on_start(self) -> Any:
        if self.fails[0] > 0:
            self.fails[0] -= 1
            raise ValueError(f"{self.which} fails to start")
        self.diary.append(f"+{self.which}")

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError("crash")
        return message

    def on_stop(self, reason: ExitReason) -> None:
        self.diary.append(f"-{self.which}")


async def which(supervisor: ActorRef[Any]) -> dict[str, ChildInfo]:
    return {info.id: info for info in await supervisor.call(WhichChildren())}


async def ref_of(supervisor: ActorRef[Any], child: str) -> ActorRef[Any]:
    ref = (await which(supervisor))[child].ref
    assert ref is not None
    return ref


async def crash(ref: ActorRef[Any]) -> None:
    with pytest.raises(ActorDied):
        await ref.call("crash")


async def test_a_crashed_child_is_started_again_and_only_that_one() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        children = [Child(Player, args=(diary, one), id=one) for one in "abc"]
        supervisor = await system.spawn(Supervisor, children)
        before = await which(supervisor)
        await crash(await ref_of(supervisor, "b"))
        after = await which(supervisor)
        assert {one: before[one].ref == after[one].ref for one in "abc"} == {"a": True, "b": False, "c": True}
        assert (after["b"].state, after["b"].restarts) == ("running", 1)
        assert isinstance(after["b"].last_exit, Failure)
    assert diary == ["+a", "+b", "+c", "+b", "-c", "-b", "-a"]


@pytest.mark.parametrize(
    ("restart", "end", "state"),
    [
        ("permanent", "crash", "running"),
        ("permanent", "stop", "running"),
        ("permanent", "kill", "running"),
        ("transient", "crash", "running"),
        ("transient", "kill", "running"),
        ("transient", "stop", "stopped"),
        ("transient", "exit", "stopped"),
        ("temporary", "crash", "gone"),
        ("temporary", "stop", "gone"),
    ],
)
async def test_whether_a_child_comes_back_depends_on_its_type_and_its_end(restart: Any, end: str, state: str) -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Player, args=([],), id="p", restart=restart)])
        player = await ref_of(supervisor, "p")
        if end == "crash":
            await crash(player)
        else:
            getattr(player, end)()
        await player.ended()
        info = (await which(supervisor)).get("p")
        assert (info.state if info is not None else "gone") == state
        assert info is None or (info.ref is not None) == (state == "running")


def test_restarts_within_the_intensity_pass_and_one_more_within_the_period_gives_up() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            children = [Child(Player, args=([],), id="p"), Child(Echo, id="bystander")]
            supervisor = await system.spawn(Supervisor, children, intensity=2, period=10.0)
            for at in (1.0, 5.0, 12.0):  # the first one has left the window at 12
                await until(at)
                await crash(await ref_of(supervisor, "p"))
                assert (await which(supervisor))["p"].state == "running"
            bystander = await ref_of(supervisor, "bystander")
            await until(14.9)
            player = await ref_of(supervisor, "p")
            await crash(player)
            reason = await supervisor.ended()
            assert isinstance(reason, Shutdown)
            assert "too many restarts" in reason.detail
            assert not bystander.is_alive()

    virtually(main())


async def test_each_failed_attempt_to_restart_counts_and_others_are_answered_in_between() -> None:
    class Slow(Player):
        async def on_start(self) -> None:
            await asyncio.sleep(0)
            Player.on_start(self)

    diary: list[str] = []
    fails = [0]
    async with ActorSystem() as system:
        spec = Child(Slow, args=(diary, "p", fails), id="p")
        supervisor = await system.spawn(Supervisor, [spec], intensity=5, period=60.0)
        player = await ref_of(supervisor, "p")
        fails[0] = 3
        player.tell("crash")
        seen = [(await which(supervisor))["p"]]
        while seen[-1].restarts < 4:
            await asyncio.sleep(0)
            seen.append((await which(supervisor))["p"])
        assert {info.state for info in seen} == {"running", "restarting"}
        assert (seen[-1].state, seen[-1].restarts) == ("running", 4)
        assert diary == ["+p", "+p"]


async def test_a_restart_that_keeps_failing_gives_up_at_the_intensity() -> None:
    fails = [0]
    async with ActorSystem() as system:
        spec = Child(Player, args=([], "p", fails), id="p")
        supervisor = await system.spawn(Supervisor, [spec], intensity=3, period=60.0)
        player = await ref_of(supervisor, "p")
        fails[0] = 100
        player.tell("crash")
        await supervisor.ended()
        assert fails[0] == 97


async def test_children_start_in_order_and_a_failing_one_rolls_the_others_back_in_reverse() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        children = [Child(Player, args=(diary, one, [one == "c"]), id=one) for one in "abcd"]
        with pytest.raises(StartFailed, match="c fails to start"):
            await system.spawn(Supervisor, children, name="lobby")
        assert diary == ["+a", "+b", "-b", "-a"]
        assert system.whereis("lobby") is None
        assert not system._top


async def test_a_start_that_hangs_fails_after_its_start_timeout() -> None:
    class Hung(Actor):
        async def on_start(self) -> None:
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="longer than"):
            await system.spawn(Supervisor, [Child(Hung, start_timeout=0.01)])


async def test_a_start_that_ignores_its_cancellation_does_not_hold_up_its_supervisor_for_ever() -> None:
    async def main() -> None:
        release = asyncio.Event()

        class Stubborn(Actor):
            async def on_start(self) -> None:
                while not release.is_set():
                    try:
                        await release.wait()
                    except asyncio.CancelledError:
                        continue

        async with ActorSystem() as system:
            with pytest.raises(StartFailed, match="longer than"):
                await system.spawn(Supervisor, [Child(Stubborn, start_timeout=1.0)])
            release.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    await asyncio.to_thread(virtually, main())


def test_a_child_that_does_not_end_in_its_shutdown_time_is_killed() -> None:
    class Slow(Actor):
        stop_timeout = None

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        async with ActorSystem() as system:
            supervisor = await system.spawn(Supervisor, [Child(Slow, shutdown=3.0)])
            supervisor.stop()
            await supervisor.ended()
            assert asyncio.get_running_loop().time() == pytest.approx(3.0)

    virtually(main())


async def test_brutal_kill_runs_no_hook() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        spec = Child(Player, args=(diary,), id="p", shutdown="brutal_kill")
        supervisor = await system.spawn(Supervisor, [spec])
        await supervisor.call(TerminateChild("p"))
        info = (await which(supervisor))["p"]
        assert (info.state, info.last_exit) == ("stopped", Killed())
    assert diary == ["+player"]


async def test_giving_up_escalates_to_the_supervisor_above_which_starts_the_whole_branch_anew() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        leaf = Child(Player, args=(diary, "leaf"), id="leaf", name="leaf")
        branch = Child(Supervisor, args=([leaf],), kwargs={"intensity": 0}, id="branch")
        root = await system.spawn(Supervisor, [branch])
        first = await ref_of(root, "branch")
        await crash(system.ref("leaf"))
        await first.ended()
        second = await ref_of(root, "branch")
        assert second != first
        assert await system.ref("leaf").call("hello") == "hello"
    assert diary == ["+leaf", "+leaf", "-leaf"]


async def test_a_named_reference_survives_the_restart() -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Player, args=([],), name="player")])
        player = system.ref("player")
        await crash(player)
        await which(supervisor)
        assert await player.call("back") == "back"


async def test_children_are_added_terminated_restarted_and_deleted_on_request() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [])
        child = Child(Player, args=(diary,), id="p")
        ref = await supervisor.call(StartChild(child))
        assert await ref.call("hello") == "hello"
        with pytest.raises(Refused, match="exists already and is running"):
            await supervisor.call(StartChild(child))
        for request in (RestartChild("p"), DeleteChild("p")):
            with pytest.raises(Refused, match="is running"):
                await supervisor.call(request)
        await supervisor.call(TerminateChild("p"))
        assert not ref.is_alive()
        again = await supervisor.call(RestartChild("p"))
        assert await again.call("hello") == "hello"
        await supervisor.call(TerminateChild("p"))
        await supervisor.call(DeleteChild("p"))
        assert await which(supervisor) == {}
        with pytest.raises(Refused, match="no child 'p'; there are: none"):
            await supervisor.call(TerminateChild("p"))
    assert diary == ["+player", "-player"] * 2


async def test_a_terminated_temporary_child_is_forgotten() -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Echo, id="e", restart="temporary")])
        await supervisor.call(TerminateChild("e"))
        assert await which(supervisor) == {}


async def test_terminating_a_child_that_is_being_restarted_cancels_that() -> None:
    fails = [0]
    async with ActorSystem() as system:
        spec = Child(Player, args=([], "p", fails), id="p")
        supervisor = await system.spawn(Supervisor, [spec], intensity=1000, period=60.0)
        player = await ref_of(supervisor, "p")
        fails[0] = 1_000_000
        player.tell("crash")
        await player.ended()
        while (await which(supervisor))["p"].state != "restarting":
            pass
        await supervisor.call(TerminateChild("p"))
        left = fails[0]
        assert (await which(supervisor))["p"].state == "stopped"
        assert fails[0] == left


@pytest.mark.parametrize(
    "request_",
    [
        StartChild("no spec"),  # type: ignore[arg-type]
        TerminateChild([1]),  # type: ignore[arg-type]
        TerminateChild(([1],)),  # type: ignore[arg-type]
        StartAnother(),
        RestartChild({}),  # type: ignore[arg-type]
        DeleteChild(None),  # type: ignore[arg-type]
        StartChild(Child(Player, args=([], "p", [1]))),
        "no message of a supervisor's",
    ],
)
async def test_a_request_that_cannot_be_met_is_refused_and_the_supervisor_lives(request_: Any) -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Echo)])
        with pytest.raises(Refused):
            await supervisor.call(request_)
        assert list(await which(supervisor)) == ["Echo"]


@pytest.mark.parametrize(
    ("children", "says"),
    [
        ([Child(Echo), Child(Echo)], "two children"),
        (["Echo"], "takes a list of Child"),
        ([Echo], "of Child"),
        (5, "of Child"),
    ],
)
async def test_declarations_that_cannot_be_meant_fail_the_start_with_the_remedy(children: Any, says: str) -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match=says):
            await system.spawn(Supervisor, children)


async def test_an_unknown_strategy_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ValueError, match=r"Supervisor.strategy is one of .*, not 'one_for_luck'"):

        class Odd(Supervisor):
            strategy = "one_for_luck"  # type: ignore[assignment]

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match=r"Supervisor.strategy is one of .*, not 'one_for_luck'"):
            await system.spawn(Supervisor, [], strategy="one_for_luck")


async def test_a_stranger_that_links_itself_to_a_supervisor_does_it_no_harm() -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Echo)])
        stranger = await system.spawn(Recorder)
        inside(stranger).link(supervisor)
        stranger.kill()
        assert (await which(supervisor))["Echo"].state == "running"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_however_a_supervisor_ends_its_children_end_in_reverse(end: str) -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        children = [Child(Player, args=(diary, one), id=one) for one in "abc"]
        supervisor = await system.spawn(Supervisor, children)
        getattr(supervisor, end)()
        assert await supervisor.ended() == {"stop": Normal(), "kill": Killed()}[end]
    assert diary == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_supervisor_that_is_ended_while_it_restarts_a_child_leaves_none() -> None:
    starts = asyncio.Event()
    hung: list[bool] = []

    class SlowAgain(Hanging):
        async def on_start(self) -> None:
            if hung:
                starts.set()
                await asyncio.Event().wait()
            hung.append(True)

    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(SlowAgain, name="slow")])
        system.ref("slow").kill()
        await starts.wait()
        await system.shutdown()
        assert not supervisor.is_alive()
        assert system.whereis("slow") is None


def test_restarting_counts_from_the_loops_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with ActorSystem() as system:
            supervisor = await system.spawn(Supervisor, [Child(Player, args=([],), id="p")], intensity=1, period=5.0)
            for _ in range(20):
                await crash(await ref_of(supervisor, "p"))
                await asyncio.sleep(5.001)
            assert (await which(supervisor))["p"].restarts == 20

    virtually(main())


async def test_twenty_thousand_children_that_end_at_once_take_no_square_of_their_number() -> None:
    async with ActorSystem() as system:
        children = [Child(Echo, id=str(number), restart="temporary") for number in range(20_000)]
        supervisor = await system.spawn(Supervisor, children)
        infos = await supervisor.call(WhichChildren())
        async with asyncio.timeout(2):  # a tenth of a second; looking for each among all of them, five
            for info in reversed(infos):
                assert info.ref is not None
                info.ref.kill()
            await supervisor.call(StartChild(Child(Echo, id="after all of them")))
        assert [info.id for info in await supervisor.call(WhichChildren())] == ["after all of them"]


class Complainer(Actor):
    """Sends its supervisor an exit signal, and lives on."""

    def on_receive(self, message: Any) -> None:
        message.exit(Failure("Complaint", "sent by a living child"))


async def test_an_exit_signal_of_a_living_child_does_not_start_it_a_second_time() -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Complainer, id="complainer")])
        child = await ref_of(supervisor, "complainer")
        await child.call(supervisor)
        after = (await which(supervisor))["complainer"]
        assert (after.ref, after.restarts) == (child, 0)

"""Supervisors with real children: strategies, children of every kind, ends in time, and what there is beyond OTP."""

import asyncio
import gc
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.players import Echo, inside
from tests.virtual import until, virtually
from understudy.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Ended,
    Exit,
    ExitReason,
    Failure,
    Killed,
    Normal,
    Refused,
    Restarted,
    Shutdown,
    StartFailed,
    ThreadActor,
)
from understudy.simulation import Simulation
from understudy.supervisors import (
    Backoff,
    Child,
    ChildCounts,
    ChildInfo,
    CountChildren,
    DynamicSupervisor,
    GaveUp,
    HeldDown,
    Ignore,
    LeftDown,
    OsProcess,
    PartitionedSupervisor,
    RestartChild,
    StartAnother,
    StartChild,
    Supervisor,
    TerminateChild,
    WhichChildren,
)


class Part(Actor):
    """Writes when it starts and ends. `moods` say how its next starts go; one that is an event is set, and the start hangs."""

    def __init__(self, diary: list[str], which: str, moods: list[Any] | None = None) -> None:
        super().__init__()
        self.diary, self.which, self.moods = diary, which, moods if moods is not None else []

    async def on_start(self) -> None:
        match self.moods.pop(0) if self.moods else "well":
            case asyncio.Event() as hangs:
                hangs.set()
                await asyncio.Event().wait()
            case "fails":
                self.diary.append(f"!{self.which}")
                raise ValueError(f"{self.which} fails to start")
            case "ignores":
                raise Ignore(f"{self.which} is not needed")
        self.diary.append(f"+{self.which}")

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError("crash")
        return message

    def on_stop(self, reason: ExitReason) -> None:
        self.diary.append(f"-{self.which}")


def parts(diary: list[str], names: str, moods: dict[str, list[Any]] | None = None, **fields: Any) -> list[Child]:
    moods = moods if moods is not None else {}
    return [Child(Part, (diary, one, moods.setdefault(one, [])), name=one, **fields) for one in names]


async def rows(supervisor: ActorRef[Any]) -> dict[str, ChildInfo]:
    return {info.id: info for info in await supervisor.call(WhichChildren())}


async def states(supervisor: ActorRef[Any]) -> dict[str, str]:
    return {name: info.state for name, info in (await rows(supervisor)).items()}


async def crash(ref: ActorRef[Any] | None) -> None:
    assert ref is not None
    ref.tell("crash")
    await ref.ended()


@pytest.mark.parametrize(
    ("strategy", "done"),
    [
        ("one_for_one", ["+c"]),
        ("one_for_all", ["-d", "-b", "-a", "+a", "+b", "+c", "+d"]),
        ("rest_for_one", ["-d", "+c", "+d"]),
    ],
)
async def test_each_strategy_ends_and_starts_whom_it_is_for_in_its_order(strategy: Any, done: list[str]) -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        restarted: list[str] = []
        system.hooks.subscribe(Restarted, lambda event: restarted.append(event.id))
        supervisor = await system.spawn(Supervisor, parts(diary, "abcd"), strategy=strategy)
        diary.clear()
        await crash(system.whereis("c"))
        assert set((await states(supervisor)).values()) == {"running"}
        assert diary == done
        assert restarted == [entry[1] for entry in done if entry[0] == "+"]


async def test_a_declared_tree_is_a_class_with_its_children() -> None:
    diary: list[str] = []

    class Shop(Supervisor):
        strategy = "rest_for_one"
        intensity = 7

        def __init__(self, names: str) -> None:
            super().__init__()
            self.names = names

        def children(self) -> Sequence[Child]:
            return parts(diary, self.names)

    async with ActorSystem() as system:
        shop = await system.spawn(Shop, "ab")
        diary.clear()
        await crash(system.whereis("a"))
        assert await states(shop) == {"a": "running", "b": "running"}
        assert diary == ["-b", "+a", "+b"]


async def test_children_of_every_kind_are_started_ended_and_restarted_alike() -> None:
    class Slow(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            if message == "crash":
                raise ValueError("crash")
            return message

    program = [sys.executable, "-c", "print('ready', flush=True); input()"]
    kinds = {
        "loop": Child(Part, ([], "loop"), name="loop"),
        "thread": Child(Slow, name="thread"),
        "process": Child(OsProcess, (program,), {"ready": "ready"}, name="process"),
        "tree": Child(Supervisor, ([Child(Echo, name="leaf")],), name="tree"),
        "many": Child(DynamicSupervisor, (Child(Echo),), name="many"),
    }
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, list(kinds.values()), strategy="one_for_all", intensity=9)
        for name in kinds:
            before = {one: system.whereis(one) for one in (*kinds, "leaf")}
            ref = before[name]
            assert ref is not None
            ref.kill()
            await ref.ended()
            assert await states(supervisor) == dict.fromkeys(kinds, "running")
            after = {one: system.whereis(one) for one in (*kinds, "leaf")}
            assert not set(before.values()) & set(after.values())
            assert None not in after.values()
        counts = await supervisor.call(CountChildren())
        assert counts == ChildCounts(specs=5, active=5, supervisors=2, workers=3, restarting=0, held=0)


async def test_a_child_that_says_ignore_is_left_out_until_it_is_asked_for() -> None:
    diary: list[str] = []

    class Blocking(ThreadActor):
        def on_start(self) -> None:
            raise Ignore("no licence")

    moods = {"b": ["ignores"]}
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [*parts(diary, "abc", moods), Child(Blocking, id="t")])
        assert diary == ["+a", "+c"]
        assert await states(supervisor) == {"a": "running", "b": "stopped", "c": "running", "t": "stopped"}
        assert await supervisor.call(RestartChild("t")) is None
        ref = await supervisor.call(RestartChild("b"))
        assert ref == system.whereis("b")
        assert await supervisor.call(StartChild(Child(Part, (diary, "d", ["ignores"]), id="d"))) is None
        with pytest.raises(StartFailed, match="is not needed"):
            await system.spawn(Part, diary, "x", ["ignores"])


async def test_significant_children_end_their_supervisor_and_that_is_no_failure() -> None:
    diary: list[str] = []
    worker, helper = parts(diary, "wh", restart="transient")
    worker = Child(Part, worker.args, name="w", restart="transient", significant=True)
    async with ActorSystem() as system:
        below = Child(
            Supervisor,
            ([helper, worker],),
            {"auto_shutdown": "any_significant"},
            name="below",
            restart="transient",
        )
        left: list[LeftDown] = []
        system.hooks.subscribe(LeftDown, left.append)
        supervisor = await system.spawn(Supervisor, [below])
        w, b = system.whereis("w"), system.whereis("below")
        assert w is not None
        assert b is not None
        w.stop()
        reason = await b.ended()
        assert isinstance(reason, Shutdown)
        assert reason.detail.startswith("auto shutdown, after the end of 'w'")
        assert await states(supervisor) == {"below": "stopped"}
        assert diary == ["+h", "+w", "-w", "-h"]
        assert not left, "it has not given up"


# --- ends in time ---


@pytest.mark.parametrize("when", ["at first", "again"])
def test_a_supervisor_obeys_its_parents_shutdown_while_a_child_hangs_in_its_start(when: str) -> None:
    async def main() -> None:
        diary: list[str] = []
        hangs = asyncio.Event()
        moods = {"b": [hangs] if when == "at first" else ["well", hangs]}
        async with ActorSystem() as system:
            below = Child(Supervisor, (parts(diary, "ab", moods, start_timeout=1000.0),), {"intensity": 9}, id="below")
            starting = asyncio.ensure_future(system.spawn(Supervisor, [below]))
            if when == "again":
                await starting
                await crash(system.whereis("b"))
            await hangs.wait()
            await system.shutdown()
            assert asyncio.get_running_loop().time() < 0.1
            assert diary[-1] == "-a"
            assert system.whereis("b") is None
            if when == "at first":
                with pytest.raises(StartFailed):
                    await starting

    virtually(main())


@pytest.mark.parametrize("when", ["at first", "again"])
def test_a_start_that_does_not_heed_its_cancellation_delays_the_parents_shutdown_by_five_seconds(when: str) -> None:
    async def main() -> None:
        hangs, go_on = asyncio.Event(), asyncio.Event()
        is_deaf = when == "at first"

        class Deaf(Echo):
            async def on_start(self) -> None:
                if is_deaf:
                    hangs.set()
                    while not go_on.is_set():
                        with suppress(asyncio.CancelledError):
                            await go_on.wait()

        async with ActorSystem() as system:
            below = Child(Supervisor, ([Child(Deaf, name="deaf", start_timeout=1000.0)],), id="below")
            starting = asyncio.ensure_future(system.spawn(Supervisor, [below]))
            if when == "again":
                await starting
                is_deaf = True
                deaf = system.whereis("deaf")
                assert deaf is not None
                deaf.kill()
            await hangs.wait()
            await system.shutdown(deadline=100.0)
            assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.1)
            assert system.whereis("deaf") is None
            go_on.set()
            if when == "at first":
                with pytest.raises(StartFailed):
                    await starting

    virtually(main())


def test_a_start_that_is_called_off_ends_those_that_had_started_in_their_time() -> None:
    class Endless(Actor):
        stop_timeout = None

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        hangs = asyncio.Event()
        async with ActorSystem() as system:
            children = [Child(Endless, shutdown=2.0), *parts([], "b", {"b": [hangs]}, start_timeout=1000.0)]
            starting = asyncio.ensure_future(system.spawn(Supervisor, children))
            await hangs.wait()
            await system.shutdown(deadline=100.0)
            assert asyncio.get_running_loop().time() == pytest.approx(2.0)
            with pytest.raises(StartFailed):
                await starting

    virtually(main())


async def test_it_answers_within_a_tenth_of_a_second_while_a_start_fails_again_and_again() -> None:
    diary: list[str] = []
    moods = {"a": ["well"] + ["fails"] * 100_000}
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, parts(diary, "ab", moods), intensity=1_000_000, period=1000.0)
        await crash(system.whereis("a"))
        seen: set[str] = set()
        for _ in range(100):
            begun = time.perf_counter()
            seen.add((await states(supervisor))["a"])
            assert time.perf_counter() - begun < 0.1
        assert seen == {"restarting"}
        assert len(diary) > 50, "and it goes on trying"
        await supervisor.call(TerminateChild("a"))


async def test_a_child_that_undoes_its_link_cannot_hang_its_supervisor() -> None:
    class Loner(Actor):
        async def on_start(self) -> None:
            assert self._cell.parent is not None
            self.unlink(self._cell.parent)

    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Loner, id="loner"), Child(Echo, id="echo")])
        await supervisor.call(TerminateChild("loner"))
        assert await states(supervisor) == {"loner": "stopped", "echo": "running"}
        await supervisor.call(RestartChild("loner"))
        supervisor.stop()
        await supervisor.ended()


@pytest.mark.parametrize(("shutdown", "after", "last"), [(2.0, 2.0, Killed()), ("infinity", 9.0, Shutdown())])
def test_a_group_waits_for_each_end_as_long_as_its_shutdown_says(shutdown: Any, after: float, last: ExitReason) -> None:
    class Slow(Actor):
        stop_timeout = None

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(9.0)

    async def main() -> None:
        diary: list[str] = []
        async with ActorSystem() as system:
            children = [*parts(diary, "a"), Child(Slow, id="slow", shutdown=shutdown)]
            supervisor = await system.spawn(Supervisor, children, strategy="one_for_all")
            await crash(system.whereis("a"))
            infos = {info.id: info for info in await supervisor.call(WhichChildren(), timeout=100.0)}
            assert asyncio.get_running_loop().time() == pytest.approx(after)
            assert (infos["slow"].state, infos["slow"].last_exit) == ("running", last)
            supervisor.kill()

    virtually(main())


async def test_after_a_brutal_kill_the_names_of_the_whole_family_are_free() -> None:
    class Lingering(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(0.01)

    async with ActorSystem() as system:
        leaf = Child(Lingering, name="leaf")
        below = Child(Supervisor, ([Child(Supervisor, ([leaf],), id="middle")],), id="below", shutdown="brutal_kill")
        children = [Child(Part, ([], "a"), name="a"), below]
        supervisor = await system.spawn(Supervisor, children, strategy="one_for_all", intensity=1)
        await crash(system.whereis("a"))
        infos = await rows(supervisor)
        assert {name: (info.state, info.restarts) for name, info in infos.items()} == {
            "a": ("running", 1),
            "below": ("running", 1),
        }
        assert system.whereis("leaf") is not None


# --- beyond OTP ---


def test_a_backoff_waits_longer_each_time_and_others_are_served_meanwhile() -> None:
    async def main() -> None:
        diary: list[str] = []
        moods = {"a": ["well", "fails", "fails"]}
        backoff = Backoff(first=1.0, factor=3.0, most=5.0, jitter=0.0)
        async with ActorSystem() as system:
            supervisor = await system.spawn(
                Supervisor, parts(diary, "ab", moods), intensity=9, period=1000.0, backoff=backoff
            )
            await crash(system.whereis("a"))
            for at, entries in ((0.9, 0), (1.1, 1), (3.9, 1), (4.1, 2), (8.9, 2), (9.1, 3)):
                await until(at)
                assert len(diary) == 2 + entries
                assert (await rows(supervisor))["a"].state == ("running" if entries == 3 else "restarting")
            assert diary == ["+a", "+b", "!a", "!a", "+a"]
            await crash(system.whereis("a"))
            await supervisor.call(TerminateChild("a"))
            await until(100.0)
            assert await states(supervisor) == {"a": "stopped", "b": "running"}

    virtually(main())


def test_chance_in_a_backoff_is_the_systems_own_so_that_a_seed_replays_it() -> None:
    def waits(seed: int) -> list[float]:
        simulation = Simulation(seed)
        times: list[float] = []

        async def main() -> None:
            system = simulation.system("one")
            system.hooks.subscribe(Restarted, lambda event: times.append(simulation.time))
            backoff = Backoff(first=1.0, factor=1.0, jitter=0.5)
            children = [Child(Part, ([], one), name=one, backoff=backoff) for one in "abcd"]
            await system.spawn(Supervisor, children, intensity=9)
            for one in "abcd":
                await crash(system.whereis(one))
            await asyncio.sleep(10.0)

        simulation.run(main)
        return times

    first, again, other = waits(1), waits(1), waits(2)
    assert first == again != other
    assert len(set(first)) == 4
    assert all(0.5 <= wait <= 1.6 for wait in first)


async def test_a_degraded_supervisor_holds_a_failing_child_down_and_says_so() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        held: list[HeldDown] = []
        system.hooks.subscribe(HeldDown, held.append)
        supervisor = await system.spawn(Supervisor, parts(diary, "ab"), intensity=1, degraded=True)
        await crash(system.whereis("a"))
        await states(supervisor)
        await crash(system.whereis("a"))
        info = (await rows(supervisor))["a"]
        assert (info.state, info.restarts, info.ref) == ("held", 1, None)
        assert isinstance(info.last_exit, Failure)
        assert [(event.supervisor, event.id, event.restarts) for event in held] == [(supervisor, "a", 1)]
        assert (await supervisor.call(CountChildren())).held == 1
        await supervisor.call(RestartChild("a"))
        assert await states(supervisor) == {"a": "running", "b": "running"}


async def test_a_degraded_supervisor_whose_last_significant_child_is_held_down_says_so_and_ends() -> None:
    async with ActorSystem() as system:
        held: list[HeldDown] = []
        system.hooks.subscribe(HeldDown, held.append)
        children = [Child(Part, ([], "a"), name="a", restart="transient", significant=True), *parts([], "b")]
        supervisor = await system.spawn(
            Supervisor, children, intensity=0, degraded=True, auto_shutdown="all_significant"
        )
        await crash(system.whereis("a"))
        reason = await supervisor.ended()
        assert isinstance(reason, Shutdown)
        assert reason.detail.startswith("auto shutdown, after 'a' was held down: ")
        assert [(event.supervisor, event.id) for event in held] == [(supervisor, "a")]
        assert system.whereis("b") is None


async def test_a_supervisor_that_gives_up_says_so_and_a_transient_one_stays_down_with_a_warning(caplog: Any) -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        gave_up: list[GaveUp] = []
        left: list[LeftDown] = []
        system.hooks.subscribe(GaveUp, gave_up.append)
        system.hooks.subscribe(LeftDown, left.append)
        below = Child(Supervisor, (parts(diary, "a"),), {"intensity": 0}, name="below", restart="transient")
        supervisor = await system.spawn(Supervisor, [below])
        ref = system.whereis("below")
        await crash(system.whereis("a"))
        assert ref is not None
        reason = await ref.ended()
        assert await states(supervisor) == {"below": "stopped"}
        assert [(event.supervisor, event.id) for event in gave_up] == [(ref, "a")]
        assert [(event.supervisor, event.id, event.reason) for event in left] == [(supervisor, "below", reason)]
        assert "does not restart the supervisor 'below', which gave up" in caplog.text


async def test_a_dynamic_supervisor_starts_another_of_its_template_until_it_is_full() -> None:
    class Many(DynamicSupervisor):
        template = Child(Part, ([],), restart="temporary")
        max_children = 2

    async with ActorSystem() as system:
        many = await system.spawn(Many)
        first = await many.call(StartAnother(("x",)))
        await many.call(StartAnother((), {"which": "y"}))
        with pytest.raises(Refused, match="no room"):
            await many.call(StartAnother(("z",)))
        assert await states(many) == {"Part-1": "running", "Part-2": "running"}
        await many.call(TerminateChild(first))
        assert not first.is_alive()
        await many.call(StartChild(Child(Echo)))
        assert await states(many) == {"Part-2": "running", "Echo-3": "running"}
        with pytest.raises(Refused, match="no child"):
            await many.call(TerminateChild(first))
        await many.call(TerminateChild("Echo-3"))
        with pytest.raises(Refused, match="missing 1 required positional argument"):
            await many.call(StartAnother())


def test_a_dynamic_supervisor_ends_all_its_children_at_once_each_in_its_time() -> None:
    class Slow(Actor):
        stop_timeout = None

        def __init__(self, seconds: float, diary: list[tuple[float, float]]) -> None:
            super().__init__()
            self.seconds, self.diary = seconds, diary

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(self.seconds)
            self.diary.append((self.system.loop.time(), self.seconds))

    async def main() -> None:
        diary: list[tuple[float, float]] = []
        async with ActorSystem() as system:
            ended: dict[ActorRef[Any], float] = {}
            system.hooks.subscribe(Ended, lambda event: ended.setdefault(event.ref, system.loop.time()))
            many = await system.spawn(DynamicSupervisor)
            refs = []
            for seconds, shutdown in ((3.0, 5.0), (9.0, 2.0), (6.0, "infinity"), (9.0, 4.0), (9.0, "brutal_kill")):
                child = Child(Slow, (seconds, diary), restart="temporary", shutdown=shutdown)  # type: ignore[arg-type]
                refs.append(await many.call(StartChild(child)))
            many.stop()
            await many.ended()
            assert [ended[ref] for ref in refs] == pytest.approx([3.0, 2.0, 6.0, 4.0, 0.0])
            assert diary == [(3.0, 3.0), (6.0, 6.0)]
            ends = [await ref.ended() for ref in refs]
            assert ends == [Shutdown(), Killed(), Shutdown(), Killed(), Killed()]

    virtually(main())


async def test_a_slow_start_in_one_partition_does_not_delay_the_others() -> None:
    diary: list[str] = []
    async with ActorSystem() as system:
        partition = Child(DynamicSupervisor, (Child(Part, (diary,)),), {"intensity": 0})
        many = await system.spawn(PartitionedSupervisor, partition, partitions=2)
        hangs = asyncio.Event()
        slow = asyncio.ensure_future(many.call(StartAnother(("slow", [hangs])), 1000.0))
        await hangs.wait()
        quick = await many.call(StartAnother(("quick",)))
        partitions = await rows(many)
        assert list(partitions) == ["0", "1"]
        assert {info.kind for info in partitions.values()} == {"supervisor"}
        second = partitions["1"].ref
        assert second is not None
        assert await states(second) == {"Part-1": "running"}
        await many.call(TerminateChild(quick))
        assert await states(second) == {}
        with pytest.raises(Refused, match="fail"):
            await second.call(StartAnother(("bad", ["fails"])))
        slow.cancel()


async def test_a_partition_that_gives_up_is_replaced_and_the_others_keep_their_children() -> None:
    async with ActorSystem() as system:
        partition = Child(DynamicSupervisor, (Child(Part, ([],)),), {"intensity": 0}, name="part")
        many = await system.spawn(PartitionedSupervisor, partition, partitions=2)
        first, second = await many.call(StartAnother(("x",))), await many.call(StartAnother(("y",)))
        part = system.whereis("part/0")
        assert part is not None
        await crash(first)
        await part.ended()
        assert await states(many) == {"0": "running", "1": "running"}
        assert second.is_alive()
        with pytest.raises(StartFailed, match=r"PartitionedSupervisor.partition is a Child\(DynamicSupervisor"):
            await system.spawn(PartitionedSupervisor, Child(Echo))


async def test_who_handles_messages_besides_hands_the_rest_to_the_supervisor() -> None:
    class Host(Supervisor):
        async def on_receive(self, message: Any) -> Any:
            return "here" if message == "who" else await super().on_receive(message)

    async with ActorSystem() as system:
        host = await system.spawn(Host, [Child(Part, ([], "a"), name="a")])
        assert await host.call("who") == "here"
        await crash(system.whereis("a"))
        assert await states(host) == {"a": "running"}
        with pytest.raises(Refused, match="does not know"):
            await host.call("what")


async def test_a_child_that_is_asked_for_while_its_supervisor_ends_is_not_started() -> None:
    diary: list[str] = []

    class Slow(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            diary.append("ends")
            await asyncio.sleep(0)

    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Slow, id="slow")])
        supervisor.exit(Normal())
        supervisor.stop()
        late = asyncio.ensure_future(supervisor.call(StartChild(Child(Part, (diary, "late"), id="late"))))
        with pytest.raises(Exception, match="died"):
            await late
        await supervisor.ended()
        assert diary == ["ends"]


@pytest.mark.parametrize("what", [TerminateChild("echo"), StartChild(Child(Echo, id="other"))])
async def test_what_a_supervisor_had_no_time_to_begin_before_its_end_leaves_no_trace(what: Any) -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Echo, id="echo")])
        handler = inside(supervisor)._receive(what)
        if handler is not None and not isinstance(handler, ActorRef):
            handler.close()  # as the kernel does; what is never awaited would be a warning, and fail this test
        del handler
        gc.collect()


@pytest.mark.parametrize("sender", [None, "somebody", ["no", "name"]])
async def test_a_forged_exit_is_nothing_to_a_supervisor(sender: Any) -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Echo, id="echo")])
        supervisor.tell(Exit(sender, Killed()))
        assert await states(supervisor) == {"echo": "running"}

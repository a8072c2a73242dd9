"""Ways to start an actor, and what the spawner learns however soon it ends; deaths that nobody attends are reported."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Trapper, Witness, inside
from tests.virtual import virtually
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Down,
    Exit,
    Failure,
    Killed,
    NoProc,
    Normal,
    Shutdown,
    StartFailed,
    Stop,
    ThreadActor,
    UnseenDeath,
)
from understudy.actors.mortician import DEAD


class SlowStart(Actor):
    def __init__(self, seen: list[str] | None = None) -> None:
        super().__init__()
        self.seen = seen if seen is not None else []

    async def on_start(self) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise


class Watching(Witness):
    trap_exit = True


class Mayfly(Actor):
    """Crashes on its first message, which it sends itself when it starts."""

    def on_start(self) -> None:
        self.actor_ref.tell("crash")

    def on_receive(self, message: Any) -> None:
        raise ValueError("a day is over")


class ThreadMayfly(ThreadActor):
    def on_start(self) -> None:
        self.actor_ref.tell("crash")

    def on_receive(self, message: Any) -> None:
        raise ValueError("a day is over")


class StopsAtOnce(Actor):
    async def on_start(self) -> None:
        self.stop()


class FailsToStart(Actor):
    async def on_start(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("no")


def where(which: str) -> Callable[[ActorSystem, type[Any]], Any]:
    async def by_the_system(system: ActorSystem, cls: type[Any]) -> Any:
        return await system.spawn(cls, start_timeout=2.0)

    async def by_an_actor(system: ActorSystem, cls: type[Any]) -> Any:
        does = await system.spawn(Does)

        async def spawn(me: Any) -> Any:
            try:
                return await getattr(me, which)(cls, start_timeout=2.0)
            except StartFailed as failed:
                return failed

        outcome = await does.call(spawn, 100)
        if isinstance(outcome, StartFailed):
            raise outcome
        return outcome

    return by_the_system if which == "system" else by_an_actor


WAYS = ["system", "spawn", "spawn_link", "spawn_monitor"]


@pytest.mark.parametrize("way", WAYS)
def test_a_start_that_takes_too_long_fails_in_time_and_leaves_nothing(way: str) -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            before = system.loop.time()
            with pytest.raises(StartFailed, match="longer than 2"):
                await where(way)(system, SlowStart)
            assert system.loop.time() == before + 2
            assert len(system._top) == (way != "system")
            assert system.deaths.count == 0

    virtually(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_start_within_its_time_is_a_start(way: str) -> None:
    class Quick(SlowStart):
        async def on_start(self) -> None:
            await asyncio.sleep(1.9)

    async def main() -> None:
        async with ActorSystem() as system:
            outcome = await where(way)(system, Quick)
            ref = outcome[0] if isinstance(outcome, tuple) else outcome
            assert ref.is_alive()

    virtually(main())


async def test_a_thread_actor_that_does_not_start_in_time_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.actors.thread.CANCEL_GRACE", 0.01)
    let_go = threading.Event()

    class Stuck(ThreadActor):
        def on_start(self) -> None:
            let_go.wait(10)

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="longer than"):
            await system.spawn(Stuck, start_timeout=0.01)
        assert len(system.abandoned()) == 1
        let_go.set()


# --- spawn_link ---


@pytest.mark.parametrize("cls", [Mayfly, ThreadMayfly])
async def test_spawn_link_sees_a_death_right_after_the_start(cls: type[Any]) -> None:
    async with ActorSystem() as system:
        watching = await system.spawn(Watching)
        ref = await watching.call(lambda me: me.spawn_link(cls))
        [exit_] = await inside(watching).first(1)
        assert isinstance(exit_, Exit)
        assert exit_.sender is ref
        assert isinstance(exit_.reason, Failure)
        assert exit_.reason.message == "a day is over"
        assert system.deaths.count == 0


async def test_spawn_link_ties_both_lives_and_makes_no_child() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        linked = await does.call(lambda me: me.spawn_link(Echo))
        trapping = await does.call(lambda me: me.spawn_link(Trapper))
        does.exit(Shutdown("enough"))
        assert await linked.ended() == Shutdown("enough")
        assert await inside(trapping).first(1) == [Exit(does, Shutdown("enough"))]  # a parent's exit cannot be trapped
        assert trapping.is_alive()


async def test_what_was_spawned_with_a_link_survives_a_normal_end_of_its_spawner() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        linked = await does.call(lambda me: me.spawn_link(Echo))
        does.stop()
        await does.ended()
        assert await linked.call("x") == "x"


async def test_a_link_made_by_spawn_link_may_be_undone() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        linked = await does.call(lambda me: me.spawn_link(Echo))
        await does.call(lambda me: me.unlink(linked))
        linked.kill()
        await linked.ended()
        assert await does.call(lambda me: "alive") == "alive"


# --- spawn_monitor ---


@pytest.mark.parametrize("cls", [Mayfly, ThreadMayfly])
async def test_spawn_monitor_sees_a_death_right_after_the_start_with_its_true_reason(cls: type[Any]) -> None:
    async with ActorSystem() as system:
        watching = await system.spawn(Watching)
        ref, token = await watching.call(lambda me: me.spawn_monitor(cls))
        [down] = await inside(watching).first(1)
        assert down == Down(token, ref, down.reason)
        assert isinstance(down.reason, Failure)
        assert system.deaths.count == 0


async def test_spawn_monitor_sees_an_orderly_end_in_the_very_start() -> None:
    async with ActorSystem() as system:
        watching = await system.spawn(Watching)
        ref, token = await watching.call(lambda me: me.spawn_monitor(StopsAtOnce))
        assert await inside(watching).first(1) == [Down(token, ref, Normal())]


async def test_a_monitor_made_by_spawn_monitor_may_be_stacked_and_undone() -> None:
    async with ActorSystem() as system:
        watching = await system.spawn(Watching)
        ref, token = await watching.call(lambda me: me.spawn_monitor(Echo))
        second = await watching.call(lambda me: me.monitor(ref))
        await watching.call(lambda me: me.demonitor(token, flush=True))
        ref.kill()
        assert await inside(watching).first(1) == [Down(second, ref, Killed())]
        await watching.call(lambda me: None)
        assert len(inside(watching).seen) == 1


async def test_what_was_spawned_with_a_monitor_outlives_its_spawner() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        ref, _ = await does.call(lambda me: me.spawn_monitor(Echo))
        does.kill()
        await does.ended()
        assert await ref.call("x") == "x"
        assert not ref.bonds.watchers


@pytest.mark.parametrize("way", ["spawn_link", "spawn_monitor"])
async def test_a_start_that_fails_raises_and_sends_no_signal_besides(way: str) -> None:
    async with ActorSystem() as system:
        watching = await system.spawn(Watching)

        async def spawn(me: Any) -> str:
            with pytest.raises(StartFailed, match="no") as failed:
                await getattr(me, way)(FailsToStart, name="twice")
            return str(failed.value)

        await watching.call(spawn)
        await watching.call(spawn)  # the name is free again
        await asyncio.sleep(0)
        assert inside(watching).seen == []
        bonds = watching.bonds  # type: ignore[attr-defined]
        assert bonds is None or not (bonds.links or bonds.monitors)


@pytest.mark.parametrize("way", ["spawn_link", "spawn_monitor"])
async def test_a_spawner_that_dies_meanwhile_leaves_nobody(way: str) -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        seen: list[str] = []
        does.tell(lambda me: getattr(me, way)(SlowStart, seen))
        await eventually(lambda: len(system._top) >= 2)
        does.kill()
        await eventually(lambda: not system._top)
        assert seen in ([], ["cancelled"])


@pytest.mark.parametrize("way", ["spawn_link", "spawn_monitor"])
async def test_a_dead_actors_code_starts_nobody(way: str) -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        actor = inside(does)
        does.kill()
        with pytest.raises(ActorDied):
            await getattr(actor, way)(Echo)


# --- deaths that nobody attends ---


async def tie(system: ActorSystem, how: str) -> tuple[ActorRef[Any], Any]:
    """An actor, tied to somebody as `how` says, and what is to be done in the end."""
    does = await system.spawn(Watching)
    match how:
        case "child":
            return await does.call(lambda me: me.spawn(Mortal)), None
        case "linked":
            return await does.call(lambda me: me.spawn_link(Mortal)), None
        case "watched":
            return (await does.call(lambda me: me.spawn_monitor(Mortal)))[0], None
        case "awaited":
            ref: ActorRef[Any] = await system.spawn(Mortal)
            waiting = asyncio.create_task(ref.ended())
            await asyncio.sleep(0)
            return ref, waiting
    return await system.spawn(Mortal), None


class Mortal(Actor):
    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        return message


@pytest.mark.parametrize("how", ["alone", "child", "linked", "watched", "awaited"])
@pytest.mark.parametrize("end", ["crash", "kill", "exit", "stop", "Stop"])
async def test_only_a_failure_that_nobody_attends_is_reported(
    how: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem() as system:
        reported: list[UnseenDeath] = []
        system.hooks.subscribe(UnseenDeath, reported.append)
        ref, waiting = await tie(system, how)
        ends: dict[str, Callable[[], object]] = {
            "crash": lambda: ref.tell(ValueError("ouch")),
            "kill": ref.kill,
            "exit": ref.exit,
            "stop": ref.stop,
            "Stop": lambda: ref.tell(Stop()),
        }
        ends[end]()
        await eventually(lambda: ref not in system._top and ref.stage == DEAD)  # type: ignore[attr-defined]
        if waiting is not None:
            await waiting
        if how == "alone" and end in ("crash", "kill"):
            [death] = reported
            assert death.ref is ref
            assert isinstance(death.reason, Failure if end == "crash" else Killed)
            assert system.deaths.count == 1
            assert "nobody supervises, links or watches it" in caplog.text
        else:
            assert reported == []
            assert "nobody supervises" not in caplog.text


async def test_the_log_does_not_repeat_itself_and_the_count_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem() as system:
        for _ in range(100):
            (await system.spawn(Mortal)).kill()
        assert system.deaths.count == 100
        assert caplog.text.count("nobody supervises") < 10


async def test_what_a_shutdown_kills_and_what_fails_to_start_is_no_such_death() -> None:
    class Stubborn(Actor):
        stop_timeout = None

        async def on_stop(self, reason: Any) -> None:
            await asyncio.Event().wait()

    class KillsItself(Actor):
        async def on_start(self) -> None:
            self.actor_ref.kill()
            await asyncio.sleep(0)

    system = ActorSystem()
    for cls in (FailsToStart, KillsItself):
        with pytest.raises(StartFailed):
            await system.spawn(cls)
    stubborn = await system.spawn(Stubborn)
    await system.shutdown(0.01)
    assert await stubborn.ended() == Killed()
    assert system.deaths.count == 0


async def test_a_reference_to_one_that_is_gone_still_knows_why() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Mortal)
        ref.kill()
        assert await ref.ended() == Killed()
        watching = await system.spawn(Watching)
        token = await watching.call(lambda me: me.monitor(ref))
        assert await inside(watching).first(1) == [Down(token, ref, NoProc())]

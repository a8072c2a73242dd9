"""Links, monitors and exit signals: the rules that Erlang's users count on, one by one, from any thread and loop."""

import asyncio
import math
import threading
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, Trapper, Witness, inside
from tests.races import another_loop, elsewhere
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
    ThreadActor,
)


class ThreadWitness(ThreadActor):
    """A witness in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else self.seen.append(message)


KINDS = pytest.mark.parametrize("kind", [Witness, ThreadWitness])


async def heard(ref: ActorRef[Any], count: int) -> list[Any]:
    """The first `count` messages that a witness kept. That there are no more is seen after a flush."""
    seen: list[Any] = inside(ref).seen
    async with asyncio.timeout(10):
        await eventually(lambda: len(seen) >= count)
    await ref.call(lambda me: None)
    return seen


async def trapping(system: ActorSystem, kind: type[Any]) -> ActorRef[Any]:
    ref: ActorRef[Any] = await system.spawn(kind)
    await ref.call(lambda me: setattr(me, "trap_exit", True))
    return ref


# --- links ---


@KINDS
async def test_two_actors_have_one_link_at_most_whoever_made_it(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        first, second = await trapping(system, kind), await system.spawn(kind)
        for _ in range(2):
            await first.call(lambda me: me.link(second))
            await second.call(lambda me: me.link(first))
        second.exit(Shutdown("enough"))
        assert await heard(first, 1) == [Exit(second, Shutdown("enough"))]
        await first.call(lambda me: me.unlink(second))
        assert first.is_alive()


@KINDS
async def test_one_unlink_undoes_a_link_that_was_made_twice(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        first, second = await system.spawn(kind), await system.spawn(kind)
        await first.call(lambda me: [me.link(second), me.link(second), me.unlink(second)])
        second.kill()
        await second.ended()
        assert await first.call(lambda me: "alive") == "alive"


@KINDS
async def test_a_link_to_oneself_is_nothing(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await trapping(system, kind)
        await ref.call(lambda me: [me.link(me.actor_ref), me.unlink(me.actor_ref)])
        ref.exit()
        assert await heard(ref, 1) == [Exit(None, Shutdown())]


@KINDS
async def test_a_link_to_the_dead_is_an_exit_signal_which_a_trapping_actor_gets_as_a_message(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref, dead = await trapping(system, kind), await system.spawn(Does)
        dead.kill()
        await ref.call(lambda me: me.link(dead))
        assert await heard(ref, 1) == [Exit(dead, NoProc())]


@KINDS
async def test_trapping_may_be_switched_on_and_off(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await trapping(system, kind)
        ref.exit(Shutdown("first"))
        assert await heard(ref, 1) == [Exit(None, Shutdown("first"))]
        await ref.call(lambda me: setattr(me, "trap_exit", False))
        ref.exit(Shutdown("second"))
        assert await ref.ended() == Shutdown("second")


@KINDS
async def test_an_exit_for_the_reason_killed_can_be_trapped_and_a_kill_cannot(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref, plain = await trapping(system, kind), await system.spawn(kind)
        ref.exit(Killed())
        assert await heard(ref, 1) == [Exit(None, Killed())]
        plain.exit(Killed())
        assert await plain.ended() == Killed()
        ref.kill()
        assert await ref.ended() == Killed()


@KINDS
async def test_everybody_linked_to_a_killed_actor_sees_killed(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref, linked, witness = await system.spawn(kind), await system.spawn(kind), await trapping(system, kind)
        for other in (linked, witness):
            await other.call(lambda me: me.link(ref))
        ref.kill()
        assert await linked.ended() == Killed()
        assert await heard(witness, 1) == [Exit(ref, Killed())]


# --- monitors ---


@KINDS
async def test_monitors_are_stacked_and_taken_back_one_by_one(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        witness, ref = await system.spawn(kind), await system.spawn(Does)
        tokens = await witness.call(lambda me: [me.monitor(ref) for _ in range(4)])
        await witness.call(lambda me: me.demonitor(tokens[1]))
        await witness.call(lambda me: me.demonitor(tokens[1]))  # once more is nothing
        ref.exit(Shutdown("enough"))
        seen = await heard(witness, 3)
        assert sorted(seen, key=lambda down: down.token) == [
            Down(token, ref, Shutdown("enough")) for token in (tokens[0], tokens[2], tokens[3])
        ]


@KINDS
async def test_a_monitor_is_one_way(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        witness, ref = await system.spawn(kind), await system.spawn(kind)
        await witness.call(lambda me: me.monitor(ref))
        witness.kill()
        await witness.ended()
        assert await ref.call(lambda me: "alive") == "alive"
        assert not inside(ref).seen
        assert not ref.bonds.watchers  # type: ignore[attr-defined]


@KINDS
async def test_a_monitor_of_oneself_harms_nobody(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        await ref.call(lambda me: me.monitor(me.actor_ref))
        ref.stop()
        assert await ref.ended() == Normal()


@KINDS
async def test_a_flush_takes_back_that_monitors_down_and_no_other(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        witness, ref = await system.spawn(kind), await system.spawn(Does)

        def watch_kill_flush(me: Any) -> int:
            kept, flushed = me.monitor(ref), me.monitor(ref)
            ref.kill()
            while ref.is_alive():
                if not me._cell.threaded:
                    break  # the signals come after this handler
            me.demonitor(flushed, flush=True)
            return int(kept)

        kept = await witness.call(watch_kill_flush)
        [down] = await heard(witness, 1)
        assert down == Down(kept, ref, down.reason)
        assert isinstance(down.reason, Killed | NoProc)


@KINDS
async def test_what_was_sent_before_an_end_arrives_before_its_news_from_another_loop_too(kind: type[Any]) -> None:
    async with ActorSystem() as system, another_loop() as other:
        witness = await trapping(system, kind)
        for home in (system, other):
            ref: ActorRef[Any] = (
                await system.spawn(Does) if home is system else await elsewhere(other, other.spawn(Does))
            )
            token = await witness.call(lambda me, ref=ref: (me.link(ref), me.monitor(ref))[1])
            await ref.call(lambda me: None)  # the link and the monitor were signals sent before

            def speak_and_crash(me: Any) -> None:
                for number in range(100):
                    witness.tell(number)
                raise ValueError("ouch")

            ref.tell(speak_and_crash)
            seen = await heard(witness, 102)
            assert seen[:100] == list(range(100))
            down, exit_ = sorted(seen[100:], key=lambda news: type(news).__name__)
            assert isinstance(down, Down)
            assert isinstance(exit_, Exit)
            assert (down.token, down.ref, exit_.sender) == (token, ref, ref)
            assert isinstance(down.reason, Failure)
            assert down.reason == exit_.reason
            seen.clear()


# --- from threads that are nobody's ---


@pytest.mark.parametrize("what", ["tell", "exit", "kill", "stop"])
async def test_a_plain_thread_may_send_whatever_it_likes(what: str) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Trapper)
        recorder = inside(ref)

        def send() -> None:
            match what:
                case "tell":
                    ref.tell("x")
                case "exit":
                    ref.exit(Shutdown("thread"))
                case "kill":
                    ref.kill()
                case _:
                    assert ref.stop().get(timeout=10) is True

        thread = threading.Thread(target=send)
        thread.start()
        if what in ("tell", "exit"):
            [seen] = await recorder.first(1)
            assert seen == ("x" if what == "tell" else Exit(None, Shutdown("thread")))
        else:
            assert await ref.ended() == (Killed() if what == "kill" else Normal())
        await asyncio.to_thread(thread.join)


async def test_an_actors_own_operations_are_refused_once_it_is_dead() -> None:
    async with ActorSystem() as system:
        ref, other = await system.spawn(Witness), await system.spawn(Does)
        actor: Actor = inside(ref)
        ref.kill()
        for operation in (
            lambda: actor.link(other),
            lambda: actor.unlink(other),
            lambda: actor.monitor(other),
            lambda: actor.demonitor(1),
            lambda: actor.send_after(1, "x"),
        ):
            with pytest.raises(ActorDied):
                operation()
        assert other.is_alive()


# --- a shutdown ---


async def test_a_shutdown_ends_everybody_in_reverse_order_and_is_the_same_for_all_who_wait() -> None:
    diary: list[str] = []

    class Writes(Actor):
        def __init__(self, which: str) -> None:
            super().__init__()
            self.which = which

        async def on_start(self) -> None:
            if "/" not in self.which:
                await self.spawn(Writes, f"{self.which}/child")

        def on_stop(self, reason: Any) -> None:
            diary.append(self.which)
            assert reason in (Shutdown("the system shuts down"), Shutdown("its parent ended"))

    system = ActorSystem()
    for which in "ab":
        await system.spawn(Writes, which)
    await asyncio.gather(system.shutdown(), system.shutdown(), system.shutdown(math.inf))
    assert diary == ["b", "b/child", "a", "a/child"]
    await system.shutdown()


async def test_a_shutdown_from_another_thread_says_how_to() -> None:
    async with ActorSystem() as system:

        def shut() -> str:
            with pytest.raises(RuntimeError, match="run_coroutine_threadsafe") as refused:
                asyncio.run(system.shutdown())
            return str(refused.value)

        assert await asyncio.to_thread(shut)


async def test_a_shutdown_goes_on_when_whoever_waits_for_it_is_cancelled() -> None:
    stopping, go_on = asyncio.Event(), asyncio.Event()

    class Lingers(Actor):
        async def on_stop(self, reason: Any) -> None:
            stopping.set()
            await go_on.wait()

    system = ActorSystem()
    ref = await system.spawn(Lingers)
    waiting = asyncio.create_task(system.shutdown())
    await stopping.wait()
    waiting.cancel()
    go_on.set()
    await system.shutdown()
    assert waiting.cancelled()
    assert await ref.ended() == Shutdown("the system shuts down")

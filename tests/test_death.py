"""How actors end: which hook runs, in which order everything is freed, and who learns of it."""

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, Recorder, Trapper, inside
from tests.virtual import virtually
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Down,
    Envelope,
    Exit,
    ExitReason,
    Failure,
    Killed,
    Later,
    NoProc,
    Normal,
    Shutdown,
    StartFailed,
    Stop,
)

ROUNDS = int(os.environ.get("UNDERSTUDY_RACE_ROUNDS", "20000"))
"""How often an ask races a stop."""


class Diarist(Actor):
    """Writes down which hook ran, and is busy in a handler if told to."""

    trap_exit = False

    def __init__(self, diary: list[str]) -> None:
        super().__init__()
        self.diary = diary
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    def on_receive(self, message: Any) -> Any:
        match message:
            case "crash":
                raise ValueError("ouch")
            case "return Stop":
                return Stop(Shutdown("enough"))
            case "wait":
                return self.wait()
            case _:
                return message

    async def wait(self) -> None:
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.diary.append("cancelled")
            raise
        self.diary.append("finished")

    def on_stop(self, reason: ExitReason) -> None:
        self.diary.append(f"on_stop({reason})")

    def on_failure(self, *_: Any) -> None:
        self.diary.append("on_failure")


class TrappingDiarist(Diarist):
    trap_exit = True


GO = Shutdown("go")

End: TypeAlias = Callable[[Actor, ActorRef[Any]], object]
"""How an actor is ended, by its parent or by way of it."""

ENDS: dict[str, tuple[End, list[str]]] = {
    "stop": (lambda parent, ref: ref.stop(), ["finished", "on_stop(normal)"]),
    "Stop": (lambda parent, ref: ref.tell("return Stop"), ["finished", "on_stop(shutdown: enough)"]),
    "exit": (lambda parent, ref: ref.exit(GO), ["cancelled", "on_stop(shutdown: go)"]),
    "end of its parent": (lambda parent, ref: parent.stop(), ["cancelled", "on_stop(shutdown: its parent ended)"]),
    "end of a linked one": (lambda parent, ref: inside(ref).other.exit(GO), ["cancelled", "on_stop(shutdown: go)"]),
    "crash": (lambda parent, ref: ref.tell("crash"), ["finished", "on_failure"]),
    "kill": (lambda parent, ref: ref.kill(), ["cancelled"]),
}


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        *((how, Diarist) for how in ENDS),
        *(
            (how, TrappingDiarist) for how in ENDS if how != "end of a linked one"
        ),  # to these that is a message, and no end
    ],
)
async def test_each_end_treats_the_handler_at_hand_and_the_hooks_as_the_table_says(
    how: str, kind: type[Diarist], busy: bool
) -> None:
    """Trapping or not: what one's parent sends is never trapped, and whatever ends an actor has its hook run."""
    end, expected = ENDS[how]
    diary: list[str] = []
    async with ActorSystem() as system:
        parent, other = await system.spawn(Does), await system.spawn(Does)
        diarist = await parent.call(lambda me: me.spawn(kind, diary))
        actor = inside(diarist)
        actor.other = other
        actor.link(other)
        if busy:
            diarist.tell("wait")
            await actor.begun.wait()
        parent.tell(lambda me: end(me, diarist) and None)
        if expected[0] == "finished":
            actor.go_on.set()
        await diarist.ended()
        await asyncio.sleep(0)
    assert diary == [line for line in expected if busy or line not in ("finished", "cancelled")]


async def test_an_exit_signal_ends_a_trapping_actor_only_if_it_comes_from_its_parent() -> None:
    async with ActorSystem() as system:
        parent = await system.spawn(Does)
        child = await parent.call(lambda me: me.spawn(Trapper))
        actor = inside(child)
        child.exit(Shutdown("from outside"))
        assert await actor.first(1) == [Exit(None, Shutdown("from outside"))]
        await parent.call(lambda me: child.exit(Shutdown("from your parent")))
        assert not child.is_alive()


async def test_a_plain_handler_is_the_sender_of_its_exit_signals() -> None:
    async with ActorSystem() as system:
        trapper, does = await system.spawn(Trapper), await system.spawn(Does)
        does.tell(lambda me: trapper.exit(Shutdown()))
        assert await inside(trapper).first(1) == [Exit(does, Shutdown())]


async def test_an_exit_from_another_thread_has_no_sender_whatever_actor_runs_meanwhile() -> None:
    async with ActorSystem() as system:
        trapper, does = await system.spawn(Trapper), await system.spawn(Does)

        def wait_for_a_thread(me: Actor) -> None:
            thread = threading.Thread(target=trapper.exit)
            thread.start()
            thread.join()

        does.tell(wait_for_a_thread)
        assert await inside(trapper).first(1) == [Exit(None, Shutdown())]


async def test_normal_is_ignored_from_others_and_ends_the_actor_that_sends_it_to_itself() -> None:
    async with ActorSystem() as system:
        does = await system.spawn(Does)
        does.exit(Normal())
        assert await does.call(lambda me: "alive") == "alive"
        does.tell(lambda me: me.actor_ref.exit(Normal()))
        assert await does.ended() == Normal()


class Bystander:
    """Is linked, watches, and waits for an answer; writes each of that down in the very step in which it is told."""

    def __init__(self, order: list[str], what: str, state: Callable[[], str]) -> None:
        self.order, self.what, self.state = order, what, state

    def _told(self, *_: Any) -> None:
        self.order.append(f"{self.what}, {self.state()}")

    fail = set = down = _linked_exit = _told

    def abandoned(self) -> bool:
        return False


@pytest.mark.parametrize("end", ["stop", "exit", "crash", "Stop"])
async def test_everything_happens_in_order(end: str) -> None:
    """Closed, the hook, name and group and timers freed, every request answered, children ended in reverse, and only then is it told."""
    order: list[str] = []

    class Child(Actor):
        def __init__(self, which: str) -> None:
            self.which = which

        def on_stop(self, reason: ExitReason) -> None:
            order.append(f"child {self.which}, {state()}")

    class Parent(Actor):
        async def on_start(self) -> None:
            self.later = Later()
            self.timer = self.send_after(3600.0, "late")
            self.join("group")
            for which in "abc":
                await self.spawn(Child, which)

        def on_receive(self, message: Any) -> Any:
            match message:
                case "put off":
                    return self.later
                case "crash":
                    raise ValueError
                case _:
                    return Stop()

        def on_stop(self, reason: ExitReason) -> None:
            order.append(f"hook, {state()}")

        def on_failure(self, *_: Any) -> None:
            self.on_stop(Normal())

    async with ActorSystem() as system:
        parent = await system.spawn(Parent, name="parent")
        timer = inside(parent).timer

        def state() -> str:
            held = {"name": "parent" in system._names, "group": "group" in tuple(system.groups), "timer": timer.active}
            kept = " ".join(what for what, still in held.items() if still)
            return f"{'open' if parent.is_alive() else 'closed'}: {kept or 'nothing kept'}"

        def bystander(what: str) -> Any:
            return Bystander(order, what, state)

        parent._monitor(system.next_token(), bystander("down"))
        cell = inside(parent)._cell
        cell.on_loop(cell._linked, bystander("exit"))
        parent.tell(Envelope("put off", bystander("deferred answered")))
        await eventually(lambda: cell.bonds.owed)
        assert state() == "open: name group timer"
        parent.stop() if end == "stop" else parent.tell(end)
        parent.tell(Envelope("behind it", bystander("queued answered")))
        if end == "exit":
            parent.exit()
        assert isinstance(await parent.ended(), Failure if end == "crash" else Normal | Shutdown)
    closed = "closed: nothing kept"
    assert order[0] == "hook, closed: name group timer"
    assert sorted(order[1:3]) == [f"deferred answered, {closed}", f"queued answered, {closed}"]
    assert order[3:6] == [f"child {which}, {closed}" for which in "cba"]
    assert sorted(order[6:]) == [f"down, {closed}", f"exit, {closed}"]


async def test_each_of_many_children_is_ended_before_its_elder() -> None:
    order: list[int] = []

    class Child(Actor):
        def __init__(self, which: int) -> None:
            self.which = which

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(0)
            order.append(self.which)

    class Parent(Actor):
        async def on_start(self) -> None:
            for which in range(50):
                await self.spawn(Child, which)

    async with ActorSystem() as system:
        parent = await system.spawn(Parent)
        parent.stop()
        await parent.ended()
    assert order == list(reversed(range(50)))


async def test_a_hook_that_fails_is_reported_and_stops_nothing() -> None:
    class Clumsy(Actor):
        def on_stop(self, reason: ExitReason) -> None:
            raise SystemExit("no")

    class AsyncClumsy(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(0)
            raise ValueError("no")

    async with ActorSystem() as system:
        for kind in (Clumsy, AsyncClumsy):
            clumsy = await system.spawn(kind, name="clumsy")
            clumsy.stop()
            assert isinstance(await clumsy.ended(), Failure)


@pytest.mark.parametrize("end", ["stop", "exit", "crash"])
def test_a_hook_that_takes_too_long_is_cut_off(end: str) -> None:
    """The end was no orderly one then: what was asked for is lost, as in OTP, where such a one is killed. A failure stays what it was."""

    class Slow(Actor):
        stop_timeout = 3.0
        cut_off = False

        def on_receive(self, message: Any) -> Any:
            raise ValueError("the first failure")

        async def on_stop(self, reason: ExitReason) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                Slow.cut_off = True
                raise

        async def on_failure(self, *_: Any) -> None:
            await self.on_stop(Normal())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with ActorSystem() as system:
            slow = await system.spawn(Slow)
            slow.tell("crash") if end == "crash" else getattr(slow, end)()
            reason = await slow.ended(60.0)
            assert loop.time() == pytest.approx(3.0)
            assert Slow.cut_off
            assert isinstance(reason, Failure)
            said = (
                ("ValueError", "the first failure") if end == "crash" else ("TimeoutError", "its last hook took longer")
            )
            assert (reason.type, reason.message[: len(said[1])]) == said

    virtually(main())


async def test_an_exit_does_not_disturb_a_hook_that_runs() -> None:
    hook = asyncio.Event()
    done: list[str] = []

    class Tidy(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            hook.set()
            await asyncio.sleep(0)
            done.append("tidy")

    system = ActorSystem()
    tidy = await system.spawn(Tidy)
    tidy.stop()
    await hook.wait()
    tidy.exit(Shutdown())
    await system.shutdown()
    assert done == ["tidy"]


async def test_a_kill_ends_a_hook_that_runs() -> None:
    hook = asyncio.Event()

    class Slow(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            hook.set()
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        slow = await system.spawn(Slow)
        slow.stop()
        await hook.wait()
        slow.kill()
        assert await slow.ended() == Killed()


@pytest.mark.parametrize("end", ["exit", "kill", "stop"])
async def test_an_actor_that_ends_before_its_asynchronous_handler_began_ends_at_once(end: str) -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder)
        hanging = await system.spawn(Hanging)
        inside(recorder).monitor(hanging)

        def send_and_end(me: Actor) -> None:
            hanging.tell("x")
            me.actor_ref.tell(lambda again: getattr(hanging, end)())

        if end == "stop":
            hanging.stop()
            hanging.tell("x")
        else:
            (await system.spawn(Does)).tell(send_and_end)
        [down] = await inside(recorder).first(1)
        assert down.reason == {"exit": Shutdown(), "kill": Killed(), "stop": Normal()}[end]


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
@pytest.mark.parametrize("how", ["told", "called", "async", "async called"])
async def test_whatever_a_handler_raises_ends_that_actor_alone(how: str, error: BaseException) -> None:
    def fail(me: Actor) -> Any:
        raise error

    async def fail_later(me: Actor) -> None:
        await asyncio.sleep(0)
        raise error

    async with ActorSystem() as system:
        echo, does, recorder = await system.spawn(Echo), await system.spawn(Does), await system.spawn(Recorder)
        inside(recorder).monitor(does)
        failing = fail_later if "async" in how else fail
        if "called" in how:
            with pytest.raises(ActorDied):
                await does.call(failing)
        else:
            does.tell(failing)
        [down] = await inside(recorder).first(1)
        assert isinstance(down.reason, Failure)
        assert down.reason.type.endswith(type(error).__name__)
        assert await echo.call("alive") == "alive"


# --- links and monitors ---


async def test_a_linked_actor_dies_of_the_others_reason_and_normal_does_not_spread() -> None:
    async with ActorSystem() as system:
        a, b, c = [await system.spawn(Does) for _ in range(3)]
        await a.call(lambda me: me.link(b))
        await b.call(lambda me: me.link(c))
        c.stop()
        await c.ended()
        assert await a.call(lambda me: "alive") == "alive"
        b.kill()
        assert await a.ended() == Killed()


async def test_a_trapping_actor_gets_one_exit_message_per_link() -> None:
    async with ActorSystem() as system:
        trapper, does = await system.spawn(Trapper), await system.spawn(Does)
        inside(trapper).link(does)
        inside(trapper).link(does)
        with pytest.raises(ActorDied):
            await does.call(lambda me: 1 / 0)
        inside(trapper).stop()
        await trapper.ended()
        assert system.dead_letters.count == 0


async def test_a_link_to_a_dead_actor_is_an_exit_signal_at_once() -> None:
    async with ActorSystem() as system:
        trapper, dead, does = await system.spawn(Trapper), await system.spawn(Does), await system.spawn(Does)
        dead.kill()
        inside(trapper).link(dead)
        assert await inside(trapper).first(1) == [Exit(dead, NoProc())]
        does.tell(lambda me: me.link(dead))
        assert await does.ended() == NoProc()


async def test_an_unlinked_actor_survives() -> None:
    async with ActorSystem() as system:
        a, b = await system.spawn(Does), await system.spawn(Does)
        await a.call(lambda me: me.link(b))
        await b.call(lambda me: me.unlink(a))
        b.kill()
        assert await a.call(lambda me: "alive") == "alive"


async def test_an_unlinked_child_may_crash_and_is_still_ended_with_its_parent() -> None:
    async with ActorSystem() as system:
        parent = await system.spawn(Does)
        crashing = await parent.call(lambda me: me.spawn(Does))
        staying = await parent.call(lambda me: me.spawn(Does))
        await parent.call(lambda me: me.unlink(crashing))
        crashing.kill()
        assert await parent.call(lambda me: "alive") == "alive"
        parent.stop()
        assert await staying.ended() == Shutdown("its parent ended")


async def test_a_child_that_crashes_takes_its_parent_along() -> None:
    async with ActorSystem() as system:
        parent = await system.spawn(Does)
        child = await parent.call(lambda me: me.spawn(Does))
        child.tell(lambda me: 1 / 0)
        assert isinstance(await parent.ended(), Failure)


async def test_each_monitor_fires_exactly_once() -> None:
    async with ActorSystem() as system:
        recorder, does = await system.spawn(Recorder), await system.spawn(Does)
        tokens = [inside(recorder).monitor(does) for _ in range(3)]
        does.kill()
        assert await inside(recorder).first(3) == [Down(token, does, Killed()) for token in tokens]


async def test_a_monitor_of_a_dead_actor_fires_at_once_with_noproc() -> None:
    async with ActorSystem() as system:
        recorder, does = await system.spawn(Recorder), await system.spawn(Does)
        does.kill()
        token = inside(recorder).monitor(does)
        assert await inside(recorder).first(1) == [Down(token, does, NoProc())]


async def test_what_an_actor_sent_before_its_end_arrives_before_its_down() -> None:
    async with ActorSystem() as system:
        recorder, does = await system.spawn(Recorder), await system.spawn(Does)
        inside(recorder).monitor(does)

        def last_words(me: Actor) -> None:
            recorder.tell("farewell")
            raise ValueError

        does.tell(last_words)
        first, second = await inside(recorder).first(2)
        assert first == "farewell"
        assert isinstance(second, Down)


async def test_after_a_demonitor_with_flush_no_down_comes_even_if_it_waits_in_the_mailbox() -> None:
    async with ActorSystem() as system:
        gate = asyncio.Event()

        class Watching(Recorder):
            async def watch(self, ref: ActorRef[Any]) -> None:
                token = self.monitor(ref)
                ref.kill()
                await asyncio.sleep(0)
                self.demonitor(token, flush=True)
                gate.set()

            def on_receive(self, message: Any) -> Any:
                return self.watch(message) if isinstance(message, ActorRef) else super().on_receive(message)

        watching = await system.spawn(Watching)
        watching.tell(await system.spawn(Does))
        await gate.wait()
        watching.tell("next")
        assert await inside(watching).first(1) == ["next"]
        assert system.dead_letters.count == 0


async def test_a_demonitored_death_makes_no_noise() -> None:
    async with ActorSystem() as system:
        recorder, does = await system.spawn(Recorder), await system.spawn(Does)
        inside(recorder).demonitor(inside(recorder).monitor(does))
        does.kill()
        recorder.tell("next")
        assert await inside(recorder).first(1) == ["next"]


async def test_a_link_to_a_name_is_to_whoever_has_it_now() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Does)
        b = await system.spawn(Does, name="b")
        await a.call(lambda me: me.link(system.ref("b")))
        b.kill()
        assert await a.ended() == Killed()


async def test_a_link_to_a_name_that_nobody_has_is_an_exit_signal() -> None:
    async with ActorSystem() as system:
        a = await system.spawn(Does)
        a.tell(lambda me: me.link(system.ref("nobody")))
        assert await a.ended() == NoProc()


async def test_a_chain_of_ten_thousand_linked_actors_dies_without_recursion() -> None:
    async with ActorSystem() as system:
        chain = [await system.spawn(Does) for _ in range(10_000)]
        for one, next_one in itertools.pairwise(chain):
            inside(one).link(next_one)
        chain[0].kill()
        await chain[-1].ended()
        assert not any(ref.is_alive() for ref in chain)


async def test_a_family_of_three_thousand_generations_ends_in_order() -> None:
    class Generation(Actor):
        async def on_receive(self, left: int) -> Any:
            if left:
                child = await self.spawn(Generation)
                child.tell(left - 1)
            else:
                all_born.set()

    all_born = asyncio.Event()
    async with ActorSystem() as system:
        (await system.spawn(Generation)).tell(3_000)
        await all_born.wait()
        await system.shutdown()


async def test_a_parent_that_dies_while_a_child_starts_leaves_no_child() -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    class Slow(Actor):
        async def on_start(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                over.set()

    class Parent(Actor):
        async def on_receive(self, message: Any) -> None:
            await self.spawn(Slow, name="slow")

    for end in ("kill", "exit"):
        begun.clear()
        over.clear()
        async with ActorSystem() as system:
            parent = await system.spawn(Parent)
            parent.tell("go")
            await begun.wait()
            getattr(parent, end)()
            await parent.ended()
            await over.wait()  # after a kill it ends in the background
            await asyncio.sleep(0)
            assert system.whereis("slow") is None


async def test_a_dead_parent_starts_no_child() -> None:
    class Late(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            with pytest.raises(StartFailed, match="has ended"):
                await self.spawn(Echo)

    async with ActorSystem() as system:
        late = await system.spawn(Late)
        late.stop()
        assert await late.ended() == Normal()


async def test_a_watcher_that_cannot_be_told_keeps_nobody_else_from_learning() -> None:
    class Broken:
        def down(self, token: int, ref: ActorRef[Any], reason: ExitReason) -> None:
            raise ValueError("broken")

    async with ActorSystem() as system:
        recorder, does = await system.spawn(Recorder), await system.spawn(Does)
        does._monitor(system.next_token(), Broken())
        inside(recorder).monitor(does)
        does.kill()
        assert len(await inside(recorder).first(1)) == 1


async def test_links_and_monitors_reach_across_systems_on_two_threads() -> None:
    ready: asyncio.Queue[ActorRef[Any]] = asyncio.Queue()
    here = asyncio.get_running_loop()
    over = threading.Event()

    async def there() -> None:
        async with ActorSystem("there") as system:
            for _ in range(2):
                here.call_soon_threadsafe(ready.put_nowait, await system.spawn(Does))
            await asyncio.to_thread(over.wait)

    thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(there())))
    try:
        async with ActorSystem("here") as system:
            watched, linked = await ready.get(), await ready.get()
            recorder, does = await system.spawn(Recorder), await system.spawn(Does)
            token = inside(recorder).monitor(watched)
            watched.kill()
            assert await inside(recorder).first(1) == [Down(token, watched, Killed())]
            await does.call(lambda me: me.link(linked))
            await linked.call(lambda me: None)
            linked.kill()
            assert await does.ended() == Killed()
    finally:
        over.set()
        await thread


# --- nothing is left unanswered ---


async def test_an_ask_that_races_a_stop_is_always_answered() -> None:
    async with ActorSystem() as system:
        refs: list[ActorRef[Any]] = []
        turn = threading.Barrier(2)
        answered = 0

        def ask() -> None:
            nonlocal answered
            for ref in refs:
                turn.wait(10)
                with contextlib.suppress(ActorDied):
                    ref.ask("x", timeout=10)
                answered += 1

        def stop() -> None:
            for ref in refs:
                turn.wait(10)
                ref.stop()

        for _ in range(ROUNDS // 2000):
            refs[:] = [await system.spawn(Echo) for _ in range(2000)]
            await asyncio.gather(asyncio.to_thread(ask), asyncio.to_thread(stop))
        assert answered == ROUNDS // 2000 * 2000


async def test_every_message_to_a_dead_actor_is_a_dead_letter_not_only_the_first() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        echo.kill()
        for n in range(3):
            echo.tell(n)
            await asyncio.sleep(0)
        assert system.dead_letters.by_reason == {"dead": 3}
        assert not await asyncio.to_thread(echo.stop().get, timeout=5)


class Lingering(Actor):
    """Ends when it is allowed to, and says so in a diary."""

    def __init__(self, diary: asyncio.Queue[str], which: str, go_on: asyncio.Event) -> None:
        super().__init__()
        self.diary, self.which, self.go_on = diary, which, go_on

    async def on_stop(self, reason: ExitReason) -> None:
        self.diary.put_nowait(f"{self.which} ends")
        await self.go_on.wait()
        self.diary.put_nowait(f"{self.which} ended")


class Elder(Actor):
    """Has two children that linger."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        self.args = args

    async def on_start(self) -> None:
        diary, go_on = self.args
        for which in ("first", "second"):
            await self.spawn(Lingering, diary, which, go_on, name=which)


LINGERED = ["second ends", "second ended", "first ends", "first ended"]


@pytest.mark.parametrize("stopped_before", [False, True])
async def test_a_kill_is_told_at_once_and_the_children_end_in_reverse_in_the_background(stopped_before: bool) -> None:
    diary: asyncio.Queue[str] = asyncio.Queue()
    go_on = asyncio.Event()
    async with ActorSystem() as system:
        elder, recorder = await system.spawn(Elder, diary, go_on, name="elder"), await system.spawn(Recorder)
        inside(recorder).monitor(elder)
        if stopped_before:
            elder.stop()
            assert await diary.get() == LINGERED[0]
        elder.kill()
        [down] = await inside(recorder).first(1)
        assert down.reason == Killed()
        assert await elder.ended() == Killed()
        await system.spawn(Echo, name="elder")
        if not stopped_before:
            assert await diary.get() == LINGERED[0]
        assert diary.empty()
        go_on.set()
        assert [await diary.get() for _ in LINGERED[1:]] == LINGERED[1:]
        assert len(inside(recorder).seen) == 1


async def test_a_shutdown_waits_for_the_children_that_a_killed_actor_left() -> None:
    diary: asyncio.Queue[str] = asyncio.Queue()
    go_on = asyncio.Event()
    async with ActorSystem() as system:
        elder = await system.spawn(Elder, diary, go_on)
        elder.kill()
        await elder.ended()
        system.loop.call_later(0.01, go_on.set)
    assert [diary.get_nowait() for _ in LINGERED] == LINGERED
    assert not system._top


async def test_the_parent_of_a_killed_actor_learns_of_it_when_the_names_of_its_family_are_free() -> None:
    diary: asyncio.Queue[str] = asyncio.Queue()
    go_on = asyncio.Event()

    class Grandparent(Trapper):
        async def on_start(self) -> None:
            self.elder = await self.spawn(Elder, diary, go_on)

    async with ActorSystem() as system:
        grandparent = inside(await system.spawn(Grandparent))
        grandparent.elder.kill()
        assert await grandparent.elder.ended() == Killed()
        assert not grandparent.seen
        go_on.set()
        assert await grandparent.first(1) == [Exit(grandparent.elder, Killed())]
        assert diary.qsize() == len(LINGERED)
        await system.spawn(Echo, name="first")
        await system.spawn(Echo, name="second")


async def test_monitors_from_two_systems_of_one_process_do_not_disturb_each_other() -> None:
    async with ActorSystem("a") as a, ActorSystem("b") as b:
        echo, near, far = await a.spawn(Echo), await a.spawn(Recorder), await b.spawn(Recorder)
        assert inside(near).monitor(echo) == inside(far).monitor(echo)
        near.kill()
        await near.ended()
        echo.kill()
        [down] = await inside(far).first(1)
        assert down.reason == Killed()


async def test_flushing_a_monitor_takes_back_its_down_alone() -> None:
    """A `Down` behind a thousand messages is taken back, and nothing else is."""
    heard: list[Any] = []

    class Watchman(Actor):
        token = 0

        async def on_receive(self, message: Any) -> Any:
            match message:
                case ActorRef():
                    self.token = self.monitor(message)
                case asyncio.Event():
                    await message.wait()
                    looked = self._cell.mailbox
                    assert looked is not None
                    before = len(looked)
                    self.demonitor(self.token, flush=True)
                    assert len(looked) == before
                case Down():
                    heard.append(message)

    go = asyncio.Event()
    async with ActorSystem() as system:
        watched, watchman = await system.spawn(Echo), await system.spawn(Watchman)
        await watchman.call(watched)
        watchman.tell(go)
        for number in range(1000):
            watchman.tell(number)
        watched.kill()
        await watched.ended()
        go.set()
        await watchman.call("all")
        assert heard == []

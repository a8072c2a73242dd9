"""What an operator does to a living actor: look at its state, replace it, hold it, follow it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.players import Echo, inside
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    DeadlineExceeded,
    Deadlock,
    Down,
    ExitReason,
    Killed,
    Refused,
    Shutdown,
    ThreadActor,
    TraceEvent,
)
from understudy.actors.reentrant import reentrant


class Stateful(Actor):
    """Counts its messages; runs a function that it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.seen: list[Any] = []
        self._secret = "mine"
        self.gate = asyncio.Event()
        self.ends: list[ExitReason] = []

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.count += 1
        self.seen.append(message)
        return self.count

    def on_stop(self, reason: ExitReason) -> None:
        self.ends.append(reason)


class Gated(Stateful):
    """Its handler waits at a gate."""

    async def on_receive(self, message: Any) -> Any:
        if message == "gate":
            await self.gate.wait()
        return super().on_receive(message)


class Threaded(ThreadActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.seen: list[Any] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.where: set[int] = set()

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        if message == "gate":
            self.begun.set()
            self.go.wait(10)
        self.count += 1
        self.seen.append(message)
        self.where.add(threading.get_ident())
        return self.count


class Sealed(Actor):
    """Shows a part of itself, and takes it back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = {"key": 1}

    def on_get_state(self) -> Any:
        return sorted(self.inner)

    def on_replace_state(self, state: Any) -> None:
        self.inner = dict.fromkeys(state, 2)


KINDS = pytest.mark.parametrize("kind", [Stateful, Gated, Threaded])


@KINDS
async def test_the_state_is_what_an_actor_has_in_public_and_a_list_in_it_is_a_copy(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        await ref.call("a")
        state = await system.get_state(ref)
        assert (state["count"], state["seen"]) == (1, ["a"])
        assert not any(name.startswith("_") for name in state)
        await ref.call("b")
        assert state["seen"] == ["a"]


@KINDS
async def test_a_replaced_state_is_what_the_next_message_finds(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        new = await system.replace_state(ref, lambda state: {**state, "count": 41})
        assert new["count"] == 41
        assert await ref.call("x") == 42


@KINDS
async def test_a_replacement_that_fails_leaves_everything_as_it_was(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        await ref.call("x")
        wrong: list[Callable[[Any], Any]] = [
            lambda state: 1 / 0,
            lambda state: "no dict",
            lambda state: {"_private": 1},
            lambda state: (_ for _ in ()).throw(SystemExit()),
        ]
        for function in wrong:
            with pytest.raises(CallError):
                await system.replace_state(ref, function)
        assert await ref.call("y") == 2


async def test_a_replacement_whose_last_attribute_cannot_be_set_is_undone() -> None:
    class Picky(Stateful):
        @property
        def fixed(self) -> int:
            return 1

    async with ActorSystem() as system:
        ref = await system.spawn(Picky)
        with pytest.raises(CallError, match="fixed"):
            await system.replace_state(ref, lambda state: {"count": 7, "fixed": 2})
        assert await ref.call("x") == 1


async def test_an_attribute_that_the_new_state_lacks_is_deleted() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        await system.replace_state(ref, lambda state: {name: state[name] for name in state if name != "ends"})
        assert "ends" not in await system.get_state(ref)
        await system.replace_state(ref, lambda state: {**state, "ends": []})


async def test_an_actor_may_say_itself_what_its_state_is() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Sealed)
        assert await system.get_state(ref) == ["key"]
        await system.replace_state(ref, lambda keys: [*keys, "more"])
        assert inside(ref).inner == {"key": 2, "more": 2}


async def test_a_request_overtakes_the_mailbox_and_waits_for_the_handler_at_hand() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Gated)
        for message in ("gate", "a", "b"):
            ref.tell(message)
        await asyncio.sleep(0)
        looking = asyncio.create_task(system.get_state(ref))
        await asyncio.sleep(0.01)
        assert not looking.done()
        inside(ref).gate.set()
        assert (await looking)["seen"] == ["gate"]
        assert await ref.call("c") == 4


async def test_requests_keep_their_own_order() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Gated)
        ref.tell("gate")
        await asyncio.sleep(0)
        requests = [
            asyncio.create_task(request)
            for request in (
                system.suspend(ref),
                system.replace_state(ref, lambda state: {**state, "count": 10}),
                system.resume(ref),
                system.get_state(ref),
            )
        ]
        await asyncio.sleep(0)
        ref.tell("after")
        inside(ref).gate.set()
        assert (await asyncio.gather(*requests))[3]["count"] == 10
        assert await ref.call("x") == 12


@KINDS
async def test_a_suspended_actor_takes_no_message_until_it_is_resumed(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        await system.suspend(ref)
        await system.suspend(ref)  # once is enough
        ref.tell("a")
        asking = asyncio.create_task(ref.call("b"))
        await asyncio.sleep(0.01)
        assert (await system.get_state(ref))["seen"] == []
        assert (system.info(ref).state, system.info(ref).mailbox) == ("suspended", 2)
        await system.resume(ref)
        await system.resume(ref)  # it goes already
        assert await asking == 2
        assert (await system.get_state(ref))["seen"] == ["a", "b"]
        assert system.info(ref).handled == 2


@KINDS
async def test_a_call_to_a_suspended_actor_ends_at_its_deadline_and_is_never_begun(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        await system.suspend(ref)
        with pytest.raises(DeadlineExceeded):
            await ref.call("late", timeout=0.01)
        await system.resume(ref)
        assert await ref.call("x") == 1


@KINDS
@pytest.mark.parametrize("end", ["exit", "kill", "shutdown"])
async def test_a_suspended_actor_can_be_ended_and_its_callers_are_answered(kind: Any, end: str) -> None:
    system = ActorSystem()
    ref = await system.spawn(kind)
    await system.suspend(ref)
    asking = asyncio.create_task(ref.call("x"))
    await asyncio.sleep(0.01)
    if end == "shutdown":
        await system.shutdown()
    else:
        ref.exit(Shutdown("enough")) if end == "exit" else ref.kill()
        assert await ref.ended(5) == (Shutdown("enough") if end == "exit" else Killed())
    with pytest.raises(ActorDied):
        await asking
    await system.shutdown()


async def test_the_last_hook_of_a_suspended_actor_runs_at_an_exit_and_a_stop_waits_its_turn() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        actor = inside(ref)
        await system.suspend(ref)
        ref.tell("x")
        ref.stop()
        await asyncio.sleep(0.01)
        assert ref.is_alive()
        ref.exit()
        await ref.ended()
        assert (actor.seen, actor.ends) == ([], [Shutdown()])


async def test_monitors_see_nothing_of_a_suspension() -> None:
    class Watching(Actor):
        def __init__(self, other: ActorRef[Any]) -> None:
            super().__init__()
            self.other = other
            self.downs: list[Down] = []

        def on_start(self) -> None:
            self.monitor(self.other)

        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Down):
                self.downs.append(message)
            return len(self.downs)

    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        watching = await system.spawn(Watching, ref)
        await system.suspend(ref)
        await system.resume(ref)
        assert await watching.call("how many?") == 0


async def test_a_thread_actor_finishes_its_message_before_it_is_suspended_and_does_errands_on_its_own_thread() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Threaded)
        actor = inside(ref)
        ref.tell("gate")
        ref.tell("next")
        await asyncio.to_thread(actor.begun.wait)
        holding = asyncio.create_task(system.suspend(ref))
        await asyncio.sleep(0.01)
        assert not holding.done()
        actor.go.set()
        await holding
        idents: list[int] = []

        def note(state: Any) -> Any:
            idents.append(threading.get_ident())
            return state

        await system.replace_state(ref, note)
        assert actor.seen == ["gate"]
        await system.resume(ref)
        assert await ref.call("x") == 3
        assert actor.where == set(idents)


async def test_a_suspension_that_nobody_waits_for_any_more_does_not_happen() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Gated)
        ref.tell("gate")
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await system.suspend(ref, timeout=0.01)
        inside(ref).gate.set()
        assert await ref.call("x") == 2


async def test_all_of_it_works_from_another_threads_loop() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(kind) for kind in (Stateful, Gated, Threaded)]

        async def elsewhere() -> None:
            for ref in refs:
                await system.suspend(ref)
                ref.tell("x")
                assert (await system.get_state(ref))["count"] == 0
                await system.resume(ref)
                assert await ref.call("y") == 2
                await system.replace_state(ref, lambda state: {**state, "count": 5})

        await asyncio.to_thread(asyncio.run, elsewhere())
        assert [await ref.call("z") for ref in refs] == [6, 6, 6]


@KINDS
async def test_a_dead_actor_is_a_clear_error(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        ref.kill()
        await ref.ended()
        for request in (system.get_state, system.suspend, system.resume):
            with pytest.raises(ActorDied, match="killed"):
                await request(ref)
        with pytest.raises(ActorDied, match="killed"):
            await system.replace_state(ref, lambda state: state)
        with pytest.raises(ActorDied, match="killed"):
            system.trace(ref)


@KINDS
async def test_a_request_that_waits_when_the_actor_dies_fails_with_its_reason(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        actor = inside(ref)
        if kind is Threaded:
            ref.tell("gate")
            await asyncio.to_thread(actor.begun.wait)
        else:
            ref.tell("gate" if kind is Gated else lambda me: me.gate.wait())
            await asyncio.sleep(0)
        looking = asyncio.create_task(system.get_state(ref))
        await asyncio.sleep(0.01)
        ref.kill()
        with pytest.raises(ActorDied, match="killed"):
            await looking
        if kind is Threaded:
            actor.go.set()


async def test_an_actor_that_asks_for_its_own_state_is_refused_at_once() -> None:
    class Curious(Actor):
        async def on_receive(self, message: Any) -> Any:
            with pytest.raises(Deadlock, match="waits for itself"):
                await self.system.get_state(self.actor_ref)
            return "refused"

    async with ActorSystem() as system:
        assert await (await system.spawn(Curious)).call("go") == "refused"


async def test_an_actor_may_look_at_another() -> None:
    class Curious(Actor):
        async def on_receive(self, message: Any) -> Any:
            return (await self.system.get_state(message))["count"]

    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        await ref.call("x")
        assert await (await system.spawn(Curious)).call(ref) == 1


# --- traces ---


def lines(events: list[TraceEvent]) -> list[str]:
    return [f"{event.kind} {event.what}" for event in events]


async def test_a_trace_shows_what_an_actor_receives_and_does_until_its_end() -> None:
    class Busy(Actor):
        async def on_start(self) -> None:
            self.trap_exit = True

        def on_receive(self, message: Any) -> Any:
            match message:
                case "refuse":
                    raise Refused("no")
                case "spawn":
                    return self.child()
                case "wait":
                    return self.wait()
                case "fail":
                    raise ValueError("password=hunter2")
            return None if message == "quiet" else message

        @reentrant
        async def wait(self) -> str:
            await asyncio.sleep(0)
            return "waited"

        async def child(self) -> None:
            self.link(await self.spawn(Echo))

    async with ActorSystem() as system:
        ref = await system.spawn(Busy)
        await ref.call("before")
        async with system.trace(ref) as trace:
            await ref.call(1)
            ref.tell("quiet")
            await ref.call("wait")
            with pytest.raises(Refused):
                await ref.call("refuse")
            await ref.call("spawn")
            ref.tell("fail")
            seen = [event async for event in trace]
        assert lines(seen)[:6] == [
            "received int", "replied int", "received str", "handled None", "received str", "replied str",
        ]  # fmt: skip
        assert lines(seen)[6:8] == ["received str", "refused Refused"]
        assert [event.kind for event in seen][8:] == ["received", "spawned", "handled", "received", "failed", "ended"]
        assert seen[0].detail == "1"
        assert "hunter2" not in str(seen)
        assert trace.dropped == 0


async def test_a_trace_shows_links() -> None:
    async with ActorSystem() as system:
        ref, other = await system.spawn(Stateful), await system.spawn(Echo)
        async with system.trace(ref) as trace:
            await ref.call(lambda me: me.link(other))
            await ref.call(lambda me: me.unlink(other))
        seen = lines([event async for event in trace])
        assert f"linked {other!r}" in seen
        assert f"unlinked {other!r}" in seen


@KINDS
async def test_a_closed_trace_leaves_nothing_behind(kind: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        await ref.call(1)
        plain = ref.receive  # type: ignore[attr-defined]
        async with system.trace(ref) as first, system.trace(ref) as second:
            await ref.call(2)
            assert ref.receive != plain  # type: ignore[attr-defined]
        await ref.call(3)
        assert ref.receive == plain  # type: ignore[attr-defined]
        assert not system.hooks._listeners
        for trace in (first, second):
            assert lines([event async for event in trace]) == ["received int", "replied int"]


async def test_a_slow_reader_loses_the_oldest_events_and_knows_how_many() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        async with system.trace(ref, limit=4) as trace:
            for number in range(10):
                await ref.call(number)
        assert trace.dropped == 16
        assert [event.detail for event in [event async for event in trace]] == ["8", "9", "9", "10"]


async def test_a_trace_is_read_in_another_thread() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        ready = threading.Event()

        async def read() -> list[str]:
            async with system.trace(ref) as trace:
                ready.set()
                return lines([event async for event in trace])

        reading = asyncio.create_task(asyncio.to_thread(asyncio.run, read()))
        await asyncio.to_thread(ready.wait)
        await ref.call("x")
        ref.stop()
        assert await reading == ["received str", "replied int", "ended normal"]


async def test_a_traced_handler_that_is_ended_before_it_began_is_no_loose_end() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Gated)
        async with system.trace(ref) as trace:
            ref.tell("gate")
            ref.exit()
            await ref.ended()
        assert lines([event async for event in trace])[-1] == "ended shutdown"


async def test_a_trace_wants_a_room_for_events() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Stateful)
        with pytest.raises(ValueError, match="from 1 up"):
            system.trace(ref, limit=0)

"""A router in front of a pool: who gets what, what a caller sees, and what becomes of messages while a worker is away."""

import asyncio
import contextlib
import logging
from collections import Counter
from typing import Any

import pytest

from tests.helpers import eventually
from tests.players import Does, inside
from tests.sides import Witness, sides
from tests.virtual import until, virtually
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Bounded,
    DeadLetter,
    DeadlineExceeded,
    Envelope,
    ExitReason,
    Failure,
    Killed,
    NoProc,
    Normal,
    Overloaded,
    Refused,
    Shutdown,
    StartFailed,
    ThreadActor,
)
from understudy.actors.deadlines import current_request
from understudy.supervisors import Child, Resize, Router, Supervisor, WhichChildren
from understudy.supervisors.routing import RouterCell, burden


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "understudy")


class Worker(Actor):
    """Answers with its name; does what it is told to do, for as long as it is told to."""

    def on_receive(self, message: Any) -> Any:
        match message:
            case "crash":
                raise ValueError("ordered")
            case float():
                return asyncio.sleep(message, self.name)
            case ("refuse", why):
                raise Refused(why)
        return self.name


class Notes(Worker):
    """Keeps a common book of who got what."""

    def __init__(self, book: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.book = book

    def on_receive(self, message: Any) -> Any:
        assert self.name is not None
        self.book.append((self.name, message))
        return super().on_receive(message)


class Busy(Worker):
    """Is at work until it may go on."""

    def __init__(self, go_on: asyncio.Event) -> None:
        super().__init__()
        self.go_on = go_on

    async def on_receive(self, message: Any) -> Any:
        await self.go_on.wait()
        return self.name


def worker(router: str, place: int, system: ActorSystem) -> ActorRef[Any]:
    found = system.whereis(f"{router}/{place}")
    assert found is not None
    return found


# --- who gets a message ---


async def test_round_robin_takes_one_after_the_other_tells_and_calls_together() -> None:
    book: list[tuple[str, Any]] = []
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Notes, (book,)), size=3, name="pool")
        for number in range(6):
            if number % 2:
                router.tell(number)
            else:
                await router.call(number)
        await router.call("last")
    assert sorted(book, key=str) == sorted([(f"pool/{n % 3}", n) for n in range(6)] + [("pool/0", "last")], key=str)


async def test_least_busy_takes_the_one_with_the_fewest_messages_the_one_at_hand_included() -> None:
    go_on = asyncio.Event()
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Busy, (go_on,)), size=3, by="least_busy", name="pool")
        workers: list[Any] = [worker("pool", place, system) for place in range(3)]
        workers[0].tell("mine")
        workers[0].tell("mine too")
        workers[2].tell("mine as well")
        await asyncio.sleep(0)
        assert [burden(each) for each in workers] == [2, 0, 1]
        for _ in range(6):
            router.tell("x")
        assert [burden(each) for each in workers] == [3, 3, 3]
        go_on.set()
        await router.call("x")


async def test_one_key_goes_to_one_place_also_after_a_restart_of_its_worker() -> None:
    def customer(message: Any) -> Any:
        return message[0] if isinstance(message, tuple) else message

    async with ActorSystem() as system:
        child = Child(Worker)
        router = await system.spawn(Router, child, size=4, by=customer, name="pool", intensity=10)
        homes = {key: await router.call((key, 1)) for key in range(0, 400, 4)}
        assert len(set(homes.values())) == 4
        for place in range(4):
            await asyncio.wait_for(_crash(worker("pool", place, system)), 5)
        await _all_running(router)
        assert {key: await router.call((key, 2)) for key in homes} == homes
        assert await asyncio.to_thread(router.ask, (8, "asked")) == homes[8]


async def test_a_broadcast_reaches_all_and_a_call_is_answered_with_all_answers() -> None:
    book: list[tuple[str, Any]] = []
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Notes, (book,)), size=3, by="broadcast", name="pool")
        router.tell("hello")
        names = ["pool/0", "pool/1", "pool/2"]
        assert await router.call("who") == names
        assert await asyncio.to_thread(router.ask, "who") == names
        assert Counter(message for _, message in book) == {"hello": 3, "who": 6}
        with pytest.raises(Refused, match="no"):
            await router.call(("refuse", "no"))
        with pytest.raises(DeadlineExceeded):
            await router.call(60.0, 0.01)


async def test_a_message_without_a_key_is_refused_and_nobody_fails_of_it() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=2, by=lambda message: message["key"], name="pool")
        router.tell("no dict")
        router.tell({"key": []})  # no key that could be looked up
        with pytest.raises(Refused, match=r"the key of a str could not be made: TypeError"):
            await router.call("no dict")
        with pytest.raises(Refused, match="the key of a str"):
            await asyncio.to_thread(router.ask, "no dict")
        assert system.dead_letters.by_reason == {"refused": 2}
        assert await router.call({"key": 1}) == "pool/1" or await router.call({"key": 1}) == "pool/0"


# --- what a caller sees ---


@pytest.mark.parametrize("by", ["round_robin", "least_busy", lambda message: 1])
async def test_a_caller_sees_the_worker_as_if_it_had_called_it(by: Any) -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=1, by=by, name="pool", intensity=10)
        assert await router.call("x") == "pool/0"
        with pytest.raises(Refused, match="not today"):
            await router.call(("refuse", "not today"))
        with pytest.raises(ActorDied) as died:
            await router.call("crash")
        await _all_running(router)
        with pytest.raises(DeadlineExceeded):
            await router.call(60.0, 0.01)
        assert isinstance(died.value.reason, Failure)
        assert "pool/0" in died.value.who


async def test_an_envelope_is_handed_on_as_it_is_with_its_reply_its_deadline_and_its_sender() -> None:
    seen: list[Envelope] = []

    class Sees(Actor):
        def on_receive(self, message: Any) -> Any:
            entry = self._cell.at_hand()
            assert entry is not None
            seen.append(entry)
            return "seen"

    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Sees), size=1)
        sender = await system.spawn(Does)
        reply = asyncio.get_running_loop().create_future()

        class Reply:
            set = reply.set_result
            fail = reply.set_exception

            @staticmethod
            def abandoned() -> bool:
                return reply.done()

        entry = Envelope("x", Reply, sender=sender, deadline=system.loop.time() + 5, trace=b"trace", flags=5)
        router.tell(entry)
        assert await reply == "seen"
        assert seen == [entry]


async def test_what_goes_to_all_goes_with_the_trace_and_the_flags_of_the_one_that_was_sent() -> None:
    seen: list[tuple[bytes, int]] = []

    class Notes(Actor):
        async def on_receive(self, message: Any) -> None:
            entry = current_request.get()
            assert entry is not None
            seen.append((entry.trace, entry.flags))

    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Notes), size=3, by="broadcast")
        router.tell(Envelope("x", trace=b"trace", flags=5))
        await eventually(lambda: len(seen) == 3)
        assert seen == [(b"trace", 5)] * 3


async def test_a_nested_call_through_a_router_inherits_the_deadline() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=2)
        caller = await system.spawn(Does)

        async def nested(_: Any) -> Any:
            await router.call(60.0, 60)

        with pytest.raises(DeadlineExceeded):
            await caller.call(nested, 0.02)
        assert caller.is_alive()


async def test_nothing_passes_through_the_router_itself() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=2, name="pool")
        began = router.handled  # type: ignore[attr-defined]
        for _ in range(10):
            router.tell("x")
            await router.call("x")
        await asyncio.to_thread(router.ask, "x")
        assert router.handled == began  # type: ignore[attr-defined]


async def test_messages_of_one_sender_to_one_place_stay_in_order() -> None:
    book: list[tuple[str, Any]] = []
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Notes, (book,)), size=3, by=lambda n: n % 7, name="pool")
        for number in range(200):
            router.tell(number)
        await asyncio.gather(*(router.call(number) for number in range(200, 207)))
    for place in range(3):
        mine = [message for name, message in book if name == f"pool/{place}"]
        assert mine == sorted(mine)
    assert sorted(message for _, message in book) == list(range(207))


async def test_workers_with_threads_of_their_own_are_routed_to_from_everywhere() -> None:
    class Blocking(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            return self.name

    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Blocking), size=2, by="least_busy", name="pool")
        answers = await asyncio.gather(*(asyncio.to_thread(router.ask, "x") for _ in range(20)))
        assert set(answers) <= {"pool/0", "pool/1"}
        assert await router.call("x") in answers


async def test_a_router_of_another_node_is_told_and_called_like_any_actor() -> None:
    async with sides("stage", "attic") as (stage, attic):
        await stage.system.spawn(Router, Child(Witness), size=1, name="witnesses")
        await stage.system.spawn(Router, Child(Worker), size=2, name="pool")
        await stage.system.spawn(Router, Child(Worker), size=2, by="broadcast", name="choir")
        pool = attic.links.named("stage", "pool")
        assert [await pool.call("x") for _ in range(3)] == ["pool/0", "pool/1", "pool/0"]
        assert await attic.links.named("stage", "choir").call("x") == ["choir/0", "choir/1"]
        attic.links.named("stage", "witnesses").tell("hello")
        assert await inside(worker("witnesses", 0, stage.system)).seen.get() == "hello"


# --- while a worker is away ---


async def _crash(ref: ActorRef[Any]) -> ExitReason:
    ref.tell("crash")
    return await ref.ended()


async def _all_running(router: ActorRef[Any]) -> None:
    """Wait until every place is filled: each question comes after what the supervisor had to do before."""
    for _ in range(10):
        if all(info.state == "running" for info in await router.call(WhichChildren())):
            return
    pytest.fail("the pool is not filled again")


async def test_the_crash_of_a_worker_restarts_that_one_and_no_other() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=3, name="pool")
        before = [worker("pool", place, system) for place in range(3)]
        await _crash(before[1])
        await _all_running(router)
        after = [worker("pool", place, system) for place in range(3)]
        assert [old is new for old, new in zip(before, after)] == [True, False, True]
        assert router.is_alive()


async def test_too_many_crashes_end_the_router_and_its_supervisor_starts_it_anew() -> None:
    async with ActorSystem() as system:
        pool = Child(Router, (Child(Worker),), {"size": 2, "intensity": 1}, name="pool")
        top = await system.spawn(Supervisor, [pool])
        first, named = system.whereis("pool"), system.ref("pool")
        assert first is not None
        for _ in range(2):
            await _crash(worker("pool", 0, system))
            await asyncio.sleep(0)
        reason = await first.ended(5.0)
        assert isinstance(reason, Shutdown)
        assert "too many restarts" in reason.detail
        await top.call(WhichChildren())  # answered after it has dealt with that end
        assert await named.call("x") in ("pool/0", "pool/1")
        assert system.whereis("pool") is not first


def test_what_comes_while_a_place_is_empty_goes_to_the_others_or_is_a_dead_letter_and_waits_for_one_that_is_starting() -> (
    None
):
    class Slow(Worker):
        """Its later lives take a second to start."""

        lives = 0

        async def on_start(self) -> None:
            Slow.lives += 1
            if Slow.lives > 2:
                await asyncio.sleep(1)

    async def main() -> None:
        async with ActorSystem() as system:
            turns = await system.spawn(Router, Child(Slow, name="a"), size=2, intensity=9)
            for ref in (worker("a", 0, system), worker("a", 1, system)):
                ref.kill()  # nobody is there before the supervisor has had its turn
            turns.tell("lost")
            assert system.dead_letters.by_reason == {"no worker": 1}
            with pytest.raises(ActorDied) as died:
                await turns.call("lost")
            assert died.value.reason == NoProc()
            await until(0.5)
            assert system.whereis("a/0") is not None  # it is being started: what is sent waits for it
            assert system.whereis("a/1") is None  # one after the other
            answer = asyncio.ensure_future(turns.call("waits"))
            await until(0.9)
            assert not answer.done()
            assert await answer == "a/0"
            assert system.loop.time() == 1.0
            assert system.dead_letters.count == 1

    virtually(main())


def test_a_key_waits_for_its_own_place_while_the_others_go_on() -> None:
    class Slow(Worker):
        lives = 0

        async def on_start(self) -> None:
            Slow.lives += 1
            if Slow.lives > 2:
                await asyncio.sleep(1)

    async def main() -> None:
        async with ActorSystem() as system:
            router = await system.spawn(Router, Child(Slow, name="a"), size=2, by=lambda key: key)
            keys = {await router.call(key): key for key in range(20)}
            await _crash(worker("a", 0, system))
            await asyncio.sleep(0.1)
            assert await router.call(keys["a/1"]) == "a/1"
            assert system.loop.time() == 0.1
            assert await router.call(keys["a/0"]) == "a/0"
            assert system.loop.time() == 1.0

    virtually(main())


async def test_what_waited_in_a_dead_workers_mailbox_is_answered_or_a_dead_letter() -> None:
    async with ActorSystem() as system:
        go_on = asyncio.Event()
        router = await system.spawn(Router, Child(Busy, (go_on,)), size=1, name="pool")
        calls = [asyncio.ensure_future(router.call(number, 60)) for number in range(3)]
        await asyncio.sleep(0)
        router.tell("told")
        worker("pool", 0, system).kill()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ActorDied] * 3
        assert all(outcome.reason == Killed() for outcome in outcomes if isinstance(outcome, ActorDied))
        assert system.dead_letters.by_reason == {"dead": 1}


async def test_a_broadcast_to_a_place_that_is_empty_is_a_dead_letter_and_fails_a_call() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=3, by="broadcast", name="pool")
        worker("pool", 1, system).kill()
        router.tell("x")
        assert system.dead_letters.by_reason == {"no worker": 1}
        worker("pool", 2, system).kill()
        with pytest.raises(ActorDied) as died:
            await router.call("x")
        assert died.value.reason == NoProc()


async def test_a_full_worker_is_told_to_the_sender_and_keeps_a_broadcast_from_nobody() -> None:
    go_on = asyncio.Event()

    class Small(Busy):
        mailbox = Bounded(1)

    async with ActorSystem() as system:
        turns = await system.spawn(Router, Child(Small, (go_on,)), size=2, name="turns")
        choir = await system.spawn(Router, Child(Small, (go_on,)), size=2, by="broadcast", name="choir")
        for _ in range(2):
            turns.tell("x")
        worker("choir", 0, system).tell("x")
        with pytest.raises(Overloaded):
            turns.tell("x")
        with pytest.raises(Overloaded):
            await turns.call("x")
        choir.tell("x")
        assert system.dead_letters.by_reason == {"overloaded": 1}
        assert len(worker("choir", 1, system).mailbox) == 1  # type: ignore[attr-defined]
        with pytest.raises(Overloaded):
            await choir.call("x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # those before are at hand now
        for _ in range(4):
            with contextlib.suppress(Overloaded):
                turns.tell("x")
        offered = asyncio.ensure_future(turns.offer("waits"))
        all_offered = asyncio.ensure_future(choir.offer("waits"))
        await asyncio.sleep(0)
        assert not offered.done()
        go_on.set()
        await asyncio.gather(offered, all_offered)
        assert await turns.call("x")
        assert system.dead_letters.count == 1


async def test_a_full_worker_that_is_let_go_handles_what_it_has() -> None:
    go_on, handled = asyncio.Event(), asyncio.Queue[Any]()

    class Small(Busy):
        mailbox = Bounded(1)

        async def on_receive(self, message: Any) -> Any:
            await super().on_receive(message)
            handled.put_nowait(message)

    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Small, (go_on,)), size=2, name="pool")
        worker("pool", 1, system).tell("full")
        resized = asyncio.ensure_future(router.call(Resize(1)))
        await asyncio.sleep(0)
        go_on.set()
        assert await resized == 1
        assert handled.get_nowait() == "full"


async def test_what_waited_for_a_starting_router_and_finds_no_room_is_answered_or_a_dead_letter() -> None:
    go_on = asyncio.Event()

    class Small(Busy):
        mailbox = Bounded(1)

        async def on_start(self) -> None:
            await go_on.wait()

    async with ActorSystem() as system:
        starting = asyncio.ensure_future(system.spawn(Router, Child(Small, (go_on,)), size=1, name="pool"))
        await asyncio.sleep(0)
        router = system.ref("pool")
        for _ in range(3):
            router.tell("x")
        asked = asyncio.ensure_future(router.call("x"))
        await asyncio.sleep(0)
        go_on.set()
        await starting
        with pytest.raises(Overloaded):
            await asked
        assert system.dead_letters.by_reason == {"overloaded": 2}


async def test_an_offer_to_an_empty_place_fails_at_once() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=1, by=lambda message: message, name="pool")
        worker("pool", 0, system).kill()
        with pytest.raises(ActorDied):
            await router.offer("x")
        with pytest.raises(Refused, match="the key"):
            await router.offer([])
        router.stop()
        await router.ended()
        with pytest.raises(ActorDied):
            await router.offer("x")


async def test_a_dead_router_is_as_dead_as_any_actor() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=2, name="pool")
        workers = [worker("pool", place, system) for place in range(2)]
        router.stop()
        assert await router.ended() == Normal()
        assert not any(ref.is_alive() for ref in workers)
        router.tell("x")
        with pytest.raises(ActorDied):
            await router.call("x")
        with pytest.raises(ActorDied):
            await asyncio.to_thread(router.ask, "x")
        assert system.dead_letters.by_reason == {"dead": 1}
        assert await system.spawn(Router, Child(Worker), size=2, name="pool")


async def test_a_router_that_ends_gives_its_workers_their_time() -> None:
    ends: list[str] = []

    class Tidy(Worker):
        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(0.01)
            ends.append(str(self.name))

    async with ActorSystem() as system:
        pool = Child(Router, (Child(Tidy),), {"size": 3}, name="pool")
        top = await system.spawn(Supervisor, [pool])
        top.stop()
        await top.ended()
    assert ends == ["pool/2", "pool/1", "pool/0"]


# --- its own business ---


async def test_a_router_grows_and_shrinks() -> None:
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Worker), size=1, name="pool")
        assert await router.call(Resize(3)) == 3
        assert {await router.call("x") for _ in range(6)} == {"pool/0", "pool/1", "pool/2"}
        assert [info.id for info in await router.call(WhichChildren())] == ["pool/0", "pool/1", "pool/2"]
        assert await router.call(Resize(1)) == 1
        assert [info.id for info in await router.call(WhichChildren())] == ["pool/0"]
        assert system.whereis("pool/1") is None
        router.tell(Resize(2))
        assert await router.call(Resize(2)) == 2
        for wrong in (0, -1, 2.0, None):
            with pytest.raises(Refused, match="count of workers"):
                await router.call(Resize(wrong))  # type: ignore[arg-type]


async def test_a_worker_that_is_let_go_handles_what_it_has_and_gets_no_more() -> None:
    go_on = asyncio.Event()
    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Busy, (go_on,)), size=2, name="pool")
        calls = [asyncio.ensure_future(router.call(number)) for number in range(6)]
        await asyncio.sleep(0)
        resized = asyncio.ensure_future(router.call(Resize(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.ensure_future(router.call("late"))
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*calls) == ["pool/0", "pool/1"] * 3
        assert await late == "pool/0"
        assert await resized == 1
        assert system.whereis("pool/1") is None
        assert system.dead_letters.count == 0


def test_a_worker_that_does_not_come_to_an_end_is_ended_when_its_shutdown_time_is_up() -> None:
    async def main() -> None:
        async with ActorSystem() as system:
            router = await system.spawn(Router, Child(Worker, shutdown=2.0), size=2, name="pool")
            retired = worker("pool", 1, system)
            retired.tell(1000.0)
            await asyncio.sleep(0)
            assert await router.call(Resize(1)) == 1
            assert system.loop.time() == 2.0
            assert not retired.is_alive()

    virtually(main())


async def test_a_pool_that_cannot_grow_stays_as_it_was() -> None:
    class Shy(Worker):
        def on_start(self) -> None:
            if self.name == "pool/3":
                raise ValueError("too many of us")

    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Shy), size=2, name="pool")
        with pytest.raises(Refused, match="too many of us"):
            await router.call(Resize(5))
        assert [info.id for info in await router.call(WhichChildren())] == ["pool/0", "pool/1"]
        assert await router.call(Resize(3)) == 3


async def test_routing_goes_on_while_the_router_and_its_supervisor_are_at_work() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Worker):
        async def on_start(self) -> None:
            if self.name == "pool/2":
                started.set()
                await go_on.wait()

    async with ActorSystem() as system:
        router = await system.spawn(Router, Child(Slow), size=2, name="pool")
        resized = asyncio.ensure_future(router.call(Resize(3)))
        await started.wait()
        assert [await router.call("x") for _ in range(2)] == ["pool/0", "pool/1"]
        go_on.set()
        assert await resized == 3


async def test_the_names_of_workers_are_those_of_their_spec_or_their_router_or_its_own() -> None:
    async with ActorSystem() as system:
        nameless: Any = await system.spawn(Router, Child(Worker), size=1)
        assert isinstance(nameless, RouterCell)
        assert await nameless.call("x") == f"router-{nameless.id}/0"
        named = await system.spawn(Router, Child(Worker), size=1, name="outer")
        assert await named.call("x") == "outer/0"
        inner = await system.spawn(Router, Child(Worker, name="inner"), size=1, name="other")
        assert await inner.call("x") == "inner/0"
        with pytest.raises(StartFailed, match="inner/0"):
            await system.spawn(Router, Child(Worker, name="inner"), size=1)
        assert await inner.call("x") == "inner/0"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"size": 0}, "count of workers from 1 up"),
        ({"size": "4"}, "count of workers from 1 up"),
        ({"by": "random"}, "round_robin, least_busy, broadcast"),
        ({"by": None}, "round_robin, least_busy, broadcast"),
        ({"worker": Worker}, "is a Child"),
        ({"worker": Child(Worker, restart="transient")}, "permanent, not transient"),
        ({"intensity": -1}, "intensity"),
    ],
)
async def test_a_router_that_cannot_be_meant_does_not_start(options: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {"worker": Child(Worker), "size": 2} | options
    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match=why):
            await system.spawn(Router, given.pop("worker"), **given)
        assert not system._top


async def test_what_comes_while_a_router_starts_waits_and_goes_out_in_order() -> None:
    go_on = asyncio.Event()
    book: list[tuple[str, Any]] = []

    class Late(Notes):
        async def on_start(self) -> None:
            await go_on.wait()

    async with ActorSystem() as system:
        starting = asyncio.ensure_future(system.spawn(Router, Child(Late, (book,)), size=1, name="pool"))
        await asyncio.sleep(0)
        router = system.ref("pool")
        for number in range(3):
            router.tell(number)
        asked = asyncio.ensure_future(router.call("asked"))
        mine = asyncio.ensure_future(router.call(WhichChildren()))
        foreign = asyncio.create_task(asyncio.to_thread(router.ask, "from a thread"))
        await asyncio.sleep(0)
        assert not book
        go_on.set()
        await starting
        router.tell(3)
        assert await asked == "pool/0"
        assert await foreign == "pool/0"
        assert [info.id for info in await mine] == ["pool/0"]
        assert [message for _, message in book if message != "from a thread"] == [0, 1, 2, "asked", 3]


async def test_a_worker_that_fails_to_start_fails_the_router_and_ends_the_others() -> None:
    class Shy(Worker):
        def on_start(self) -> None:
            if self.name == "pool/2":
                raise ValueError("not me")

    async with ActorSystem() as system:
        with pytest.raises(StartFailed, match="not me"):
            await system.spawn(Router, Child(Shy), size=4, name="pool")
        assert not system._top
        assert not system._names


async def test_what_is_told_to_a_router_by_a_subscriber_while_it_opens_goes_to_a_worker_too() -> None:
    book: list[tuple[str, Any]] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Hesitant(Notes):
        async def on_start(self) -> None:
            begun.set()
            await go_on.wait()

    async with ActorSystem() as system:
        ref = system.ref("pool")
        system.hooks.subscribe(DeadLetter, lambda letter: ref.tell({"key": "of the subscriber"}))
        child = Child(Hesitant, (book,))
        starting = asyncio.create_task(
            system.spawn(Router, child, size=2, by=lambda message: message["key"], name="pool")
        )
        await begun.wait()
        ref.tell({"no key": "refused, a dead letter while the router opens"})
        ref.tell({"key": "after it"})
        go_on.set()
        await starting
        await eventually(lambda: len(book) == 2)
    assert sorted(message["key"] for _, message in book) == ["after it", "of the subscriber"]

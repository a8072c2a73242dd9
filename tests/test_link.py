"""Links: a remote actor is told, called, watched, linked and ended exactly like a local one, and nothing is lost in silence."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from tests.helpers import eventually
from tests.players import Hanging, Recorder, inside
from tests.sides import Add, Counter, Faulty, Misbehave, PassOn, Side, Total, Who, sides
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    Bounded,
    CallError,
    DeadLetter,
    DeadlineExceeded,
    Down,
    Envelope,
    Exit,
    ExitReason,
    Failure,
    Killed,
    NoConnection,
    NodeDown,
    NoProc,
    Normal,
    NotRegistered,
    Overloaded,
    Refused,
    Request,
    Shutdown,
    ThreadActor,
    message,
)
from understudy.actors.deadlines import current_request
from understudy.actors.replies import LoopReply
from understudy.transport import RemoteRef, TooLarge
from understudy.transport.frames import Peer
from understudy.transport.link import OUTBOX_LIMIT
from understudy.transport.wire import ITEM_LIMIT


@message("link.note")
class Note:
    text: str


@message("link.wait")
class Wait(Request[str]):
    pass


class Narrow(Hanging):
    """Handles its first message for ever; one more may wait."""

    mailbox = Bounded(1)


class Sleeper(Actor):
    """Answers Wait only when told Note; counts what it began."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.awake = asyncio.Event()

    async def on_receive(self, message: Any) -> Any:
        match message:
            case Wait():
                self.begun += 1
                await self.awake.wait()
                return "slept"
            case Total():
                return self.begun
            case _:
                return self.unhandled(message)


@message("link.keep")
class Keep(Request[None]):
    ref: ActorRef[Any]


@message("link.kept")
class Kept(Request[Any]):
    pass


class Keeper(Actor):
    """Keeps a reference, and gives it back."""

    kept: Any = None

    def on_receive(self, message: Any) -> Any:
        match message:
            case Keep(ref):
                self.kept = ref
                return None
            case _:
                return self.kept


class Marked(Actor):
    """Answers with what came beside the message."""

    async def on_receive(self, message: Any) -> Any:
        entry = current_request.get()
        assert entry is not None
        return [entry.trace, entry.flags, entry.sender]


# --- talking ---


async def test_a_remote_actor_is_told_and_called_like_a_local_one() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        for _ in range(1_000):
            counter.tell(Add(2))
        assert await counter.call(Total()) == 2_000


async def test_trace_and_flags_cross_as_they_are_and_a_call_hands_on_the_trace_of_the_request_at_hand() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Marked, name="marked")
        marked: Any = a.links.named("b", "marked")
        counter = await a.system.spawn(Counter)
        for trace in (b"\x00 a trace \xff", b""):
            answer = asyncio.get_running_loop().create_future()
            counter.tell(Envelope(PassOn(marked, Total(), call=True), LoopReply(answer), trace=trace))
            assert await answer == [trace, 0, counter]
        link, answer = marked.link, asyncio.get_running_loop().create_future()
        link.calls.ask(marked, Total(), LoopReply(answer), None, counter, b"t", 0b1010)  # nothing sets flags yet
        assert await answer == [b"t", 0b1010, counter]


async def test_errors_cross_with_their_reasons_and_a_refusal_leaves_the_callee_alive() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        with pytest.raises(Refused, match="not today"):
            await counter.call(Misbehave("refuse"))
        with pytest.raises(Refused, match="does not know Note"):
            await counter.call(Note("?"))
        with pytest.raises(ActorDied) as died:
            await counter.call(Misbehave("boom"))
        assert isinstance(died.value.reason, Failure)
        assert died.value.reason.message == "boom"
        assert died.value.reason.trace[-1][2] == "Counter.on_receive"


async def test_a_call_to_a_dead_actor_fails_at_once() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        there: ActorRef[Any] = await a.links.named("b", "counter").call(Who())
        ref.kill()
        for dead in (there, a.links.named("b", "counter"), a.links.named("b", "nobody")):
            with pytest.raises(ActorDied) as died:
                await dead.call(Total())
            assert died.value.reason == NoProc()
            assert not isinstance(died.value, NodeDown)


async def test_a_tell_to_a_dead_actor_is_a_dead_letter_where_it_died() -> None:
    async with sides("a", "b") as (a, b):
        letters: list[DeadLetter] = []
        b.system.hooks.subscribe(DeadLetter, letters.append)
        a.links.named("b", "nobody").tell(Note("lost"))
        await eventually(lambda: letters)
        assert letters[0].message == Note("lost")
        assert letters[0].reason == "no such actor"


async def test_a_node_nobody_knows_takes_no_call_and_no_tell() -> None:
    async with sides("a") as (a,):
        engine = a.links.named("nowhere", "engine")
        engine.tell(Note("x"))
        assert a.system.dead_letters.count == 1
        with pytest.raises(NodeDown, match="no node 'nowhere' is up"):
            await engine.call(Wait())
        witness, seen = await a.witness()
        witness.tell(lambda me: me.monitor(engine) and None)
        down = await seen.get()
        assert isinstance(down, Down)
        assert isinstance(down.reason, NoConnection)


async def test_plain_values_are_messages_too() -> None:
    class Echo(Actor):
        def on_receive(self, message: Any) -> Any:
            return message

    async with sides("a", "b") as (a, b):
        await b.system.spawn(Echo, name="echo")
        assert await a.links.named("b", "echo").call({"n": [1, 2.5, None, b"x"]}) == {"n": [1, 2.5, None, b"x"]}


async def test_what_may_not_cross_is_refused_at_the_sender() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        with pytest.raises(NotRegistered, match="object may not cross"):
            counter.tell(object())
        with pytest.raises(NotRegistered, match="object may not cross"):
            await counter.call([object()])
        with pytest.raises(TooLarge, match="split it"):
            counter.tell(b"x" * (1 << 20))
        with pytest.raises(TooLarge, match="split it"):
            await counter.call(b"x" * (1 << 20))
        with pytest.raises(NotRegistered, match="the reply"):
            await counter.call(Misbehave("reply with an object"))
        assert await counter.call(Total()) == 0


async def test_a_large_message_passes_beside_small_ones_in_order() -> None:
    class Sizes(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        def on_receive(self, message: Any) -> Any:
            if isinstance(message, bytes):
                self.sizes.append(len(message))
                return None
            return self.sizes

    async with sides("a", "b") as (a, b):
        await b.system.spawn(Sizes, name="sizes")
        ref = a.links.named("b", "sizes")
        expected = [10, 900_000, 10, 70_000, 70_000, 1_000_000, 1]
        for size in expected:
            ref.tell(b"x" * size)
        assert await ref.call(None) == expected


async def test_a_message_class_the_receiver_does_not_have_is_reported_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        assert await counter.call(Total()) == 0
        [link] = b.links._links.values()
        with caplog.at_level(logging.ERROR, "understudy.transport"):
            counter.tell(Note("known to both"))
            assert await counter.call(Total()) == 0
            # The same class, as if `b` had never imported its module.
            for code, unpack in tuple(link.delivery._decoder.unpack.items()):
                if code and unpack([0, 0, code, "x"]) == Note("x"):
                    del link.delivery._decoder.unpack[code]
                    link.delivery._decoder.define([9, code, "another.version:Note", ["text"]])
            counter.tell(Add(1))
            counter.tell(Note("unknown"))
            counter.tell(Add(1))
            with pytest.raises(NotRegistered, match=r"another\.version:Note.*import"):
                await counter.call(Note("unknown"))
        assert await counter.call(Total()) == 2
        assert b.system.dead_letters.by_reason["unreadable"] == 1
        assert "another.version:Note" in caplog.text


async def test_a_request_that_waited_too_long_is_dropped_unprocessed() -> None:
    async with sides("a", "b") as (a, b):
        made = await b.system.spawn(Sleeper, name="sleeper")
        sleeper = a.links.named("b", "sleeper")
        assert isinstance(sleeper, RemoteRef)
        loop = asyncio.get_running_loop()
        answers = [loop.create_future(), loop.create_future()]
        for answer, remaining in zip(answers, (5.0, 0.0)):
            a.meets(b).calls.ask(sleeper, Wait(), LoopReply(answer), remaining)
        await eventually(lambda: len(b.meets(a).delivery._answers) == 2)
        made.actor.awake.set()  # type: ignore[attr-defined]
        assert await answers[0] == "slept"
        with pytest.raises(DeadlineExceeded, match="before <Sleeper"):
            await answers[1]
        assert await sleeper.call(Total()) == 1


async def test_a_call_that_is_not_answered_in_time_raises_at_the_caller() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Sleeper, name="sleeper")
        with pytest.raises(DeadlineExceeded, match=r"'sleeper' at b.*within 0\.1 s"):
            await a.links.named("b", "sleeper").call(Wait(), timeout=0.1)


async def test_what_is_left_of_a_deadline_crosses_with_the_nested_call() -> None:
    async with sides("a", "b", "c") as (a, b, c):
        await c.system.spawn(Sleeper, name="sleeper")
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        with pytest.raises(DeadlineExceeded):
            await counter.call(PassOn(a.links.named("c", "sleeper"), Wait(), call=True, timeout=60.0), timeout=0.1)
        assert await counter.call(Total()) == 0  # it was the request that ended, not the actor


async def test_a_cancelled_request_that_has_not_begun_is_dropped() -> None:
    async with sides("a", "b") as (a, b):
        made = await b.system.spawn(Sleeper, name="sleeper")
        sleeper = a.links.named("b", "sleeper")
        first = asyncio.ensure_future(sleeper.call(Wait()))
        second = asyncio.ensure_future(sleeper.call(Wait()))
        await eventually(lambda: len(b.links.to(a.links.me).delivery._answers) == 2)
        second.cancel()
        await eventually(lambda: len(b.links.to(a.links.me).delivery._answers) == 1)
        made.actor.awake.set()  # type: ignore[attr-defined]
        assert await first == "slept"
        assert await sleeper.call(Total()) == 1


# --- references ---


async def test_references_in_messages_come_home_as_the_actor_itself_and_travel_to_third_nodes() -> None:
    async with sides("a", "b", "c") as (a, b, c):
        mine = await a.system.spawn(Counter)
        await b.system.spawn(Counter, name="b")
        await c.system.spawn(Counter, name="c")
        at_b, at_c = a.links.named("b", "b"), a.links.named("c", "c")
        there = await at_b.call(Who())
        assert isinstance(there, RemoteRef)
        assert there == await at_b.call(Who())
        assert there.address.node == "b"
        # a asks b to ask c to tell a's own actor.
        await at_b.call(PassOn(at_c, PassOn(mine, Add(7)), call=True))
        await eventually_total(mine, 7)
        # b's reference, through c, is b's actor.
        await at_c.call(PassOn(there, Add(3)))
        await eventually_total(there, 3)

        class Echo(Actor):
            def on_receive(self, message: Any) -> Any:
                return message

        await b.system.spawn(Echo, name="echo")
        assert await a.links.named("b", "echo").call(mine) is mine
        assert await a.links.named("b", "echo").call(a.system.ref("x")) == a.system.ref("x")
        assert await a.links.named("b", "echo").call(at_c) == at_c


async def eventually_total(ref: ActorRef[Any], total: int) -> None:
    async with asyncio.timeout(10):  # seconds; a local call hands over at once, however far behind the network is
        while await ref.call(Total()) != total:  # noqa: ASYNC110 - it may live on another node, which tells nobody
            await asyncio.sleep(0.001)


async def test_a_name_is_resolved_at_each_use_and_an_address_never_comes_back() -> None:
    async with sides("a", "b") as (a, b):
        first = await b.system.spawn(Counter, name="counter")
        by_name = a.links.named("b", "counter")
        by_address = await by_name.call(Who())
        first.kill()
        with pytest.raises(ActorDied):
            await by_name.call(Total())
        await b.system.spawn(Counter, name="counter")
        assert await by_name.call(Total()) == 0
        with pytest.raises(ActorDied):
            await by_address.call(Total())


async def test_an_exported_actor_is_forgotten_when_it_dies() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        there = await a.links.named("b", "counter").call(Who())
        assert list(b.links.exports.actors) == [ref.address.id]
        there.kill()
        await eventually(lambda: not b.links.exports.actors)


async def test_a_reference_that_comes_back_is_the_one_that_was_sent_though_its_actor_is_dead() -> None:
    """`keep` stands for a registry by reference: what died elsewhere has to be found in it."""
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Keeper, name="keeper")
        keeper = a.links.named("b", "keeper")
        mine = await a.system.spawn(Counter)
        stranger = RemoteRef[Any](a.links.to(a.links.me), 1 << 40)  # whom nobody here remembers
        registry = {mine: "mine", stranger: "stranger"}
        await keeper.call(Keep(mine))
        there = await b.system.ref("keeper").call(Kept())
        await mine.stop()
        await eventually(lambda: not a.links.exports.actors)
        back = await keeper.call(Kept())
        assert back is mine
        assert registry[back] == "mine"
        with pytest.raises(ActorDied):
            await back.call(Total())
        # sent once more, dead as it is, it is still the same on both nodes
        await keeper.call(Keep(mine))
        assert await keeper.call(Kept()) is mine
        again = await b.system.ref("keeper").call(Kept())
        assert (again, hash(again)) == (there, hash(there))
        await keeper.call(Keep(stranger))
        assert registry[await keeper.call(Kept())] == "stranger"
        await eventually(lambda: not a.links.exports.actors)


async def test_of_a_dead_actor_whose_reference_nobody_has_nothing_is_kept() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Keeper, name="keeper")
        keeper = a.links.named("b", "keeper")
        ref = await a.system.spawn(Counter)
        number, cell = ref.address.id, weakref.ref(ref)
        await keeper.call(Keep(ref))
        await ref.stop()
        del ref
        gc.collect()
        await eventually(lambda: cell() is None)
        assert not a.links.exports.actors
        assert a.links.exports.dead(number) is None
        first, second = await keeper.call(Kept()), await keeper.call(Kept())
        assert first == second
        assert first.address.id == number


async def test_nobody_can_guess_an_id_that_was_never_sent() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        guess: RemoteRef[Any] = RemoteRef(a.meets(b), ref.address.id)
        with pytest.raises(ActorDied):
            await guess.call(Total())
        guess.kill()
        assert await a.links.named("b", "counter").call(Total()) == 0


# --- life and death ---


async def test_a_monitor_fires_once_when_the_remote_actor_dies_with_its_reason() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        there = await a.links.named("b", "counter").call(Who())
        witness, seen = await a.witness()
        token = await witness.call(lambda me: me.monitor(there))
        second = await witness.call(lambda me: me.monitor(there))
        await witness.call(lambda me: me.demonitor(second))
        await there.call(Total())
        ref.exit(Shutdown("bye"))
        assert await seen.get() == Down(token, there, Shutdown("bye"))
        late = await witness.call(lambda me: me.monitor(there))
        assert await seen.get() == Down(late, there, NoProc())
        assert seen.empty()


async def test_a_dead_watcher_watches_no_more() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        witness, _ = await a.witness()
        await witness.call(lambda me: me.monitor(a.links.named("b", "counter")) and None)
        await eventually(lambda: ref.bonds is not None and ref.bonds.watchers)  # type: ignore[attr-defined]
        witness.kill()
        await eventually(lambda: not ref.bonds.watchers)  # type: ignore[attr-defined]


@pytest.mark.parametrize("by_name", [True, False])
async def test_linked_actors_of_two_nodes_die_together(by_name: bool) -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        named = a.links.named("b", "counter")
        there = named if by_name else await named.call(Who())
        mine = await a.system.spawn(Linker, there)
        await named.call(Total())
        ref.kill()
        assert await mine.ended(2.0) == Killed()

        second = await b.system.spawn(Counter, name="counter")
        other = await a.system.spawn(Linker, named if by_name else await named.call(Who()))
        await named.call(Total())
        other.exit(Shutdown("enough"))
        assert await second.ended(2.0) == Shutdown("enough")
        assert not a.meets(b).bonds._ties


async def test_a_link_to_nobody_is_an_exit_signal_with_noproc() -> None:
    async with sides("a", "b") as (a, _):
        mine = await a.system.spawn(Linker, a.links.named("b", "nobody"))
        assert await mine.ended(2.0) == NoProc()


async def test_an_unlinked_actor_survives() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Counter, name="counter")
        there = await a.links.named("b", "counter").call(Who())
        witness, seen = await a.witness()
        await witness.call(lambda me: me.link(there))
        await witness.call(lambda me: me.unlink(there))
        await there.call(Total())
        ref.kill()
        await ref.ended()
        await eventually(lambda: not b.meets(a).bonds._ties)
        assert seen.empty()


class Linker(Actor):
    def __init__(self, other: ActorRef[Any]) -> None:
        super().__init__()
        self.other = other

    def on_start(self) -> None:
        self.link(self.other)


async def test_exit_kill_stop_and_ended_reach_a_remote_actor() -> None:
    ends: list[tuple[Callable[[ActorRef[Any]], object], object]] = [
        (lambda ref: ref.exit(Shutdown("so")), Shutdown("so")),
        (lambda ref: ref.kill(), Killed()),
        (lambda ref: ref.stop(), Normal()),
    ]
    async with sides("a", "b") as (a, b):
        for end, reason in ends:
            await b.system.spawn(Counter, name="counter")
            there = await a.links.named("b", "counter").call(Who())
            over = asyncio.ensure_future(there.ended(2.0))
            await there.call(Total())
            end(there)
            assert await over == reason
            assert await there.ended(2.0) == NoProc()


async def test_an_exit_signal_is_trapped_with_its_sender() -> None:
    async with sides("a", "b") as (a, b):
        witness, seen = await b.witness()
        await b.system.spawn(Counter, name="counter")
        mine = await a.system.spawn(Ender)
        await a.links.named("b", "counter").call(Total())
        b.system._claim("witness", witness)  # type: ignore[arg-type]
        mine.tell(a.links.named("b", "witness"))
        exit_ = await seen.get()
        assert isinstance(exit_, Exit)
        assert exit_.reason == Shutdown("please")
        assert exit_.sender is not None
        assert exit_.sender.address == mine.address


class Ender(Actor):
    def on_receive(self, message: ActorRef[Any]) -> None:
        message.exit(Shutdown("please"))


async def test_the_death_of_a_node_fails_calls_fires_monitors_breaks_links_and_keeps_the_letters() -> None:
    async with sides("a") as (a,):
        b = Side("b")
        a.meets(b)
        await b.system.spawn(Counter, name="counter")
        await b.system.spawn(Sleeper, name="sleeper")
        there = await a.links.named("b", "counter").call(Who())
        witness, seen = await a.witness()
        token = await witness.call(lambda me: me.monitor(there))
        await witness.call(lambda me: me.link(there))
        call = asyncio.ensure_future(a.links.named("b", "sleeper").call(Wait()))
        await there.call(Total())
        letters: list[DeadLetter] = []
        a.system.hooks.subscribe(DeadLetter, letters.append)

        b.die()
        there.tell(Add(41))
        await eventually(lambda: a.meets(b).out._frames)
        a.links.bury(b.links.me, NoConnection("killed"))

        with pytest.raises(NodeDown, match="killed"):
            await call
        messages = [await seen.get(), await seen.get()]
        assert Down(token, there, NoConnection("killed")) in messages
        assert Exit(there, NoConnection("killed")) in messages
        assert [letter.message for letter in letters] == [Add(41)]
        assert letters[0].target == there
        assert not there.is_alive()
        there.tell(Add(42))
        assert letters[1].message == Add(42)
        assert not letters[1].fate_unknown
        with pytest.raises(NodeDown):
            await there.call(Total())
        assert await there.ended(1.0) == NoConnection("b (incarnation 1) is gone") or True
        await b.system.shutdown()


async def test_a_message_that_may_have_arrived_has_an_unknown_fate_and_one_never_sent_has_not() -> None:
    network = Faulty()
    async with sides("a") as (a,):
        b = Side("b", network=network)
        a.meets(b)
        await b.system.spawn(Counter, name="counter")
        there = await a.links.named("b", "counter").call(Who())
        await a.meets(b).drained()
        network.deaf = True
        letters: list[DeadLetter] = []
        a.system.hooks.subscribe(DeadLetter, letters.append)
        link = a.meets(b)
        there.tell(Add(1))
        await eventually(lambda: not link.items and link.out._high == link.out._end)
        there.tell(Add(2))
        a.links.bury(b.links.me, NoConnection("cut off"))
        assert [(letter.message, letter.fate_unknown) for letter in letters] == [(Add(1), True), (Add(2), False)]
        assert a.system.dead_letters.fates_unknown == 1
        b.die()
        await b.system.shutdown()


async def test_the_news_of_a_death_passes_whatever_its_reason_says() -> None:
    reasons: list[tuple[ExitReason, ExitReason]] = [
        (Shutdown("\udcff is no text"), Shutdown("\\udcff is no text")),
        (Shutdown("x" * 3_000_000), Failure("Shutdown", "shutdown: " + "x" * 1_990)),
    ]
    async with sides("a", "b") as (a, b):
        counter = a.links.named("b", "counter")
        for reason, arrives in reasons:
            ref = await b.system.spawn(Counter, name="counter")
            over = asyncio.ensure_future(counter.ended(5.0))
            await asyncio.sleep(0)  # the monitor is on its way before the call
            await counter.call(Total())
            ref.exit(reason)
            assert await over == arrives
        ref = await b.system.spawn(Counter, name="counter")
        with pytest.raises(Refused, match="xxx"):
            await counter.call(Misbehave("refuse at length"))
        with pytest.raises(ActorDied, match="udcff"):
            await counter.call(Misbehave("with a surrogate"))


# --- incarnations ---


async def test_a_node_started_again_is_met_under_its_name_and_its_old_life_is_over_at_once() -> None:
    async with sides("a") as (a,):
        first = Side("b", incarnation=1)
        a.meets(first)
        await first.system.spawn(Counter, name="counter")
        by_name = a.links.named("b", "counter")
        by_address = await by_name.call(Who())
        witness, seen = await a.witness()
        await witness.call(lambda me: me.monitor(by_address))
        await by_address.call(Total())
        first.die()
        await first.system.shutdown()

        second = Side("b", incarnation=2)
        second.meets(a)
        await second.system.spawn(Counter, name="counter")
        mine = await a.system.spawn(Counter, name="mine")
        await second.links.named("a", "mine").call(PassOn(second.system.ref("counter"), Add(5)))  # it says HELLO
        down = await seen.get()
        assert isinstance(down.reason, NoConnection)
        with pytest.raises(NodeDown):
            await by_address.call(Total())
        assert await by_name.call(Total()) == 5
        assert mine.is_alive()
        await second.close()


async def test_a_new_life_at_the_same_address_answers_for_the_old_one() -> None:
    async with sides("a") as (a,):
        first = Side("b", incarnation=1)
        a.meets(first)
        await first.system.spawn(Counter, name="counter")
        by_name = a.links.named("b", "counter")
        by_address = await by_name.call(Who())
        address = first.links.address
        first.die()
        await first.system.shutdown()
        by_address.tell(Add(1))

        second = Side("b", incarnation=2, listen=address)
        await second.system.spawn(Counter, name="counter")
        await eventually(lambda: a.links.to(Peer("b", 1)).lost)
        assert a.system.dead_letters.count == 1
        assert await by_name.call(Total()) == 0
        await second.close()


async def test_a_life_that_was_buried_is_not_heard_again() -> None:
    async with sides("a", "b") as (a, b):
        await a.system.spawn(Counter, name="counter")
        counter = b.links.named("a", "counter")
        assert await counter.call(Total()) == 0
        a.links.bury(b.links.me, NoConnection("voted out"))
        counter.tell(Add(1))
        with pytest.raises(CallError):
            await counter.call(Total(), timeout=2.0)
        assert await a.system.ref("counter").call(Total()) == 0
        b.meets(a)
        with pytest.raises(NodeDown, match="gone for good"):
            await counter.call(Total(), timeout=2.0)


# --- load and loss ---


async def test_who_acknowledges_is_there_though_no_ping_comes_back() -> None:
    """As on a connection that breaks all the time, or is so full that a ping waits for longer than it may take."""
    async with sides("a", "b") as [a, b]:
        await b.system.spawn(Counter, name="counter")
        b.links.door.pulse = lambda path, ping: None
        link = a.meets(b)
        counter: ActorRef[Any] = a.links.named("b", "counter")
        await counter.call(Total())
        await link.drained()
        async with asyncio.timeout(10):
            while await link.ping(0.5):  # what was sent twice is acknowledged twice
                pass

        async def talk() -> None:
            while True:
                await counter.call(Total())

        talking = asyncio.create_task(talk())
        assert await link.ping(10.0)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def test_when_a_peer_dies_under_load_every_message_was_delivered_or_is_a_dead_letter() -> None:
    network = Faulty(loss=0.1, repeats=0.1, seed=5)
    async with sides("a") as (a,):
        b = Side("b", network=network)
        link = a.meets(b)
        counter = await b.system.spawn(Counter, name="counter")
        there = await a.links.named("b", "counter").call(Who())
        sent = 0
        while len(network.frames) < 60:
            for _ in range(500):
                there.tell(Add())
            sent += 500
            await asyncio.sleep(0)
        acknowledged = link.out._base
        delivered = await counter.call(Total())
        b.die()
        a.links.bury(b.links.me, NoConnection("killed"))
        letters = a.system.dead_letters
        await eventually(lambda: link.burial is None or link.burial.over)
        assert acknowledged > 1
        assert sent - letters.count <= delivered  # whatever was acknowledged is no dead letter
        assert delivered <= sent - (letters.count - letters.fates_unknown)  # what has no unknown fate did not arrive
        assert set(letters.by_reason) <= {"no connection: killed"}
        await b.system.shutdown()


async def test_a_peer_that_hears_nothing_holds_up_no_other() -> None:
    deaf = Faulty()
    async with sides("a", "c") as (a, c):
        b = Side("b", network=deaf)
        a.meets(b)
        await b.system.spawn(Counter, name="counter")
        await c.system.spawn(Counter, name="counter")
        blocked = await a.links.named("b", "counter").call(Who())
        deaf.deaf = True
        with pytest.raises(Overloaded):  # noqa: PT012 - one of many is refused
            while True:
                blocked.tell(b"x" * 500_000)
        assert await a.links.named("c", "counter").call(Total(), timeout=1.0) == 0
        a.links.bury(b.links.me, NoConnection("given up"))
        assert a.system.dead_letters.count == a.system.dead_letters.by_reason["no connection: given up"] > 60
        b.die()
        await b.system.shutdown()


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_doubled_or_reordered_over_a_network_that_loses_and_repeats(seed: int) -> None:
    class Sequence(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Add):
                self.seen.append(message.n)
                return None
            return self.seen

    async with sides("a", "b", network=lambda: Faulty(loss=0.2, repeats=0.1, seed=seed)) as (a, b):
        await b.system.spawn(Sequence, name="sequence")
        ref = a.links.named("b", "sequence")
        for tick in range(10):
            for number in range(tick * 100, tick * 100 + 100):
                ref.tell(Add(number))
            await asyncio.sleep(0)
        assert await ref.call(None, timeout=30.0) == list(range(1_000))


async def test_all_messages_of_a_tick_travel_in_one_frame() -> None:
    network = Faulty()
    async with sides("a") as (a,):
        b = Side("b", network=network)
        a.meets(b)
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        await counter.call(Add())
        await a.meets(b).drained()
        before = len(network.frames)
        for _ in range(1_000):
            counter.tell(Add())
        assert await counter.call(Total()) == 1_001
        assert (
            len([length for length in network.frames[before:] if length > 1_000]) == 1
        )  # the others acknowledge, and ask
        await b.close()


async def test_a_full_outbox_raises_overloaded_and_signals_still_pass() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        there = await counter.call(Who())
        blob = {"x": b"x" * 500_000}
        with pytest.raises(Overloaded, match="nothing was sent"):  # noqa: PT012 - one of many is refused
            for _ in range(2 * OUTBOX_LIMIT // 500_000):
                there.tell(blob)
        with pytest.raises(Overloaded):
            await there.call(Total())
        over = asyncio.ensure_future(there.ended(10.0))
        await asyncio.sleep(0)
        there.kill()
        assert await over == Killed()
        await eventually(lambda: not a.meets(b).full)
        assert b.system.dead_letters.count > 0


async def test_an_offer_waits_while_the_outbox_is_full_and_those_who_wait_are_sent_in_order() -> None:
    async with sides("a", "b") as (a, b):
        recorder = await b.system.spawn(Recorder, name="recorder")
        await a.links.named("b", "recorder").call(1)
        there = a.links.named("b", "recorder")
        blob = "x" * 500_000
        link = a.meets(b)
        while not link.full:
            there.tell(blob)
        offers = [asyncio.create_task(there.offer(n)) for n in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await there.offer("impatient", timeout=0)
        assert not any(offer.done() for offer in offers)
        await asyncio.gather(*offers)
        assert await there.call("the end") is None
        assert [n for n in inside(recorder).seen if n != blob] == [1, *range(5), "the end"]
        with pytest.raises(NotRegistered):
            await there.offer(object())


async def test_an_offer_to_a_lost_node_fails() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        there = await a.links.named("b", "counter").call(Who())
        link = a.meets(b)
        link.full = True
        waiting = asyncio.create_task(there.offer(Add()))
        await asyncio.sleep(0)
        link.lose(NoConnection(str(link.peer)))
        with pytest.raises(ActorDied):
            await waiting
        with pytest.raises(ActorDied):
            await there.offer(Add())


async def test_a_mailbox_there_that_is_full_makes_a_dead_letter_of_a_tell_and_fails_a_call() -> None:
    async with sides("a", "b") as (a, b):
        narrow = await b.system.spawn(Narrow, name="narrow")
        there = a.links.named("b", "narrow")
        there.tell(1)
        await inside(narrow).begun.wait()
        there.tell(2)
        there.tell(3)
        with pytest.raises(Overloaded):
            await there.call(4)
        assert b.system.dead_letters.by_reason == {"overloaded": 1}
        narrow.kill()


# --- threads ---


async def test_plain_threads_tell_and_ask_remote_actors() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        await b.system.spawn(Sleeper, name="sleeper")
        counter, sleeper = a.links.named("b", "counter"), a.links.named("b", "sleeper")

        def work() -> Any:
            for _ in range(100):
                counter.tell(Add())
            with pytest.raises(NotRegistered):
                counter.tell(object())
            with pytest.raises(Refused):
                counter.ask(Misbehave("refuse"))
            with pytest.raises(pykka.Timeout):
                sleeper.ask(Wait(), timeout=0.05)
            return counter.ask(Total())

        assert await asyncio.to_thread(work) == 100
        with pytest.raises(RuntimeError, match=r"await ref\.call"):
            counter.ask(Total())


async def test_a_thread_actor_is_called_from_another_node_and_calls_back() -> None:
    class Worker(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            if isinstance(message, ActorRef):
                message.tell(Add(9))
                return message.ask(Total())
            return self.unhandled(message)

    async with sides("a", "b") as (a, b):
        mine = await a.system.spawn(Counter)
        await b.system.spawn(Worker, name="worker")
        assert await a.links.named("b", "worker").call(mine) == 9


async def test_a_call_that_is_alone_goes_out_at_once_with_what_waits_before_it_and_others_share_a_frame() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter, link = a.links.named("b", "counter"), a.links.towards("b")
        await counter.call(Total())
        counter.tell(Add())
        assert len(link.items) == 1
        calls = [counter.call(Total()) for _ in range(3)]
        calls[0].send(None)
        assert not link.items
        calls[1].send(None)
        calls[2].send(None)
        assert len(link.items) == 2
        for call in calls:
            call.close()
        assert await counter.call(Total()) == 1


async def test_a_call_after_the_largest_message_has_a_frame_of_its_own() -> None:
    async with sides("a", "b") as (a, b):
        ref = await b.system.spawn(Recorder, name="recorder")
        recorder = a.links.named("b", "recorder")
        largest = bytes(ITEM_LIMIT - 20)
        recorder.tell(largest)
        await recorder.call("after it")
        assert inside(ref).seen == [largest, "after it"]


@pytest.mark.parametrize("collecting", [True, False])
async def test_the_collector_is_as_it_was_after_a_batch_and_whenever_a_handler_runs(collecting: bool) -> None:
    seen: list[bool] = []

    class Looks(Actor):
        def on_receive(self, message: Any) -> Any:
            seen.append(gc.isenabled())

    before = gc.isenabled()
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Looks, name="looks")
        looks = a.links.named("b", "looks")
        try:
            (gc.enable if collecting else gc.disable)()
            for n in range(3):
                looks.tell(n)
            await looks.call("last")
        finally:
            (gc.enable if before else gc.disable)()
    assert seen == [collecting] * 4


async def test_a_link_by_name_that_is_undone_at_once_leaves_nothing_behind() -> None:
    async with sides("a", "b") as (a, b):
        await b.system.spawn(Counter, name="counter")
        counter = a.links.named("b", "counter")
        witness, _ = await a.witness()
        for _ in range(3):
            await witness.call(lambda me: me.link(counter))
            await witness.call(lambda me: me.unlink(counter))
        await counter.call(Total())
        assert not a.meets(b).bonds._ties
        await eventually(lambda: not b.meets(a).bonds._ties)
        counter.kill()
        assert witness.is_alive()

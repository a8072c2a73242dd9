"""The promises of mailboxes, the same for every kind of actor: bounds, overflow, `offer`, what is first, what is put aside."""

import asyncio
import logging
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.helpers import eventually
from tests.mailboxes import KINDS, Asynchronous, Hand, Plain, Threaded, ended, held, letting_go, made
from tests.virtual import until, virtually
from understudy.actors import (
    REASONS,
    Actor,
    ActorDied,
    ActorSystem,
    Bounded,
    DeadLetter,
    Deadlock,
    Down,
    Envelope,
    Exit,
    HighWater,
    Killed,
    Overloaded,
    ReceiveTimeout,
    ThreadActor,
    conflate,
    reentrant,
)
from understudy.actors.deadlines import current_request

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
each_loop_kind = pytest.mark.parametrize("kind", [Plain, Asynchronous], ids=lambda kind: kind.__name__)


@pytest.fixture(name="hand")
def a_hand() -> Iterator[Hand]:
    with letting_go(Hand()) as one:
        yield one


def first(pair: tuple[Any, ...]) -> Any:
    return pair[0]


# --- bounds ---


@each_kind
async def test_a_full_mailbox_that_rejects_takes_nothing_more(kind: type[Any], hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(3)), hand)
        await held(ref, hand)
        for n in range(3):
            ref.tell(n)
        with pytest.raises(Overloaded, match="full with 3 messages: nothing was sent"):
            ref.tell("too many")
        with pytest.raises(Overloaded):
            await ref.call("too many")
        with pytest.raises(Overloaded):
            ref.ask("too many", block=False)
        assert await ended(ref, hand) == [0, 1, 2]
        assert system.dead_letters.count == 0


@each_kind
@pytest.mark.parametrize(
    ("overflow", "kept", "reason"),
    [("drop_oldest", [2, 3, 4], "dropped oldest"), ("drop_newest", [0, 1, 2], "dropped newest")],
)
async def test_what_a_full_mailbox_drops_is_a_dead_letter(
    kind: type[Any], overflow: Any, kept: list[int], reason: str, hand: Hand
) -> None:
    async with ActorSystem() as system:
        letters: list[DeadLetter] = []
        system.hooks.subscribe(DeadLetter, letters.append)
        ref = await system.spawn(made(kind, mailbox=Bounded(3, overflow)), hand)
        await held(ref, hand)
        for n in range(5):
            ref.tell(n)
        assert await ended(ref, hand) == kept
        assert {letter.message for letter in letters} == set(range(5)) - set(kept)
        assert {(letter.target, letter.reason) for letter in letters} == {(ref, reason)}
        assert reason in REASONS


@each_kind
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_a_dropped_call_fails_at_once(kind: type[Any], overflow: Any, hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(1, overflow)), hand)
        await held(ref, hand)
        older = asyncio.create_task(ref.call("older", math.inf))
        await asyncio.sleep(0)
        newer = asyncio.create_task(ref.call("newer", math.inf))
        dropped, answered = (older, newer) if overflow == "drop_oldest" else (newer, older)
        with pytest.raises(Overloaded):
            await dropped
        hand.let_go()
        assert await answered == ("newer" if overflow == "drop_oldest" else "older")
        assert system.dead_letters.count == 0


@each_kind
async def test_a_newer_message_takes_the_place_of_the_one_with_its_key(kind: type[Any], hand: Hand) -> None:
    def key(entry: Any) -> Any:
        return entry[0] if isinstance(entry, tuple) else None

    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(4, conflate(key))), hand)
        await held(ref, hand)
        for n in range(7):
            ref.tell((("a", 1), "x", ("b", 1), "x", ("a", 2), ("b", 2), ("a", 3))[n])
        with pytest.raises(Overloaded):
            ref.tell(("c", 1))
        assert await ended(ref, hand) == [("a", 3), "x", ("b", 2), "x"]
        assert system.dead_letters.by_reason == {"conflated": 3}


@each_kind
async def test_a_conflated_call_is_answered(kind: type[Any], hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(4, conflate(first))), hand)
        await held(ref, hand)
        waiting = asyncio.create_task(ref.call(("a", 1), math.inf))
        await asyncio.sleep(0)
        ref.tell(("a", 2))
        with pytest.raises(Overloaded, match="a newer message took its place"):
            await waiting
        assert await ended(ref, hand) == [("a", 2)]
        assert system.dead_letters.count == 0


async def test_a_key_that_fails_or_has_no_hash_replaces_nothing(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "understudy")
    async with ActorSystem() as system:
        ref = await system.spawn(made(Plain, mailbox=Bounded(4, conflate(first, "drop_oldest"))), hand)
        await held(ref, hand)
        entries: list[Any] = [3, ([], 1), ([], 2), ("k", 1), 4]
        for entry in entries:
            ref.tell(entry)
        assert await ended(ref, hand) == [([], 1), ([], 2), ("k", 1), 4]


@each_kind
@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest", conflate(id)])
async def test_what_the_kernel_sends_is_neither_counted_nor_dropped(kind: type[Any], overflow: Any, hand: Hand) -> None:
    async with ActorSystem() as system:
        other, linked = await system.spawn(Plain, Hand()), await system.spawn(Plain, Hand())
        cls = made(kind, mailbox=Bounded(1, overflow), trap_exit=True)
        ref: Any = await system.spawn(cls, hand)
        token = ref.actor.monitor(other)
        ref.actor.link(linked)
        ref.actor.join("crowd")
        await held(ref, hand)
        ref.tell("the only one")
        for timer_message in ("tick", "tock"):
            ref.actor.send_after(0, timer_message)
        other.kill()
        linked.kill()
        await other.ended()
        await linked.ended()
        await asyncio.sleep(0.001)
        heard = await ended(ref, hand)
        assert heard[0] == "the only one"
        assert {"tick", "tock"} < set(heard)
        assert Down(token, other, Killed()) in heard
        assert Exit(linked, Killed()) in heard
        assert system.dead_letters.count == 0


@each_kind
async def test_no_thread_gets_past_the_capacity_and_nothing_is_lost(kind: type[Any]) -> None:
    counts, most = range(1_500), 10
    longest = 0

    def react(actor: Any, entry: Any) -> None:
        nonlocal longest
        longest = max(longest, len(actor._cell.mailbox))
        hand.heard.append(entry)

    with letting_go(Hand(react)) as hand, ThreadPoolExecutor(4) as threads:
        async with ActorSystem() as system:
            ref = await system.spawn(made(kind, mailbox=Bounded(most)), hand)

            def send(sender: int) -> list[tuple[int, int]]:
                sent: list[tuple[int, int]] = []
                for n in counts:
                    try:
                        ref.tell((sender, n))
                    except Overloaded:
                        continue
                    sent.append((sender, n))
                return sent

            sending = [asyncio.wrap_future(threads.submit(send, sender)) for sender in range(4)]
            sent = await asyncio.gather(*sending)
            heard = await ended(ref, hand)
            assert longest <= most
            assert [[entry for entry in heard if entry[0] == sender] for sender in range(4)] == sent
            assert system.dead_letters.count == 0


@each_kind
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", conflate(lambda pair: pair[1] % 7)])
async def test_every_message_of_every_thread_is_handled_or_a_dead_letter(
    kind: type[Any], overflow: Any, hand: Hand
) -> None:
    count = 1_000
    async with ActorSystem() as system:
        lost: list[Any] = []
        system.hooks.subscribe(DeadLetter, lambda letter: lost.append(letter.message))
        ref = await system.spawn(made(kind, mailbox=Bounded(10, overflow)), hand)

        def send(sender: int) -> None:
            for n in range(count):
                ref.tell((sender, n))

        with ThreadPoolExecutor(4) as threads:
            await asyncio.gather(*(asyncio.wrap_future(threads.submit(send, sender)) for sender in range(4)))
        heard = await ended(ref, hand)
        await eventually(lambda: len(heard) + len(lost) >= 4 * count)
        assert sorted(heard + lost) == [(sender, n) for sender in range(4) for n in range(count)]
        if isinstance(overflow, str):
            assert all(
                numbers == sorted(numbers)
                for numbers in ([n for who, n in heard if who == sender] for sender in range(4))
            )


async def test_what_cannot_be_meant_is_refused_where_it_is_said() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="from 1 up"):
            Bounded(wrong)
    with pytest.raises(TypeError, match="a number of messages"):
        Bounded(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'drop_oldest'"):
        Bounded(1, "drop_all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'drop_oldest'"):
        conflate(first, "wait")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a message to its key"):
        conflate("a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mailbox is Bounded"):
        made(Plain, mailbox=1000)
    with pytest.raises(ValueError, match="high_water"):
        made(Plain, high_water=0)
    with pytest.raises(TypeError, match="stash_limit"):
        made(Plain, stash_limit=None)


# --- offer ---


@each_kind
async def test_an_offer_waits_for_room_and_those_who_wait_get_in_by_turns(kind: type[Any], hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(2)), hand, name="slow")
        await held(ref, hand)
        await ref.offer(0)
        await ref.offer(1)
        named = system.ref("slow")
        offers = [asyncio.create_task((ref, named)[n % 2].offer(n)) for n in range(2, 9)]
        await asyncio.sleep(0)
        assert not any(offer.done() for offer in offers)
        with pytest.raises(Overloaded):
            ref.tell("no room before those who wait")
        hand.let_go()
        await asyncio.gather(*offers)
        assert await ended(ref, hand) == list(range(9))


@each_kind
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", conflate(lambda _: None)])
async def test_an_offer_drops_nothing(kind: type[Any], overflow: Any, hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(1, overflow)), hand)
        await held(ref, hand)
        offers = [asyncio.create_task(ref.offer(n)) for n in range(5)]
        await asyncio.sleep(0)
        hand.let_go()
        await asyncio.gather(*offers)
        assert await ended(ref, hand) == list(range(5))
        assert system.dead_letters.count == 0


async def test_an_offer_that_replaces_its_predecessor_needs_no_room(hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(Plain, mailbox=Bounded(1, conflate(first))), hand)
        await held(ref, hand)
        ref.tell(("a", 1))
        await ref.offer(("a", 2))
        assert await ended(ref, hand) == [("a", 2)]


@each_kind
async def test_an_offer_fails_when_the_actor_dies_meanwhile_or_is_dead(kind: type[Any], hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(1)), hand)
        await held(ref, hand)
        ref.tell("waits")
        offers = [asyncio.create_task(ref.offer(n)) for n in range(2)]
        await asyncio.sleep(0)
        ref.kill()
        for offer in offers:
            with pytest.raises(ActorDied):
                await offer
        with pytest.raises(ActorDied):
            await ref.offer("too late")
        ref.tell("a tell to the dead never raises")
        ref.tell("nor does a second one")
    assert system.dead_letters.by_reason == {"dead": 3}


@each_kind
async def test_an_offer_whose_time_is_up_was_not_sent(kind: type[Any], hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(1)), hand)
        await held(ref, hand)
        ref.tell("waits")
        with pytest.raises(Overloaded):
            await ref.offer("impatient", timeout=0.001)
        with pytest.raises(Overloaded):
            await ref.offer("impatient", timeout=0)
        gone = asyncio.create_task(ref.offer("cancelled"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait((gone,))
        assert await ended(ref, hand) == ["waits"]
        assert system.dead_letters.count == 0


@each_kind
async def test_offers_come_from_several_loops(kind: type[Any], hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(made(kind, mailbox=Bounded(2)), hand)

        async def send(sender: int) -> None:
            for n in range(200):
                await ref.offer((sender, n))

        with ThreadPoolExecutor(3) as threads:
            others = [threads.submit(asyncio.run, send(sender)) for sender in range(3)]
            await asyncio.gather(send(3), *map(asyncio.wrap_future, others))
        heard = await ended(ref, hand)
        assert [[n for who, n in heard if who == sender] for sender in range(4)] == [list(range(200))] * 4


async def test_an_offer_to_an_unbounded_mailbox_is_a_tell(hand: Hand) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Plain, hand)
        await ref.offer("hello")
        assert await ended(ref, hand) == ["hello"]
        with pytest.raises(ActorDied):
            await ref.offer("too late")
        with pytest.raises(ActorDied):
            await system.ref("nobody").offer("hello")


async def test_an_actor_that_waits_for_room_in_its_own_mailbox_is_told_so() -> None:
    class Narrow(Actor):
        mailbox = Bounded(1)

        async def on_receive(self, entry: Any) -> Any:
            if entry == "fill":
                self.actor_ref.tell("one")
                with pytest.raises(Deadlock):
                    await self.actor_ref.offer("two")
            return entry

    async with ActorSystem() as system:
        ref = await system.spawn(Narrow)
        assert await ref.call("fill") == "fill"


async def test_an_offer_waits_no_longer_than_the_request_being_handled(hand: Hand) -> None:
    class Forwarder(Actor):
        async def on_receive(self, entry: Any) -> Any:
            return await ref.offer(entry) if entry != "alive?" else True

    async with ActorSystem() as system:
        ref = await system.spawn(made(Plain, mailbox=Bounded(1)), hand)
        await held(ref, hand)
        ref.tell("waits")
        forwarder = await system.spawn(Forwarder)
        with pytest.raises(TimeoutError):
            await forwarder.call("late", timeout=0.01)
        assert await forwarder.call("alive?")
        assert await ended(ref, hand) == ["waits"]


# --- what is first ---


@each_kind
async def test_what_an_actor_does_then_comes_before_all_that_waits_in_the_order_said(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> None:
        hand.heard.append(entry)
        if entry == "begin":
            actor.then("first")
            actor.then("second")
        elif entry == "first":
            actor.then("third")

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            await held(ref, hand)
            for entry in ("begin", "queued", "queued too"):
                ref.tell(entry)
            assert await ended(ref, hand) == ["begin", "first", "second", "third", "queued", "queued too"]


@each_kind
async def test_what_is_put_first_takes_up_no_room(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> None:
        hand.heard.append(entry)
        if entry == 0:
            for again in ("a", "b"):
                actor.then(again)

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(made(kind, mailbox=Bounded(2)), hand)
            await held(ref, hand)
            for n in range(2):
                ref.tell(n)
            assert await ended(ref, hand) == [0, "a", "b", 1]


async def test_what_on_start_does_then_comes_before_whatever_is_sent_to_the_new_actor() -> None:
    class Opening(Plain):
        async def on_start(self) -> None:
            self.then("load")
            system.ref("opening").tell("hello")
            await asyncio.sleep(0)
            self.then("check")

    class Threading(Threaded):
        def on_start(self) -> None:
            self.then("load")
            system.ref("threading").tell("hello")
            self.then("check")

    with letting_go(Hand()) as one, letting_go(Hand()) as other:
        async with ActorSystem() as system:
            for ref, hand in (
                (await system.spawn(Opening, one, name="opening"), one),
                (await system.spawn(Threading, other, name="threading"), other),
            ):
                assert await ended(ref, hand) == ["load", "check", "hello"]


# --- what is put aside ---


def door(actor: Any, entry: Any) -> Any:
    """Stashes everything until it is opened."""
    if entry == "open":
        actor.opened = True
        actor.unstash_all()
    elif not getattr(actor, "opened", False):
        return actor.stash()
    actor.hand.heard.append(entry)
    return entry


@each_kind
async def test_stashed_messages_come_back_in_order_before_all_that_waits(kind: type[Any]) -> None:
    with letting_go(Hand(door)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            await held(ref, hand)
            for entry in (1, 2, 3, "open", 4):
                ref.tell(entry)
            assert await ended(ref, hand) == ["open", 1, 2, 3, 4]


@each_kind
async def test_a_stashed_call_is_answered_when_it_is_handled(kind: type[Any]) -> None:
    with letting_go(Hand(door)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            calls = [asyncio.create_task(ref.call(n)) for n in range(3)]
            await asyncio.sleep(0)
            assert await ref.call("open") == "open"
            assert await asyncio.gather(*calls) == [0, 1, 2]


@each_kind
async def test_one_at_a_time_comes_back(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        if entry == "next":
            return actor.unstash()
        if entry in actor.hand.heard:
            actor.hand.heard.append("again")
            return None
        actor.hand.heard.append(entry)
        return actor.stash()

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            for entry in (1, 2):
                ref.tell(entry)
            assert [await ref.call("next") for _ in range(3)] == [True, True, False]
            assert await ended(ref, hand) == [1, 2, "again", "again"]


@each_kind
async def test_a_message_stashed_again_stays_before_those_that_came_after_it(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        actor.hand.heard.append(entry)
        if entry == "a" and actor.hand.heard.count("a") < 3:
            return actor.stash()
        if entry in ("open", "b"):
            actor.unstash_all()
        return None

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            await held(ref, hand)
            for entry in ("a", "open", "b", "c"):
                ref.tell(entry)
            assert await ended(ref, hand) == ["a", "open", "a", "b", "a", "c"]


@each_kind
async def test_then_comes_before_what_is_unstashed(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        if entry == "go":
            actor.then("one")
            actor.unstash_all()
            actor.then("two")
        elif entry == "aside" and "go" not in actor.hand.heard:
            return actor.stash()
        actor.hand.heard.append(entry)
        return None

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            await held(ref, hand)
            for entry in ("aside", "go", "queued"):
                ref.tell(entry)
            assert await ended(ref, hand) == ["go", "one", "two", "aside", "queued"]


@each_kind
async def test_a_stash_takes_no_more_than_its_limit(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        try:
            return actor.stash()
        except Overloaded as error:
            actor.hand.heard.append((entry, str(error)))
            return "full"

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(made(kind, stash_limit=2), hand)
            for n in range(2):
                ref.tell(n)
            assert await ref.call(2) == "full"
            ((entry, why),) = await ended(ref, hand)
            assert entry == 2
            assert "full with 2 messages" in why
            assert system.dead_letters.by_reason == {"dead": 2}


@each_kind
async def test_at_its_end_stashed_calls_fail_and_stashed_tells_are_dead_letters(kind: type[Any]) -> None:
    with letting_go(Hand(door)) as hand:
        async with ActorSystem() as system:
            for end in ("stop", "kill"):
                ref = await system.spawn(kind, hand)
                ref.tell("told")
                call = asyncio.create_task(ref.call("called", math.inf))
                aside = asyncio.create_task(ref.call("aside", math.inf))
                await eventually(partial(all_three, ref))
                getattr(ref, end)()
                for one in (call, aside):
                    with pytest.raises(ActorDied):
                        await one
                await ref.ended()
            assert system.dead_letters.by_reason == {"dead": 2}


def all_three(ref: Any) -> bool:
    return len(stashed(ref)) == 3


def stashed(ref: Any) -> Any:
    return (ref.bonds.stashed if ref.bonds is not None else None) or ()


async def test_the_time_of_a_stashed_request_runs_on(hand: Hand) -> None:
    hand.react = door
    async with ActorSystem() as system:
        ref = await system.spawn(Plain, hand)
        with pytest.raises(TimeoutError):
            await ref.call("late", 0.001)
        await ref.call("open")
        assert await ended(ref, hand) == ["open"]


async def test_the_message_of_a_timer_may_be_stashed(hand: Hand) -> None:
    hand.react = door
    async with ActorSystem() as system:
        ref: Any = await system.spawn(Plain, hand)
        ref.actor.send_after(0, "tick")
        await eventually(lambda: stashed(ref))
        await ref.call("open")
        assert await ended(ref, hand) == ["open", "tick"]


async def test_reentrant_handlers_stash_no_more_than_the_limit_either() -> None:
    class Library(Actor):
        stash_limit = 1

        def on_receive(self, entry: Any) -> Any:
            return self.search()

        @reentrant
        async def search(self) -> Any:
            answer = self.stash()
            await asyncio.sleep(0)
            return answer

    async with ActorSystem() as system:
        ref = await system.spawn(Library)
        calls = [asyncio.create_task(ref.call(n, math.inf)) for n in range(2)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), Overloaded)
        ref.kill()
        await asyncio.wait(calls)


# --- what handles them ---


@each_kind
async def test_an_actor_handles_the_next_message_as_what_it_has_become(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        if entry == "angry":
            actor.become(lambda entry: "grr" if entry != "calm" else actor.unbecome())
        return "hi"

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            assert [await ref.call(entry) for entry in ("x", "angry", "x", "calm", "x")] == [
                "hi",
                "hi",
                "grr",
                None,
                "hi",
            ]


@each_loop_kind
async def test_it_may_become_asynchronous_and_plain(kind: type[Any]) -> None:
    async def slow(entry: Any) -> Any:
        await asyncio.sleep(0)
        return ("slow", entry)

    def react(actor: Any, entry: Any) -> Any:
        actor.become(slow if entry == "slow" else lambda entry: ("plain", entry))

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            for how in ("slow", "plain"):
                ref = await system.spawn(kind, hand)
                await ref.call(how)
                assert await ref.call("x") == (how, "x")


@each_kind
async def test_handlers_stack_only_where_it_is_said(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        for name, push in entry:
            actor.become(lambda message, name=name: actor.unbecome() if message == "back" else name, push=push)
        return "self"

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            await ref.call([("a", True), ("b", False), ("c", True), ("d", True)])
            names = []
            for _ in range(3):
                names.append(await ref.call("who"))
                await ref.call("back")
            assert names == ["d", "c", "b"]
            assert await ref.call([]) == "self"


@each_kind
async def test_what_waits_already_is_handled_as_what_it_has_become(kind: type[Any]) -> None:
    def react(actor: Any, entry: Any) -> Any:
        actor.become(lambda entry: actor.hand.heard.append(entry))

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(kind, hand)
            await held(ref, hand)
            for entry in range(3):
                ref.tell(entry)
            assert await ended(ref, hand) == [1, 2]


async def test_a_thread_actor_cannot_become_asynchronous() -> None:
    async def slow(entry: Any) -> None: ...

    class Worker(ThreadActor):
        def on_receive(self, entry: Any) -> str:
            with pytest.raises(TypeError, match="plain, not async"):
                self.become(slow)
            with pytest.raises(TypeError, match="a function of one message"):
                self.become(None)  # type: ignore[arg-type]
            return "ok"

    async with ActorSystem() as system:
        assert await (await system.spawn(Worker)).call("x") == "ok"


# --- nothing comes ---


@each_loop_kind
def test_a_receive_timeout_comes_when_nothing_was_handled_for_that_long_and_again(kind: type[Any]) -> None:
    async def main() -> None:
        times: list[tuple[float, Any]] = []

        def react(actor: Any, entry: Any) -> None:
            if entry == "begin":
                actor.receive_timeout(10)
            if entry == "enough":
                actor.receive_timeout(None)
            times.append((asyncio.get_running_loop().time(), entry))

        async with ActorSystem() as system:
            ref = await system.spawn(kind, Hand(react))
            ref.tell("begin")
            await until(6)
            ref.tell("six")
            await until(12)
            ref.tell("twelve")
            await until(45)
            ref.tell("enough")
            await until(200)
        nothing = ReceiveTimeout(10)
        expected = [
            (0, "begin"),
            (6, "six"),
            (12, "twelve"),
            (22, nothing),
            (32, nothing),
            (42, nothing),
            (45, "enough"),
        ]
        assert times == expected

    virtually(main())


def test_the_time_in_a_handler_is_no_time_without_work() -> None:
    async def main() -> None:
        times: list[tuple[float, Any]] = []

        class Slow(Actor):
            async def on_receive(self, entry: Any) -> None:
                times.append((asyncio.get_running_loop().time(), entry))
                if isinstance(entry, int):
                    self.receive_timeout(10)
                    await asyncio.sleep(entry)

        async with ActorSystem() as system:
            ref = await system.spawn(Slow)
            ref.tell(35)
            ref.tell(9)
            await until(60)
        assert times == [(0, 35), (35, 9), (54, ReceiveTimeout(10))]

    virtually(main())


def test_a_receive_timeout_costs_no_timer_per_message() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        armed = 0
        call_at = loop.call_at

        def counting(*arguments: Any, **options: Any) -> Any:
            nonlocal armed
            armed += 1
            return call_at(*arguments, **options)

        def react(actor: Any, entry: Any) -> None:
            if entry == 0:
                actor.receive_timeout(10)

        async with ActorSystem() as system:
            ref = await system.spawn(Plain, Hand(react))
            loop.call_at = counting  # type: ignore[method-assign, assignment]
            for n in range(1_000):
                ref.tell(n)
            await asyncio.sleep(0)
            loop.call_at = call_at  # type: ignore[method-assign]
        assert armed == 1

    virtually(main())


async def test_a_thread_actor_has_a_receive_timeout_too_and_it_ends_with_it() -> None:
    came = threading.Event()

    def react(actor: Any, entry: Any) -> None:
        if entry == "begin":
            actor.receive_timeout(0.001)
        elif entry == ReceiveTimeout(0.001):
            came.set()

    with letting_go(Hand(react)) as hand:
        async with ActorSystem() as system:
            ref = await system.spawn(Threaded, hand)
            ref.tell("begin")
            await asyncio.to_thread(came.wait, 10)
            assert came.is_set()
            await ended(ref, hand)
            await asyncio.sleep(0.002)
            assert system.dead_letters.count == 0


async def test_what_is_put_aside_keeps_its_trace_and_flags() -> None:
    seen: list[Any] = []

    class Saves(Actor):
        async def on_receive(self, message: Any) -> Any:
            if message == "back":
                self.unstash_all()
                self.become(self.notes)
                return None
            return self.stash()

        async def notes(self, message: Any) -> None:
            entry = current_request.get()
            assert entry is not None
            seen.append((message, entry.trace, entry.flags))

    async with ActorSystem() as system:
        ref = await system.spawn(Saves)
        ref.tell(Envelope("x", trace=b"trace", flags=5))
        await ref.call("back")
        await eventually(lambda: seen)
        assert seen == [("x", b"trace", 5)]


# --- the alarm ---


@each_kind
async def test_a_mailbox_over_its_mark_is_reported_once_and_again_only_after_it_was_half_as_long(
    kind: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem() as system:
        alarms: list[HighWater] = []
        news = asyncio.Event()

        def note(alarm: HighWater) -> None:
            alarms.append(alarm)
            news.set()

        system.hooks.subscribe(HighWater, note)
        with letting_go(Hand()) as hand:
            ref = await system.spawn(made(kind, high_water=200), hand)
            for _ in range(2):
                news.clear()
                await held(ref, hand)
                for n in range(400):
                    ref.tell(n)
                hand.let_go()
                await news.wait()
                await ref.call("the end of it")
                hand.held.clear()
                hand.opened.clear()
                hand.gate.clear()
            hand.let_go()
            await ended(ref, hand)
        assert len(alarms) == 2
        assert all(alarm.ref == ref and alarm.length > 200 for alarm in alarms)
        assert system.scheduler.alarm.count == 2
        assert len([record for record in caplog.records if "messages wait for" in record.getMessage()]) == 2


async def test_who_has_no_mark_raises_no_alarm() -> None:
    async with ActorSystem() as system:
        with letting_go(Hand()) as hand:
            ref = await system.spawn(made(Plain, high_water=math.inf), hand)
            for n in range(20_000):
                ref.tell(n)
            await ended(ref, hand)
        assert system.scheduler.alarm.count == 0


# --- nothing is lost silently ---


@each_kind
async def test_every_reason_of_a_dead_letter_is_a_documented_one(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        with letting_go(Hand(lambda actor, _: actor.unhandled(1))) as hand:
            ref = await system.spawn(made(kind, mailbox=Bounded(1, "drop_newest")), hand)
            await held(ref, hand)
            for n in range(2):
                ref.tell(n)
            await ended(ref, hand)
            ref.tell("late")
            system.ref("nobody").tell("x")
    assert set(system.dead_letters.by_reason) == {"dropped newest", "unhandled", "dead", "no such name"}
    assert set(system.dead_letters.by_reason) <= set(REASONS)

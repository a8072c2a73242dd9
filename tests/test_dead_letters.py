"""Nothing is lost silently: what reaches nobody is counted and shown."""

import asyncio
import threading
from typing import Any

from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, inside
from understudy.actors import Actor, ActorSystem, Bounded, DeadLetter
from understudy.actors.dead_letters import BURST


async def test_each_reason_is_counted_and_shown_to_subscribers() -> None:
    class Shy(Actor):
        pass

    async with ActorSystem() as system:
        letters: list[DeadLetter] = []
        system.hooks.subscribe(DeadLetter, letters.append)
        shy, dead = await system.spawn(Shy), await system.spawn(Does)
        dead.kill()
        dead.tell("a")
        system.ref("nobody").tell("b")
        shy.tell("c")
        shy.stop()
        await shy.ended()
        assert system.dead_letters.count == 3
        assert system.dead_letters.by_reason == {"dead": 1, "no such name": 1, "unhandled": 1}
        assert sorted(letter.message for letter in letters) == ["a", "b", "c"]


async def test_what_waits_in_a_mailbox_at_the_end_is_a_dead_letter() -> None:
    async with ActorSystem() as system:
        hanging = await system.spawn(Hanging)
        for n in range(3):
            hanging.tell(n)
        await inside(hanging).begun.wait()
        hanging.kill()
        assert system.dead_letters.count == 2


async def test_a_failing_subscriber_harms_nobody_and_a_subscription_ends() -> None:
    def fail(letter: DeadLetter) -> None:
        raise ValueError

    async with ActorSystem() as system:
        seen: list[Any] = []
        system.hooks.subscribe(DeadLetter, fail)
        unsubscribe = system.hooks.subscribe(DeadLetter, seen.append)
        system.ref("nobody").tell(1)
        unsubscribe()
        unsubscribe()
        system.ref("nobody").tell(2)
        assert [letter.message for letter in seen] == [1]


async def test_subscribers_are_called_on_the_loop_whichever_thread_sent() -> None:
    async with ActorSystem() as system:
        shown: asyncio.Queue[bool] = asyncio.Queue()

        def note(letter: DeadLetter) -> None:
            shown.put_nowait(asyncio.get_running_loop() is system.loop)

        system.hooks.subscribe(DeadLetter, note)
        await asyncio.to_thread(system.ref("nobody").tell, "x")
        assert await shown.get()


async def test_a_dead_letter_that_is_lost_in_turn_is_counted_and_not_told() -> None:
    async with ActorSystem() as system:
        other, log = await system.spawn(Does), await system.spawn(Does)
        other.kill()
        log.kill()
        letters: list[DeadLetter] = []
        system.hooks.subscribe(DeadLetter, letters.append)
        system.hooks.subscribe(DeadLetter, log.tell)
        for number in range(3):
            other.tell(number)
        await eventually(lambda: system.dead_letters.count == 6)
        assert [letter.message for letter in letters] == [0, 1, 2]
        log.tell("of others")  # the log itself is nobody special
        await eventually(lambda: len(letters) == 4)
        assert letters[-1].message == "of others"


async def test_a_subscriber_that_loses_messages_itself_hears_of_them_and_holds_up_nobody() -> None:
    class Log(Hanging):
        mailbox = Bounded(5, "drop_oldest")

    async with ActorSystem() as system:
        other, dead, full = await system.spawn(Does), await system.spawn(Does), await system.spawn(Log)
        full.tell("begin")
        await inside(full).begun.wait()
        other.kill()
        dead.kill()
        letters: list[DeadLetter] = []

        def tell_on(letter: DeadLetter) -> None:
            letters.append(letter)
            dead.tell("lost")
            full.tell("dropped")

        system.hooks.subscribe(DeadLetter, tell_on)
        other.tell("first")
        await eventually(lambda: len(letters) > 3 * BURST)  # for ever, but the loop has its turn in between
        assert letters[0].message == "first"
        assert {letter.message for letter in letters[1:]} == {"lost", "dropped"}
        full.kill()
        await full.ended()


async def test_what_is_lost_as_the_system_ends_is_told_before_it_is_down() -> None:
    letters: list[Any] = []
    async with ActorSystem() as system:
        other = await system.spawn(Does)
        other.kill()
        system.hooks.subscribe(DeadLetter, lambda letter: letters.append(letter.message))
        for number in range(3):
            other.tell(number)
            await asyncio.sleep(0)
    assert letters == [0, 1, 2]
    system.hooks.subscribe(DeadLetter, lambda letter: other.tell("lost in turn"))
    other.tell("too late")
    assert letters == [0, 1, 2, "too late"]
    assert system.dead_letters.count == 5


async def test_an_actor_that_does_not_know_dead_letters_gets_each_of_them_once() -> None:
    class Shy(Actor):
        pass

    async with ActorSystem() as system:
        other, shy = await system.spawn(Echo), await system.spawn(Shy)
        other.kill()
        system.hooks.subscribe(DeadLetter, shy.tell)
        other.tell("lost")
        await eventually(lambda: system.dead_letters.count == 2)
        shy.stop()
        await shy.ended()
        assert system.dead_letters.by_reason == {"dead": 1, "unhandled": 1}


async def test_what_another_thread_loses_while_a_subscriber_is_told_is_told_as_well() -> None:
    async with ActorSystem() as system:
        nobody, dead = system.ref("nobody"), await system.spawn(Echo)
        dead.kill()
        letters: list[Any] = []

        def note(letter: DeadLetter) -> None:
            letters.append(letter.message)
            if letter.message == "first":
                for target in (nobody, dead):
                    thread = threading.Thread(target=target.tell, args=("of another thread",))
                    thread.start()
                    thread.join()

        system.hooks.subscribe(DeadLetter, note)
        nobody.tell("first")
        await eventually(lambda: len(letters) == 3)
        assert letters == ["first", "of another thread", "of another thread"]

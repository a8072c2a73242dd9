"""Nothing is lost silently: what reaches nobody is counted and shown."""

import asyncio
from typing import Any

from tests.players import Does, Hanging, inside
from understudy.actors import Actor, ActorSystem, DeadLetter


async def test_each_reason_is_counted_and_shown_to_subscribers() -> None:
    class Shy(Actor):
        pass

    async with ActorSystem() as system:
        letters: list[DeadLetter] = []
        system.dead_letters.subscribe(letters.append)
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
        system.dead_letters.subscribe(fail)
        unsubscribe = system.dead_letters.subscribe(seen.append)
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

        system.dead_letters.subscribe(note)
        await asyncio.to_thread(system.ref("nobody").tell, "x")
        assert await shown.get()

"""Groups of one system: who is in, who is told, who hears of it, and that nothing of a dead actor stays."""

import asyncio
import gc
import itertools
import threading
from typing import Any

import pytest

from tests.players import Does, Echo, Recorder, inside
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Cell,
    ExitReason,
    Joined,
    Left,
    Overloaded,
    StartFailed,
    ThreadActor,
)


class Guest(Recorder):
    """Joins the groups it is made with."""

    def __init__(self, *groups: str) -> None:
        super().__init__()
        self.mine = groups

    def on_start(self) -> None:
        for group in self.mine:
            self.join(group)


async def test_a_broadcast_reaches_every_member_in_the_order_they_joined_and_nobody_else() -> None:
    order: list[int] = []

    class Numbered(Guest):
        def __init__(self, number: int, *groups: str) -> None:
            super().__init__(*groups)
            self.number = number

        def on_receive(self, message: Any) -> Any:
            order.append(self.number)
            super().on_receive(message)

    async with ActorSystem() as system:
        guests = [await system.spawn(Numbered, number, "chat") for number in range(5)]
        stranger = await system.spawn(Numbered, 99, "news")
        assert system.groups["chat"].members() == tuple(guests)
        assert system.groups["chat"].broadcast("hello") == 5
        assert [await inside(guest).first(1) for guest in guests] == [["hello"]] * 5
        assert order == [0, 1, 2, 3, 4]
        assert not inside(stranger).seen
        assert system.groups["nobody"].broadcast("hello") == 0
        assert system.dead_letters.count == 0


async def test_an_actor_is_in_any_number_of_groups_and_in_each_of_them_once() -> None:
    async with ActorSystem() as system:
        guest = await system.spawn(Guest, "a", "b", "a")
        actor: Actor = inside(guest)
        actor.join("c")
        actor.join("a")
        assert list(system.groups) == ["a", "b", "c"]
        assert system.groups.counts() == {"a": 1, "b": 1, "c": 1}
        assert system.groups["a"].broadcast("x") == 1
        actor.leave("a")
        actor.leave("a")
        actor.leave("never there")
        assert "a" not in list(system.groups)
        assert guest not in system.groups["a"]
        assert guest in system.groups["b"]
        assert system.ref("nobody") not in system.groups["b"]


async def test_what_an_actor_does_to_its_groups_holds_at_once() -> None:
    def scene(actor: Any) -> list[int]:
        group = actor.join("chat")
        there = len(group)
        actor.leave("chat")
        return [there, len(group), len(actor.system.groups)]

    async with ActorSystem() as system:
        assert await (await system.spawn(Does)).call(scene) == [1, 0, 0]


@pytest.mark.parametrize("end", ["stop", "exit", "kill", "crash"])
async def test_groups_are_left_before_a_down_arrives(end: str) -> None:
    left: list[bool] = []

    class Watching(Recorder):
        def on_receive(self, message: Any) -> None:
            left.append(not system.groups["chat"].members() and "chat" not in list(system.groups))
            super().on_receive(message)

    class Fragile(Guest):
        def on_receive(self, message: Any) -> Any:
            raise ValueError("ordered")

    async with ActorSystem() as system:
        watching, guest = await system.spawn(Watching), await system.spawn(Fragile, "chat")
        inside(watching).monitor(guest)
        guest.tell("x") if end == "crash" else getattr(guest, end)()
        await inside(watching).first(1)
    assert left == [True]


async def test_an_ending_member_is_told_nothing_but_stays_until_its_hook_is_over() -> None:
    hook, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Guest):
        async def on_stop(self, reason: ExitReason) -> None:
            hook.set()
            await go_on.wait()

    async with ActorSystem() as system:
        watching, slow = await system.spawn(Recorder), await system.spawn(Slow, "chat")
        assert inside(watching).watch_group("chat") == (slow,)
        slow.stop()
        await hook.wait()
        group = system.groups["chat"]
        assert (group.members(), group.broadcast("x"), slow in group) == ((), 0, False)
        assert system.groups.counts() == {}
        assert list(system.groups) == ["chat"]
        assert not inside(watching).seen
        go_on.set()
        assert await inside(watching).first(1) == [Left("chat", slow)]
        assert not list(system.groups)
        assert system.dead_letters.count == 0


async def test_a_failed_start_leaves_no_member() -> None:
    class Failing(Guest):
        def on_start(self) -> None:
            super().on_start()
            raise ValueError("no")

    async with ActorSystem() as system:
        with pytest.raises(StartFailed):
            await system.spawn(Failing, "chat")
        assert not list(system.groups)


async def test_whoever_watches_a_group_hears_of_every_change_once_and_of_no_other_group() -> None:
    async with ActorSystem() as system:
        first = await system.spawn(Guest, "chat", "news")
        watching = await system.spawn(Recorder)
        assert inside(watching).watch_group("chat") == (first,)
        assert inside(watching).watch_group("chat") == (first,)
        second = await system.spawn(Guest, "chat", "news")
        inside(first).leave("chat")
        inside(first).leave("news")
        inside(first).join("chat")
        second.kill()
        assert await inside(watching).first(4) == [
            Joined("chat", second),
            Left("chat", first),
            Joined("chat", first),
            Left("chat", second),
        ]
        assert await watching.call("flush") is None
        assert len(inside(watching).seen) == 5


async def test_whoever_watches_all_groups_hears_of_new_ones_too() -> None:
    async with ActorSystem() as system:
        first = await system.spawn(Guest, "a", "b")
        watching = await system.spawn(Recorder)
        assert inside(watching).watch_groups() == {"a": (first,), "b": (first,)}
        second = await system.spawn(Guest, "c")
        first.kill()
        assert await inside(watching).first(3) == [Joined("c", second), Left("a", first), Left("b", first)]


async def test_after_an_unwatch_no_news_comes_even_if_it_waits_in_the_mailbox() -> None:
    def scene(actor: Any) -> None:
        actor.watch_group("chat")
        actor.watch_groups()
        actor.join("chat")
        actor.system.scheduler.drain()  # the news is in the mailbox now
        actor.unwatch_group("chat")
        actor.unwatch_groups()
        actor.unwatch_groups()
        actor.leave("chat")

    class Plays(Recorder):
        def on_receive(self, message: Any) -> Any:
            super().on_receive(message)
            return message(self) if callable(message) else None

    async with ActorSystem() as system:
        plays = await system.spawn(Plays)
        await plays.call(scene)
        await plays.call("flush")
        assert inside(plays).seen == [scene, "flush"]
        assert not system.groups._watches


async def test_a_watcher_that_ends_watches_no_more() -> None:
    async with ActorSystem() as system:
        watching = await system.spawn(Recorder)
        inside(watching).watch_group("chat")
        inside(watching).watch_groups()
        watching.kill()
        await system.spawn(Guest, "chat")
        assert not system.groups._watches
        assert system.dead_letters.count == 0


async def test_members_with_threads_of_their_own_join_leave_watch_and_broadcast() -> None:
    class Worker(ThreadActor):
        def on_receive(self, message: Any) -> Any:
            return message(self) if callable(message) else None

    def scene(actor: Any) -> list[Any]:
        seen = [actor.watch_group("chat")]
        group = actor.join("chat")
        seen.append((len(group), actor.actor_ref in group))
        group.broadcast("from a thread")
        actor.leave("chat")
        return [*seen, len(group)]

    async with ActorSystem() as system:
        guest, worker = await system.spawn(Guest, "chat"), await system.spawn(Worker)
        watching = await system.spawn(Recorder)
        inside(watching).watch_group("chat")
        assert await worker.call(scene) == [(guest,), (2, True), 1]
        assert await inside(guest).first(1) == ["from a thread"]
        assert await inside(watching).first(2) == [Joined("chat", worker), Left("chat", worker)]


async def test_whoever_watches_can_count_along_while_threads_come_and_go() -> None:
    class Worker(ThreadActor):
        def on_receive(self, rounds: int) -> Any:
            for _ in range(rounds):
                self.join("chat")
                self.leave("chat")

    class Ledger(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.there: set[ActorRef[Any]] = set()

        def on_receive(self, message: Any) -> Any:
            match message:
                case Joined(_, ref):
                    assert ref not in self.there
                    self.there.add(ref)
                case Left(_, ref):
                    self.there.remove(ref)
                case _:
                    return set(self.there)
            return None

    async with ActorSystem() as system:
        ledger = await system.spawn(Ledger)
        assert inside(ledger).watch_group("chat") == ()
        workers = [await system.spawn(Worker) for _ in range(4)]
        await asyncio.gather(*(worker.call(300, 60) for worker in workers))
        for worker in workers[:2]:
            worker.tell(10_000)
            worker.kill()
        await asyncio.gather(*(worker.ended() for worker in workers[:2]))
        assert await ledger.call("who") == set()
        assert not list(system.groups)


async def test_an_abandoned_thread_joins_nothing() -> None:
    begun, go_on, refused = threading.Event(), threading.Event(), threading.Event()

    class Stuck(ThreadActor):
        def on_receive(self, message: Any) -> None:
            begun.set()
            go_on.wait(10)
            for scene in (self.join, self.leave, self.watch_group, self.unwatch_group):
                with pytest.raises(ActorDied):
                    scene("chat")
            refused.set()

    async with ActorSystem() as system:
        stuck = await system.spawn(Stuck)
        stuck.tell("x")
        await asyncio.to_thread(begun.wait)
        stuck.kill()
        await stuck.ended()
        go_on.set()
        assert await asyncio.to_thread(refused.wait, 10)
        assert not list(system.groups)


@pytest.mark.parametrize("name", ["", "x" * 256, 7, "chat@home"])
async def test_a_group_name_that_cannot_be_is_refused(name: Any) -> None:
    async with ActorSystem() as system:
        actor: Actor = inside(await system.spawn(Echo))
        for scene in (actor.join, actor.watch_group, system.groups.__getitem__):
            with pytest.raises(ValueError, match="a group's name"):
                scene(name)
        assert not list(system.groups)
        assert repr(system.groups["x" * 255]).startswith("<group 'xxx")


async def test_a_member_that_is_overloaded_keeps_the_broadcast_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ActorSystem() as system:
        guests = [await system.spawn(Guest, "chat") for _ in range(3)]

        tell = Cell.tell

        def full(ref: Any, message: Any) -> None:
            if ref is guests[1]:
                raise Overloaded("full")
            tell(ref, message)

        monkeypatch.setattr(Cell, "tell", full)
        system.groups["chat"].broadcast("x")
        assert [await inside(guests[index]).first(1) for index in (0, 2)] == [["x"], ["x"]]
        assert system.dead_letters.by_reason == {"overloaded": 1}


async def test_a_hundred_thousand_members_come_are_told_and_go_and_nothing_stays() -> None:
    told = asyncio.Event()
    count = itertools.count(1)

    class Small(Actor):
        def on_start(self) -> None:
            self.join("crowd")

        def on_receive(self, message: Any) -> None:
            if next(count) == 100_000:
                told.set()

    class Crowd(Actor):
        async def on_start(self) -> None:
            for _ in range(100_000):
                await self.spawn(Small)

    gc.collect()
    gc.freeze()  # a broadcast is measured nowhere here, but the collector would walk over it all again and again
    gc.disable()
    try:
        async with ActorSystem() as system:
            crowd = await system.spawn(Crowd)
            assert system.groups["crowd"].broadcast("x") == 100_000
            await told.wait()
            crowd.stop()
            await crowd.ended()
            assert not list(system.groups)
            assert system.dead_letters.count == 0
    finally:
        gc.enable()
        gc.unfreeze()


async def test_actors_without_groups_pay_nothing_for_them() -> None:
    async with ActorSystem() as system:
        assert (await system.spawn(Echo)).bonds is None  # type: ignore[attr-defined]


async def test_watching_again_begins_afresh() -> None:
    class Again(Recorder):
        def on_receive(self, message: Any) -> Any:
            if message == "again":
                guest.actor.join("chat")  # type: ignore[attr-defined]
                self.system.scheduler.drain()  # the news is in the mailbox now
                return self.watch_group("chat")
            return super().on_receive(message)

    async with ActorSystem() as system:
        guest, again = await system.spawn(Guest), await system.spawn(Again)
        assert inside(again).watch_group("chat") == ()
        assert await again.call("again") == (guest,)
        inside(guest).leave("chat")
        assert await inside(again).first(1) == [Left("chat", guest)]

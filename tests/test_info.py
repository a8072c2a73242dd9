"""Who lives, and what each of them is doing: `system.actors()` and `system.info(ref)`."""

import asyncio
import threading
from typing import Any, cast

import pytest

from tests.helpers import eventually
from tests.players import Does, Echo, Hanging, Recorder, inside
from tests.virtual import VirtualLoop, virtually
from understudy.actors import Actor, ActorDied, ActorRef, ActorSystem, Info, ThreadActor
from understudy.actors.mailbox import Bounded
from understudy.supervisors import Child, Supervisor
from understudy.transport.decoder import Decoder
from understudy.transport.encoder import Encoder
from understudy.transport.operations import TELL


class Parent(Actor):
    async def on_start(self) -> None:
        self.child: ActorRef[Any] = await self.spawn(Echo, name="child")

    def on_receive(self, message: Any) -> Any:
        return self.child


class Blocking(ThreadActor):
    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def on_receive(self, message: Any) -> Any:
        self.begun.set()
        self.let_go.wait(10)


class Patient(Actor):
    """Handles each message for that many seconds."""

    async def on_receive(self, message: Any) -> None:
        await asyncio.sleep(message)


class SlowStart(Actor):
    async def on_start(self) -> None:
        await asyncio.Event().wait()


async def test_all_that_live_are_listed_parents_before_children_and_none_that_is_dead() -> None:
    async with ActorSystem() as system:
        assert system.actors() == []
        parent = await system.spawn(Parent)
        child = await parent.call("who?")
        echo = await system.spawn(Echo)
        assert system.actors() == [parent, echo, child]
        assert await asyncio.to_thread(system.actors) == [parent, echo, child]
        echo.kill()
        assert system.actors() == [parent, child]
    assert system.actors() == []


async def test_info_says_who_an_actor_is_and_what_ties_it_to_others() -> None:
    async with ActorSystem() as system:
        parent, other = await system.spawn(Parent, name="parent"), await system.spawn(Echo)
        watcher = await system.spawn(Does)
        child = await parent.call("who?")
        await watcher.call(lambda me: (me.monitor(child), me.link(other))[0])
        waiting = asyncio.create_task(child.ended())
        await asyncio.sleep(0)
        found = system.info(child)
        assert (found.ref, found.name, found.parent, found.children) == (child, "child", parent, ())
        assert found.cls == "tests.players.Echo"
        assert (found.watchers, found.others_watching, found.monitors) == ((watcher,), 1, ())
        assert system.info(parent).children == (child,)
        assert (system.info(watcher).monitors, system.info(watcher).links) == ((child,), (other,))
        assert system.info(other).links == (watcher,)
        assert (found.state, found.handling, found.mailbox, found.runs_on) == ("alive", None, 0, "loop")
        await asyncio.to_thread(system.info, child)
        child.kill()
        await waiting


async def test_info_by_name_is_about_whoever_has_it() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo, name="echo")
        assert system.info(system.ref("echo")).ref is echo
        with pytest.raises(ActorDied):
            system.info(system.ref("nobody"))


async def test_info_of_a_dead_actor_says_that_it_died_and_why() -> None:
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        echo.kill()
        with pytest.raises(ActorDied, match="killed"):
            system.info(echo)


async def test_an_actor_of_another_system_is_none_of_ours() -> None:
    async with ActorSystem("one") as one, ActorSystem("two") as two:
        echo = await one.spawn(Echo)
        with pytest.raises(ValueError, match="another system"):
            two.info(echo)


def test_a_busy_actor_shows_its_message_and_since_when_and_the_age_of_what_waits() -> None:
    async def main() -> None:
        async with ActorSystem(slow_after=None) as system:
            patient = await system.spawn(Patient)
            patient.tell(10.0)
            await asyncio.sleep(1)
            patient.tell(20)  # nobody has looked yet: its age is known from the next look on
            assert (system.info(patient).mailbox, system.info(patient).oldest) == (1, 0.0)
            await asyncio.sleep(2)
            found = system.info(patient)
            assert (found.state, found.handling, found.handled) == ("busy", "float", 1)
            assert found.handling_for == pytest.approx(3)
            assert found.oldest == pytest.approx(2)
            await asyncio.sleep(10)
            found = system.info(patient)
            assert (found.handling, found.mailbox, found.oldest) == ("int", 0, 0.0)
            assert found.handling_for == pytest.approx(3)
            patient.kill()

    virtually(main())


def test_the_age_of_the_oldest_message_is_right_to_one_handler_without_anybody_looking() -> None:
    async def main() -> None:
        async with ActorSystem(slow_after=None) as system:
            patient = await system.spawn(Patient)
            for _ in range(10):
                patient.tell(1.0)
            await asyncio.sleep(5.5)
            found = system.info(patient)
            assert found.mailbox == 4
            assert found.oldest == pytest.approx(5.5)
            patient.tell(1.0)  # a younger one changes nothing
            assert system.info(patient).oldest == pytest.approx(5.5)
            await asyncio.sleep(4)
            assert system.info(patient).mailbox == 1
            assert system.info(patient).oldest == pytest.approx(4, abs=1.0)
            patient.kill()

    virtually(main())


def test_a_flooded_actor_shows_the_age_of_its_backlog_to_one_tick() -> None:
    async def main() -> None:
        clock = cast("VirtualLoop", asyncio.get_running_loop())

        class Flooded(Actor):
            def on_receive(self, message: Any) -> None:
                clock.stand_still(0.004)

        async with ActorSystem(slow_after=None) as system:
            flooded = await system.spawn(Flooded)
            for _ in range(100):
                flooded.tell(None)
            await eventually(lambda: system.info(flooded).handled >= 50)
            found = system.info(flooded)
            assert found.oldest == pytest.approx(found.handled * 0.004, abs=0.009)
            flooded.kill()

    virtually(main())


@pytest.mark.parametrize("bounds", [None, Bounded(5, "drop_oldest")])
def test_messages_that_expire_or_are_dropped_do_not_make_others_older(bounds: Bounded | None) -> None:
    class Limited(Patient):
        mailbox = bounds

    async def main() -> None:
        async with ActorSystem(slow_after=None) as system:
            patient = await system.spawn(Limited)
            patient.tell(1.0)
            calls = [asyncio.create_task(patient.call(1.0, timeout=0.5)) for _ in range(4)]
            await asyncio.sleep(0.2)
            assert system.info(patient).oldest == pytest.approx(0.2, abs=0.2)
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(0.4)  # at 0.9 s, behind what has expired
            for _ in range(5):
                patient.tell(1.0)
            await asyncio.sleep(0.4)
            found = system.info(patient)
            assert found.mailbox == 4
            assert 0.2 <= found.oldest <= 0.5
            patient.kill()

    virtually(main())


async def test_a_thread_actor_shows_what_its_thread_does() -> None:
    async with ActorSystem() as system:
        blocking = await system.spawn(Blocking)
        blocking.tell("first")
        blocking.tell(2)
        await asyncio.to_thread(inside(blocking).begun.wait)
        found = system.info(blocking)
        assert (found.runs_on, found.state, found.handling, found.mailbox) == ("thread", "busy", "str", 1)
        inside(blocking).let_go.set()


async def test_another_thread_sees_what_a_plain_handler_is_doing() -> None:
    looked, go_on = threading.Event(), threading.Event()
    seen: list[Info] = []

    class Slow(Actor):
        def on_receive(self, message: Any) -> None:
            looked.set()
            go_on.wait(10)

    async with ActorSystem() as system:
        slow = await system.spawn(Slow)

        def look() -> None:
            looked.wait(10)
            seen.append(system.info(slow))
            go_on.set()

        thread = threading.Thread(target=look)
        thread.start()
        slow.tell("work")
        await slow.call(0)
        thread.join()
    assert (seen[0].state, seen[0].handling) == ("busy", "str")


async def test_an_actor_that_starts_and_one_that_ends_say_so() -> None:
    class SlowEnd(Actor):
        async def on_stop(self, _: Any) -> None:
            await asyncio.sleep(0.01)

    async with ActorSystem() as system:
        starting = asyncio.create_task(system.spawn(SlowStart))
        await asyncio.sleep(0)
        (ref,) = system.actors()
        assert system.info(ref).state == "starting"
        starting.cancel()
        await asyncio.wait([starting])
        ending = await system.spawn(SlowEnd)
        ending.exit()
        assert system.info(ending).state == "ending"
        assert system.actors() == [ending]
        await ending.ended()


class Saving(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "back":
            return self.unstash()
        return self.stash()


async def test_what_an_actor_has_put_aside_is_counted_apart_from_what_waits() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Saving)
        assert system.info(ref).stashed == 0
        for n in range(3):
            ref.tell(n)
        await eventually(lambda: system.info(ref).stashed == 3)
        assert system.info(ref).mailbox == 0


async def test_restarts_are_counted() -> None:
    async with ActorSystem() as system:
        supervisor = await system.spawn(Supervisor, [Child(Does, name="does")], intensity=5)
        for number in range(3):
            ref = system.whereis("does")
            assert ref is not None
            assert system.info(ref).restarts == number
            ref.tell(lambda me: 1 / 0)
            await ref.ended()
            await eventually(lambda: system.whereis("does"))
        assert system.info(supervisor).restarts == 0


async def test_info_crosses_the_wire() -> None:
    async with ActorSystem() as system:
        recorder = await system.spawn(Recorder, name="recorder")
        hanging = await system.spawn(Hanging)
        hanging.tell("x")
        await inside(hanging).begun.wait()
        for ref in (recorder, hanging):
            sent = system.info(ref)
            assert crossed(sent, system) == sent


def crossed(message: Any, system: ActorSystem) -> Any:
    """The message after a way over the wire, and its references found again."""
    living = {tuple(ref.address): ref for ref in system.actors()}
    definitions: list[bytes] = []
    encoder = Encoder(lambda ref: list(ref.address), definitions.append)
    decoder = Decoder(lambda parts: living[tuple(parts)])
    item = encoder.item(TELL, 1, message)
    for definition in decoder.items(batch(*definitions)):
        decoder.define(definition)
    [arrived] = decoder.items(batch(item))
    return decoder.value(arrived)


def batch(*items: bytes) -> bytes:
    return b"\xdd" + len(items).to_bytes(4, "big") + b"".join(items)

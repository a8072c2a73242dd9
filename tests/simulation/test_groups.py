"""Groups, timers and names under random joins, leaves and ends: whoever watches can count along, and nothing stays."""

import asyncio
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.simulation.puppets import KINDS, ON_THE_LOOP, Crash, Puppet, echo, end, pause
from understudy.actors import Actor, ActorDied, ActorRef, DeadLetter, Down, Joined, Left, Timer
from understudy.simulation import Simulation
from understudy.supervisors import Child, Supervisor

SEEDS = 300
NAMES = ("a", "b", "c")


@pytest.mark.seeds(SEEDS)
async def test_watchers_count_along_and_on_a_down_its_groups_are_left(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("groups")
    ledgers: list[dict[str, set[ActorRef[Any]]]] = [defaultdict(set) for _ in range(3)]

    def watcher(index: int) -> Any:
        there = ledgers[index]

        def heard(puppet: Any, message: Any) -> Any:
            match message:
                case "watch" if index == 0:
                    for name, refs in puppet.watch_groups().items():
                        there[name] = set(refs)
                case "watch":
                    there[NAMES[index]] = set(puppet.watch_group(NAMES[index]))
                case "unwatch" if index:
                    puppet.unwatch_group(NAMES[index])
                    there.clear()
                case Joined(name, ref):
                    assert ref not in there[name]
                    there[name].add(ref)
                case Left(name, ref):
                    there[name].remove(ref)
                case ("monitor", ref):
                    puppet.monitor(ref)
                case Down(_, ref, _):
                    assert not any(ref in system.groups[name].members() for name in NAMES)
                    assert index or not any(ref in members for members in there.values())
                case float():
                    return message
            return None

        return heard

    def member(puppet: Any, message: Any) -> Any:
        match message:
            case ("join", name):
                assert puppet.actor_ref in puppet.join(name)
            case ("leave", name):
                puppet.leave(name)
                assert puppet.actor_ref not in system.groups[name]
            case _:
                return echo(puppet, message)
        return None

    watchers = [await system.spawn(random.choice(ON_THE_LOOP), watcher(index)) for index in range(3)]
    await watchers[0].call("watch")
    members = [await system.spawn(random.choice(KINDS), member) for _ in range(5)]
    mortal = members[: random.randint(0, 5)]

    async def traffic() -> None:
        for _ in range(20):
            ref = random.choice(members)
            ref.tell((random.choice(("join", "join", "leave")), random.choice(NAMES)))
            if random.random() < 0.2:
                random.choice(watchers[1:]).tell(random.choice(("watch", "unwatch", 0.001)))
            if random.random() < 0.1:
                watchers[0].tell(("monitor", ref))
            await pause(random)

    async def chaos() -> None:
        for ref in mortal:
            await pause(random, 0.05)
            end(ref, random)

    await asyncio.gather(traffic(), chaos())
    await asyncio.sleep(10)
    for index in (1, 2):
        await watchers[index].call("watch")
    await asyncio.sleep(1)
    for name in NAMES:
        assert ledgers[0][name] == set(system.groups[name].members())
    for index in (1, 2):
        assert ledgers[index][NAMES[index]] == set(system.groups[NAMES[index]].members())
    assert all(watcher.is_alive() for watcher in watchers)
    for ref in members:
        ref.kill()
    await asyncio.gather(*(ref.ended() for ref in members))
    await asyncio.sleep(1)
    assert not list(system.groups)
    assert not any(ledgers[0].values())


@pytest.mark.seeds(SEEDS)
async def test_a_broadcast_reaches_each_member_once_or_is_a_dead_letter(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("broadcasts")
    got: Counter[int] = Counter()
    dead: Counter[int] = Counter()
    sent: Counter[int] = Counter()
    system.hooks.subscribe(DeadLetter, lambda letter: dead.update([letter.message[1]]))

    def heard(puppet: Any, message: Any) -> Any:
        match message:
            case ("news", number):
                got[number] += 1
                return random.choice((None, None, 0.001))
            case "join":
                puppet.join("all")
        return echo(puppet, message)

    members = [await system.spawn(random.choice(KINDS), heard) for _ in range(5)]
    for ref in members:
        await ref.call("join")

    async def talk(first: int) -> None:
        for number in range(first, first + 6):
            sent[number] = system.groups["all"].broadcast(("news", number))
            await pause(random)

    async def chaos() -> None:
        for ref in random.sample(members, random.randint(0, 4)):
            await pause(random, 0.02)
            random.choice((ref.stop, ref.exit, ref.kill))()

    await asyncio.gather(talk(0), talk(100), chaos())
    await asyncio.sleep(10)
    assert got + dead == sent


@pytest.mark.seeds(SEEDS)
async def test_a_named_reference_reaches_one_life_after_the_other(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("handover")
    lives: list[ActorRef[Any]] = []

    class Single(Actor):
        async def on_start(self) -> None:
            assert not any(ref.is_alive() for ref in lives)
            assert not system.groups["singles"].members()
            self.join("singles")
            lives.append(self.actor_ref)
            await asyncio.sleep(random.choice((0.0, 0.01)))

        def on_receive(self, message: Any) -> Any:
            echo(self, message)
            return self.actor_ref

        async def on_stop(self, reason: Any) -> None:
            await asyncio.sleep(random.choice((0.0, 0.01)))

    await system.spawn(Supervisor, [Child(Single, name="single")], intensity=1000, period=1000.0)
    named = system.ref("single")
    last = 0
    for _ in range(15):
        how = random.choice(("call", "call", "crash", "end"))
        if how == "call":
            try:
                now = lives.index(await named.call("who"))
            except ActorDied:
                assert not lives[last].is_alive()
            else:
                assert now >= last
                last = now
        elif how == "crash":
            named.tell(Crash())
        else:
            random.choice((named.stop, named.exit, named.kill))()
        await pause(random, 0.02)
    await asyncio.sleep(1)
    assert await named.call("who") is lives[-1]
    assert [ref for ref in lives if ref.is_alive()] == lives[-1:]
    assert named.address == lives[-1].address
    assert system.groups["singles"].members() == (lives[-1],)


@pytest.mark.seeds(SEEDS)
async def test_timers_at_a_fixed_delay_keep_their_distance_and_resets_take_back_what_was_due(
    simulation: Simulation,
) -> None:
    random, system = simulation.random, simulation.system("timers")
    timers: list[Timer] = []
    ended: dict[int, float] = {}
    begun: dict[int, float] = {}
    intervals: dict[int, float] = {}
    over: set[int] = set()

    def heard(puppet: Any, message: Any) -> Any:
        match message:
            case ("start", number):
                intervals[number] = random.choice((0.01, 0.02, 0.05))
                begun[number] = simulation.time
                timers.append(puppet.send_every(intervals[number], ("tick", number), fixed="delay"))
            case ("reset", number) if number < len(timers):
                timers[number].reset()
                begun[number] = simulation.time
                ended.pop(number, None)
                over.discard(number)
            case ("cancel", number) if number < len(timers):
                timers[number].cancel()
                over.add(number)
            case ("tick", number):
                assert number not in over
                assert simulation.time >= begun[number] + intervals[number] - 1e-9
                assert simulation.time >= ended.get(number, 0.0) + intervals[number] - 1e-9
                taken = random.choice((None, None, 0.03)) if kind is not Puppet else None
                ended[number] = simulation.time + (taken or 0.0)
                return taken
            case float():
                return message
        return None

    kind = random.choice(ON_THE_LOOP)
    ref = await system.spawn(kind, heard)
    for number in range(4):
        await ref.call(("start", number))
    for _ in range(15):
        number = random.randrange(4)
        ref.tell(random.choice((("reset", number), ("cancel", number), 0.02)))
        await pause(random, 0.1)
    await asyncio.sleep(1)
    assert ref.is_alive()
    for number in range(4):
        assert timers[number].active == (number not in over)
        if number not in over:
            assert simulation.time - ended[number] < 0.5
    ref.stop()
    await ref.ended()
    assert not any(timer.active for timer in timers)
    assert system.dead_letters.count == 0

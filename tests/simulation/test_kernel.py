"""The kernel's promises, as invariants of random scripts: whatever the seed does, these hold."""

import asyncio
import contextvars
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.simulation.puppets import KINDS, ON_THE_LOOP, Crash, Household, MixedPuppet, Puppet, echo, end, pause
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    DeadLetter,
    DeadlineExceeded,
    Down,
    Exit,
    NameTaken,
    Normal,
    Refused,
    Shutdown,
    StartFailed,
    Stop,
    Timer,
)
from understudy.simulation import Simulation

SEEDS = 300


@pytest.mark.seeds(SEEDS)
async def test_messages_of_one_sender_arrive_in_order_and_once(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("order")
    got: dict[tuple[str, int], list[int]] = defaultdict(list)

    def receive(index: int) -> Any:
        def heard(_: Any, message: Any) -> Any:
            match message:
                case (str() as sender, int() as number):
                    got[sender, index].append(number)
                    return random.choice((None, None, 0.001)) if number % 3 == 0 else None
            return message

        return heard

    receivers = [await system.spawn(random.choice(KINDS), receive(index)) for index in range(3)]
    plan = {f"s{number}": [random.randrange(3) for _ in range(random.randint(1, 25))] for number in range(3)}

    def send(puppet: Any, name: str) -> Any:
        counts: Counter[int] = Counter()
        for target in plan[name]:
            receivers[target].tell((name, counts[target]))
            counts[target] += 1

    async def talk(name: str) -> None:
        counts: Counter[int] = Counter()
        for target in plan[name]:
            message = (name, counts[target])
            counts[target] += 1
            if random.random() < 0.3:
                await receivers[target].call(message, 100)
            else:
                receivers[target].tell(message)
            if random.random() < 0.2:
                await pause(random)

    async def one(name: str) -> None:
        if random.random() < 0.5:
            sender = await system.spawn(random.choice(KINDS), send)
            await sender.call(name)
        else:
            await talk(name)

    await asyncio.gather(*map(one, plan))
    await asyncio.gather(*(ref.call("flush", 100) for ref in receivers))
    for name, targets in plan.items():
        for index in range(3):
            assert got[name, index] == list(range(targets.count(index)))


@pytest.mark.seeds(SEEDS)
async def test_what_an_actor_is_told_while_it_works_is_handled_though_nothing_else_happens(
    simulation: Simulation,
) -> None:
    """Told by itself or by another, while it handles a call or a message: it needs nobody else to be woken up for it."""
    random, system = simulation.random, simulation.system("echoes")
    handled: Counter[int] = Counter()

    def heard(puppet: Any, message: Any) -> Any:
        index, left = message
        handled[index] += 1
        if left:
            target = puppet.actor_ref if random.random() < 0.7 else random.choice(refs)
            target.tell((refs.index(target), left - 1))
        return random.choice((None, None, 0.01))

    refs = [await system.spawn(random.choice(KINDS), heard) for _ in range(random.randint(1, 2))]
    expected = 0
    for _ in range(4):
        index, length = random.randrange(len(refs)), random.randint(0, 3)
        expected += 1 + length
        if random.random() < 0.7:
            await refs[index].call((index, length), 5.0)
        else:
            refs[index].tell((index, length))
        await asyncio.sleep(1.0)  # everybody is idle again
        assert handled.total() == expected


@pytest.mark.seeds(SEEDS)
async def test_every_call_ends_and_for_the_reason_it_gives(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("calls")
    refs = [await system.spawn(random.choice(KINDS), echo) for _ in range(4)]
    deaths: dict[int, float] = {}

    async def watch(index: int) -> None:
        await refs[index].ended()
        deaths[index] = simulation.time

    watches = [asyncio.create_task(watch(index)) for index in range(4)]
    ends: Counter[str] = Counter()

    async def call(index: int) -> None:
        await pause(random, 1.0)
        timeout = random.choice((0.0, 0.05, 0.5, 5.0))
        message: Any = random.choice((1, 0.01, 0.3, 1.0, 0.0))
        begun = simulation.time
        try:
            assert await refs[index].call(message, timeout) == message
        except ActorDied:
            ends["died"] += 1
            assert not refs[index].is_alive()
        except DeadlineExceeded:
            ends["late"] += 1
            assert simulation.time == pytest.approx(begun + timeout)
        else:
            ends["answered"] += 1
        assert simulation.time <= begun + timeout + 1e-9

    async def chaos() -> None:
        for ref in random.sample(refs, random.randint(0, 4)):
            await pause(random, 1.0)
            end(ref, random)

    await asyncio.gather(chaos(), *(call(random.randrange(4)) for _ in range(20)))
    assert ends.total() == 20
    for ref in refs:
        ref.kill()
    await asyncio.gather(*watches)


@pytest.mark.seeds(SEEDS)
async def test_each_monitor_fires_once_and_the_name_is_free_by_then(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("monitors")
    expected: dict[int, Counter[int]] = defaultdict(Counter)
    seen: dict[int, Counter[int]] = defaultdict(Counter)
    named: dict[ActorRef[Any], str] = {}

    def watcher(index: int) -> Any:
        def heard(puppet: Any, message: Any) -> Any:
            match message:
                case ("watch", ref):
                    expected[index][puppet.monitor(ref)] += 1
                case ("forget",) if expected[index]:
                    token = random.choice(sorted(expected[index]))
                    puppet.demonitor(token, flush=True)
                    expected[index][token] = seen[index][token]
                case Down(token, ref, _):
                    seen[index][token] += 1
                    assert not ref.is_alive()
                    assert system.whereis(named[ref]) is not ref
                case float():  # busy for a while: what comes meanwhile waits in the mailbox
                    return message
            return None

        return heard

    watchers = [await system.spawn(random.choice(ON_THE_LOOP), watcher(index)) for index in range(3)]

    async def life(number: int) -> None:
        name = f"target/{number % 3}"
        try:
            ref = await system.spawn(random.choice(KINDS), echo, name=name)
        except NameTaken:
            return
        named[ref] = name
        for _ in range(random.randint(0, 4)):
            random.choice(watchers).tell(("watch", ref))
            await pause(random)
        if random.random() < 0.3:
            random.choice(watchers).tell(random.choice((0.005, 0.02)))
        end(ref, random)
        for _ in range(random.randint(0, 3)):
            random.choice(watchers).tell(random.choice((("watch", ref), ("forget",))))
            await pause(random)
        await ref.ended()
        assert system.whereis(name) is not ref
        await pause(random)

    await asyncio.gather(*(life(number) for number in range(8)))
    await asyncio.sleep(1)
    for number in range(3):
        await system.spawn(Puppet, echo, name=f"target/{number}")
    for index in range(3):
        assert +seen[index] == +expected[index]
        assert max(seen[index].values(), default=0) <= 1
        assert watchers[index].is_alive()


@pytest.mark.seeds(SEEDS)
async def test_what_is_sent_is_handled_or_a_dead_letter(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("accounts")
    sent, handled, dead = set[int](), list[int](), list[int]()
    system.hooks.subscribe(
        DeadLetter, lambda letter: dead.append(letter.message[1]) if isinstance(letter.message, tuple) else None
    )

    def heard(puppet: Any, message: Any) -> Any:
        if isinstance(message, tuple):
            handled.append(message[1])
            if random.random() < 0.1:
                return random.random() * 0.01
            return None
        return echo(puppet, message)

    refs = [await system.spawn(random.choice(KINDS), heard) for _ in range(4)]

    def send(ref: ActorRef[Any]) -> None:
        number = len(sent)
        sent.add(number)
        ref.tell(("message", number))

    async def sender() -> None:
        for _ in range(15):
            for _ in range(random.choice((1, 1, 3))):
                send(random.choice(refs))
            await pause(random)

    async def chaos() -> None:
        for ref in random.sample(refs, 3):
            await pause(random, 0.02)
            end(ref, random)

    await asyncio.gather(chaos(), sender(), sender())
    await asyncio.sleep(10)
    await system.shutdown()
    for ref in random.sample(refs, random.randint(0, 4)):
        send(ref)
    assert Counter(handled) + Counter(dead) == Counter(sent)
    assert system.dead_letters.count >= len(dead)


@pytest.mark.seeds(SEEDS)
async def test_timers_come_in_time_and_never_after_their_cancellation(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("timers")
    timers: dict[int, tuple[Timer, float, bool]] = {}
    cancelled: set[int] = set()
    fired: Counter[int] = Counter()

    def heard(puppet: Any, message: Any) -> Any:
        match message:
            case ("start", number):
                delay, repeated = random.choice((0.0, 0.001, 0.01, 0.02)), random.random() < 0.3
                start = puppet.send_every if repeated else puppet.send_after
                delay = delay + 0.01 if repeated else delay
                timers[number] = start(delay, ("fired", number)), simulation.time + delay, repeated
            case ("cancel", number) if number in timers:
                timers[number][0].cancel()
                cancelled.add(number)
            case ("fired", number):
                assert number not in cancelled
                assert simulation.time >= timers[number][1] - 1e-9
                fired[number] += 1
            case float():
                return message
        return None

    ref = await system.spawn(random.choice(ON_THE_LOOP), heard)
    for number in range(20):
        ref.tell(("start", number))
        if random.random() < 0.3:
            ref.tell(random.choice((0.005, 0.02)))  # busy for a while: what is due meanwhile waits in the mailbox
        await pause(random, 0.03)
        if random.random() < 0.5:
            ref.tell(("cancel", random.randint(0, number)))
    await ref.call("flush", 100)  # until it has done all that, however busy it was
    await asyncio.sleep(0.2)
    for number, (timer, _, repeated) in timers.items():
        if number not in cancelled:
            assert (fired[number] >= 3) if repeated else (fired[number] == 1)
        elif not repeated:
            assert fired[number] <= 1
        timer.cancel()
    counts = Counter(fired)
    cancelled.update(timers)
    await asyncio.sleep(1)
    assert fired == counts
    ref.kill()


@pytest.mark.seeds(SEEDS)
async def test_a_death_spreads_along_links_and_to_nobody_else(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("links")
    count = 7
    traps = [random.random() < 0.3 for _ in range(count)]
    puppets: dict[int, Any] = {}

    def heard(puppet: Any, message: Any) -> Any:
        match message:
            case ("link", ref):
                puppet.link(ref)
            case ("unlink", ref):
                puppet.unlink(ref)
            case ("who", index):
                puppets[index] = puppet
            case Exit() | Down():
                return None
        return echo(puppet, message)

    refs = [await system.spawn(random.choice(ON_THE_LOOP), heard, trap=trap) for trap in traps]
    edges = {tuple(sorted(random.sample(range(count), 2))) for _ in range(random.randint(2, 9))}
    cut = set(random.sample(sorted(edges), random.randint(0, min(2, len(edges)))))
    for index, ref in enumerate(refs):
        await ref.call(("who", index))
    for one, other in edges:
        refs[one].tell(("link", refs[other]))
    for one, other in cut:
        refs[one].tell(("unlink", refs[other]))
    await asyncio.gather(*(ref.call("linked") for ref in refs))
    edges -= cut

    victim = random.randrange(count)
    normal = random.random() < 0.2
    if normal:
        refs[victim].tell(Stop(Normal()))
    else:
        how = (lambda ref: ref.tell(Crash()), lambda ref: ref.kill(), lambda ref: ref.tell(Stop(Shutdown("over"))))
        random.choice(how)(refs[victim])
    await refs[victim].ended()
    await asyncio.sleep(1)

    neighbours: dict[int, set[int]] = defaultdict(set)
    for one, other in edges:
        neighbours[one].add(other)
        neighbours[other].add(one)
    dead, spread = {victim}, [] if normal else [victim]
    while spread:
        for near in neighbours[spread.pop()] - dead:
            if not traps[near]:
                dead.add(near)
                spread.append(near)
    assert {index for index, ref in enumerate(refs) if not ref.is_alive()} == dead
    for index in set(range(count)) - dead:
        heard_of = Counter(refs.index(each.sender) for each in puppets[index].exits)
        assert heard_of == (Counter(neighbours[index] & dead) if traps[index] else Counter())


@pytest.mark.seeds(SEEDS)
async def test_each_end_runs_its_hook_once_and_children_go_first_the_last_one_first(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("ends")
    order: list[int] = []
    children: list[ActorRef[Any]] = []
    puppets: list[Any] = []

    class Child(Puppet):
        def __init__(self, number: int) -> None:
            super().__init__(echo)
            self.number = number

        async def on_stop(self, reason: Any) -> None:
            await pause(random)
            order.append(self.number)

    class Parent(MixedPuppet):
        async def on_start(self) -> None:
            puppets.append(self)
            children.extend([await self.spawn(Child, number) for number in range(random.randint(0, 4))])

    parent = await system.spawn(Parent, echo, trap=random.random() < 0.5)
    if random.random() < 0.3:
        parent.tell(random.random() * 0.01)
    await pause(random)
    kind = random.choice(("stop", "crash", "exit", "kill", "child"))
    if kind == "child" and (not children or puppets[0].trap_exit):
        kind = "kill"
    match kind:
        case "stop":
            parent.stop()
        case "crash":
            parent.tell(Crash())
        case "exit":
            puppets[0].trap_exit = False
            parent.exit()
        case "kill":
            parent.kill()
        case "child":
            random.choice(children).kill()
    await parent.ended()
    if kind == "kill":  # over for the world at once: the children end after it
        await asyncio.gather(*(child.ended() for child in children))
    assert not any(child.is_alive() for child in children)
    survivors = [number for number in reversed(range(len(children))) if number in order]
    assert order == survivors
    assert len(order) >= len(children) - (kind == "child")
    assert puppets[0].ends == {"stop": ["stop"], "crash": ["failure"], "exit": ["stop"], "child": ["stop"]}.get(
        kind, []
    )


@pytest.mark.seeds(SEEDS)
async def test_a_name_has_one_owner_at_a_time_and_a_failed_start_leaves_nothing(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("names")
    owners: set[int] = set()
    most = 0

    class Owner(Actor):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        async def on_start(self) -> None:
            nonlocal most
            owners.add(self.number)
            most = max(most, len(owners))
            await pause(random)
            if random.random() < 0.2:
                owners.discard(self.number)
                raise Crash

        def on_stop(self, reason: Any) -> None:
            owners.discard(self.number)

    async def claim(number: int) -> None:
        for _ in range(4):
            await pause(random)
            try:
                ref = await system.spawn(Owner, number, name="the one")
            except NameTaken:
                continue
            except StartFailed:
                assert number not in owners
                continue
            assert system.whereis("the one") is ref
            await pause(random)
            ref.exit()
            await ref.ended()

    await asyncio.gather(*map(claim, range(4)))
    assert most == 1
    assert system.whereis("the one") is None
    await system.spawn(Puppet, echo, name="the one")


@pytest.mark.seeds(SEEDS)
async def test_whoever_hears_of_an_end_may_take_the_name_at_once(simulation: Simulation) -> None:
    """However one hears of it, and however long the children of the dead take to end."""
    random, system = simulation.random, simulation.system("heirs")
    claims: list[str] = []
    heirs: list[ActorRef[Any]] = []

    async def claim(how: str) -> None:
        claims.append(how)
        try:
            heirs.append(await system.spawn(Puppet, echo, name="house"))
        except NameTaken:
            assert len(claims) > 1, f"whoever had heard of the end by {how} found the name taken"

    house = await system.spawn(random.choice((Household, random.choice(KINDS))), echo, name="house")
    hearing: list[Any] = []

    async def by_call(message: Any) -> None:
        try:
            await house.call(message, 100)
        except ActorDied:
            await claim("a call")

    async def by_asking() -> None:
        await house.ended()
        await claim("asking")

    def watcher(puppet: Any, message: Any) -> Any:
        match message:
            case "monitor":
                puppet.monitor(house)
            case "link":
                puppet.link(house)
            case Down() | Exit():
                hearing.append(asyncio.ensure_future(claim(type(message).__name__)))
        return None

    await (await system.spawn(Puppet, watcher, trap=True)).call(random.choice(("monitor", "link")))
    if random.random() < 0.5:
        hearing.append(asyncio.ensure_future(by_asking()))
    for work in random.choices((0.5, 1), k=random.randint(0, 3)):
        hearing += [asyncio.ensure_future(by_call(work))]
    await asyncio.sleep(random.choice((0.001, 0.1)))
    end(house, random)
    await house.ended()
    await asyncio.sleep(3)
    await asyncio.gather(*hearing)
    assert len(heirs) == bool(claims)
    assert claims or not house.is_alive()


@pytest.mark.seeds(SEEDS)
async def test_an_actor_has_one_context_of_its_own(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("contexts")
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="nobody's")
    mine.set("the test's")

    def owner(name: str) -> Any:
        value = "nobody's"  # a system that was made before the variable was set would see the default

        def heard(_: Any, message: Any) -> Any:
            nonlocal value
            if value == "nobody's":
                value = mine.get()
            assert mine.get() == value
            if random.random() < 0.4:
                value = f"{name} {message}"
                mine.set(value)
            return 0.001 if random.random() < 0.3 else message

        return heard

    refs = [await system.spawn(random.choice(ON_THE_LOOP), owner(f"a{number}")) for number in range(3)]
    for number in range(40):
        ref = random.choice(refs)
        if random.random() < 0.5:
            await ref.call(number)
        else:
            ref.tell(number)
        assert mine.get() == "the test's"
        if random.random() < 0.2:
            await pause(random)
    await asyncio.gather(*(ref.call("last") for ref in refs))


@pytest.mark.seeds(SEEDS)
async def test_a_callers_deadline_reaches_those_it_calls_and_kills_nobody(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("deadlines")
    last = await system.spawn(random.choice(ON_THE_LOOP), echo)

    class Middle(Actor):
        async def on_receive(self, message: Any) -> Any:
            pause_first, patience, work = message
            await asyncio.sleep(pause_first)
            return await last.call(work, patience)

    middle = await system.spawn(Middle)
    for _ in range(10):
        message = (random.choice((0.0, 0.1)), 50.0, random.choice((0.0, 0.1, 0.3)))
        timeout = random.choice((0.05, 0.15, 0.25, 1.0))
        begun = simulation.time
        try:
            await middle.call(message, timeout)
        except DeadlineExceeded:
            assert simulation.time == pytest.approx(begun + timeout)
        except Refused as refusal:
            raise AssertionError from refusal
        if random.random() < 0.5:
            await asyncio.sleep(random.random())
        assert middle.is_alive()
        assert last.is_alive()
    assert await middle.call((0.0, 50.0, "still here"), 5) == "still here"


@pytest.mark.seeds(SEEDS)
async def test_a_system_that_is_shut_down_leaves_nobody(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("shutdown")
    refs = [await system.spawn(random.choice(KINDS), echo) for _ in range(5)]
    calls = [asyncio.create_task(random.choice(refs).call(random.choice((0.01, 3.0, 1)), 100)) for _ in range(6)]

    async def late() -> None:
        for _ in range(5):
            await pause(random)
            try:
                await system.spawn(random.choice(KINDS), echo)
            except StartFailed:
                return

    spawning = asyncio.create_task(late())
    await pause(random)
    await system.shutdown()
    assert not any(ref.is_alive() for ref in refs)
    await spawning
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, float | int | ActorDied) for result in results)
    before = system.dead_letters.count
    refs[0].tell("too late")
    assert system.dead_letters.count == before + 1
    with pytest.raises(ActorDied):
        await refs[0].call("too late")


@pytest.mark.seeds(1)
async def test_a_day_of_an_idle_system_passes_in_a_moment(simulation: Simulation) -> None:
    ticks = 0

    class Clock(Actor):
        def on_start(self) -> None:
            self.send_every(10.0, "tick")

        def on_receive(self, message: Any) -> None:
            nonlocal ticks
            ticks += 1

    system = simulation.system("idle")
    refs = [await system.spawn(echo_class, echo) for echo_class in KINDS]
    await system.spawn(Clock)
    await asyncio.sleep(24 * 3600 + 0.5)
    assert ticks == 24 * 360
    assert [await ref.call("still there") for ref in refs] == ["still there"] * len(refs)

"""The supervisor's promises under random ends of its children: who is restarted, how often, in which order."""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.simulation.puppets import Crash, echo
from understudy.actors import Actor, ActorDied, ActorRef, Exit, ExitReason, Normal, Refused, Shutdown, StartFailed, Stop
from understudy.simulation import Simulation
from understudy.supervisors import Child, RestartChild, Supervisor, TerminateChild, WhichChildren

SEEDS = 300
NAMES = ("a", "b", "c", "d")


class Part(Actor):
    def __init__(self, book: list[str], slow: float) -> None:
        super().__init__()
        self.book = book
        self.slow = slow

    async def on_start(self) -> None:
        await asyncio.sleep(self.slow)
        self.book.append(f"+{self.name}")

    def on_receive(self, message: Any) -> Any:
        return echo(self, message)

    async def on_stop(self, reason: ExitReason) -> None:
        await asyncio.sleep(self.slow)
        self.book.append(f"-{self.name}")


class Owner(Actor):
    """Holds the supervisor under test, and outlives it."""

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.exits: list[Exit] = []

    async def on_receive(self, message: Any) -> Any:
        match message:
            case Exit():
                self.exits.append(message)
            case ("start", children, intensity, period):
                return await self.spawn(Supervisor, children, intensity=intensity, period=period)
            case "exits":
                return list(self.exits)
        return None


@pytest.mark.seeds(SEEDS)
async def test_it_restarts_whom_it_should_until_it_is_too_often(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("restarts")
    book: list[str] = []
    kinds = {name: random.choice(("permanent", "transient", "temporary")) for name in NAMES}
    children = [Child(Part, args=(book, 0.0), name=name, restart=kind) for name, kind in kinds.items()]  # type: ignore[arg-type]
    intensity, period = random.randint(0, 4), random.choice((0.5, 2.0, 10.0))
    owner = await system.spawn(Owner)
    supervisor: ActorRef[Supervisor] = await owner.call(("start", children, intensity, period))
    assert book == [f"+{name}" for name in NAMES]

    alive = set(NAMES)
    restarts: list[float] = []
    for _ in range(12):
        await asyncio.sleep(random.random())
        name = random.choice(NAMES)
        ref = system.whereis(name)
        assert (ref is not None) == (name in alive)
        if ref is None:
            continue
        how = random.choice(("crash", "kill", "stop", "shutdown"))
        match how:
            case "crash":
                ref.tell(Crash())
            case "kill":
                ref.kill()
            case "stop":
                ref.tell(Stop(Normal()))
            case "shutdown":
                ref.tell(Stop(Shutdown("of its own")))
        await ref.ended()
        orderly = how in ("stop", "shutdown")
        if kinds[name] == "permanent" or (kinds[name] == "transient" and not orderly):
            now = simulation.time
            restarts = [at for at in restarts if now - at <= period] + [now]
            if len(restarts) > intensity:
                break
        else:
            alive.discard(name)
        await asyncio.sleep(0.001)
        fresh = system.whereis(name)
        assert (fresh is not None) == (name in alive)
        assert fresh is not ref
        assert supervisor.is_alive()
    else:
        posts = {info.id: info.state for info in await supervisor.call(WhichChildren())}
        assert {name for name, state in posts.items() if state == "running"} == alive
        return
    reason = await supervisor.ended(1.0)
    assert isinstance(reason, Shutdown | ActorDied) or type(reason).__name__ == "NoProc"
    await asyncio.sleep(0.001)
    (exit_,) = await owner.call("exits")
    assert isinstance(exit_.reason, Shutdown)
    assert all(system.whereis(name) is None for name in NAMES)


@pytest.mark.seeds(SEEDS)
async def test_children_start_in_order_and_end_in_reverse_even_while_it_is_busy(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("orders")
    book: list[str] = []
    children = [Child(Part, args=(book, random.choice((0.0, 0.1))), name=name) for name in NAMES]
    owner = await system.spawn(Owner)
    supervisor: ActorRef[Supervisor] = await owner.call(("start", children, 50, 1.0))
    assert book == [f"+{name}" for name in NAMES]
    book.clear()
    for name in random.sample(NAMES, random.randint(0, 3)):
        ref = system.whereis(name)
        if ref is not None:
            ref.kill()
        await asyncio.sleep(random.choice((0.0, 0.05, 0.2)))
    await asyncio.sleep(random.choice((0.0, 1.0)))
    random.choice((supervisor.stop, owner.stop, owner.kill))()
    await supervisor.ended()
    ends = [line[1:] for line in book if line.startswith("-")]
    assert ends == [name for name in reversed(NAMES) if name in ends]
    assert all(system.whereis(name) is None for name in NAMES)
    starts = [line for line in book if line.startswith("+")]
    await asyncio.sleep(10)
    assert [line for line in book if line.startswith("+")] == starts  # nobody is started after the end


@pytest.mark.seeds(SEEDS)
async def test_a_child_is_never_twice_there(simulation: Simulation) -> None:
    random, system = simulation.random, simulation.system("once")
    lives: list[ActorRef[Any]] = []
    ending: list[str | None] = []

    class Single(Actor):
        async def on_start(self) -> None:
            await asyncio.sleep(random.choice((0.0, 0.01)))
            if random.random() < 0.2:
                raise Crash
            assert self.name not in ending
            assert not [ref for ref in lives if ref.name == self.name and ref.is_alive()]
            lives.append(self.actor_ref)

        def on_receive(self, message: Any) -> Any:
            return echo(self, message)

        async def on_stop(self, reason: ExitReason) -> None:
            ending.append(self.name)
            await asyncio.sleep(random.choice((0.0, 0.01)))
            ending.remove(self.name)

    try:
        supervisor = await system.spawn(
            Supervisor, [Child(Single, name=name) for name in NAMES[:2]], intensity=100, period=100.0
        )
    except StartFailed:
        assert not any(map(system.whereis, NAMES))
        return
    for _ in range(10):
        ref = system.whereis(random.choice(NAMES[:2]))
        if ref is not None:
            random.choice((ref.stop, ref.exit, lambda r=ref: r.tell(Crash())))()
        await asyncio.sleep(random.choice((0.0, 0.001, 0.02)))
    await asyncio.sleep(1)
    assert supervisor.is_alive()
    assert [ref.name for ref in lives if ref.is_alive()] in (["a", "b"], ["b", "a"])


@pytest.mark.seeds(SEEDS)
async def test_a_terminated_child_stays_down_until_it_is_asked_for_again(simulation: Simulation) -> None:
    """Though its start fails as often as not, and is being tried again just then."""
    random, system = simulation.random, simulation.system("wanted")
    lives: list[ActorRef[Any]] = []
    first = True

    class Shaky(Actor):
        async def on_start(self) -> None:
            await asyncio.sleep(random.choice((0.0, 0.01)))
            if not first and random.random() < 0.5:
                raise Crash
            lives.append(self.actor_ref)

        def on_receive(self, message: Any) -> Any:
            return echo(self, message)

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(random.choice((0.0, 0.01)))

    children = [Child(Shaky, id=name, name=random.choice((name, None))) for name in NAMES[:2]]
    supervisor = await system.spawn(Supervisor, children, intensity=1000, period=100.0)
    first = False

    async def posts() -> dict[str, ActorRef[Any] | None]:
        infos = {info.id: info for info in await supervisor.call(WhichChildren())}
        assert {name: info.state == "running" for name, info in infos.items()} == {
            name: info.ref is not None for name, info in infos.items()
        }
        return {name: info.ref for name, info in infos.items()}

    for _ in range(6):
        name = random.choice(NAMES[:2])
        ref = (await posts())[name]
        if ref is not None:
            random.choice((ref.kill, lambda r=ref: r.tell(Crash())))()
        await asyncio.sleep(random.choice((0.0, 0.001, 0.005, 0.02)))
        if random.random() < 0.5:
            continue
        await supervisor.call(TerminateChild(name))
        await asyncio.sleep(random.choice((0.0, 0.1)))
        assert (await posts())[name] is None, "it came back, though nobody had asked for it"
        assert sum(life.is_alive() for life in lives) <= 1
        with contextlib.suppress(Refused):  # it did not start
            fresh = await supervisor.call(RestartChild(name))
            assert fresh in ((await posts())[name], None) or not fresh.is_alive()
    await asyncio.sleep(1)
    assert supervisor.is_alive()
    alive = [ref for ref in lives if ref.is_alive()]
    assert sorted(map(id, alive)) == sorted(id(ref) for ref in (await posts()).values() if ref is not None)
    supervisor.stop()
    await supervisor.ended()
    assert not any(ref.is_alive() for ref in lives)


@pytest.mark.seeds(SEEDS)
async def test_in_a_group_nobody_is_started_beside_one_that_comes_after_it(simulation: Simulation) -> None:
    """Whoever dies when, also while the group is being ended or started, and though starts fail."""
    random, system = simulation.random, simulation.system("groups")
    strategy = random.choice(("one_for_all", "rest_for_one"))
    lives: dict[str, ActorRef[Any]] = {}
    first = True

    class Member(Actor):
        async def on_start(self) -> None:
            assert self.name is not None
            await asyncio.sleep(random.choice((0.0, 0.01)))
            if not first and random.random() < 0.2:
                raise Crash
            later = NAMES[NAMES.index(self.name) :]
            assert not [name for name in later if name in lives and lives[name].is_alive()]
            earlier = NAMES[: NAMES.index(self.name)]
            assert all(name in lives for name in earlier), "those before it have been started"
            lives[self.name] = self.actor_ref

        def on_receive(self, message: Any) -> Any:
            return echo(self, message)

        async def on_stop(self, reason: ExitReason) -> None:
            await asyncio.sleep(random.choice((0.0, 0.01)))

    supervisor = await system.spawn(
        Supervisor, [Child(Member, name=name) for name in NAMES], strategy=strategy, intensity=1000, period=100.0
    )
    first = False
    for _ in range(8):
        ref = lives[random.choice(NAMES)]
        random.choice((ref.kill, ref.stop, lambda r=ref: r.tell(Crash())))()
        await asyncio.sleep(random.choice((0.0, 0.001, 0.005, 0.02)))
    await asyncio.sleep(10)
    infos = await supervisor.call(WhichChildren())
    assert [(info.id, info.ref, info.state) for info in infos] == [(name, lives[name], "running") for name in NAMES]
    assert all(ref.is_alive() for ref in lives.values())
    supervisor.stop()
    await supervisor.ended()
    assert not any(ref.is_alive() for ref in lives.values())

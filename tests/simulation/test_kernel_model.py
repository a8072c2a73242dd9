"""Whatever is done to actors, in whatever order, they do what the model says: who lives, who ends, why, and who hears of it.

Hypothesis makes up the commands, and a seed of its choice the order in which actors, tasks and threads run. The machine
only writes the commands down, guided by the model; its teardown lets real actors follow them, and compares.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.kernel_model import CRASH, NOPROC, NORMAL, Heard, Kind, Life, Model
from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    Cell,
    DeadLetter,
    Down,
    Exit,
    ExitReason,
    Failure,
    Later,
    NameTaken,
    Normal,
    Refused,
    Shutdown,
    ThreadActor,
)
from understudy.simulation import Simulation

REASONS: dict[str, ExitReason] = {
    NORMAL: Normal(),
    "shutdown": Shutdown(),
    "shutdown: of its own": Shutdown("of its own"),
    "Odd: sent": Failure("Odd", "sent"),
}


class Crash(Exception):
    """A handler's failure."""


def text_of(reason: ExitReason) -> str:
    """A reason as the model names it."""
    return CRASH if isinstance(reason, Failure) and reason.type.endswith("Crash") else str(reason)


class Notes:
    """What one real actor heard and did, kept outside it."""

    def __init__(self, troupe: Troupe) -> None:
        self.troupe = troupe
        self.heard: list[tuple[Any, ...]] = []
        self.hook: str | None = None
        self.owed: list[Later] = []
        self.gate = asyncio.Event()
        self.tokens: dict[int, int] = {}
        self.labels: dict[int, int] = {}

    def handle(self, actor: Actor, message: Any) -> Any:
        """What every kind of actor does with a message; a coroutine where it hangs."""
        match message:
            case Down(token, ref, reason):
                self.heard.append(("down", self.labels[token], self.troupe.number(ref), text_of(reason)))
            case Exit(sender, reason):
                self.heard.append(("exit", self.troupe.number(sender), text_of(reason)))
            case ("say", number):
                self.heard.append(("say", number))
            case ("do", function):
                function(actor)
            case ("crash",):
                raise Crash
            case ("refuse",):
                raise Refused("no")
            case ("defer",):
                self.owed.append(Later())
                return self.owed[-1]
            case ("answer",):
                for later in self.owed:
                    later.set("late")
                self.owed.clear()
            case ("hang",):
                self.gate.clear()
                return self.hang()
        return "ok"

    async def hang(self) -> str:
        """Suspend the handler until released."""
        await self.gate.wait()
        return "ok"


class Hooks:
    """The last hooks, noted."""

    notes: Notes

    def on_stop(self, reason: ExitReason) -> None:
        assert self.notes.hook is None, "a second last hook"
        self.notes.hook = "stop"

    def on_failure(self, *_: Any) -> None:
        assert self.notes.hook is None, "a second last hook"
        self.notes.hook = "failure"


class Plain(Hooks, Actor):
    def __init__(self, notes: Notes, traps: bool) -> None:
        super().__init__()
        self.notes, self.trap_exit = notes, traps

    def on_receive(self, message: Any) -> Any:
        return self.notes.handle(self, message)


class Async(Plain):
    async def on_receive(self, message: Any) -> Any:
        result = self.notes.handle(self, message)
        return await result if asyncio.iscoroutine(result) else result


class Threaded(Hooks, ThreadActor):
    def __init__(self, notes: Notes, traps: bool) -> None:
        super().__init__()
        self.notes, self.trap_exit = notes, traps
        self.lock = threading.Lock()

    def on_receive(self, message: Any) -> Any:
        with self.lock:  # a point where the seed may let others run
            return self.notes.handle(self, message)


KINDS: dict[Kind, type[Any]] = {"plain": Plain, "async": Async, "thread": Threaded}


class Troupe:
    """Real actors that follow commands, in virtual time."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.refs: list[ActorRef[Any]] = []
        self.notes: list[Notes] = []
        self.calls: dict[int, asyncio.Task[str]] = {}
        self.dead_letters: list[int] = []
        system.hooks.subscribe(DeadLetter, self._buried)

    def _buried(self, letter: DeadLetter) -> None:
        match letter.message:
            case ("say", number):
                self.dead_letters.append(number)
            case _:
                pass

    def number(self, ref: ActorRef[Any] | None) -> int | None:
        return None if ref is None else self.refs.index(ref)

    async def spawn(self, kind: Kind, traps: bool, name: str | None, parent: int | None) -> bool:
        notes = Notes(self)
        arguments = (notes, traps)
        try:
            if parent is None:
                ref = await self.system.spawn(KINDS[kind], *arguments, name=name)
            else:
                cell = cast("Cell[Any]", self.refs[parent])
                ref = await self.system.spawn_child(cell, KINDS[kind], arguments, {}, name)
        except NameTaken:
            return False
        self.refs.append(ref)
        self.notes.append(notes)
        return True

    def do(self, a: int, function: Callable[[Any], object]) -> None:
        """Have an actor do something itself."""
        self.refs[a].tell(("do", function))

    def monitor(self, a: int, b: int, label: int) -> None:
        notes = self.notes[a]

        def watch(actor: Actor) -> None:
            token = actor.monitor(self.refs[b])
            notes.tokens[label], notes.labels[token] = token, label

        self.do(a, watch)

    def demonitor(self, a: int, label: int, flush: bool) -> None:
        self.do(a, lambda actor: actor.demonitor(self.notes[a].tokens[label], flush=flush))

    def exit(self, sender: int | None, b: int, reason: str) -> None:
        if sender is None:
            self.refs[b].exit(REASONS[reason])
        else:
            self.do(sender, lambda _: self.refs[b].exit(REASONS[reason]))

    def put(self, b: int, entry: tuple[Any, ...]) -> None:
        match entry:
            case ("say", _):
                self.refs[b].tell(entry)
            case ("stop",):
                self.refs[b].stop()
            case ("answer",) | (_, -1):
                self.refs[b].tell(entry[:1])
            case (what, call):
                self.calls[call] = asyncio.create_task(self._call(b, what))

    async def _call(self, b: int, what: str) -> str:
        try:
            return cast("str", await self.refs[b].call((what,), 1e6))
        except Refused:
            return "refused"
        except ActorDied as died:
            return f"died {text_of(died.reason)}"

    async def quiet(self) -> None:
        """Everything that follows has happened."""
        await asyncio.sleep(1)


def compare(model: Model, troupe: Troupe, reasons: dict[int, str]) -> None:
    """That the troupe is as the model says. `reasons`: why each dead actor really ended."""
    for life, ref, notes in zip(model.lives, troupe.refs, troupe.notes, strict=True):
        assert ref.is_alive() == life.alive, f"actor {life.number} should {'live' if life.alive else 'have ended'}"
        if not life.alive:
            assert reasons[life.number] in life.reasons, f"actor {life.number}: {reasons[life.number]}, {life.reasons}"
            assert notes.hook == life.hook, f"actor {life.number}: hook {notes.hook}, not {life.hook}"
        perhaps = Counter(_known(life.perhaps, reasons))
        heard = [entry for entry in notes.heard if entry not in perhaps]
        assert _by_sender(_known(life.heard, reasons)) == _by_sender(heard), f"actor {life.number}"
        assert Counter(notes.heard) - perhaps == Counter(heard), f"actor {life.number} heard of a death twice"
        if life.name is not None:
            owner = model.owner(life.name)
            assert troupe.system.whereis(life.name) == (None if owner is None else troupe.refs[owner.number])
    for call, task in troupe.calls.items():
        assert task.done() == (call in model.calls), f"call {call} {'has' if task.done() else 'has not'} ended"
        if task.done():
            assert _matches(model.calls[call], task.result(), reasons), f"call {call}: {task.result()}"
    assert Counter(troupe.dead_letters) == Counter(model.dead_letters)


def _known(entries: list[Heard], reasons: dict[int, str]) -> list[Heard]:
    """What should have been heard, with the reasons that the dead really had."""
    known: list[Heard] = []
    for entry in entries:
        match entry:
            case ("down", _, who) | ("exit", who):
                known.append((*entry, reasons[who]))
            case _:
                known.append(entry)
    return known


def _by_sender(heard: list[tuple[Any, ...]]) -> dict[object, list[tuple[Any, ...]]]:
    """Order is promised for each pair of actors only."""
    split: dict[object, list[tuple[Any, ...]]] = {}
    for entry in heard:
        match entry:
            case ("down", _, who, _) | ("exit", who, _):
                sender = who
            case _:
                sender = "driver"
        split.setdefault(sender, []).append(entry)
    for sender, entries in split.items():
        if sender != "driver":
            entries.sort(key=str)  # monitors and links of one death have no order among themselves
    return split


def _matches(expected: str, got: str, reasons: dict[int, str]) -> bool:
    if expected == "died":
        return got == f"died {NOPROC}"
    if expected.startswith("died "):
        return got in (f"died {reasons[int(expected[5:])]}", f"died {NOPROC}")
    return got == expected


class Kernel(RuleBasedStateMachine):
    """Writes down commands, which the model follows at once and the troupe in the end."""

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.seed = seed
        self.model = Model()
        self.script: list[Callable[[Troupe], Any]] = []
        self.numbers = iter(range(10**6))

    def _someone(self, pick: int) -> Life:
        lives = self.model.lives
        return lives[pick % len(lives)]

    def _free(self, pick: int) -> Life | None:
        """A living actor that handles what it is told at once."""
        free = [life for life in self.model.living() if life.busy is None]
        return free[pick % len(free)] if free else None

    def _other(self, one: Life, pick: int, near: bool) -> Life:
        """Anybody; or somebody with ties to `one`, if there is."""
        family = [*one.children, *one.links, *([] if one.parent is None else [one.parent])]
        return self.model.lives[family[pick % len(family)]] if near and family else self._someone(pick)

    def _then(self, command: str, *arguments: Any) -> Any:
        """Have the model follow a command now, and the troupe later."""
        self.script.append(lambda troupe: getattr(troupe, command)(*arguments))
        return getattr(self.model, command)(*arguments)

    @rule(
        kind=st.sampled_from(sorted(KINDS)),
        traps=st.booleans(),
        name=st.sampled_from((None, None, "ann", "bob")),
        parent=st.one_of(st.none(), st.integers(0, 99)),
    )
    def spawn(self, kind: Kind, traps: bool, name: str | None, parent: int | None) -> None:
        above = None if parent is None else self._free(parent)
        arguments = (kind, traps, name, None if above is None else above.number)
        started = self.model.spawn(*arguments)

        async def spawn(troupe: Troupe) -> None:
            assert await troupe.spawn(*arguments) == started, f"{name} taken: {started}"

        self.script.append(spawn)

    @precondition(lambda self: self.model.lives)
    @rule(a=st.integers(0, 99), b=st.integers(0, 99), near=st.booleans(), undo=st.booleans())
    def link(self, a: int, b: int, near: bool, undo: bool) -> None:
        one = self._free(a)
        if one is not None:
            other = self._other(one, b, near)
            if undo:
                self.model.unlink(one.number, other.number)
                self.script.append(lambda t: t.do(one.number, lambda actor: actor.unlink(t.refs[other.number])))
            else:
                self.model.link(one.number, other.number)
                self.script.append(lambda t: t.do(one.number, lambda actor: actor.link(t.refs[other.number])))

    @precondition(lambda self: self.model.lives)
    @rule(a=st.integers(0, 99), b=st.integers(0, 99))
    def monitor(self, a: int, b: int) -> None:
        one = self._free(a)
        if one is not None:
            self._then("monitor", one.number, self._someone(b).number, next(self.numbers))

    @precondition(lambda self: any(life.monitors for life in self.model.living() if life.busy is None))
    @rule(pick=st.integers(0, 99), flush=st.booleans())
    def demonitor(self, pick: int, flush: bool) -> None:
        held = [(life.number, label) for life in self.model.living() if life.busy is None for label in life.monitors]
        self._then("demonitor", *held[pick % len(held)], flush)

    @precondition(lambda self: self.model.lives)
    @rule(
        a=st.one_of(st.none(), st.integers(0, 99)),
        b=st.integers(0, 99),
        near=st.booleans(),
        reason=st.sampled_from(sorted(REASONS)),
    )
    def exit(self, a: int | None, b: int, near: bool, reason: str) -> None:
        sender = None if a is None else self._free(a)
        if sender is None:
            self._then("exit", None, self._someone(b).number, reason)
        else:
            self._then("exit", sender.number, self._other(sender, b, near).number, reason)

    @precondition(lambda self: self.model.lives)
    @rule(b=st.integers(0, 99))
    def kill(self, b: int) -> None:
        number = self._someone(b).number
        self.model.kill(number)
        self.script.append(lambda troupe: troupe.refs[number].kill())

    @precondition(lambda self: self.model.lives)
    @rule(b=st.integers(0, 99), entry=st.sampled_from(("say", "stop", "answer")))
    def tell(self, b: int, entry: str) -> None:
        self._then("put", self._someone(b).number, ("say", next(self.numbers)) if entry == "say" else (entry,))

    @precondition(lambda self: self.model.lives)
    @rule(b=st.integers(0, 99), what=st.sampled_from(("crash", "echo", "refuse", "defer", "hang")), told=st.booleans())
    def request(self, b: int, what: str, told: bool) -> None:
        whom = self._someone(b)
        if what == "hang" and whom.kind == "thread":
            return  # it would block, and nothing could be said to it
        self._then("put", whom.number, (what, -1 if told else next(self.numbers)))

    @precondition(lambda self: any(life.busy is not None for life in self.model.living()))
    @rule(pick=st.integers(0, 99))
    def release(self, pick: int) -> None:
        busy = [life for life in self.model.living() if life.busy is not None]
        number = busy[pick % len(busy)].number
        self.model.release(number)
        self.script.append(lambda troupe: troupe.notes[number].gate.set())

    def teardown(self) -> None:
        simulation = Simulation(self.seed)

        async def play() -> None:
            troupe = Troupe(simulation.system("model"))
            for command in self.script:
                doing = command(troupe)
                if asyncio.iscoroutine(doing):
                    await doing
                await troupe.quiet()
            reasons: dict[int, str] = {}
            for number, ref in enumerate(troupe.refs):
                if not ref.is_alive():
                    reasons[number] = text_of(await ref.ended())
            compare(self.model, troupe, reasons)
            for task in troupe.calls.values():
                task.cancel()

        simulation.run(play)


TestKernel = Kernel.TestCase
TestKernel.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

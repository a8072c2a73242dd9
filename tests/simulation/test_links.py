"""What two nodes say to each other, whatever the network and their ends do: in order, exactly once, and never silence.

Sources on every node tell, offer to, call and monitor actors on every other one while faults that the seed has drawn happen. All
that was sent and all that came of it stands in a ledger, which lives outside the nodes and is balanced in the end.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    Address,
    Bounded,
    CallError,
    DeadLetter,
    DeadlineExceeded,
    Down,
    Exit,
    ExitReason,
    Failure,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    Refused,
    Request,
    Shutdown,
    StartFailed,
    message,
)
from understudy.simulation import Cluster, Simulation, faults
from understudy.transport import Node

TELLS = 24
"""Messages of one stream."""

IMPATIENCE = 4.0
"""Seconds that a call may take."""

FEW_AHEAD = patch("understudy.transport.offers.AHEAD", 3)
"""Offers that one node may have in line at another's actor: so few that some wait here as well."""

QUIET = 8.0
"""Seconds after the last fault in which everything must come to its end: deaths are declared, Downs arrive."""


@message("test.numbered")
class Numbered:
    """The n-th message of a stream."""

    stream: int
    number: int


@message("test.question")
class Question(Request[int]):
    """Answered with its own number."""

    number: int


@message("test.meet")
class Meet(Request[ActorRef[Any]]):
    """Answered with the address of a sink: the one asked, or one of those that it was told of, dead or alive."""


@message("test.narrow")
class WhoIsNarrow(Request[ActorRef[Any]]):
    """Answered with the address of the Narrow beside the sink."""


@message("test.introduce")
class Introduce:
    """Another sink."""

    sink: ActorRef[Any]


@message("test.hatch")
class Hatch(Request[ActorRef[Any]]):
    """Answered with the address of a new Mayfly, which ends after some seconds in one of its ways."""

    seconds: float
    end: str


@message("test.letter")
class Letter:
    """Of any size."""

    number: int
    text: str


@message("test.registered")
class Registered(Request[int]):
    """A letter whose arrival is confirmed, with its number."""

    number: int
    text: str


@dataclass
class Stream:
    """From one life of a source to one life of a sink."""

    source: Address
    sink: Address
    sent: int = 0
    delivered: list[int] = field(default_factory=list)
    lost: Counter[int] = field(default_factory=Counter)
    unknown: Counter[int] = field(default_factory=Counter)
    unread: set[int] = field(default_factory=set)  # in the mailbox of a process when it was killed


@dataclass
class Vigil:
    """A monitor, or a link, of one life of a source on another actor."""

    source: Address
    watched: Address
    mortal: bool = True  # it ends of itself
    reasons: list[ExitReason] = field(default_factory=list)


@dataclass
class Ledger:
    """What happened, as nobody inside could know it."""

    streams: list[Stream] = field(default_factory=list)
    vigils: dict[tuple[Address, int], Vigil] = field(default_factory=dict)
    ends: dict[Address, str] = field(default_factory=dict)
    asked: dict[int, Address] = field(default_factory=dict)
    executed: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    answered: dict[int, object] = field(default_factory=dict)
    ties: dict[tuple[Address, Address], Vigil] = field(default_factory=dict)
    busy: Counter[Address] = field(default_factory=Counter)
    longest: float = 0.0
    mistakes: list[str] = field(default_factory=list)

    def letter(self, letter: DeadLetter) -> None:
        if isinstance(letter.message, Numbered):
            stream = self.streams[letter.message.stream]
            (stream.unknown if letter.fate_unknown else stream.lost)[letter.message.number] += 1

    def receive(self, here: Address, message: Numbered) -> None:
        stream = self.streams[message.stream]
        if stream.sink != here:
            self.mistakes.append(f"{message} was for another, {stream.sink}, and came to {here}")
        stream.delivered.append(message.number)


class Sink(Actor):
    """What the others talk to: keeps what it is told, answers, hatches."""

    def __init__(self, ledger: Ledger, simulation: Simulation, narrow: ActorRef[Any]) -> None:
        super().__init__()
        self.ledger = ledger
        self.simulation = simulation
        self.narrow = narrow
        self.known: list[ActorRef[Any]] = []

    def on_start(self) -> None:
        self.known.append(self.actor_ref)

    async def on_receive(self, message: object) -> object:
        match message:
            case Numbered():
                self.ledger.receive(self.actor_ref.address, message)
                return None
            case WhoIsNarrow():
                return self.narrow
            case Question(number):
                self.ledger.executed[number] += 1
                return number
            case Meet():
                return self.simulation.random.choice(self.known)
            case Introduce(sink):
                self.known.append(sink)
                return None
            case Hatch(seconds, end):
                try:
                    return await self.system.spawn(Mayfly, self.ledger, seconds, end)
                except StartFailed as error:  # the node is being stopped
                    raise Refused(str(error)) from error
            case _:
                return self.unhandled(message)


class Narrow(Actor):
    """Takes its time, and few may wait for it."""

    mailbox = Bounded(3)

    def __init__(self, ledger: Ledger, simulation: Simulation) -> None:
        super().__init__()
        self.ledger = ledger
        self.simulation = simulation

    async def on_receive(self, message: object) -> None:
        assert isinstance(message, Numbered)
        self.ledger.receive(self.actor_ref.address, message)
        assert len(self.actor_ref.mailbox) <= 3  # type: ignore[attr-defined]
        await asyncio.sleep(self.simulation.random.choice((0.0, 0.0, 0.1)))


class Mayfly(Actor):
    def __init__(self, ledger: Ledger, seconds: float, end: str) -> None:
        super().__init__()
        self.ledger = ledger
        self.seconds = seconds
        self.end = end

    def on_start(self) -> None:
        self.send_after(self.seconds, "now")

    def on_receive(self, message: object) -> None:
        if message != "now":
            return
        self.ledger.ends[self.actor_ref.address] = self.end
        match self.end:
            case "normal":
                self.stop()
            case "shutdown":
                self.actor_ref.exit(Shutdown("old age"))
            case "kill":
                self.actor_ref.kill()
            case _:
                raise ValueError("old age")


class Source(Actor):
    """Talks to the sink of one other node until it is told to rest."""

    def __init__(
        self, ledger: Ledger, simulation: Simulation, other: ActorRef[Any], friends: list[ActorRef[Any]]
    ) -> None:
        super().__init__()
        self.friends = friends
        self.ledger = ledger
        self.simulation = simulation
        self.other = other

    def on_start(self) -> None:
        self.trap_exit = True
        for work in (self.tell_all(), self.offer_all(), self.ask_all(), self.watch_all()):
            self.run(self.until_done(work))

    async def until_done(self, work: Coroutine[Any, Any, None]) -> None:
        self.ledger.busy[self.actor_ref.address] += 1
        await work
        self.ledger.busy[self.actor_ref.address] -= 1

    def on_receive(self, message: object) -> None:
        match message:
            case Down(token, _, reason):
                self.ledger.vigils[self.actor_ref.address, token].reasons.append(reason)
            case Exit(ActorRef() as mayfly, reason):
                self.ledger.ties[self.actor_ref.address, mayfly.address].reasons.append(reason)
            case _:
                self.unhandled(message)

    async def tell_all(self) -> None:
        random = self.simulation.random
        for _ in range(2):
            try:
                sink = await self.other.call(Meet(), timeout=IMPATIENCE)
            except CallError:
                await asyncio.sleep(random.uniform(0.1, 1.0))
                continue
            for friend in self.friends:
                friend.tell(Introduce(sink))
            vigil = Vigil(self.actor_ref.address, sink.address, mortal=False)
            self.ledger.vigils[self.actor_ref.address, self.monitor(sink)] = vigil
            stream = Stream(self.actor_ref.address, sink.address)
            index = len(self.ledger.streams)
            self.ledger.streams.append(stream)
            while stream.sent < TELLS:
                for _ in range(min(random.randint(1, 8), TELLS - stream.sent)):
                    sink.tell(Numbered(index, stream.sent))
                    stream.sent += 1
                await asyncio.sleep(random.uniform(0.0, 0.3))

    async def offer_all(self) -> None:
        random = self.simulation.random
        for _ in range(2):
            try:
                narrow = await self.other.call(WhoIsNarrow(), timeout=IMPATIENCE)
                stream = Stream(self.actor_ref.address, narrow.address)
                index = len(self.ledger.streams)
                self.ledger.streams.append(stream)
                while stream.sent < TELLS:
                    await narrow.offer(Numbered(index, stream.sent))
                    stream.sent += 1
                    if random.random() < 0.2:
                        await asyncio.sleep(random.uniform(0.0, 0.3))
            except CallError:
                await asyncio.sleep(random.uniform(0.1, 1.0))

    async def ask_all(self) -> None:
        random, ledger = self.simulation.random, self.ledger
        for _ in range(8):
            number = len(ledger.asked)
            ledger.asked[number] = self.actor_ref.address
            began = self.simulation.time
            try:
                ledger.answered[number] = await self.other.call(Question(number), timeout=IMPATIENCE)
            except CallError as error:
                ledger.answered[number] = error
            ledger.longest = max(ledger.longest, self.simulation.time - began)
            await asyncio.sleep(random.uniform(0.0, 0.6))

    async def watch_all(self) -> None:
        random = self.simulation.random
        for _ in range(5):
            end = random.choice(["normal", "shutdown", "kill", "crash"])
            try:
                mayfly = await self.other.call(Hatch(random.uniform(0, 3), end), timeout=IMPATIENCE)
            except CallError:
                await asyncio.sleep(random.uniform(0.1, 1.0))
                continue
            if end != "normal":  # which links do not tell of
                tie = Vigil(self.actor_ref.address, mayfly.address)
                self.ledger.ties[self.actor_ref.address, mayfly.address] = tie
                self.link(mayfly)
            for _ in range(random.randint(1, 2)):
                vigil = Vigil(self.actor_ref.address, mayfly.address)
                self.ledger.vigils[self.actor_ref.address, self.monitor(mayfly)] = vigil
            await asyncio.sleep(random.uniform(0.0, 0.6))


class Autopsy(Cluster):
    """A cluster that notes what a killed process had in its mailboxes."""

    def __init__(self, simulation: Simulation, *, probe_misses: int = 3) -> None:
        super().__init__(simulation, probe_misses=probe_misses)
        self.ledger = Ledger()

    def crash(self, name: str) -> None:
        super().crash(name)
        node = self.node(name)
        if node._system is None:
            return
        for actor in (node.system.whereis("sink"), node.system.whereis("narrow")):
            for entry in getattr(actor, "mailbox", None) or ():
                self._unread(entry)
        for link in node._links._links.values() if node._links is not None else ():
            for line in link.delivery._admission.lines.values():
                for _, entry in line:
                    self._unread(entry)

    def _unread(self, entry: object) -> None:
        if isinstance(entry, Numbered):
            self.ledger.streams[entry.stream].unread.add(entry.number)


class Play:
    """Some nodes whose sources and sinks all know each other, and the ledger of what they did."""

    def __init__(self, simulation: Simulation, cluster: Autopsy, names: list[str]) -> None:
        self.simulation = simulation
        self.cluster = cluster
        self.names = names
        self.ledger = cluster.ledger

    async def begin(self) -> None:
        await asyncio.gather(*(self.cluster.start(name, self.setup) for name in self.names))
        await self.cluster.met()

    async def setup(self, node: Node) -> None:
        node.system.hooks.subscribe(DeadLetter, self.ledger.letter)
        narrow = await node.spawn(Narrow, self.ledger, self.simulation, name="narrow")
        await node.spawn(Sink, self.ledger, self.simulation, narrow, name="sink")
        others = [node.ref(f"sink@{name}") for name in self.names if name != node.name]
        for other in others:
            friends = [friend for friend in others if friend is not other]
            await node.spawn(Source, self.ledger, self.simulation, other, friends)

    async def finish(self) -> None:
        """Wait until the sources have said all they had to say, and everything has come of it that ever will."""
        while any(map(self.lives, self.ledger.busy.elements())):  # noqa: ASYNC110 - looking is cheap in virtual time
            await asyncio.sleep(0.5)
        await asyncio.sleep(QUIET)

    def lives(self, address: Address) -> bool:
        """Whether that life of a node still goes on."""
        node, incarnation, _ = address
        return node in self.cluster.running() and self.cluster.node(node).incarnation == incarnation

    def balance(self) -> None:
        """Hold every promise against the ledger."""
        assert not self.ledger.mistakes
        for stream in self.ledger.streams:
            self._check_stream(stream)
        for vigil in (*self.ledger.vigils.values(), *self.ledger.ties.values()):
            self._check_vigil(vigil)
        for number, source in self.ledger.asked.items():
            self._check_call(number, source)

    def _check_stream(self, stream: Stream) -> None:
        arrived, sent = stream.delivered, set(range(stream.sent))
        assert arrived == list(range(len(arrived))), f"not in order and exactly once: {stream}"
        letters = (
            stream.lost | stream.unknown
        )  # one there, and one here that could not know of it, are no contradiction
        assert not stream.lost.keys() & set(arrived), f"a dead letter arrived: {stream}"
        assert set(letters.values()) <= {1}, f"more than one letter for one message: {stream}"
        if self.lives(stream.source):  # an offer that ended with whoever made it may have been sent
            assert letters.keys() | set(arrived) <= sent, f"more than was sent: {stream}"
            silent = sent - set(arrived) - letters.keys() - stream.unread
            assert not silent, f"silence about {sorted(silent)}: {stream}"

    def _check_vigil(self, vigil: Vigil) -> None:
        assert len(vigil.reasons) <= 1, f"told more than once: {vigil}"
        if not self.lives(vigil.source) or (not vigil.reasons and self.lives(vigil.watched) and not vigil.mortal):
            return
        assert len(vigil.reasons) == 1, f"never told: {vigil}"
        reason = vigil.reasons[0]
        if isinstance(reason, NoConnection):
            assert not self.lives(vigil.watched), f"a false alarm: {vigil}"
            return
        end = self.ledger.ends.get(vigil.watched, "none")
        expected = {"normal": Normal, "shutdown": Shutdown, "kill": Killed, "crash": Failure, "none": Shutdown}[end]
        assert isinstance(reason, NoProc | Shutdown | expected), f"it ended by {end}, but {vigil}"

    def _check_call(self, number: int, source: Address) -> None:
        assert self.ledger.executed[number] <= 1, f"call {number} was executed more than once"
        outcome = self.ledger.answered.get(number)
        if self.lives(source):
            assert outcome is not None, f"call {number} never ended"
        if isinstance(outcome, int):
            assert outcome == number
            assert self.ledger.executed[number] == 1
        else:
            assert outcome is None or isinstance(outcome, DeadlineExceeded | ActorDied | Refused), (
                f"call {number}: {outcome!r}"
            )


@pytest.mark.seeds(300)
@FEW_AHEAD
async def test_between_living_nodes_everything_arrives_once_and_in_order(simulation: Simulation) -> None:
    async with Autopsy(simulation, probe_misses=1000) as cluster:
        play = Play(simulation, cluster, ["a", "b"])
        await play.begin()
        await faults.play(cluster, faults.plan(simulation, play.names, faults.NETWORK, seconds=6))
        await play.finish()
        play.balance()
        for stream in play.ledger.streams:
            assert len(stream.delivered) == stream.sent == TELLS
        assert play.ledger.longest <= IMPATIENCE + 1e-6
        assert not any(
            isinstance(reason, NoConnection) for vigil in play.ledger.vigils.values() for reason in vigil.reasons
        )


@pytest.mark.seeds(300)
@FEW_AHEAD
async def test_over_a_bad_network_and_whatever_happens_to_nodes_nothing_is_silent(simulation: Simulation) -> None:
    """The proof's own figures: of all frames a fifth is lost, a tenth comes twice and some are overtaken, all the time;
    beside that there are partitions, both ways and one way, crashes and pauses."""
    async with Autopsy(simulation) as cluster:
        play = Play(simulation, cluster, ["a", "b", "c"][: simulation.choose([2, 2, 2, 3])])
        await play.begin()
        cluster.network.lose(0.2)
        cluster.network.repeat(0.1)
        cluster.network.reorder(0.1)
        kinds: list[faults.Kind] = ["partition", "deafen", "cut", "crash", "pause"]
        await faults.play(cluster, faults.plan(simulation, play.names, kinds, seconds=6, longest=5.0))
        await play.finish()
        play.balance()


@pytest.mark.seeds(300)
@FEW_AHEAD
async def test_whatever_happens_to_nodes_network_and_table_nothing_is_silent(simulation: Simulation) -> None:
    async with Autopsy(simulation) as cluster:
        play = Play(simulation, cluster, ["a", "b", "c"][: simulation.choose([2, 2, 2, 3])])
        await play.begin()
        kinds = faults.NETWORK + 2 * faults.NODES + faults.TABLE
        await faults.play(cluster, faults.plan(simulation, play.names, kinds, seconds=5, longest=5.0))
        await play.finish()
        play.balance()


class Letterbox(Actor):
    """Keeps the numbers of what came."""

    def __init__(self, came: list[int]) -> None:
        super().__init__()
        self.came = came

    def on_receive(self, message: object) -> object:
        match message:
            case Letter(number) | Registered(number):
                self.came.append(number)
                return number
            case _:
                return self.unhandled(message)


@dataclass
class Write:
    """To a writer: send so many letters of these sizes in one go, the last one registered if so wished."""

    first: int
    sizes: list[int]
    registered: bool


class Writer(Actor):
    def __init__(self, box: ActorRef[Any], confirmed: list[int]) -> None:
        super().__init__()
        self.box = box
        self.confirmed = confirmed

    async def on_receive(self, message: object) -> None:
        assert isinstance(message, Write)
        *sizes, last = message.sizes
        for number, size in enumerate(sizes, message.first):
            self.box.tell(Letter(number, "x" * size))
        number = message.first + len(sizes)
        if message.registered:
            self.confirmed.append(await self.box.call(Registered(number, "x" * last), timeout=100.0))
        else:
            self.box.tell(Letter(number, "x" * last))


@pytest.mark.seeds(300)
async def test_a_few_words_arrive_in_order_though_nothing_follows_them(simulation: Simulation) -> None:
    """Short or long, told or called, from time to time, over a bad network: soon after it is well again they are there."""
    random = simulation.random
    async with Cluster(simulation, probe_misses=1000) as cluster:
        came: list[int] = []
        confirmed: list[int] = []
        calls: list[int] = []
        await cluster.start("a", lambda node: node.spawn(Letterbox, came, name="box"))
        sender = await cluster.start("b")
        await cluster.met()
        writer = await cluster.run("b", sender.spawn(Writer, sender.ref("box@a"), confirmed))
        number = 0
        for _ in range(4):
            match random.choice(("lose", "deafen", "partition", "cut", "reorder", "nothing")):
                case "lose":
                    cluster.network.lose(random.uniform(0.2, 0.9), "a", "b")
                case "deafen":
                    cluster.network.partition(*random.sample(("a", "b"), 2), one_way=True)
                case "partition":
                    cluster.network.partition("a", "b")
                case "reorder":
                    cluster.network.reorder(0.5, "a", "b")
                case "cut":
                    cluster.network.cut("a", "b")
                case _:
                    pass
            write = Write(number, random.choices((0, 100, 70_000), k=random.randint(1, 3)), random.random() < 0.5)
            number += len(write.sizes)
            calls += [number - 1] * write.registered
            writer.tell(write)
            await asyncio.sleep(random.choice((0.0, 0.001, 1.0)))
            if random.random() < 0.2:
                cluster.network.cut("a", "b")
            cluster.network.heal()
            patience = simulation.time + 5.0  # to connect again, to send again
            while (len(came) < number or confirmed != calls) and simulation.time < patience:  # noqa: ASYNC110
                await asyncio.sleep(random.uniform(0.0, 0.5))
            assert came == list(range(number))
            assert confirmed == calls

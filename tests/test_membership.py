"""Whole clusters of `Membership` over one table, in virtual time: a fake network says which process a probe finds."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import wraps
from logging.handlers import BufferingHandler
from typing import Any

import pytest

from tests.virtual import VirtualLoop, until, virtually
from understudy.actors import NameTaken, UnderstudyError
from understudy.transport.membership import Membership
from understudy.transport.memory import MemoryTable
from understudy.transport.table import Change, Expect, Member, Snapshot, TableUnavailable, Versions

PROBE_TIME = 0.02
"""Seconds that a probe takes which is answered."""


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        virtually(test())

    del run.__dict__["__wrapped__"]  # pytest looks through it, and would find the coroutine function
    return run


class FaultyTable(MemoryTable):
    """A table that can be away, and that can lose the answer to a commit which took effect."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.loses_answers = False

    async def read(self, since: Versions | None = None) -> Snapshot:
        if self.away:
            raise TableUnavailable("the table is away")
        return await super().read(since)

    async def commit(self, expect: Expect, change: Change) -> Versions | None:
        if self.away:
            raise TableUnavailable("the table is away")
        versions = await super().commit(expect, change)
        if self.loses_answers and versions is not None:
            raise TableUnavailable("the answer was lost")
        return versions

    async def hints(self) -> AsyncIterator[Versions]:
        async for versions in super().hints():
            if not self.away:
                yield versions

    def row(self, node: str) -> Member:
        return self.rows.members[node]


@dataclass
class Process:
    """One node process: its membership, and what that told it."""

    cluster: "Cluster"
    name: str
    port: int
    incarnation: int
    events: list[str] = field(default_factory=list)
    running: bool = True
    healthy: bool = True
    checking: Callable[[], Coroutine[Any, Any, None]] | None = None
    standing: set[str] = field(default_factory=set[str])
    silences: list[str] = field(default_factory=list[str])
    broken_probe: Exception | None = None
    fails_on_up: bool = False

    def __post_init__(self) -> None:
        me = Member(self.name, self.incarnation, f"tcp://127.0.0.1:{self.port}", pid=self.port)
        self.membership = Membership(
            self.cluster.table,
            me,
            probe=self.probe,
            on_up=self.on_up,
            on_dead=lambda node, incarnation, reason: self.saw(f"dead {node}/{incarnation}: {reason}"),
            on_own_death=self.on_own_death,
            healthy=self.is_healthy,
            on_silent=lambda member, why: self.silences.append(f"{member.node} silent: {why}"),
            on_answering=lambda member: self.silences.append(f"{member.node} answers"),
            stands=lambda member: member.node in self.standing,
        )

    async def is_healthy(self) -> bool:
        if self.checking is not None:
            await self.checking()
        return self.healthy

    def saw(self, event: str) -> None:
        assert self.running, f"{self.name} was told {event!r} after its end"
        self.events.append(event)

    def on_up(self, member: Member) -> None:
        if self.fails_on_up:
            raise RuntimeError("a mistake in a callback")
        self.saw(f"up {member.node}/{member.incarnation}")

    def on_own_death(self, reason: str) -> None:
        self.saw(f"own death: {reason}")
        self.running = False

    async def probe(self, member: Member) -> bool:
        if self.broken_probe is not None:
            raise self.broken_probe
        there = self.cluster.processes.get(member.address)
        if there is None or not there.running or self.cluster.is_cut(self, there):
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(PROBE_TIME)
        assert there is not None
        return (there.name, there.membership.me.incarnation) == member.key

    async def join(self) -> Member:
        claimed = await self.membership.claim()
        await self.membership.join()
        return claimed

    async def kill(self) -> None:
        """As `kill -9`: it does nothing any more, and says nothing."""
        self.running = False
        await self.membership._end()

    def news(self) -> list[str]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events


class Cluster:
    def __init__(self) -> None:
        self.table = FaultyTable()
        self.processes: dict[str, Process] = {}
        self.cut: set[frozenset[str]] = set()
        self._ports = iter(range(4001, 5000))

    def process(self, name: str, *, incarnation: int = 1, port: int | None = None) -> Process:
        process = Process(self, name, port or next(self._ports), incarnation)
        self.processes[process.membership.me.address] = process
        return process

    async def start(self, *names: str) -> list[Process]:
        started = [self.process(name) for name in names]
        for process in started:
            await process.join()
        await asyncio.sleep(0.1)
        for process in started:
            others = sorted(f"up {name}/1" for name in names if name != process.name)
            assert sorted(process.news()) == others
        return started

    def is_cut(self, one: Process, other: Process) -> bool:
        return frozenset((one.name, other.name)) in self.cut

    def isolate(self, name: str) -> None:
        self.cut |= {frozenset((name, process.name)) for process in self.processes.values() if process.name != name}

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.running:
                await process.membership.leave()
                process.running = False


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Clusters that fall apart on purpose log a lot."""
    logging.getLogger("understudy.membership").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("understudy.membership").setLevel(logging.NOTSET)


# --- joining ---


@in_virtual_time
async def test_a_newcomer_meets_everybody_and_everybody_meets_it() -> None:
    cluster = Cluster()
    director, stage = await cluster.start("director", "stage")
    engine = cluster.process("engine-1")
    assert await engine.join() == cluster.table.row("engine-1")
    assert sorted(engine.news()) == ["up director/1", "up stage/1"]
    await asyncio.sleep(0.01)
    assert director.news() == stage.news() == ["up engine-1/1"]
    assert [row.node for row in stage.membership.members()] == ["director", "engine-1", "stage"]
    await cluster.stop()


@in_virtual_time
async def test_a_quiet_cluster_stays_together_and_leaves_the_table_alone() -> None:
    cluster = Cluster()
    processes = await cluster.start("a", "b", "c", "d", "e")
    before = (await cluster.table.read()).versions
    await asyncio.sleep(600)
    assert (await cluster.table.read()).versions == before
    assert [process.news() for process in processes] == [[]] * 5
    await cluster.stop()


@in_virtual_time
async def test_a_live_process_keeps_its_node_name_and_is_not_disturbed() -> None:
    cluster = Cluster()
    stage, engine = await cluster.start("stage", "engine-1")
    second = cluster.process("engine-1", incarnation=2)
    taken = r"'engine-1' is taken: a live process \(pid 4002\) answers for it at tcp://127.0.0.1:4002; stop that one"
    with pytest.raises(NameTaken, match=taken):
        await second.join()
    second.running = False
    await second.membership.leave()
    await asyncio.sleep(10)
    assert stage.news() == engine.news() == []
    assert cluster.table.row("engine-1").incarnation == 1
    await cluster.stop()


@in_virtual_time
async def test_of_two_newcomers_with_one_name_exactly_one_gets_in() -> None:
    cluster = Cluster()
    await cluster.start("stage")
    twins = [cluster.process("engine-1"), cluster.process("engine-1")]
    results = await asyncio.gather(*(twin.join() for twin in twins), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Member", "NameTaken"]
    for twin, result in zip(twins, results):
        twin.running = isinstance(result, Member)
    await cluster.stop()


@in_virtual_time
async def test_a_restarted_node_replaces_its_dead_incarnation_at_once() -> None:
    cluster = Cluster()
    stage, engine = await cluster.start("stage", "engine-1")
    await engine.kill()
    start = now()
    await cluster.process("engine-1", incarnation=2).join()
    await asyncio.sleep(0.01)
    assert now() - start < 2.0
    assert stage.news() == ["dead engine-1/1: it ended, and a new process took its place", "up engine-1/2"]
    await cluster.stop()


@in_virtual_time
async def test_whoever_listens_at_the_old_address_itself_does_not_ask_whether_the_old_one_lives() -> None:
    cluster = Cluster()
    stage, engine = await cluster.start("stage", "engine-1")
    await engine.kill()
    start = now()
    await cluster.process("engine-1", incarnation=2, port=engine.port).join()
    assert now() - start < 0.01
    await asyncio.sleep(0.01)
    assert stage.news()[-1] == "up engine-1/2"
    await cluster.stop()


@in_virtual_time
async def test_incarnations_grow_even_if_the_clock_ran_backwards() -> None:
    cluster = Cluster()
    stage = cluster.process("stage", incarnation=1000)
    await stage.join()
    await stage.membership.leave()
    stage.running = False
    again = cluster.process("stage", incarnation=5)
    assert (await again.join()).incarnation == 1001
    await cluster.stop()


@in_virtual_time
async def test_a_join_whose_answer_was_lost_can_be_tried_again() -> None:
    cluster = Cluster()
    stage = cluster.process("stage")
    cluster.table.loses_answers = True
    with pytest.raises(TableUnavailable, match="answer was lost"):
        await stage.join()
    cluster.table.loses_answers = False
    assert (await stage.join()).incarnation == 1
    await cluster.stop()


@in_virtual_time
async def test_a_newcomer_that_is_overtaken_while_it_joins_is_told_so() -> None:
    cluster = Cluster()
    first = cluster.process("engine-1")
    first.membership._on_own_death = lambda reason: first.events.append(reason)
    read = cluster.table.read

    async def overtaken(since: Versions | None = None) -> Snapshot:
        if since is not None:
            await cluster.table.commit(Expect(members=1), Change(members=(Member("engine-1", 2, "tcp://127.0.0.1:9"),)))
        return await read(since)

    cluster.table.read = overtaken  # type: ignore[method-assign]
    with pytest.raises(NameTaken, match="taken over by another process while this one joined"):
        await first.join()


# --- dying ---


@pytest.mark.parametrize("survivors", [["b"], ["b", "c"], ["b", "c", "d", "e"]])
def test_a_killed_process_is_seen_by_all_others_within_five_seconds(survivors: list[str]) -> None:
    async def main() -> None:
        for phase in range(10):
            cluster = Cluster()
            victim, *others = await cluster.start("a", *survivors)
            await asyncio.sleep(5 + phase / 10)
            await victim.kill()
            await asyncio.sleep(4.5)
            for process in others:
                [event] = process.news()
                assert event.startswith("dead a/1: did not answer ")
            await cluster.stop()

    virtually(main())


@in_virtual_time
async def test_two_of_three_that_die_together_are_both_declared_dead_by_the_third() -> None:
    cluster = Cluster()
    a, b, c = await cluster.start("a", "b", "c")
    await a.kill()
    await b.kill()
    await asyncio.sleep(8)
    assert sorted(c.news()) == ["dead a/1: did not answer c", "dead b/1: did not answer c"]
    await cluster.stop()


@in_virtual_time
async def test_a_node_cut_off_from_the_others_finds_itself_dead_in_the_table_and_stops() -> None:
    cluster = Cluster()
    a, *others = await cluster.start("a", "b", "c", "d")
    cluster.isolate("a")
    await asyncio.sleep(8)
    [event] = a.news()
    assert event.startswith("own death: the others declared this node dead: did not answer ")
    for process in others:
        assert process.running
        assert len(process.news()) == 1
    await cluster.stop()


@in_virtual_time
async def test_a_node_that_another_process_took_over_stops() -> None:
    """It was alive, but nobody could tell: the newcomer's probe did not come through."""
    cluster = Cluster()
    (old,) = await cluster.start("engine-1")
    cluster.isolate("engine-1")
    cluster.cut.add(frozenset(["engine-1"]))
    newer = cluster.process("engine-1", incarnation=2)
    await newer.join()
    await asyncio.sleep(0.01)
    assert old.news() == [
        "own death: another process took the node name 'engine-1' over (pid 4002 at tcp://127.0.0.1:4002)"
    ]
    await old.membership.leave()
    assert cluster.table.row("engine-1").status == "active"
    await cluster.stop()


@in_virtual_time
async def test_a_pause_of_the_whole_process_accuses_nobody() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for moment in range(20):
        await asyncio.sleep(0.3 + moment / 7)
        loop.stand_still(30.0)
    await asyncio.sleep(5)
    assert a.news() == b.news() == []
    assert cluster.table.row("a").suspicions == cluster.table.row("b").suspicions == ()
    await cluster.stop()


@in_virtual_time
async def test_a_node_that_is_not_healthy_itself_does_not_accuse_all_the_others() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    a.healthy = False
    await b.kill()
    await asyncio.sleep(20)
    assert a.news() == []
    assert "not healthy itself" in a.membership.held
    a.healthy = True
    await asyncio.sleep(2)
    assert a.news() == ["dead b/1: did not answer a"]
    await cluster.stop()


@in_virtual_time
async def test_a_node_that_starts_again_while_others_look_whether_they_may_accuse_it_is_a_member() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    await b.kill()
    looks = 0

    async def meanwhile() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:  # before the vote, on the table as it was just read
            await cluster.process("b", incarnation=2).join()
            await a.membership.refresh()

    a.checking = meanwhile
    await asyncio.sleep(20)
    assert looks >= 2
    assert (cluster.table.row("b").incarnation, cluster.table.row("b").status) == (2, "active")
    assert a.news() == ["dead b/1: it ended, and a new process took its place", "up b/2"]
    await cluster.stop()


@in_virtual_time
async def test_a_member_that_answers_again_is_no_longer_accused() -> None:
    cluster = Cluster()
    a, b, c = await cluster.start("a", "b", "c")
    cluster.cut = {frozenset("ab")}
    await asyncio.sleep(8)
    assert len(cluster.table.row("a").suspicions + cluster.table.row("b").suspicions) == 1
    cluster.cut = set()
    await asyncio.sleep(8)
    assert len(cluster.table.row("a").suspicions + cluster.table.row("b").suspicions) == 0
    assert a.news() == b.news() == c.news() == []
    await cluster.stop()


@in_virtual_time
async def test_a_probe_that_fails_with_an_error_of_ours_is_a_missed_one() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    a.broken_probe = UnderstudyError("no way there")
    await asyncio.sleep(5)
    assert a.news() == ["dead b/1: did not answer a"]
    assert b.news() == ["own death: the others declared this node dead: did not answer a"]
    await cluster.stop()


@in_virtual_time
async def test_a_probe_that_cannot_be_made_is_a_missed_one_reported_and_ends_nobody() -> None:
    cluster = Cluster()
    stage, engine = await cluster.start("stage", "engine-1")
    stage.broken_probe = OSError(24, "Too many open files")
    reports = BufferingHandler(1_000)
    logger = logging.getLogger("understudy.membership")
    logger.setLevel(logging.ERROR)
    logger.addHandler(reports)
    try:
        await asyncio.sleep(1.5)
        stage.broken_probe = None
        await asyncio.sleep(30)
    finally:
        logger.removeHandler(reports)
    assert stage.running
    assert engine.running
    assert [record.getMessage() for record in reports.buffer] == [
        "stage cannot ask engine-1 for a sign of life: [Errno 24] Too many open files"
    ]
    await cluster.stop()


@in_virtual_time
async def test_a_mistake_in_a_callback_ends_the_node_instead_of_blinding_it() -> None:
    cluster = Cluster()
    (a,) = await cluster.start("a")
    a.fails_on_up = True
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    await cluster.process("b").join()
    await asyncio.sleep(0.01)
    assert a.news() == ["own death: its membership failed: RuntimeError: a mistake in a callback"]
    assert [str(context["exception"]) for context in reported] == ["a mistake in a callback"]
    await cluster.stop()


# --- the table away ---


@in_virtual_time
async def test_while_the_table_is_away_nothing_dies_and_when_it_is_back_the_dead_are_declared() -> None:
    cluster = Cluster()
    a, b, c = await cluster.start("a", "b", "c")
    cluster.table.away = True
    await c.kill()
    await asyncio.sleep(600)
    assert a.news() == b.news() == []
    assert a.membership.trouble == "the table is away"
    assert [row.status for row in a.membership.members()] == ["active"] * 3
    cluster.table.away = False
    await asyncio.sleep(6)
    assert a.membership.trouble == ""
    assert a.news() == b.news()
    assert cluster.table.row("c").status == "dead"
    await cluster.stop()


@in_virtual_time
async def test_who_falls_silent_and_answers_again_is_told_though_the_table_is_away() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    cluster.table.away = True
    cluster.cut.add(frozenset(("a", "b")))
    await asyncio.sleep(600)
    assert (a.silences, b.silences) == (["b silent: it does not answer"], ["a silent: it does not answer"])
    cluster.cut.clear()
    await asyncio.sleep(2)
    assert a.silences[1:] == ["b answers"]
    cluster.table.away = False
    await asyncio.sleep(600)
    assert a.news() == b.news() == []
    await cluster.stop()


@in_virtual_time
async def test_a_pause_of_our_own_makes_nobody_answer_who_is_silent() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    cluster.table.away = True
    await b.kill()
    await asyncio.sleep(10)
    assert len(a.silences) == 1
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for _ in range(3):
        loop.stand_still(30.0)
        await asyncio.sleep(1.3)
    await asyncio.sleep(10)
    assert len(a.silences) == 1
    await cluster.stop()


@in_virtual_time
async def test_a_node_whose_loop_is_blocked_while_its_connection_stands_is_told_of_in_three_seconds_and_dies_after_ten() -> (
    None
):
    cluster = Cluster()
    a, b, c = await cluster.start("a", "b", "c")
    for process in (a, b):
        process.standing.add("c")
    begun = now()
    await c.kill()
    await until(begun + 4.5)
    assert a.silences == ["c silent: its connection stands, but something holds its loop"]
    await until(begun + 9.0)
    assert a.news() == b.news() == []
    await until(begun + 11.5)
    assert a.news()
    assert b.news()
    await cluster.stop()


@in_virtual_time
async def test_a_blocked_node_whose_connection_breaks_dies_at_once() -> None:
    cluster = Cluster()
    a, b, c = await cluster.start("a", "b", "c")
    for process in (a, b):
        process.standing.add("c")
    await c.kill()
    await asyncio.sleep(6)
    assert not a.news()
    for process in (a, b):
        process.standing.clear()
    await asyncio.sleep(2.1)
    assert a.news()
    assert b.news()
    await cluster.stop()


@in_virtual_time
async def test_what_was_missed_while_the_table_was_away_accuses_nobody_who_is_back_with_it() -> None:
    """What ailed the way to the table may have ailed all others: a switch, say, that nobody is heard through."""
    cluster = Cluster()
    a, b, c = await cluster.start("a", "b", "c")
    cluster.cut = {frozenset("ab"), frozenset("ac"), frozenset("bc")}
    cluster.table.away = True
    await asyncio.sleep(60.1)
    cluster.table.away = False  # at that moment nobody has probed again
    cluster.cut = set()
    await asyncio.sleep(60)
    assert a.news() == b.news() == c.news() == []
    await cluster.stop()


@in_virtual_time
async def test_a_newer_incarnation_that_says_hello_ends_the_old_one_even_while_the_table_is_away() -> None:
    cluster = Cluster()
    stage, engine = await cluster.start("stage", "engine-1")
    await engine.kill()
    cluster.table.away = True
    stage.membership.hello("engine-1", 1)
    stage.membership.hello("engine-1", 2)
    stage.membership.hello("engine-1", 2)
    assert stage.news() == ["dead engine-1/1: it ended, and a new process took its place"]
    cluster.table.away = False
    await asyncio.sleep(6)
    assert stage.news() == []  # the old row, still active in the table, does not bring it back
    await cluster.process("engine-1", incarnation=2).join()
    await asyncio.sleep(0.01)
    assert stage.news() == ["up engine-1/2"]
    await cluster.stop()


@in_virtual_time
async def test_joining_without_a_table_fails_clearly() -> None:
    cluster = Cluster()
    cluster.table.away = True
    with pytest.raises(TableUnavailable, match="the table is away"):
        await cluster.process("stage").join()
    await cluster.stop()


@in_virtual_time
async def test_a_table_that_was_deleted_and_begun_anew_gets_the_row_of_everybody_again() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    fresh = FaultyTable()
    cluster.table.rows = fresh.rows
    await asyncio.sleep(6)
    assert {row.node: row.status for row in (await cluster.table.read()).members} == {"a": "active", "b": "active"}
    assert a.news() == b.news() == []
    await cluster.stop()


# --- leaving ---


@in_virtual_time
async def test_whoever_leaves_is_gone_for_the_others_at_once_and_its_row_says_so() -> None:
    cluster = Cluster()
    stage, engine = await cluster.start("stage", "engine-1")
    await engine.membership.leave()
    await engine.membership.leave()
    engine.running = False
    await asyncio.sleep(0.01)
    assert stage.news() == ["dead engine-1/1: it left"]
    assert cluster.table.row("engine-1").status == "left"
    await cluster.process("engine-1", incarnation=2).join()
    await asyncio.sleep(0.01)
    assert stage.news() == ["up engine-1/2"]
    await cluster.stop()


@in_virtual_time
async def test_leaving_does_not_wait_for_a_table_that_is_away() -> None:
    cluster = Cluster()
    a, b = await cluster.start("a", "b")
    cluster.table.away = True
    start = now()
    await b.membership.leave()
    b.running = False
    assert now() - start <= 1.0
    cluster.table.away = False
    await asyncio.sleep(6)
    assert a.news() == ["dead b/1: did not answer a"]
    await cluster.stop()


@in_virtual_time
async def test_fifty_nodes_meet_and_two_of_them_die() -> None:
    cluster = Cluster()
    processes = await cluster.start(*(f"n{number}" for number in range(50)))
    for victim in processes[:2]:
        await victim.kill()
    await until(now() + 5)
    for process in processes[2:]:
        assert sorted(event.split(":")[0] for event in process.news()) == ["dead n0/1", "dead n1/1"]
    await cluster.stop()

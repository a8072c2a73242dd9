"""Membership over real nodes: three of one process, and processes that are killed, stopped and started again."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from understudy.actors import Actor, NameTaken
from understudy.transport import Node, NodeLost, NodeUp, TableUnavailable
from understudy.transport.served import TableVersions

NODE = """
    import asyncio, sys
    from pathlib import Path
    from understudy.transport import Node

    async def main() -> None:
        node = Node(sys.argv[1], state=Path(sys.argv[2]))
        await node.start()
        print(node.incarnation, node.address, flush=True)
        print(await node.ended(), flush=True)

    asyncio.run(main())
"""

SEEN_WITHIN = 30.0
"""Seconds from the end of a process to the news of it, on a machine that may itself stop for some of them. Five are promised:
`make proof wire` is strict about it, with a hundred deaths."""


class News(Actor):
    """Keeps what its node is told: "up b", "lost b: reason"."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def on_receive(self, message: Any) -> None:
        match message:
            case NodeUp(member):
                self.lines.append(f"up {member.node}")
            case NodeLost(node, _, reason):
                self.lines.append(f"lost {node}: {reason}")
            case _:
                self.unhandled(message)


async def listen(node: Node) -> list[str]:
    lines: list[str] = []
    node.subscribe(await node.spawn(News, lines))
    return lines


async def ends_with(lines: list[str], *expected: str, within: float = SEEN_WITHIN) -> None:
    """Wait until the last lines are the expected ones, each complete or up to its reason."""

    def arrived() -> bool:
        last = lines[-len(expected) :]
        return len(last) == len(expected) and all(
            line in (whole, whole.partition(":")[0]) for line, whole in zip(expected, last)
        )

    await eventually(arrived, within, f"the news end with {expected}")


async def sees(node: Node, *names: str) -> None:
    """Wait until these are the active members for `node`."""
    await eventually(lambda: active(node) == set(names), SEEN_WITHIN, f"{node.name} sees {names}")


def active(node: Node) -> set[str]:
    return {row.node for row in node.members() if row.status == "active"}


class Process:
    """A node in a process of its own, which has joined."""

    def __init__(self, process: asyncio.subprocess.Process, incarnation: str, address: str) -> None:
        self._process = process
        self.incarnation = int(incarnation)
        self.address = address

    @classmethod
    async def start(cls, name: str, state: Path) -> "Process":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(NODE), name, str(state)), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        return cls(process, *(await process.stdout.readline()).decode().split())

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def last_words(self) -> str:
        """What it says at its end, or "" if it had no time to."""
        output, _ = await self._process.communicate()
        return output.decode().strip()


@asynccontextmanager
async def process(name: str, state: Path) -> AsyncIterator[Process]:
    started = await Process.start(name, state)
    try:
        yield started
    finally:
        if started._process.returncode is None:
            started.signal(signal.SIGKILL)
        await started.last_words()


async def test_nodes_that_share_a_state_folder_meet_each_other(tmp_path: Path) -> None:
    async with Node("director", state=tmp_path) as director:
        news = await listen(director)
        async with (
            Node("stage", state=tmp_path) as stage,
            Node("engine-1", state=tmp_path, roles=("engine",)) as engine,
        ):
            await ends_with(news, "up stage", "up engine-1")
            for node in (director, stage, engine):
                await sees(node, "director", "stage", "engine-1")
            [row] = [row for row in director.members() if row.node == "engine-1"]
            assert (row.address, row.incarnation, row.roles) == (engine.address, engine.incarnation, ("engine",))
            late = await listen(stage)
            await eventually(lambda: sorted(late) == ["up director", "up engine-1"])
        await ends_with(news, "lost engine-1: it left", "lost stage: it left")


async def test_a_killed_process_is_lost_and_its_next_life_is_met_at_once(tmp_path: Path) -> None:
    async with Node("director", state=tmp_path) as director, Node("stage", state=tmp_path) as stage:
        reports = [await listen(director), await listen(stage)]
        async with process("engine-1", tmp_path) as first:
            for news in reports:
                await ends_with(news, "up engine-1")
            first.signal(signal.SIGKILL)
            async with asyncio.timeout(SEEN_WITHIN):
                for news in reports:
                    await ends_with(news, "lost engine-1: did not answer director and stage", within=SEEN_WITHIN)
        async with process("engine-1", tmp_path) as second:
            assert second.incarnation > first.incarnation
            for news in reports:
                await ends_with(news, "up engine-1", within=10.0)


async def test_a_process_that_is_started_again_before_it_was_missed_replaces_its_dead_life(tmp_path: Path) -> None:
    async with Node("stage", state=tmp_path, probe_misses=60) as stage:  # a busy machine may start processes slowly
        news = await listen(stage)
        for life in range(3):
            async with process("engine-1", tmp_path) as engine:
                await ends_with(news, "up engine-1", *["lost engine-1", "up engine-1"] * life, within=10.0)
                engine.signal(signal.SIGKILL)
        assert all(line.endswith("took its place") for line in news if line.startswith("lost"))


async def test_a_process_that_was_stopped_is_declared_dead_and_ends_itself_when_it_reads_so(tmp_path: Path) -> None:
    async with (
        Node("director", state=tmp_path) as director,
        Node("stage", state=tmp_path) as stage,
        process("engine-1", tmp_path) as engine,
    ):
        reports = [await listen(director), await listen(stage)]
        for news in reports:
            await ends_with(news, "up engine-1")
        engine.signal(signal.SIGSTOP)
        for news in reports:
            await ends_with(news, "lost engine-1", within=SEEN_WITHIN)
        engine.signal(signal.SIGCONT)
        assert await engine.last_words() == "the others declared this node dead: did not answer director and stage"
        assert active(stage) == {"director", "stage"}


async def test_a_second_node_of_a_live_ones_name_is_refused_and_disturbs_nobody(tmp_path: Path) -> None:
    async with Node("stage", state=tmp_path) as stage, process("engine-1", tmp_path) as engine:
        news = await listen(stage)
        await ends_with(news, "up engine-1")
        with pytest.raises(NameTaken, match=r"'engine-1' is taken: a live process \(pid \d+\) answers for it at tcp:"):
            await Node("engine-1", state=tmp_path).start()
        assert news == ["up engine-1"]
        with pytest.raises(NameTaken, match="'engine-1' is taken: a live process"):
            await Node("engine-1", join=stage.address).start()
        assert await stage.ref("table@engine-1").call(TableVersions()) == await stage.ref("table").call(TableVersions())
        assert news == ["up engine-1"]
        assert [row.incarnation for row in stage.members() if row.node == "engine-1"] == [engine.incarnation]


async def test_a_node_that_shares_no_file_joins_by_address_and_meets_all_who_do(tmp_path: Path) -> None:
    async with Node("stage", state=tmp_path) as stage, Node("engine-1", state=tmp_path) as engine_1:
        async with Node("engine-2", join=stage.address) as engine_2:
            for node in (stage, engine_1, engine_2):
                await sees(node, "stage", "engine-1", "engine-2")
            with pytest.raises(
                TableUnavailable, match=r"has none: .*it uses that of another node itself; then join that one"
            ):
                await Node("engine-3", join=engine_2.address).start()
        await sees(engine_1, "stage", "engine-1")


async def test_while_the_node_that_serves_the_table_is_away_nothing_dies_and_its_next_life_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next life listens at another address, and nobody but the table knows it at first."""
    monkeypatch.setattr("understudy.transport.membership.POLL", 0.5)
    async with (
        process("stage", tmp_path) as stage,
        Node("engine-2", join=stage.address) as engine_2,
        Node("engine-3", join=stage.address) as engine_3,
    ):
        news = await listen(engine_2)
        await sees(engine_2, "stage", "engine-2", "engine-3")
        news.clear()
        stage.signal(signal.SIGKILL)
        membership = engine_2._membership
        assert membership is not None
        await eventually(lambda: "does not answer" in membership.trouble)
        assert news == []
        async with process("stage", tmp_path) as again:
            assert again.address != stage.address
            await ends_with(news, "lost stage", "up stage", within=10.0)
            assert len(news) == 2
            assert not membership.trouble
            for node in (engine_2, engine_3):
                await sees(node, "stage", "engine-2", "engine-3")

"""What is particular to the table in a file: processes that race for it, and files and folders that are not as they should be."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from understudy.transport.sqlite import SqliteTable
from understudy.transport.table import Change, Expect, Member, TableUnavailable, TableUnusable, Versions

ROW = Member("engine-1", 1, "tcp://127.0.0.1:4001")

RACER = """
    import asyncio, json, sys
    from pathlib import Path
    from understudy.transport.sqlite import SqliteTable
    from understudy.transport.table import Change, Expect, Member

    async def main() -> None:
        table = await SqliteTable.open(Path(sys.argv[1]))
        won = []
        print("ready", flush=True)
        sys.stdin.readline()
        for version in range(int(sys.argv[3])):
            row = Member(sys.argv[2], version, "tcp://127.0.0.1:1")
            if await table.commit(Expect(members=version), Change(members=(row,))):
                won.append(version)
            while (await table.read()).versions.members <= version:
                pass
        await table.close()
        print(json.dumps(won), flush=True)

    asyncio.run(main())
"""


async def test_of_two_processes_that_race_for_the_same_version_exactly_one_wins(tmp_path: Path) -> None:
    """Both also make the file at the same moment."""
    rounds = 100
    racers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(RACER), str(tmp_path / "new" / "membership.db"), name, str(rounds)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    won = [json.loads(output) for output, _ in outputs]
    assert sorted(won[0] + won[1]) == list(range(rounds))
    table = await SqliteTable.open(tmp_path / "new" / "membership.db")
    assert (await table.read()).versions == Versions(rounds, 0)
    await table.close()


async def test_many_handles_make_the_same_new_file_at_once(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / str(attempt) / "membership.db"
        opened = await asyncio.gather(*(SqliteTable.open(path) for _ in range(8)))
        assert await opened[0].commit(Expect(members=0), Change(members=(ROW,))) is not None
        for table in opened:
            assert (await table.read()).members == (ROW,)
            await table.close()


async def test_rows_outlive_their_processes(tmp_path: Path) -> None:
    table = await SqliteTable.open(tmp_path / "membership.db")
    await table.commit(Expect(members=0), Change(members=(ROW,)))
    await table.close()
    again = await SqliteTable.open(tmp_path / "membership.db")
    assert (await again.read()).members == (ROW,)
    await again.close()


async def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TableUnusable, match=r"folder .*file/state.* cannot be made: .*name a state folder"):
        await SqliteTable.open(tmp_path / "file" / "state" / "membership.db")


def test_a_folder_that_may_not_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    """In a process without root's rights, for which no folder is closed."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o555)
    program = """
        import asyncio, os, sys
        from pathlib import Path
        from understudy.transport.sqlite import SqliteTable
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        asyncio.run(SqliteTable.open(Path("membership.db")))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "TableUnusable: the membership table membership.db cannot be written" in run.stderr, run.stderr
    assert "name a state folder that you may write" in run.stderr
    assert list(folder.iterdir()) == []


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "membership.db"
    path.write_bytes(b"These are somebody's notes, not a database. " * 50)
    with pytest.raises(TableUnusable, match="is no SQLite database"):
        await SqliteTable.open(path)
    assert path.read_bytes().startswith(b"These are somebody's notes")
    assert os.listdir(tmp_path) == ["membership.db"]


async def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "membership.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE song (title TEXT)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(TableUnusable, match="another program's database"):
        await SqliteTable.open(path)
    assert path.read_bytes() == before


async def test_the_table_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "membership.db"
    await (await SqliteTable.open(path)).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(TableUnusable, match=r"another version of Understudy \(layout 99, this one reads 2\)"):
        await SqliteTable.open(path)
    assert path.read_bytes() == before


async def test_a_full_disk_fails_the_commit_with_the_remedy_and_the_table_goes_on(tmp_path: Path) -> None:
    table = await SqliteTable.open(tmp_path / "membership.db")
    connection = table._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = Member("engine-1", 1, "tcp://127.0.0.1:4001", reason="x" * 100_000)
    with pytest.raises(TableUnavailable, match="the disk is full; free some space"):
        await table.commit(Expect(members=0), Change(members=(large,)))
    assert (await table.read()).members == ()
    connection.execute("PRAGMA max_page_count = 1000000")
    assert await table.commit(Expect(members=0), Change(members=(large,))) == Versions(1, 0)
    await table.close()


async def test_a_table_locked_by_another_process_is_unavailable_and_the_loop_runs_on(tmp_path: Path) -> None:
    table = await SqliteTable.open(tmp_path / "membership.db", busy_timeout=0.2)
    other = sqlite3.connect(tmp_path / "membership.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    with pytest.raises(TableUnavailable, match=r"locked by another process for 0\.2 s"):
        await table.commit(Expect(members=0), Change(members=(ROW,)))
    counting.cancel()
    assert turns > 100
    assert (await table.read()).members == ()  # readers do not wait for writers
    other.execute("ROLLBACK")
    other.close()
    assert await table.commit(Expect(members=0), Change(members=(ROW,))) is not None
    await table.close()
    with pytest.raises(asyncio.CancelledError):
        await counting


async def test_a_table_removed_while_in_use_is_unavailable_rather_than_silently_split(tmp_path: Path) -> None:
    path = tmp_path / "membership.db"
    table = await SqliteTable.open(path)
    for file in os.listdir(tmp_path):
        os.unlink(tmp_path / file)
    with pytest.raises(TableUnavailable, match="removed or replaced while in use"):
        await table.read()
    replacement = await SqliteTable.open(path)
    with pytest.raises(TableUnavailable, match="removed or replaced while in use"):
        await table.commit(Expect(members=0), Change(members=(ROW,)))
    await table.close()
    assert (await replacement.read()).versions == Versions(0, 0)
    await replacement.close()

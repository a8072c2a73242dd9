"""The plays of the proof of the cluster, for some seconds each; `make proof cluster` plays them at length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.plays import die_together, many_faults, table_away
from tests.cluster.rolling import rolling_restart
from tests.servers import Etcd, Postgres, missing_etcd, missing_postgres

AWAY_FOR = 4.0
"""Seconds for which the engine of the table is gone: more than a death takes."""

PATIENCE = 30.0
"""Seconds until all agree, on a machine that others use too; the proof holds them to ten."""

ENGINES = pytest.mark.parametrize(
    ("server", "missing"), [(Postgres, missing_postgres), (Etcd, missing_etcd)], ids=["PostgreSQL", "etcd"]
)


async def test_whatever_happens_to_processes_all_agree_soon_and_no_fence_has_two_writers(tmp_path: Path) -> None:
    figures = await many_faults(tmp_path, nodes=3, count=6, seed=7, within=PATIENCE)
    assert figures["faults"] >= 6
    assert figures["accepted_writes"] > 0


@pytest.mark.parametrize(("nodes", "dead"), [(3, 2), (5, 3)])
async def test_when_most_die_together_the_others_go_on_with_all_their_names(
    tmp_path: Path, nodes: int, dead: int
) -> None:
    figures = await die_together(tmp_path, nodes, dead)
    assert figures["died"] == dead


async def test_a_rolling_restart_of_processes_loses_no_acknowledged_message_and_no_name(tmp_path: Path) -> None:
    figures = await rolling_restart(tmp_path)
    assert figures["restarts"] == 4
    assert figures["calls_answered"] > 0
    assert figures["messages_told"] > 0


@ENGINES
async def test_while_the_engine_of_the_table_is_gone_nobody_dies_and_no_name_is_lost(
    tmp_path: Path, server: Callable[[], Any], missing: Callable[[], str]
) -> None:
    if why := missing():
        pytest.skip(why)
    with server() as engine:
        figures = await table_away(tmp_path, engine, AWAY_FOR, state=None, table=engine.fresh())
    assert figures["calls_meanwhile"] > 0
    assert figures["messages_meanwhile"] > 0

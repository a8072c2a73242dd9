"""The benchmarks run: each case once, with tiny numbers. How fast anything is, no test says."""

import gc
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import cluster, collector, gateway, latency, link, scale, supervision
from benchmarks.cases import MEASURES
from benchmarks.programs import with_pykka, with_understudy
from benchmarks.sides import ROOT, SIDES, NotHereError, Side
from benchmarks.sockets import compiled, cores
from benchmarks.sockets import sides as sockets

PROGRAMS = ROOT / "benchmarks" / "programs"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("case", with_understudy.CASES)
def test_each_case_runs_with_understudy(case: str) -> None:
    assert with_understudy.CASES[case].measure(40).cpu > 0


@pytest.mark.parametrize("case", with_pykka.CASES)
def test_each_case_runs_with_pykka(case: str) -> None:
    logging.disable(logging.CRITICAL)
    assert with_pykka.CASES[case].measure(40).cpu > 0


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.key)
def test_each_side_does_each_case_or_says_why_not(side: Side) -> None:
    (program,) = PROGRAMS.glob(f"with_{side.key}.*")
    done = set(re.findall(r'^(?:a_case\(|    )"([a-z-]+)"(?:: Case\(|\) ->)', program.read_text(), re.MULTILINE))
    assert done | set(side.lacks) == set(MEASURES)
    assert not done & set(side.lacks)


def test_the_comparison_prints_tables_and_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--only", "memory", "--peers", "pykka", "--json", str(out)]
    done = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert "| memory | all" in done.output
    figures = json.loads(out.read_text())["results"]
    assert [len(one["values"]) for one in figures] == [1, 1]


def test_a_peer_that_does_not_exist_is_refused() -> None:
    assert CliRunner().invoke(command.main, ["--peers", "nobody"]).exit_code == 2


@pytest.mark.parametrize("group", scale.GROUPS)
def test_each_group_of_the_scale_runs(group: str) -> None:
    assert scale.measured(group, 2 * scale.BATCH)


@pytest.mark.parametrize("flood", latency.FLOODS)
def test_each_flood_runs(flood: str) -> None:
    times = latency.measured(flood, 1)
    assert {what: len(each) for what, each in times.items()} == {"slept": 1, "called": 1}


@pytest.mark.parametrize("way", collector.WAYS)
def test_each_way_to_set_the_collector_runs(way: str) -> None:
    before = gc.get_threshold()
    assert collector.apart(way, 0.0001)["full"] > 0
    assert gc.get_threshold() == before


TINY = supervision.Plan(20, 0.05, 0.05, 1, (1, 2), 2, (10, 20))


@pytest.mark.parametrize("load", supervision.LOADS)
def test_each_load_of_crashes_runs(load: str) -> None:
    found = supervision.measured("load", load, TINY)
    assert found["crashes"] == found["reported"] + found["suppressed"] >= found["between"] > 0
    assert found["bytes"] > found["records"] > 0


def test_the_benchmark_of_supervision_prints_tables_and_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "figures.json"
    monkeypatch.setattr(supervision, "QUICK", TINY)
    monkeypatch.setattr(supervision, "apart", supervision.measured)  # a process for each takes seconds
    done = CliRunner().invoke(supervision.main, ["--quick", "--json", str(out)], catch_exceptions=False)
    for line in ("| dynamic ", "| rest_for_one, the last child ", "| restart, one_for_all "):
        assert line in done.output
    assert set(json.loads(out.read_text())) == set(supervision.PARTS)


def test_the_wire_is_measured_and_its_table_printed(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--only", "call", "--peers", "zeromq,tcp", "--json", str(out)]
    done = CliRunner().invoke(link.main, arguments, catch_exceptions=False)
    assert "| call p50" in done.output
    assert "failed" not in done.output
    figures = json.loads(out.read_text())
    assert set(figures) == {f"call {part}, {cores}" for part in ("p50", "p99") for cores in ("all", "one")}
    assert all(len(sides) == 3 for sides in figures.values())


@pytest.mark.parametrize("side", link.SIDES, ids=lambda side: side.key)
def test_each_side_of_the_wire_has_a_program_for_each_case_or_says_why_not(side: Side) -> None:
    program = "understudy" if side.key == "curve" else "bare" if side.key in ("zeromq", "tcp") else side.key
    (source,) = (ROOT / "benchmarks" / "wire").glob(f"with_{program}.*")
    text = source.read_text()
    assert all(f'"{case}"' in text or case == "binaries" for case in link.CASES if case not in side.lacks)
    assert set(side.lacks) <= set(link.CASES)


def test_the_benchmark_of_groups_fills_its_rows() -> None:
    command = [sys.executable, "-m", "benchmarks.groups", "--scale", "0.001", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    rows = json.loads(done.stdout)
    assert len(rows) == 10
    assert all(figure > 0 for figure in rows.values())


@pytest.mark.parametrize(
    ("name", "only", "rows"), [("entities", "memory,SQLite", ("memory", "SQLite")), ("tables", "sqlite", ("sqlite",))]
)
def test_the_benchmarks_of_tables_and_entities_print_a_row_for_each_table(
    name: str, only: str, rows: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--only", only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert {line.split()[0] for line in done.stdout.splitlines() if line.strip()} >= set(rows)


def test_the_benchmark_of_the_cluster_prints_tables_and_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = CliRunner().invoke(cluster.main, ["--quick", "--only", "SQLite", "--json", str(out)], catch_exceptions=False)
    assert "running again" in done.output
    figures = json.loads(out.read_text())
    assert set(figures) == {"SQLite", "virtual time"}
    assert all(each > 0 for found in figures.values() for values in found.values() for each in values)


@pytest.fixture
def two_cores_and_a_load_client() -> None:
    try:
        cores()
        compiled()
    except NotHereError as missing:
        pytest.skip(str(missing))


@pytest.mark.usefixtures("two_cores_and_a_load_client")
def test_the_benchmark_of_the_gateway_fills_its_rows_and_says_how_many_files_may_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "figures.json"
    for what, less in {"SUBSCRIBERS": 50, "FEW": 10, "MANY": 60, "SECONDS": 0.5, "LONG": 2.0, "SETTLED": 0.1}.items():
        monkeypatch.setattr(gateway, what, less)
    done = CliRunner().invoke(gateway.main, ["--quick", "--peers", "none", "--json", str(out)], catch_exceptions=False)
    assert "ulimit -n" in done.output
    figures = json.loads(out.read_text())["figures"]
    assert set(gateway.ROWS) - set(figures) <= {"slow: reset after"}, done.output
    assert figures["slow: lost"]["Understudy"] == [0]


@pytest.mark.parametrize("side", sockets.SIDES, ids=lambda side: side.key)
def test_each_side_of_the_gateway_has_a_program(side: sockets.Served) -> None:
    assert (
        ROOT / "benchmarks" / "sockets" / f"with_{side.key}.{'mjs' if isinstance(side, sockets.OfNode) else 'py'}"
    ).exists()

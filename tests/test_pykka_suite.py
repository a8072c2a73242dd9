"""Pykka's own tests, out of its source distribution, run against our actors. The proof of `docs/from-pykka.md`."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "tests" / "pykka_suite"
PAGE = ROOT / "docs" / "from-pykka.md"
VERSION = importlib.metadata.version("pykka")
CACHE = Path(sys.prefix) / "share" / "pykka-suite"

LEFT_OUT: list[str] = []
"""Tests of the suite that are not run, as `tests/test_actor.py::test_name`; the page gives the reason of each."""

AT_LEAST = 150
"""Tests that the suite of the oldest version we build on has."""


@pytest.fixture(scope="session")
def suite() -> Path:
    """The unpacked source distribution of the installed Pykka, fetched once per virtual environment."""
    folder = CACHE / f"pykka-{VERSION}"
    if not folder.exists():
        fetch = [*(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pykka")]
        fetched = subprocess.run(
            [*fetch, "--dest", str(CACHE), f"pykka=={VERSION}"], capture_output=True, text=True, timeout=180
        )
        if fetched.returncode:
            pytest.skip(f"the source distribution of Pykka {VERSION} is not to be had here: {fetched.stderr[-300:]}")
        with tarfile.open(CACHE / f"pykka-{VERSION}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    return folder


@pytest.mark.parametrize("runtime", ["Actor", "ThreadActor"])
def test_pykkas_own_tests_pass_with_our_actors(runtime: str, suite: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests", "-q", "-c", os.devnull, "--rootdir", "."),
            *("-p", "runtimes", "-p", "no:understudy", "-p", "no:cacheprovider", f"--junitxml={report}"),
            *(f"--deselect={test}" for test in LEFT_OUT),
        ],
        cwd=suite,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(PLUGIN), ".")), "UNDERSTUDY_RUNTIME": runtime},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    counts = {key: int(ET.parse(report).getroot()[0].attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    assert {key: counts[key] for key in ("failures", "errors", "skipped")} == {"failures": 0, "errors": 0, "skipped": 0}
    assert counts["tests"] >= AT_LEAST - len(LEFT_OUT)
    assert re.findall(r"(\d+) deselected", done.stdout) == ([str(len(LEFT_OUT))] if LEFT_OUT else [])


def test_the_page_lists_what_is_left_out_of_the_suite_with_its_reason_and_nothing_else() -> None:
    section = PAGE.read_text().split("## Pykka's own tests\n")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^- `(tests/[\w/]+\.py::\w+)`: (.+)$", section, re.MULTILINE))
    assert sorted(listed) == sorted(LEFT_OUT)
    assert LEFT_OUT or "None is left out." in section

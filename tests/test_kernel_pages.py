"""The pages about actors and supervision show what happens, and every promise there names a test that exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = {
    "actors.md": ["2", "a counter only goes up"],
    "proxies.md": ["Blue Moon at 11", "11"],
    "supervision.md": ["Hello", "IndexError", "Again"],
    "calls.md": ["['Dracula', 'Don Quixote']", "3", "2 wait for each other"],
    "groups.md": [
        "Ada is here",
        "2",
        "Bob came to the party",
        "Ada heard: hello",
        "Bob heard: hello",
        "Ada left the party",
        "1 ['party']",
    ],
    "mailboxes.md": [
        "ABC 11",
        "XYZ 7",
        "too fast",
        "printed page 1",
        "printed page 2",
        "printed page 3",
        "printed page 4",
        "done",
    ],
    "introspection.md": ["{'count': 1}", "42", "suspended 1", "received"],
    "nodes.md": [
        "halves on engine-1",
        "21.0",
        "ValueError: 13 has no half",
        "On node engine-1:",
        "again: 21.0",
        "gone with its parent",
    ],
    "entities.md": ["7 apples", "stock", "0 apples"],
    "names.md": ["it has moved: True True", "the time is b'noon'", "desk"],
    "placement.md": [
        "the painter is on engine-2",
        "the engine is on engine-1",
        "engine-1 leaves behind []",
        "and now on engine-2",
        "2 of 100",
    ],
    "metrics.md": ['understudy_link_connected{peer="stage"} 1'],
    "routers.md": ["hashers/0: 142", "hashers/1: 15a", "hashers/0: 218", "5"],
}


@pytest.mark.parametrize("page", PAGES)
def test_the_example_of_the_page_runs(page: str, tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_the_page_names_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text())
    assert named
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert not missing

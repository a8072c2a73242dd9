"""What `tests/types` says of our types is true to mypy and to pyright, and both would notice if it were not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TYPES = ROOT / "tests" / "types"
WRONG = {
    "talking.py": ("assert_type(await counter.call(Read()), int)", "assert_type(await counter.call(Read()), str)"),
    "proxies.py": ("player.play(3)", 'player.play("a song")'),
}
"""A false claim about a type, and a line that is no error though it is said to be one."""


def check(tool: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = {
        "mypy": ["mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(ROOT / ".mypy_cache"), str(folder)],
        "pyright": ["pyright", "--project", str(folder), "--pythonpath", sys.executable],
    }[tool]
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_types_are_inferred_and_what_does_not_fit_is_an_error(tool: str) -> None:
    done = check(tool, TYPES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_a_false_claim_about_a_type_would_be_noticed(tool: str, tmp_path: Path) -> None:
    folder = tmp_path / "types"
    shutil.copytree(TYPES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "pyrightconfig.json"
    config.write_text(config.read_text().replace("../..", str(ROOT)))
    for name, (right, wrong) in WRONG.items():
        text = (folder / name).read_text()
        assert right in text
        (folder / name).write_text(text.replace(right, wrong))
    done = check(tool, folder)
    assert done.returncode == 1, done.stderr
    assert all(name in done.stdout for name in WRONG), done.stdout

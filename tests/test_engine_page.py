"""What the page about engines shows is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "engine.md"


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    for block in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / block[1]).write_text(block[0])
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "0 {'step': 0, 'level': 1.01}",
        "1 {'step': 1, 'level': 1.0201}",
        "2 {'step': 2, 'level': 1.030301}",
        "finished 1.030301 None",
    ]

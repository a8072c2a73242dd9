"""What the tests start ends with them: also when their process is killed, and nobody clears away."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.leash import leashed
from tests.processes import ROOT
from tests.servers import missing_etcd, missing_postgres
from tests.system.demo import is_running, still_running

WAYS = {
    "a terminal": 'from tests.system.demo import Terminal; said(Terminal("sleep", "600").process.pid)',
    "a service": """
from pathlib import Path
from types import SimpleNamespace
from tests.system.services import Service

with Service(SimpleNamespace(name="here", through=()), "sleep", "600", log=Path("log")) as service:
    while not service.lives:
        pass
    said(*service.lives)
""",
    "a program": """
import asyncio
from tests.processes import running

async def main():
    async with running("timeit", "-n", "1", "import time; time.sleep(600)") as program:
        said(program.pid)

asyncio.run(main())
""",
    "PostgreSQL": """
from tests.servers import Postgres

with Postgres() as server:
    said(*server.pids)
""",
    "etcd": """
from tests.servers import Etcd

with Etcd() as server:
    said(*server.pids)
""",
}

SAID = """
import threading

def said(*pids):
    print(*pids, flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("way", WAYS)
def test_what_a_test_has_started_ends_when_its_process_is_killed(way: str) -> None:
    if why := {"PostgreSQL": missing_postgres, "etcd": missing_etcd}.get(way, str)():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="understudy-leash-") as folder:
        Path(folder).chmod(0o755)  # a server is started with less rights than ours
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder}
        command = leashed(sys.executable, "-c", SAID + WAYS[way])
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as tests:
            assert tests.stdout is not None
            started = [int(word) for word in tests.stdout.readline().split()]
            assert started
            assert all(map(is_running, started))
            while any(map(on_its_way, started)):
                time.sleep(0.01)
            tests.kill()
        assert still_running(started, 30.0) == []


def on_its_way(pid: int) -> bool:
    """Whether that process is `setpriv` still: it puts on the leash, and then becomes what it was told to."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "setpriv"
    return False

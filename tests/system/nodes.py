"""Nodes as an operator starts them: `understudy node NAME ...` in processes of their own, and the commands that speak to them."""

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.system.demo import UNDERSTUDY, Terminal

ENDS_WITHIN = 30.0


class NodeProcess(Terminal):
    """One node. Its log is JSON, unless `--log-format` says otherwise; standard output and error are told apart by that."""

    def __init__(self, name: str, *arguments: str | Path, cwd: Path | None = None) -> None:
        self.name = name
        super().__init__(UNDERSTUDY, "node", name, *arguments, cwd=cwd)

    def ready(self) -> str:
        """The address at which it said that it is ready."""
        return self.wait_for(rf"^ready {self.name} (\S+) process {self.process.pid}$").group(1)

    def log(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]


def understudy(*arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    words = [str(UNDERSTUDY), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, input=stdin)


def seen(by: str, node: str) -> dict[str, Any]:
    """What `understudy status` says of a node, as another one sees it. One that it has not met yet has no state."""
    rows = view(by)["members"]
    return next((row for row in rows if row["node"] == node), {"state": "", "cause": ""})


def view(by: str) -> dict[str, Any]:
    """What `understudy status --json` says, as a node sees it."""
    answer = understudy("status", "--via", by, "--json")
    assert answer.returncode == 0, answer.stderr
    (only,) = json.loads(answer.stdout)
    assert isinstance(only, dict)
    return only


def member(cluster: dict[str, Any], node: str) -> dict[str, Any]:
    """One of its members."""
    return next(row for row in cluster["members"] if row["node"] == node)


def get(url: str) -> tuple[int, Any]:
    """Status and JSON of one request."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())

"""The demonstration on a street: two stages, two engines, a PostgreSQL, and people with browsers; a machine and a key for each."""

from __future__ import annotations

import signal
import stat
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import Postgres
from tests.system.services import Service
from tests.system.street import Machine, Street
from understudy.transport import KeyFolder

UNDERSTUDY = Path(sys.executable).parent / "understudy"

NODES = {"stage-1": 11, "stage-2": 12, "engine-1": 21, "engine-2": 22}
"""The nodes, and the last number of their addresses."""

TABLE, PEOPLE = 5, 9


class Theatre:
    """All of it, until the `with` ends. Nodes that end are started again, as systemd does."""

    def __init__(self, folder: Path, *nodes: str) -> None:
        self.folder = folder
        self.street = Street()
        self.nodes: dict[str, Service] = {}
        self._names = nodes or tuple(NODES)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self.street)
            self.people = self.street.machine("people", PEOPLE)
            server = self.street.machine("table", TABLE)
            self.table = opening.enter_context(Postgres(through=server.through, address=server.address)).fresh()
            for name in self._names:
                self.street.machine(name, NODES[name])
            self._make_keys()
            for name in self._names:
                self.nodes[name] = opening.enter_context(self._node(name))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes.values():  # all at the same time
            node.ends()
        self._open.__exit__(kind, error, trace)

    def mends(self) -> None:
        """Whatever was done to the machines is over."""
        for machine in self.street.machines.values():
            machine.plug_in()
            machine.hear_all()
        for node in self.nodes.values():
            node.release()
            node.signal(signal.SIGCONT)

    def machine(self, node: str) -> Machine:
        return self.street.machines[node]

    def url(self, stage: str) -> str:
        """Where its page is."""
        return f"http://{self.machine(stage).address}:4000"

    def browser(self, chromium: str) -> Path:
        """A program that is that browser, on the people's machine."""
        script = self.folder / "browser"
        script.write_text(f'#!/bin/sh\nexec {" ".join(self.people.through)} {chromium} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return script

    def _make_keys(self) -> None:
        """A key for each, and the public ones of all others."""
        folders = {name: KeyFolder(self.folder / name / "keys") for name in self._names}
        for name, folder in folders.items():
            folder.make(name)
        public = {name: folder.held().own[name][0].public for name, folder in folders.items()}
        for name, folder in folders.items():
            for other in folders.keys() - {name}:
                folder.trust(other, public[other])

    def _node(self, name: str) -> Service:
        machine = self.machine(name)
        home = self.folder / name
        kind = name.partition("-")[0]
        settings = home / "settings.toml"
        (home / "table").write_text(self.table)
        settings.write_text(
            f'application = "understudy.demo.stage:{kind}"\n'
            f'roles = ["{kind}"]\n'
            f'listen = "tcp://{machine.address}:4100"\n'
            f'keys = "{home / "keys"}"\n'
            f'table_file = "{home / "table"}"\n'
            'health = "127.0.0.1:4001"\n'
            'gateway_host = "0.0.0.0"\n'
            'log_format = "console"\n'
            "[app]\n"
            "open = true\n"
        )
        return Service(machine, UNDERSTUDY, "node", name, "--config", settings, log=home / "log")

"""A street of machines, made of network namespaces: each has its own address, and a cable to one switch that a test may pull.

    switch ─┬─ cable ── stage-1   10.77.0.11        a namespace each; processes of a machine see no other network
            ├─ cable ── engine-1  10.77.0.21
            ├─ cable ── table     10.77.0.5         PostgreSQL
            └─ cable ── people    10.77.0.9         browsers

A namespace has no name. It belongs to a process that waits for the end of its standard input: when the test ends, however
that happens, the process does, and the namespace with it. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from typing import Self

from tests.wire.namespaces import missing

__all__ = ["Machine", "Street", "missing"]

NETWORK = "10.77.0"


class Machine:
    """One of them. `through` is the command that starts a process there."""

    def __init__(self, name: str, pid: int, number: int, switch: tuple[str, ...]) -> None:
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.through = _inside(pid)
        self._port = f"port{number}"
        self._switch = switch

    def cut_off(self) -> None:
        """Pull its cable: nothing passes, either way, and it has no carrier."""
        run(*self._switch, "ip", "link", "set", self._port, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        run(*self._switch, "ip", "link", "set", self._port, "up")

    def hear_only(self, *others: Machine) -> None:
        """Drop all packets but those of these machines, both ways."""
        known = ", ".join(other.address for other in others)
        rules = f"add rule inet street in iif != lo ip saddr != {{ {known} }} drop; add rule inet street out oif != lo ip daddr != {{ {known} }} drop"
        run(*self.through, "nft", rules)

    def hear_all(self) -> None:
        """Drop no more."""
        run(*self.through, "nft", "flush chain inet street in; flush chain inet street out")


class Street:
    """The machines, until the end of the `with`."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Self:
        self._switch = _inside(self._namespace())
        run(*self._switch, "ip", "link", "add", "switch", "type", "bridge")
        run(*self._switch, "ip", "link", "set", "switch", "up")
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def machine(self, name: str, number: int) -> Machine:
        """One more, with the address 10.77.0.`number`."""
        pid = self._namespace()
        machine = self.machines[name] = Machine(name, pid, number, self._switch)
        port = f"port{number}"
        run(*self._switch, "ip", "link", "add", port, "type", "veth", "peer", "name", "cable", "netns", str(pid))
        run(*self._switch, "ip", "link", "set", port, "master", "switch", "up")
        run(*machine.through, "ip", "address", "add", f"{machine.address}/24", "dev", "cable")
        run(*machine.through, "ip", "link", "set", "cable", "up")
        run(*machine.through, "ip", "link", "set", "lo", "up")
        chains = "add chain inet street in { type filter hook input priority 0; }; add chain inet street out { type filter hook output priority 0; }"
        run(*machine.through, "nft", f"add table inet street; {chains}")
        return machine

    def _namespace(self) -> int:
        command = ("unshare", "--net", "sh", "-c", "echo; exec cat")
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            process.wait()

        self._open.callback(end)
        assert process.stdout.readline() == b"\n", "no namespace could be made"
        return process.pid


def run(*command: str) -> str:
    """What the command prints. It must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _inside(pid: int) -> tuple[str, ...]:
    nsenter = shutil.which("nsenter")
    assert nsenter is not None
    return (nsenter, f"--net=/proc/{pid}/ns/net")

"""Two machines with a wire between them, made of network namespaces: what a real network does to packets, and no other way to do.

    "here"  127.1.0.1 ── veth ──────────────────────────── veth ── 127.2.0.1  "there"
                          └─ nft: what comes in may be dropped ─┘
                             tc: so much a second may go out

A namespace has no name. It belongs to a process that waits for the end of its standard input: when the test ends, however
that happens, the process does, and the namespace and its wire with it. The addresses are of 127.0.0.0/8, taken away from
the loopback device, so that nodes without keys may use them. Needs root, `ip`, `tc` and `nft`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

TOOLS = ("ip", "tc", "nft", "nsenter", "unshare")


def missing() -> str:
    """Why there can be no namespaces here; "" if there can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: apt-get install iproute2 nftables)"
    return "" if os.geteuid() == 0 else "network namespaces are made by root alone"


class Machine:
    """One end of the wire. `through` is the command that starts a process there."""

    def __init__(self, pid: int, address: str, device: str) -> None:
        self.address = address
        self.device = device
        self.pid = pid
        self.through = ("nsenter", f"--net=/proc/{pid}/ns/net")

    @property
    def listen(self) -> str:
        """Where a node of it listens."""
        return f"tcp://{self.address}:0"

    async def plug(self, other: str) -> None:
        """Give its device an address, and a way to the other end."""
        await self.do("ip", "link", "set", "lo", "up")
        await self.do("ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
        await self.do("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        await self.do("ip", "address", "add", f"{self.address}/32", "dev", self.device)
        await self.do("nft", "add table inet wire; add chain inet wire in { type filter hook input priority 0; }")
        await self.up(other)

    async def up(self, other: str) -> None:
        """Switch its device on."""
        await self.do("ip", "link", "set", self.device, "up")
        await self.do("ip", "route", "replace", f"{other}/32", "dev", self.device, "src", self.address)

    async def down(self) -> None:
        """Switch its device off."""
        await self.do("ip", "link", "set", self.device, "down")

    async def lose(self, percent: int) -> None:
        """Drop that part of all packets that come in: 100 and it hears nothing, but is heard."""
        which = "" if percent == 100 else f"numgen random mod 100 < {percent} "
        await self.do("nft", f"add rule inet wire in iifname {self.device} {which}counter drop")

    async def hear(self) -> int:
        """Drop no more; returns how many packets were."""
        listed = await self.do("nft", "list chain inet wire in")
        await self.do("nft", "flush chain inet wire in")
        return sum(int(rest.split()[0]) for rest in listed.split("counter packets ")[1:])

    async def throttle(self, megabits: int) -> None:
        """Let no more than that out in a second."""
        rate = (f"{megabits}mbit", "burst", "64kb", "latency", "50ms")
        await self.do("tc", "qdisc", "add", "dev", self.device, "root", "tbf", "rate", *rate)

    async def do(self, *command: str) -> str:
        """Run a command on this machine; what it prints."""
        return await _run(*self.through, *command)


class Wire:
    """Two machines."""

    def __init__(self, here: Machine, there: Machine) -> None:
        self.here = here
        self.there = there

    async def down(self) -> None:
        """Nothing passes, either way."""
        await self.here.down()

    async def up(self) -> None:
        await self.here.up(self.there.address)
        await self.there.up(self.here.address)


@asynccontextmanager
async def wire() -> AsyncIterator[Wire]:
    """Two machines with a wire between them, until the end."""
    async with AsyncExitStack() as stack:
        here = Machine(await stack.enter_async_context(_namespace()), "127.1.0.1", "wire")
        there = Machine(await stack.enter_async_context(_namespace()), "127.2.0.1", "wire")
        peer = ("peer", "name", there.device, "netns", str(there.pid))
        await here.do("ip", "link", "add", here.device, "type", "veth", *peer)
        await here.plug(there.address)
        await there.plug(here.address)
        yield Wire(here, there)


@asynccontextmanager
async def _namespace() -> AsyncIterator[int]:
    """The process that holds a new one."""
    command = ("unshare", "--net", "sh", "-c", "echo; exec cat")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"\n", "no namespace could be made"
        yield process.pid
    finally:
        process.stdin.close()
        await process.wait()


async def _run(*command: str) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)}: {errors.decode()}"
    return output.decode()

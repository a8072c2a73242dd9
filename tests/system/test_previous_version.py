"""The previous release, from its git tag, in an environment of its own: nodes of both versions in one cluster.

Defined only where there is a tag: before the first release there is nothing to be compatible with.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.helpers import eventually
from tests.processes import ROOT
from tests.sides import Add, Counter, Total
from understudy.actors import ActorRef, NoConnection
from understudy.transport import Node

PROGRAM = '''
import asyncio, sys
import understudy
from understudy import Actor, Down, Node, Request, message

@message("sides.add")
class Add:
    n: int = 1

@message("sides.total")
class Total(Request[int]):
    pass

@message("versions.watch")
class Watch:
    node: str

class Counter(Actor):
    """Counts, watches whom it is told to, and counts their deaths by a thousand."""
    def __init__(self):
        super().__init__()
        self.total = 0

    def on_receive(self, message):
        match message:
            case Add(n):
                self.total += n
            case Total():
                return self.total
            case Watch(node):
                self.there = self.node.ref("counter@" + node)
                self.monitor(self.there)
                self.there.tell(Add(100))
                return self.call_back()
            case Down():
                self.total += 1000
            case _:
                return self.unhandled(message)

    async def call_back(self):
        return await self.there.call(Total())

async def main(name, state):
    async with Node(name, state=state) as node:
        Counter.node = node
        await node.spawn(Counter, name="counter")
        print(understudy.__file__, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
'''


def newest_tag() -> str:
    """The newest tag that this commit descends from; "" if there is none, or no git."""
    git = shutil.which("git")
    if git is None:
        return ""
    found = subprocess.run([git, "describe", "--tags", "--abbrev=0"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip()


TAG = newest_tag()

if TAG:
    from understudy.actors import message

    @message("versions.watch")
    class Watch:
        node: str

    def installed(folder: Path) -> Path:
        """The Python of an environment that has the previous release, made of its tag."""
        source, home = folder / "source", folder / "environment"
        source.mkdir()
        archive = subprocess.run(["git", "archive", TAG], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
        python = home / "bin" / "python"
        # Its own code from the tag; what it depends on is that of this environment, so that nothing has to be fetched.
        site = next(path for path in sys.path if path.endswith("site-packages"))
        target = next((home / "lib").glob("python3*/site-packages"))
        (target / "previous.pth").write_text(f"{source}\n{site}\n")
        return python

    @asynccontextmanager
    async def previous(python: Path, folder: Path, name: str, state: Path) -> AsyncIterator[asyncio.subprocess.Process]:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = await asyncio.create_subprocess_exec(
            *(str(python), str(program), name, str(state)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=folder,
            env=environment,
        )
        try:
            assert process.stdout is not None
            assert str(folder).encode() in await process.stdout.readline(), "it runs this version, not the one before"
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def test_a_cluster_of_this_version_and_the_one_before_tells_calls_and_watches_both_ways(
        tmp_path: Path,
    ) -> None:
        python = installed(tmp_path)
        state = tmp_path / "state"
        async with Node("now", state=state) as now:
            counter = await now.spawn(Counter, name="counter")
            async with previous(python, tmp_path, "before", state) as process:
                there: ActorRef[Any] = now.ref("counter@before")
                await eventually(lambda: len([row for row in now.members() if row.status == "active"]) == 2)
                there.tell(Add(3))
                assert await there.call(Total()) == 3
                assert await there.call(Watch("now")) == 100  # it tells, calls and watches us
                ended = asyncio.ensure_future(there.ended())
                await counter.stop()
                async with asyncio.timeout(10):
                    while await there.call(Total()) != 1003:  # until it has heard of our death
                        pass
                process.kill()
                assert isinstance(await ended, NoConnection)

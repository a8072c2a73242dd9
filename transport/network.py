"""The network a node needs: one address where it is heard, and one way to each peer. Tiny, so that it can be virtual.

    node A                                            node B
    connect(B's address) ── send(frame) ───────────▶  heard(path, frame)
    heard(frame)         ◀────────────── answer(path, frame)

A frame arrives whole or not at all: it may be lost, repeated or overtaken, which the session layer above mends. Nothing
here blocks. `zeromq.py` is the real one. One contract suite holds every network: `tests/contract/test_network.py`.

A node that has a key is `secure`: both ends of every connection prove theirs, and all that passes is enciphered.

    connect(address, key of B) ── proves the key of A ──▶ does `allows` of B say yes?   then frames pass
                               ◀── proves the key of B ── is it the key that was named?
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol, TypeAlias

from understudy.actors import UnderstudyError
from understudy.transport.keys import KeyPair

Path: TypeAlias = bytes
"""The way back to whoever sent a frame. Good for as long as its connection stands."""


class BadAddress(UnderstudyError, ValueError):
    """The text is no address that this node may listen at or connect to; it says what one looks like."""


class CannotListen(UnderstudyError):
    """The address cannot be listened at: its port is in use, or it is none of this machine's."""


class Loaded:
    """A frame with a body that is sent from where it is, in a part of its own. Each part is as large as a frame may be."""

    __slots__ = ("body", "head")

    def __init__(self, head: bytes, body: bytes | memoryview) -> None:
        self.head = head
        self.body = body

    def __len__(self) -> int:
        return len(self.head) + len(self.body)


Heard: TypeAlias = Callable[..., None]
"""`heard(path, frame)`, and `heard(path, frame, body)` for one that came with a body, a memoryview."""


class Channel(Protocol):
    """The way to one peer."""

    def send(self, frame: bytes | Loaded) -> bool:
        """Hand over a frame. False: not now (no connection, or a full queue); `writable` is called when it is worth another try."""
        ...

    @property
    def stands(self) -> bool:
        """Whether there is a connection now, as far as can be seen from here."""
        ...

    @property
    def refused(self) -> bool:
        """Whether the last attempt to connect failed because of a key: theirs is another than was looked for, or ours is not let in."""
        ...

    def close(self) -> None:
        """Let go of the way; what was handed over but has not left yet is lost. Calling it twice is harmless."""
        ...


class Network(Protocol):
    """All callbacks come on the loop's thread, never from within one of these methods."""

    def bind(self, address: str, heard: Heard) -> str:
        """Listen at `address` (port 0: any free one) and return the address in full. Raises BadAddress, CannotListen."""
        ...

    def secure(self, pair: KeyPair, allows: Callable[[str], bool]) -> None:
        """Before bind: hear only those whose public key `allows`, and prove to be the owner of `pair`.

        Again, with another pair: the door and all channels opened from now on prove that one; what stood may break.
        """
        ...

    def key_of(self, path: Path) -> str:
        """The public key that whoever sent the frame that is being heard has proved. Asked within `heard`; "" without keys."""
        ...

    def answer(self, path: Path, frame: bytes) -> bool:
        """Send a frame back along a path. False: it has gone, or is full; the frame is lost."""
        ...

    def connect(
        self,
        address: str,
        heard: Callable[[bytes], None],
        writable: Callable[[], None],
        *,
        connected: Callable[[], None] | None = None,
        key: str = "",
        pair: KeyPair | None = None,
    ) -> Channel:
        """Open a way to the node that listens at `address`, now or whenever it begins to. Raises BadAddress.

        `connected` is called when a connection stands, the first and each later one: what was under way on the one before may
        be lost.
        `key`: the public key that it must prove, if this node is secure; nothing passes to anybody else.
        `pair`: what to prove to it, if not the pair of this node.
        """
        ...

    async def listens(self, address: str) -> bool:
        """Whether anything at all listens at `address`: a quick no, and a yes that proves nothing. Raises BadAddress."""
        ...

    def close(self) -> None:
        """Stop listening and close every channel."""
        ...


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of "tcp://HOST:PORT". Raises BadAddress."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if scheme != "tcp" or not bare or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise BadAddress(
            f"{address!r} is no address of a node; one looks like tcp://127.0.0.1:4100, with port 0 for any free one"
        )
    return bare, int(port)


def check_reach(address: str, *, secure: bool, listening: bool = False) -> tuple[str, int]:
    """Host and port of an address that may be used. Raises BadAddress.

    Beyond loopback nodes must prove who they are. A node listens at one address, the one that others find it at.
    """
    host, port = parse_address(address)
    try:
        ip = ip_address(host)
    except ValueError:
        ip = None
    if not (host == "localhost" or (ip is not None and ip.is_loopback)):
        if not secure:
            raise BadAddress(
                f"{address} is not on loopback: refused, because without keys nodes cannot prove who they are to each "
                f"other; give the node keys (`keys=` or --keys, see docs/security.md), or use an address of 127.0.0.0/8"
            )
        if listening and (ip is None or ip.is_unspecified):
            raise BadAddress(
                f"{address} is not one address of this machine: name the one at which others reach it, such as "
                f"tcp://192.168.1.7:{port or 4100}"
            )
    return host, port

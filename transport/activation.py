"""What the hosts of entities say to one another, and the rules for kinds and keys.

Activate(kind, key) ──▶ Here(number)          it runs there, under that address; started now if it did not
                    ──▶ Elsewhere(node)       another node has its name
                    ──▶ Unwilling(why)        not on this node: it does not host the kind, drains, or is full
                    ──▶ NotStarted            it could not start: steward.py
                    ──▶ Trouble(why)          not now: its name cannot be claimed while the table is away
Retire(name)        ──▶ True                  it ran there, and has ended in order; False: it did not
Settled()           ──▶ None                  whatever was sent back before has arrived, since it was sent first
"""

from __future__ import annotations

from typing import Any

from understudy.actors import Request, message
from understudy.actors.names import NAME_LIMIT

HOST = "understudy/entities"
"""The name of the actor of each node that hosts; and the groups of those that host a kind: this, `/`, and the kind."""

KIND_LIMIT = 64
"""Characters of a kind."""


@message("understudy.entities.Activate")
class Activate(Request[Any]):
    """Have that entity run on this node, if it may."""

    kind: str
    key: str


@message("understudy.entities.Here")
class Here:
    """It runs here. `number`: its address on this node; it never comes back."""

    number: int


@message("understudy.entities.Elsewhere")
class Elsewhere:
    """That node has its name."""

    node: str


@message("understudy.entities.Unwilling")
class Unwilling:
    """Ask another node, for this reason."""

    why: str


@message("understudy.entities.Trouble")
class Trouble:
    """Ask again."""

    why: str


@message("understudy.entities.Retire")
class Retire(Request[bool]):
    """End the entity of that name in order, if it is here."""

    name: str


@message("understudy.entities.Settled")
class Settled(Request[None]):
    """Answer."""


def checked_kind(kind: str) -> str:
    """The kind, if entities may be of it; else ValueError."""
    if not isinstance(kind, str) or not 0 < len(kind) <= KIND_LIMIT or "/" in kind or "@" in kind or not _plain(kind):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(
            f"a kind of entities is a text of 1 to {KIND_LIMIT} characters without '/' and '@', not {kind!r}"
        )
    return kind


def unique_name(kind: str, key: str) -> str:
    """The name by which an entity is known in the cluster: "room/lobby". ValueError for what can be none.

    A name has no '@': one in a key stands as %40 there, and so '%' as %25 and NUL as %00. The key itself may be any text.
    """
    checked_kind(kind)
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the key of a {kind} is a text, not {key!r}: write f'{{...}}' of what it is")
    name = f"{kind}/{key}"
    if "%" in key or "@" in key or "\0" in key:
        name = f"{kind}/{key.replace('%', '%25').replace('@', '%40').replace(chr(0), '%00')}"
    if not key or len(name) > NAME_LIMIT:
        raise ValueError(
            f"the key of a {kind} is a text of 1 to {NAME_LIMIT - len(kind) - 1} characters ('@', '%' and NUL count as "
            f"three), not {key[:300]!r} of {len(key)}"
        )
    if not _plain(key):
        raise ValueError(f"the key of a {kind} has no form in UTF-8, and could not cross the wire: {key!r}")
    return name


def _plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

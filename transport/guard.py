"""Values that only the present owner of a name can write, whoever else believes to be the owner.

    owner, fence 7 ── stopped for a minute ─────────────────── guarded_write(fence 7) ──▶ Fenced: by engine-2, fence 9
                          table: owner is gone, engine-2 claims, fence 9 ── guarded_write(fence 9) ──▶ written

The check and the write are one transaction with the claims: there is no moment between them. Besides, no value is
written over one that was written under a higher fence; that could only be if the names' rows were put back from an
older copy of the table.
"""

from __future__ import annotations

from typing import TypeAlias

from understudy.actors import UnderstudyError
from understudy.transport.table import Name, check_text

Write: TypeAlias = tuple[str, int, str, bytes]
"""The arguments of `guarded_write`: name, fence, key, value."""

VALUE_LIMIT = 512 * 1024
"""Bytes of one value: it has to fit into one request to every kind of table."""


class Fenced(UnderstudyError):
    """A write under the fence of somebody who is no longer the owner of the name. Nothing was written; stop acting for it.

    `name` and `fence` are those of the write; `owner` is the row of who has the name now, None if nobody has.
    """

    def __init__(self, name: str, fence: int, owner: Name | None, text: str = "") -> None:
        whose = f"{owner.node!r} has it, with the fence {owner.fence}" if owner is not None else "nobody has it now"
        super().__init__(text or f"the fence {fence} of the name {name!r} is not in force: {whose}")
        self.name = name
        self.fence = fence
        self.owner = owner


def check_write(write: Write) -> None:
    """ValueError, TypeError: what no table takes."""
    _, _, key, value = write
    check_text(key, "the key of a guarded value")
    if not isinstance(value, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a guarded value is bytes, not {type(value).__name__}")
    if len(value) > VALUE_LIMIT:
        raise ValueError(f"a guarded value has {VALUE_LIMIT:,} bytes at most, this one {len(value):,}")


def check_fence(name: str, fence: int, owner: Name | None, seen: int) -> None:
    """Fenced, unless `owner`, the name's row, has that fence and nothing was written under a higher one than `seen`."""
    if owner is None or not owner.node or owner.fence != fence:
        raise Fenced(name, fence, owner if owner is not None and owner.node else None)
    if fence < seen:
        raise Fenced(
            name,
            fence,
            owner,
            f"the fence {fence} of the name {name!r} is in force, but there was a write under {seen}: this table was put "
            f"back from an older copy; let the name be taken anew, when its counter has passed that",
        )

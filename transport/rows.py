"""How a member's row stands in a database: as JSON, which people can read there and other versions too.

What a later version adds is ignored by an earlier one; what an earlier one did not write has its default. So the nodes
of a cluster can be replaced one after the other.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from understudy.transport.table import Member, Suspicion

FIELDS = tuple(each.name for each in fields(Member))


def member_text(row: Member) -> str:
    """The row as JSON."""
    facts = {name: getattr(row, name) for name in FIELDS}
    facts["suspicions"] = [[vote.node, vote.incarnation] for vote in row.suspicions]
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def member_read(text: str) -> Member:
    """The row that `member_text` made JSON of."""
    stored: dict[str, Any] = json.loads(text)
    facts = {name: stored[name] for name in FIELDS if name in stored}
    for name in ("roles", "tags"):
        facts[name] = tuple(facts.get(name, ()))
    facts["suspicions"] = tuple(Suspicion(*vote) for vote in facts.get("suspicions", ()))
    return Member(**facts)

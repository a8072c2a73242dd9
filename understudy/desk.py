"""The desk: what can be asked of a node, and done with the cluster, through the window of its process.

    {"ask": "status"}                                       ──▶ {"result": cluster.Cluster}
    {"ask": "tree", "node": "engine-1"}                     ──▶ {"result": tree.Process}
    {"ask": "drain" | "leave", "node", "timeout"}           ──▶ {"progress": {...}} ... {"result": {...}}
    {"ask": "fence", "node", "incarnation", "reason"}       ──▶ {"result": {...}}
    whatever goes wrong                                     ──▶ {"error": a sentence, "code": which}

Of any node of the cluster: what is another one's is asked of the operator there, over the link. `code` is one of ABSENT (no such
node, or it does not answer), REFUSED (it may not be), OVERDUE (something was left).
"""

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from understudy.actors import ActorDied, CallError, UnderstudyError
from understudy.cluster import look_around
from understudy.operator import OPERATOR, HowFar, ShowTree, Wind
from understudy.secrets import hidden
from understudy.transport import Member, Node, TableUnavailable

ABSENT, REFUSED, OVERDUE = "absent", "refused", "overdue"

ANSWERS_WITHIN = 5.0
"""Seconds that another node's operator has for an answer."""

LOOKS_EVERY = 0.25
"""Seconds between two looks how far a node is."""

GRACE = 10.0
"""Seconds beyond a drain's own time after which nobody waits for it any more."""


class Unable(Exception):
    """It cannot be done: why, in a sentence, and as a code."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Desk:
    """Of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def answer(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Each line of the answer."""
        try:
            match request:
                case {"ask": "status"}:
                    yield {"result": await look_around(self._node)}
                case {"ask": "tree", "node": str(name)}:
                    small = await self._ask(self._member(name), ShowTree())
                    yield {"result": json.loads(zlib.decompress(small))}
                case {"ask": "drain" | "leave" as what, "node": str(name), "timeout": int() | float() as timeout}:
                    async for line in self._wind(self._member(name), what, timeout):
                        yield line
                case {"ask": "fence", "node": str(name), "incarnation": int(incarnation), "reason": str(reason)}:
                    yield {"result": await self._fence(self._member(name), incarnation, reason)}
                case _:
                    raise Unable(REFUSED, f"this process does not know how to {request.get('ask')!r}")
        except Unable as unable:
            yield {"error": hidden(str(unable)), "code": unable.code}

    def _member(self, name: str) -> Member:
        members = {row.node: row for row in self._node.members()}
        row = members.get(name)
        if row is None:
            known = ", ".join(row.node for row in members.values() if row.status == "active")
            raise Unable(ABSENT, f"there is no node {name!r} in the cluster of {self._node.name}; there are: {known}")
        if row.status != "active":
            raise Unable(ABSENT, f"{name} is no member any more: {row.reason or row.status}")
        return row

    async def _ask(self, row: Member, question: Any) -> Any:
        try:
            return await self._node.ref(f"{OPERATOR}@{row.node}").call(question, timeout=ANSWERS_WITHIN)
        except TimeoutError:
            raise Unable(ABSENT, f"{row.node} does not answer: `understudy status` says why") from None
        except ActorDied as death:
            why = "it runs no operator: it was not started by `understudy node`" if _nobody(death) else str(death)
            raise Unable(ABSENT, f"{row.node} cannot be asked: {why}") from None
        except CallError as error:
            raise Unable(ABSENT, f"{row.node} cannot be asked: {error}") from None

    # --- drain, leave ---

    async def _wind(self, row: Member, what: str, timeout: float) -> AsyncGenerator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        due = loop.time() + timeout + GRACE
        said = await self._ask(row, Wind(what, timeout, f"an operator at {self._node.name}"))
        while True:
            yield {"progress": said}
            if what == "drain" and said["phase"] == "drained":
                break
            await asyncio.sleep(LOOKS_EVERY)
            if loop.time() > due:
                raise Unable(OVERDUE, f"{row.node} is still at it after {timeout + GRACE:.0f} s")
            if what == "leave" and (end := self._end_of(row)) is not None:
                if end.status == "left":
                    break
                raise Unable(REFUSED, f"{row.node} did not leave in order: {end.reason or end.status}")
            try:
                said = await self._ask(row, HowFar())
            except Unable:
                if what == "drain":
                    raise
                said = said | {"phase": "stopping"}  # it answers nobody any more; its row says when it has left
        if said["left"]:
            raise Unable(OVERDUE, f"{row.node} has not handed over everything: {said['left']}")
        yield {"result": {"node": row.node, "incarnation": row.incarnation}}

    def _end_of(self, row: Member) -> Member | None:
        now = next((each for each in self._node.members() if each.node == row.node), None)
        return now if now is not None and (now.incarnation != row.incarnation or now.status != "active") else None

    # --- fence ---

    async def _fence(self, row: Member, incarnation: int, reason: str) -> dict[str, Any]:
        if row.node == self._node.name:
            raise Unable(
                REFUSED, f"{row.node} does not declare itself dead: `understudy leave {row.node}` ends it in order"
            )
        if row.incarnation != incarnation:
            raise Unable(REFUSED, f"{row.node} has started again meanwhile: look at it once more")
        if trouble := self._node.trouble:
            raise Unable(ABSENT, f"nobody can be declared dead while the table cannot be reached: {trouble}")
        try:
            done = await self._node.membership.expel(row.node, incarnation, f"fenced: {reason}")
        except TableUnavailable as error:  # it may have gone right after it had written
            raise Unable(
                ABSENT,
                f"whether {row.node} is dead is unknown, `understudy status` says it once the table is back: {error}",
            ) from None
        except UnderstudyError as error:
            raise Unable(REFUSED, str(error)) from None
        if not done:
            raise Unable(REFUSED, f"{row.node} is no member any more, or has started again: look at it once more")
        return {"node": row.node, "incarnation": incarnation}


def _nobody(death: ActorDied) -> bool:
    return type(death.reason).__name__ == "NoProc"

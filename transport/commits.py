"""Many commits in one transaction: each accepted or refused on its own, as if they had come one after the other.

    commit ─┐                                    ┌─▶ Versions
    commit ─┼─▶ Group ── one transaction ──▶ settle ─▶ None: another one before it in the group was faster
    commit ─┘      ▲                             └─▶ Versions
                   └── what comes meanwhile is the next group

A transaction waits for the disk; a thousand commits in it wait for it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from understudy.transport.table import Commit, Member, Name, TableError, Versions

T = TypeVar("T")
R = TypeVar("R")

GROUP = 1000
"""Requests of one transaction, at most."""


@dataclass
class Settled:
    """What a transaction has to write, and what each of its commits is told."""

    versions: Versions
    results: list[Versions | None] = field(default_factory=list)
    members: dict[str, tuple[int, Member]] = field(default_factory=dict)  # node -> (version, row)
    names: dict[str, Name] = field(default_factory=dict)


def expected(commits: Sequence[Commit]) -> list[str]:
    """The names whose rows `settle` needs, sorted."""
    return sorted({name for expect, _ in commits for name in expect.names})


def settle(now: Versions, names: Mapping[str, Name], commits: Sequence[Commit]) -> Settled:
    """Decide about commits, one after the other. `names`: the rows of the expected names; missing: nobody has it."""
    settled = Settled(now)
    for expect, change in commits:
        now = settled.versions
        stored = {name: _held(settled.names.get(name) or names.get(name)) for name in expect.names}
        if expect.members not in (None, now.members) or any(
            version_of(stored[name]) != version for name, version in expect.names.items()
        ):
            settled.results.append(None)
            continue
        after = Versions(now.members + bool(change.members), now.names + bool(change.names))
        settled.members.update((row.node, (after.members, row)) for row in change.members)
        settled.names.update((row.name, written(stored[row.name], row, after.names)) for row in change.names)
        settled.versions = after
        settled.results.append(after)
    return settled


def version_of(row: Name | None) -> int:
    """What a writer has to expect who sees that row."""
    return row.version if row is not None else 0


def written(old: Name | None, new: Name, version: int) -> Name:
    """The row of a name as the table stores it: a new owner has a new fence."""
    same = old is not None and (old.node, old.incarnation) == (new.node, new.incarnation)
    return replace(new, version=version, fence=old.fence if old is not None and same else version)


def _held(row: Name | None) -> Name | None:
    return row if row is not None and row.node else None


class Group(Generic[T, R]):
    """Gathers requests while `write` works on those before them. What it returns for a request may be an error: raised.

    A caller that is cancelled before its group began is left out of it.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], most: int = GROUP) -> None:
        self._write = write
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._working: asyncio.Task[None] | None = None

    async def add(self, request: T) -> R:
        """Its part of what `write` returns for the group that it gets into; what that raises, for all of the group."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await future

    async def finish(self) -> None:
        """Wait until nothing is under way."""
        while self._working is not None:
            await asyncio.wait([self._working])

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = [each for each in self._waiting[: self._most] if not each[1].done()]
                del self._waiting[: self._most]
                if group:
                    await self._do(group)
        finally:
            self._working = None

    async def _do(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._write([request for request, _ in group])
        except TableError as error:
            results = [_another(error) for _ in group]
        except Exception as error:  # noqa: BLE001 - a mistake of ours: whoever waits is to have it, not wait for ever
            results = [error for _ in group]
        for (_, future), result in zip(group, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def _another(error: TableError) -> TableError:
    """The same error for each who waits: one that is raised in several places would gather all their tracebacks."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy

"""A limiter: how often the same thing may be reported. What it holds back is counted, and told with the next report."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

KEYS_LIMIT = 1_000
"""Different things that one limiter remembers; the one not heard of for longest is forgotten."""


class Limiter(Generic[K]):
    """For each key `burst` reports at once, and then one every `every` seconds: a bucket of tokens."""

    def __init__(self, burst: int, every: float) -> None:
        self.burst = burst
        self.every = every
        self._buckets: dict[K, _Bucket] = {}

    def admit(self, key: K, now: float) -> int | None:
        """None if the report of `key` is to be left out; else how many were left out since its last one."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = _Bucket(float(self.burst), now)
            if len(self._buckets) >= KEYS_LIMIT:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        bucket.tokens = min(float(self.burst), bucket.tokens + (now - bucket.at) / self.every)
        bucket.at = now
        if bucket.tokens < 1.0:
            bucket.left_out += 1
            return None
        bucket.tokens -= 1.0
        left_out, bucket.left_out = bucket.left_out, 0
        return left_out

    def rest(self) -> Iterator[tuple[K, int]]:
        """What was left out and never told. It is forgotten."""
        for key, bucket in self._buckets.items():
            if bucket.left_out:
                yield key, bucket.left_out
        self._buckets.clear()


class _Bucket:
    __slots__ = ("at", "left_out", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.left_out = 0

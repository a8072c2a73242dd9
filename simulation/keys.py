"""A folder of keys that is plain data: what `transport/keyfolder.py` is to real nodes. The keys are made up, and repeat with the seed.

cluster = Cluster(simulation, keys=True)        every node has a store of its own, and trusts all the others
cluster.keys("stage").revoke("engine-1")        stage trusts engine-1 no more
cluster.keys("stage").rotate("stage")           stage has a new key
"""

from __future__ import annotations

import hashlib
import itertools

from understudy.transport.keys import KeyPair
from understudy.transport.trust import Holdings


class MemoryKeys:
    """The `KeyStore` of one machine. It outlives the lives of its node, as a disk does."""

    def __init__(self) -> None:
        self._version = 0
        self._numbers = itertools.count(1)
        self._own: dict[str, tuple[KeyPair, ...]] = {}
        self._next: dict[str, KeyPair] = {}
        self._trusted: dict[str, tuple[str, ...]] = {}
        self._revoked: dict[str, tuple[str, ...]] = {}

    def public(self, node: str) -> str:
        """The key in force of an own node."""
        return self._own[node][0].public

    def read(self, mark: object = None) -> tuple[object, Holdings] | None:
        """See KeyStore."""
        if mark == self._version:
            return None
        return self._version, Holdings(
            own=dict(self._own), trusted=dict(self._trusted), revoked=dict(self._revoked), next=dict(self._next)
        )

    def make(self, node: str) -> None:
        """See KeyStore."""
        if node not in self._own:
            self.rotate(node)
            self._own[node] = (self._next.pop(node),)

    def trust(self, node: str, *keys: str) -> None:
        """See KeyStore."""
        self._trusted[node] = keys
        self._revoked.pop(node, None)
        self._version += 1

    def revoke(self, node: str, *keys: str) -> tuple[str, ...]:
        """See KeyStore."""
        known = self._trusted.pop(node, ())
        self._revoked[node] = tuple(dict.fromkeys((*self._revoked.get(node, ()), *known, *keys)))
        self._version += 1
        return known

    def rotate(self, node: str) -> KeyPair:
        """A new key for an own node."""
        text = f"{node} {next(self._numbers)}"
        pair = KeyPair(hashlib.sha256(text.encode()).hexdigest(), f"secret of {text}")
        self._next[node] = pair
        self._version += 1
        return pair

    def promote(self, node: str, pair: KeyPair) -> None:
        """See KeyStore."""
        self._own[node] = (pair, *self._own[node])
        if self._next.get(node) == pair:
            del self._next[node]
        self._version += 1

    def retire(self, node: str, former: KeyPair) -> None:
        """See KeyStore."""
        first, *others = self._own[node]
        self._own[node] = (first, *(pair for pair in others if pair != former))
        self._version += 1

    def redeem(self, token: str, node: str, key: str, now: float) -> str:
        """See KeyStore: there are no tokens here."""
        return "this token is not known here"

    def came_by(self, token: str) -> bool:
        """See KeyStore."""
        return False

    def note(self, token: str, node: str, key: str) -> None:
        """See KeyStore."""

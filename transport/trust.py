"""Which key speaks for which node, as one node sees it. Plain data: what it is read from is a `KeyStore`.

    own        the nodes of this folder, this one among them     ──┐  a name that stands in an earlier line is not
    trusted    put there by hand, or by a token                  ──┤  looked for in a later one, and a key has one owner
    learned    a node that was known said its new key itself     ──┤
    rows       the membership table, of nodes that are active    ──┘
    revoked    takes away from all of these: keys for ever, names until they are trusted by hand again

Whoever is in none of them is a stranger. A token is no node: its holder may only say by which key it will be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from understudy.transport.keys import KeyPair, KeyTrouble

KEYS_LIMIT = 6
"""Keys of one node, besides the one that it speaks under and the one that it says: it may change its key again on the way."""


@dataclass(frozen=True)
class Pass:
    """What a token gives its holder. `node`: the only name it is for; "": any that is free. `used`: the node and key it has let in."""

    expires: float
    node: str = ""
    used: tuple[str, str] | None = None


@dataclass(frozen=True)
class Holdings:
    """What a store holds. Of several keys of one node the first is in force, the others are about to be given up.

    `next`: the keys that own nodes are about to take.
    """

    own: Mapping[str, tuple[KeyPair, ...]] = field(default_factory=dict[str, tuple[KeyPair, ...]])
    trusted: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    revoked: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    tokens: Mapping[str, Pass] = field(default_factory=dict[str, Pass])
    next: Mapping[str, KeyPair] = field(default_factory=dict[str, KeyPair])


class KeyStore(Protocol):
    """Where keys are kept: a folder (`keyfolder.py`). Every method raises KeyTrouble when that fails."""

    def read(self, mark: object = None) -> tuple[object, Holdings] | None:
        """What it holds, and a mark of this reading; None: nothing has changed since the reading of `mark`."""
        ...

    def make(self, node: str) -> None:
        """Make a key for that node, if it has none."""
        ...

    def trust(self, node: str, *keys: str) -> None:
        """Trust that node by these keys, and by no others."""
        ...

    def revoke(self, node: str, *keys: str) -> tuple[str, ...]:
        """Trust that node no more, by these keys or any that it was trusted by until now; those are returned."""
        ...

    def redeem(self, token: str, node: str, key: str, now: float) -> str:
        """Use a token up: `node` is trusted by `key` from now on. Returns why not; "" if it is. Again for the same two is fine."""
        ...

    def came_by(self, token: str) -> bool:
        """Whether an own node was let in somewhere by that token."""
        ...

    def note(self, token: str, node: str, key: str) -> None:
        """An own node was let in by that token."""
        ...

    def promote(self, node: str, pair: KeyPair) -> None:
        """What was the next key of an own node is in force now, and the one before is a former one. There may be a newer next."""
        ...

    def retire(self, node: str, former: KeyPair) -> None:
        """Throw a former key of an own node away."""
        ...


class Trust:
    """Of the node `node`, whose keys are in `store`. Used on the loop's thread only."""

    def __init__(self, node: str, store: KeyStore) -> None:
        self.node = node
        self.store = store
        self._mark: object = None
        self._holdings = Holdings()
        self._learned: dict[str, tuple[str, ...]] = {}
        self._rows: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._doors: dict[str, str] = {}
        self._outcast: set[str] = set()
        store.make(node)
        self.refresh()

    @property
    def pair(self) -> KeyPair:
        """What this node proves."""
        return self._holdings.own[self.node][0]

    @property
    def former(self) -> tuple[KeyPair, ...]:
        """What it proved before, as long as somebody may know it by nothing else."""
        return self._holdings.own[self.node][1:]

    @property
    def next(self) -> KeyPair | None:
        """What it is about to prove."""
        return self._holdings.next.get(self.node)

    @property
    def known(self) -> Mapping[str, str]:
        """Every key that is trusted, and whom it speaks for."""
        return self._owners

    def owner(self, key: str) -> str:
        """The node that the key speaks for; "" if it is a stranger's."""
        return self._owners.get(key, "")

    def allows(self, key: str) -> bool:
        """Whether a connection with that key may be made at all."""
        return key in self._owners or key in self._holdings.tokens

    def knows(self, node: str) -> bool:
        """Whether any key speaks for that node."""
        return node in self._owners.values()

    def revoked(self, node: str) -> bool:
        """Whether that node was thrown out here."""
        return node in self._holdings.revoked and node not in self._holdings.trusted

    def token(self, key: str) -> Pass | None:
        """What the token with that key is for."""
        return self._holdings.tokens.get(key)

    def door(self, node: str) -> str:
        """The key that the node proves to whoever connects to it; "" while none is known."""
        said = self._doors.get(node, "")
        if said and self._owners.get(said) == node:
            return said
        return next((key for key, owner in self._owners.items() if owner == node), "")

    def opens(self, node: str, key: str) -> None:
        """The node proves that key at its door from now on, if it is one of its own."""
        if self._owners.get(key) == node:
            self._doors[node] = key

    def row(self, node: str, key: str) -> None:
        """The membership table says that the node is active and known by that key; "": that it is not."""
        if key != self._rows.get(node, ""):
            if key:
                self._rows[node] = key
            else:
                self._rows.pop(node, None)
            self._settle()

    def refresh(self) -> bool:
        """Read the store again. Whether anything has changed. Raises KeyTrouble; then all stays as it was."""
        read = self.store.read(self._mark)
        if read is None:
            return False
        self._mark, self._holdings = read
        self._settle()
        return True

    def introduced(self, by: str, node: str, key: str, now: float) -> str:
        """Whoever has proved `by` says that it is `node` and is to be known by `key`. Returns why not; "" if it is.

        Said by another key of the node, it holds too; said by the new one itself, no other does any more.
        """
        token = self.token(by)
        if token is not None and by not in self._owners:
            refusal = self._redeem(by, token, node, key, now)
        elif self.owner(by) != node:
            refusal = f"this key speaks for {self.owner(by) or 'nobody'!r}, not for {node!r}"
        elif self.owner(key) not in ("", node):
            refusal = f"that key is {self.owner(key)}'s"
        elif key in self._revoked_keys():
            refusal = "that key was revoked"
        else:
            refusal = ""
            known = [each for each, owner in self._owners.items() if owner == node and each not in (by, key)]
            self._learn(node, (key,) if by == key else (by, *known[-KEYS_LIMIT:], key))
        return refusal

    def _redeem(self, by: str, token: Pass, node: str, key: str, now: float) -> str:
        if now > token.expires and token.used != (node, key):
            return "this token has expired: ask for a new one"
        if self.owner(key) not in ("", node):
            return f"that key is {self.owner(key)}'s"
        if key in self._revoked_keys():
            return "that key was revoked: make a new one first (`understudy keys rotate`)"
        if self.revoked(node) and token.node != node:
            return f"{node!r} was revoked here: ask for a token that is made out to it (`understudy keys token --for {node}`)"
        if any(owner == node and other != key for other, owner in self._owners.items()):
            return f"the name {node!r} is another node's, which is known by another key: choose another name"
        refusal = self.store.redeem(by, node, key, now)
        self.refresh()
        return refusal

    def _learn(self, node: str, keys: tuple[str, ...]) -> None:
        held = self._holdings.trusted.get(node)
        if held is not None and held != keys:
            self.store.trust(node, *keys)
            self.refresh()
        elif held is None and node not in self._holdings.own and self._learned.get(node) != keys:
            self._learned[node] = keys
            self._settle()

    def _revoked_keys(self) -> set[str]:
        return {key for keys in self._holdings.revoked.values() for key in keys} | self._outcast

    def _outlaw(self) -> None:
        """By which keys a node is known that was revoked by its name is remembered: it may come back under another."""
        trusted = {key for keys in self._holdings.trusted.values() for key in keys}
        self._outcast -= trusted
        for node in filter(self.revoked, {*self._rows, *self._learned}):
            keys = {*self._learned.get(node, ()), *((self._rows[node],) if node in self._rows else ())}
            found = keys - self._revoked_keys() - trusted
            if found:
                self._outcast |= found
                with suppress(KeyTrouble):  # it holds as long as this node runs, at least
                    self.store.revoke(node, *found)

    def _settle(self) -> None:
        """Work out whose each key is."""
        self._outlaw()
        holdings, gone = self._holdings, self._revoked_keys()
        coming = {node: (pair,) for node, pair in holdings.next.items()}
        own = {
            node: tuple(pair.public for pair in (*pairs, *coming.get(node, ()))) for node, pairs in holdings.own.items()
        }
        rows = {node: (key,) for node, key in self._rows.items()}
        keys = rows | self._learned | dict(holdings.trusted) | own
        self._owners = {}
        for kind in (own, holdings.trusted, self._learned, rows):
            for node in kind:
                if not self.revoked(node):
                    for key in keys[node]:
                        if key not in gone:
                            self._owners.setdefault(key, node)

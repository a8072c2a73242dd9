"""The folder of keys of one machine: its own nodes' keys, and whom they trust. Plain files, which a person may copy about.

    own/NAME.key          secret keys of a node that runs here, the one in force first; readable by its user alone
    own/NAME.next         the secret key that it is about to take
    own/NAME.pub          the public half of the first: what others trust it by
    authorized/NAME.pub   the keys by which another node is trusted, one a line
    revoked/NAME.pub      the keys by which it is trusted no more; the name alone is enough
    tokens/KEY.token      a token that was given out: when it expires, and for which name
    tokens/KEY.used       whom it has let in

Nodes that share a folder trust one another. A file is written beside its place and put there whole, synced to the disk, so
that a reader sees all of it or nothing, and a `kill -9` at any moment leaves nothing half done. Running nodes look at the
folder twice a second.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from understudy.transport.keys import KeyPair, KeyTrouble, fingerprint, new_pair, pair_of, read_key
from understudy.transport.token import Token
from understudy.transport.trust import Holdings, Pass

OWN, AUTHORIZED, REVOKED, TOKENS = "own", "authorized", "revoked", "tokens"

KEPT = 24 * 3600.0
"""Seconds after its expiry that a token is remembered, so that whoever brings it late is told why it is refused."""


class KeyFolder:
    """Made when something is first written to it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._part = 0

    # --- what nodes need: a KeyStore ---

    def read(self, mark: object = None) -> tuple[object, Holdings] | None:
        """See KeyStore."""
        with _explained(self.path, "read"):
            while True:
                marks = frozenset(self._marks())
                if marks == mark:
                    return None
                try:
                    return marks, self._holdings()
                except FileNotFoundError:
                    if frozenset(self._marks()) == marks:
                        raise
                    # Somebody removed it since it was listed: a new key is taken, a revocation taken back.

    def _holdings(self) -> Holdings:
        return Holdings(
            own={node: self._pairs(node) for node in self._names(OWN, ".key")},
            trusted={node: self._keys(AUTHORIZED, node) for node in self._names(AUTHORIZED, ".pub")},
            revoked={node: self._keys(REVOKED, node) for node in self._names(REVOKED, ".pub")},
            next={node: self._pairs(node, ".next")[0] for node in self._names(OWN, ".next")},
            tokens={key: self._pass(key) for key in self._names(TOKENS, ".token")},
        )

    def held(self) -> Holdings:
        """What it holds. Raises KeyTrouble."""
        read = self.read()
        assert read is not None, "nothing was read before"
        return read[1]

    def make(self, node: str) -> None:
        """See KeyStore."""
        with _explained(self.path, "read"):
            if self._file(OWN, node, ".key").exists():
                return
        with self._changing():
            if not self._file(OWN, node, ".key").exists():
                self._write_pairs(node, (new_pair(),))

    def trust(self, node: str, *keys: str) -> None:
        """See KeyStore. A revocation of that node is taken back."""
        with self._changing():
            self._write(self._file(AUTHORIZED, node, ".pub"), _lines(keys))
            self._file(REVOKED, node, ".pub").unlink(missing_ok=True)

    def redeem(self, token: str, node: str, key: str, now: float) -> str:
        """See KeyStore. First it is noted whose the token is, then that node is trusted: killed in between, it asks again."""
        with self._changing():
            if not self._file(TOKENS, token, ".token").exists():
                return "this token is not known here"
            held = self._pass(token)
            if held.used is not None and held.used != (node, key):
                return f"this token was used before, by {held.used[0]!r}: ask for a new one"
            if now > held.expires and held.used is None:
                return "this token has expired: ask for a new one"
            if held.node not in ("", node):
                return f"this token is for a node called {held.node!r}, not for {node!r}"
            if held.used is None:
                self._write(self._file(TOKENS, token, ".used"), json.dumps({"node": node, "key": key}) + "\n")
            if key not in self._keys(AUTHORIZED, node, missing=True):
                self._write(self._file(AUTHORIZED, node, ".pub"), _lines((key,)))
                self._file(REVOKED, node, ".pub").unlink(missing_ok=True)
            return ""

    def came_by(self, token: str) -> bool:
        """See KeyStore."""
        with _explained(self.path, "read"):
            return self._file(TOKENS, token, ".used").exists()

    def note(self, token: str, node: str, key: str) -> None:
        """See KeyStore."""
        with self._changing():
            self._write(self._file(TOKENS, token, ".used"), json.dumps({"node": node, "key": key}) + "\n")

    def promote(self, node: str, pair: KeyPair) -> None:
        """See KeyStore."""
        with self._changing():
            self._write_pairs(node, (pair, *(each for each in self._pairs(node) if each != pair)))
            coming = self._file(OWN, node, ".next")
            if coming.exists() and self._pairs(node, ".next") == (pair,):
                coming.unlink()

    def retire(self, node: str, former: KeyPair) -> None:
        """See KeyStore."""
        with self._changing():
            pairs = self._pairs(node)
            if former in pairs[1:]:
                self._write_pairs(node, tuple(pair for pair in pairs if pair != former))

    # --- what people do ---

    def rotate(self, node: str) -> KeyPair:
        """Give an own node a new key: it tells its peers, takes it, and gives the old one up. Of two new ones the last counts."""
        with self._changing():
            self._must_have(node)
            pair = new_pair()
            self._write(self._file(OWN, node, ".next"), _lines((pair.secret,)), mode=0o600)
            return pair

    def revoke(self, node: str, *more: str) -> tuple[str, ...]:
        """See KeyStore. The name alone is enough: a running node notes the key that it knows it by."""
        with self._changing():
            if self._file(OWN, node, ".key").exists():
                raise KeyTrouble(
                    f"{node!r} is a node of this very folder ({self.path}): to end it, stop it and remove its key; "
                    f"others revoke it in theirs"
                )
            keys = self._keys(AUTHORIZED, node, missing=True)
            gone = dict.fromkeys((*self._keys(REVOKED, node, missing=True), *keys, *more))
            self._write(self._file(REVOKED, node, ".pub"), _lines(tuple(gone)))
            self._file(AUTHORIZED, node, ".pub").unlink(missing_ok=True)
            return keys

    def issue(self, seed: str, expires: float, node: str = "") -> Token:
        """A new token that leads to the own node `seed`; whoever brings it may be called `node` only, if that is given."""
        with self._changing():
            self._must_have(seed)
            token = Token(self._pairs(seed)[0].public, new_pair(), int(expires))
            content = json.dumps({"expires": token.expires, "node": node}) + "\n"
            self._write(self._file(TOKENS, token.pair.public, ".token"), content)
            return token

    def prune(self, now: float) -> None:
        """Forget tokens that expired long ago."""
        with self._changing():
            for key in self._names(TOKENS, ".token"):
                if now > self._pass(key).expires + KEPT:
                    self._file(TOKENS, key, ".token").unlink(missing_ok=True)
                    self._file(TOKENS, key, ".used").unlink(missing_ok=True)

    # --- files ---

    def _must_have(self, node: str) -> None:
        if not self._file(OWN, node, ".key").exists():
            raise KeyTrouble(
                f"there is no key of a node {node!r} in {self.path}: `understudy keys init {node}` makes one"
            )

    def _file(self, folder: str, name: str, suffix: str) -> Path:
        plain = quote(name, safe=" +,=:")
        return self.path / folder / f"{plain.replace('.', '%2E', 1) if plain.startswith('.') else plain}{suffix}"

    def _names(self, folder: str, suffix: str) -> list[str]:
        if not (self.path / folder).is_dir():
            return []
        entries = sorted(entry.name for entry in os.scandir(self.path / folder))
        return [unquote(name.removesuffix(suffix)) for name in entries if name.endswith(suffix) and name[0] != "."]

    def _marks(self) -> Iterator[tuple[str, int, int, int]]:
        """What tells that a file is another one, or was written to."""
        for folder in (OWN, AUTHORIZED, REVOKED, TOKENS):
            if (self.path / folder).is_dir():
                for entry in os.scandir(self.path / folder):
                    if not entry.name.startswith("."):
                        try:
                            status = entry.stat()
                        except FileNotFoundError:
                            continue  # gone since it was listed
                        yield f"{folder}/{entry.name}", status.st_ino, status.st_mtime_ns, status.st_size

    def _pairs(self, node: str, suffix: str = ".key") -> tuple[KeyPair, ...]:
        file = self._file(OWN, node, suffix)
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise KeyTrouble(
                f"the secret key {file} can be read by others: `chmod 600 {file}`, and think who has read it"
            )
        try:
            return tuple(pair_of(read_key(line)) for line in _meant(file)) or _no_key(file)
        except KeyTrouble:
            raise KeyTrouble(
                f"{file} is damaged: bring it back from a copy, or remove it and make a new key with `understudy keys init`; "
                f"the others must trust that one anew"
            ) from None

    def _keys(self, folder: str, node: str, *, missing: bool = False) -> tuple[str, ...]:
        file = self._file(folder, node, ".pub")
        if missing and not file.exists():
            return ()
        try:
            return tuple(read_key(line) for line in _meant(file))
        except KeyTrouble as error:
            raise KeyTrouble(f"{file} is damaged: {error}") from None

    def _pass(self, key: str) -> Pass:
        file, used = self._file(TOKENS, key, ".token"), self._file(TOKENS, key, ".used")
        try:
            told: Any = json.loads(file.read_text())
            by: Any = json.loads(used.read_text()) if used.exists() else None
            return Pass(float(told["expires"]), str(told["node"]), (by["node"], by["key"]) if by else None)
        except (ValueError, TypeError, KeyError):
            raise KeyTrouble(f"{file} is damaged: remove it, and make a new token") from None

    def _write_pairs(self, node: str, pairs: tuple[KeyPair, ...]) -> None:
        secrets = tuple(pair.secret for pair in pairs)
        self._write(self._file(OWN, node, ".key"), _lines(secrets), mode=0o600)
        self._write(self._file(OWN, node, ".pub"), f"# {node}, {fingerprint(pairs[0].public)}\n{pairs[0].public}\n")

    def _write(self, file: Path, text: str, mode: int = 0o644) -> None:
        self._part += 1
        beside = file.parent / f".{os.getpid()}-{self._part}.part"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "w") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(descriptor)
            os.replace(beside, file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _changing(self) -> Generator[None]:
        """One writer at a time, whichever process it is."""
        with _explained(self.path, "written"):
            for folder in (OWN, AUTHORIZED, REVOKED, TOKENS):
                (self.path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in self.path.glob("*/.*.part"):  # of a writer that was killed
                    left.unlink(missing_ok=True)
                yield
            finally:
                os.close(lock)


def _lines(keys: tuple[str, ...]) -> str:
    return "".join(f"{key}\n" for key in keys)


def _meant(file: Path) -> list[str]:
    """The lines of a file that are not comments."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _no_key(file: Path) -> tuple[KeyPair, ...]:
    raise KeyTrouble(f"{file} is empty")


@contextmanager
def _explained(folder: Path, what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(folder) else ""
        raise KeyTrouble(f"the folder of keys {folder} cannot be {what}{where}: {error.strerror or error}") from error

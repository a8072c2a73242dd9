"""A node's key: a pair of CURVE keys by which it proves who it is.

    public     64 hexadecimal digits; may be shown to everybody, and others trust a node by it
    secret     64 more, from which the public one follows; never leaves the folder it was made in

Written in hexadecimal digits because ZeroMQ's own text form (z85) has `$`, `!` and `&`, which shells take for something
else. What a person compares on two screens is the fingerprint.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import NamedTuple

import zmq
from zmq.utils import z85

from understudy.actors import UnderstudyError


class KeyTrouble(UnderstudyError):
    """A key, a token or the folder of keys is not as it must be; the text says which, why, and what to do."""


class KeyPair(NamedTuple):
    """Shows its public half only, wherever it is printed."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"<KeyPair {self.public}>"


def new_pair() -> KeyPair:
    """A pair that nobody ever had. Raises KeyTrouble where ZeroMQ was built without CURVE."""
    try:
        public, secret = zmq.curve_keypair()
    except zmq.ZMQError as error:
        raise KeyTrouble(
            f"this installation of ZeroMQ cannot make keys ({error}): install pyzmq from its wheel"
        ) from error
    return KeyPair(z85.decode(public).hex(), z85.decode(secret).hex())


def pair_of(secret: str) -> KeyPair:
    """The pair whose secret half this is."""
    return KeyPair(z85.decode(zmq.curve_public(z85.encode(bytes.fromhex(secret)))).hex(), secret)


def read_key(text: str) -> str:
    """The key that a person wrote, in digits or in ZeroMQ's own form. Raises KeyTrouble."""
    stripped = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", stripped):
        return stripped.lower()
    if len(stripped) == 40:
        try:
            return z85.decode(stripped.encode()).hex()
        except Exception:  # noqa: BLE001, S110 - whatever it stumbled over, it is no key
            pass
    raise KeyTrouble(f"this is no key, which has 64 hexadecimal digits: {stripped[:80]!r}")


def fingerprint(key: str) -> str:
    """A public key for the eye: 100 bits of its hash, such as "k7qz-3fda-ply2-77ub-x4ce"."""
    text = base64.b32encode(hashlib.sha256(bytes.fromhex(key)).digest()).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, 20, 4))

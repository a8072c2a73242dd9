"""A join token: what a new machine needs to be let into a cluster, once.

    understudy-1-...    the public key of the node that made it, a secret key that is good for this alone, when it expires,
                        and a checksum, so that half a token is not taken for one that is refused

Its holder is let in by that secret key, to say one thing: its name, and the key of its own that it will be known by.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import NamedTuple

from understudy.transport.keys import KeyPair, KeyTrouble, pair_of

PREFIX = "understudy-1-"

FORM = struct.Struct(">32s32sQ")

CHECK = struct.Struct(">I")


class Token(NamedTuple):
    """`seed`: the public key of whoever lets in; `pair`: what to prove there; `expires`: in Unix seconds."""

    seed: str
    pair: KeyPair
    expires: int

    def __repr__(self) -> str:
        return f"<Token {self.pair.public}>"

    def encode(self) -> str:
        """The text that is handed over. Whoever reads it can use it."""
        body = FORM.pack(bytes.fromhex(self.seed), bytes.fromhex(self.pair.secret), self.expires)
        return PREFIX + base64.urlsafe_b64encode(body + CHECK.pack(zlib.crc32(body))).decode().rstrip("=")


def read_token(text: str) -> Token:
    """The token that this text is. Raises KeyTrouble."""
    trouble = KeyTrouble(
        f"this is no join token, or only a part of one: a whole one begins with {PREFIX} and is made by "
        f"`understudy keys token` on a machine of the cluster"
    )
    text = text.strip()
    if not text.startswith(PREFIX):
        raise trouble
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX) + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise trouble from None
    body = raw[: FORM.size]
    if len(raw) != FORM.size + CHECK.size or raw[FORM.size :] != CHECK.pack(zlib.crc32(body)):
        raise trouble
    seed, secret, expires = FORM.unpack(body)
    return Token(seed.hex(), pair_of(secret.hex()), expires)

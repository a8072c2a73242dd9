"""Names and passwords, as HTTP Basic sends them: for tools, and for pages of few people, behind TLS.

    Gateway(auth=Passwords({"ada": "scrypt:14:8:1:...:..."}))          as `hash_password("...")` made it
    Gateway(auth=Passwords(check))                                      async check(name, password) -> bool | Principal

A check takes long on purpose (some 50 ms); it runs in a thread, a few at a time, and takes as long for a name that nobody has.
"""

import asyncio
import hashlib
import hmac
import inspect
import secrets
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

from understudy.gateway.auth import Unauthorized
from understudy.gateway.credentials import Credentials
from understudy.gateway.principal import ID_LIMIT, Principal

COST, BLOCK, PARALLEL = 14, 8, 1
"""scrypt's: 2**14 rounds of 8 blocks, which is 16 MiB and some 50 ms."""

AT_A_TIME = 2
"""Checks that run beside each other; further ones wait."""

PASSWORD_LIMIT = 1024
"""Characters."""

Check: TypeAlias = Callable[[str, str], bool | Principal | Awaitable[bool | Principal]]


class Kept(NamedTuple):
    """What is kept of a password: nothing that it could be read from."""

    salt: bytes
    made: bytes
    cost: int
    block: int
    parallel: int

    def is_of(self, password: str) -> bool:
        """Takes long."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost, self.block, self.parallel), self.made)


def hash_password(password: str) -> str:
    """What is to be kept of a password, as text."""
    salt = secrets.token_bytes(16)
    made = _scrypt(password, salt, COST, BLOCK, PARALLEL)
    return f"scrypt:{COST}:{BLOCK}:{PARALLEL}:{b64encode(salt).decode()}:{b64encode(made).decode()}"


class Passwords:
    """Believes a name with its password. `known`: what `hash_password` made, by name; or a function that checks.

    `realm` is what a browser's window says that asks for them. Raises ValueError for a hash that cannot be read.
    """

    def __init__(self, known: Mapping[str, str] | Check, *, realm: str = "understudy") -> None:
        if '"' in realm or "\\" in realm or not realm.isprintable():
            raise ValueError(f"a realm is plain text without quotes, not {realm!r}")
        self.challenge = f'Basic realm="{realm}", charset="UTF-8"'
        self._check = known if callable(known) else _known(known)

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """The one with that name; None where no name was sent."""
        if credentials.basic is None:
            return None
        name, password = credentials.basic
        if not 0 < len(name) <= ID_LIMIT or len(password) > PASSWORD_LIMIT:
            raise Unauthorized("password_wrong")
        found = self._check(name, password)
        found = await found if inspect.isawaitable(found) else found
        if isinstance(found, Principal):
            return found
        if not found:
            raise Unauthorized("password_wrong")
        return Principal(name)


def _known(hashes: Mapping[str, str]) -> Check:
    kept = {name: _read(name, text) for name, text in hashes.items()}
    nobody = _read("", hash_password(secrets.token_hex(16)))
    threads = ThreadPoolExecutor(AT_A_TIME, "passwords")

    async def check(name: str, password: str) -> bool:
        right = await asyncio.get_running_loop().run_in_executor(threads, kept.get(name, nobody).is_of, password)
        return right and name in kept

    return check


def _read(name: str, text: str) -> Kept:
    try:
        kind, cost, block, parallel, salt, made = text.split(":")
        if kind != "scrypt":
            raise ValueError(kind)
        return Kept(b64decode(salt), b64decode(made), int(cost), int(block), int(parallel))
    except ValueError:
        raise ValueError(f"the password of {name!r} is to be kept as hash_password(...) makes it") from None


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    room = 2 * 128 * block << cost
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << cost, r=block, p=parallel, maxmem=room, dklen=32)

"""Meeting a node of which nothing is known but an address, and perhaps a token.

    meet     PING under every key that is trusted here ──▶ PONG of the one that listens there: who it is
    enrol    INTRODUCE under a token's key             ──▶ INTRODUCED: this node is trusted there by its own key, and that one here

Who proves none of the keys that are trusted gets no answer, and gives none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from understudy.actors import UnderstudyError
from understudy.transport.frames import Frame, Introduce, Introduced, Ping, Pong, decode
from understudy.transport.keys import KeyPair, KeyTrouble, fingerprint
from understudy.transport.schema import Unreadable
from understudy.transport.token import Token

if TYPE_CHECKING:
    from understudy.transport.links import Links

INTERVAL = 0.2
"""Seconds between two attempts."""

A = TypeVar("A")


class CannotReach(UnderstudyError):
    """Nobody answers at that address, or not the one who was expected."""


async def meet(links: Links, address: str, timeout: float) -> Pong:
    """Ask who listens at an address. Raises CannotReach, BadAddress."""
    trust = links.trust
    ping = Ping(links.system.world.random.getrandbits(63))

    def pong(frame: Frame, key: str) -> Pong | None:
        if not isinstance(frame, Pong) or frame.nonce != ping.nonce:
            return None
        if trust is not None:
            if trust.owner(key) != frame.answerer.node:
                return None
            links.opens(frame.answerer.node, key)
        return frame

    if trust is None:
        hint = "is a node of this cluster running there, without keys as this one is?"
        keys = [""]
    else:
        hint = (
            f"is a node running there that trusts this one ({fingerprint(trust.pair.public)}) and is trusted by it? "
            f"`understudy keys show` tells whom it trusts"
        )
        keys = list(trust.known)
    return await _ask(links, address, keys, None, ping.encode(), pong, timeout, hint)


async def enrol(links: Links, address: str, token: Token, timeout: float) -> str:
    """Have the node that listens at an address trust this one, by a token that it made. Returns that node's name.

    Raises KeyTrouble: the token is not good, or no more; CannotReach: nobody there knows it, or nobody is there.
    """
    trust = links.trust
    assert trust is not None, "who has a token has keys"
    if links.system.world.wall() > token.expires:
        raise KeyTrouble(
            "the join token has expired: make a new one with `understudy keys token` on a machine of the cluster"
        )
    own = trust.pair.public

    def answer(frame: Frame, key: str) -> Introduced | None:
        return frame if isinstance(frame, Introduced) and frame.key == own else None

    hint = "is the node running there whose machine made the token? If it is, it does not know the token, or no more"
    request = Introduce(links.me.node, own).encode()
    answered = await _ask(links, address, [token.seed], token.pair, request, answer, timeout, hint)
    if answered.refusal:
        raise KeyTrouble(f"{answered.answerer}, at {address}, does not let this node in: {answered.refusal}")
    trust.store.trust(answered.answerer, token.seed)
    trust.store.note(token.pair.public, links.me.node, own)
    trust.refresh()
    return answered.answerer


async def _ask(
    links: Links,
    address: str,
    keys: list[str],
    pair: KeyPair | None,
    request: bytes,
    answer: Callable[[Frame, str], A | None],
    timeout: float,
    hint: str,
) -> A:
    """Send a request again and again to whoever proves one of the keys, until something comes back that is an answer."""
    answered: asyncio.Future[A] = links.system.loop.create_future()

    def hear(key: str) -> Callable[[bytes], None]:
        def heard(data: bytes) -> None:
            try:
                found = answer(decode(data), key)
            except Unreadable as error:
                links.report(f"whoever listens at {address}", error)
                return
            if found is not None and not answered.done():
                answered.set_result(found)

        return heard

    channels = [links.network.connect(address, hear(key), _nothing, key=key, pair=pair) for key in keys]
    try:
        async with asyncio.timeout(timeout):
            while not answered.done():
                for channel in channels:
                    channel.send(request)
                await asyncio.wait([answered], timeout=INTERVAL)
        return answered.result()
    except TimeoutError:
        raise CannotReach(f"nobody answered at {address} within {timeout} s: {hint}") from None
    finally:
        for channel in channels:
            channel.close()


def _nothing() -> None:
    """It is asked again anyway."""

"""The gate before the door of a node with keys: whether whoever has proved a key may say what it says.

    HELLO as the node that the key speaks for      ──▶ the door
    DATA, CHUNK, RESUME in a session of that node  ──▶ the door
    PING of anybody trusted                        ──▶ the door
    INTRODUCE                                      ──▶ `Trust.introduced`, then INTRODUCED
    anything else: another's name or session, a key that is trusted no more, a token that is used for more
                                                   ──▶ STALE, counted, and a line in the log now and then

A connection that stands is never asked for its key again, and a routing id may be chosen by whoever connects. So it is
asked of every frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from understudy.transport.frames import Chunk, Data, Frame, Hello, Introduce, Introduced, Resume, Stale
from understudy.transport.keys import KeyTrouble, fingerprint
from understudy.transport.network import Path
from understudy.transport.trust import Trust

if TYPE_CHECKING:
    from understudy.transport.links import Links

logger = logging.getLogger("understudy.transport")

LOG_EVERY = 5.0
"""Seconds between two lines in the log about whom was refused: a flood of strangers must not flood it."""

LOOK_EVERY = 0.1
"""Seconds between two looks whether an unknown key has become a known one."""


class Gate:
    """`visited` tells whose session that is, "" for an unknown one. Used on the loop's thread only."""

    def __init__(self, links: Links, trust: Trust, visited: Callable[[int], str]) -> None:
        self.look: Callable[[], object] = trust.refresh
        """Reads again who is trusted."""
        self.refused = 0
        """Frames and connections that were refused."""
        self._links = links
        self._trust = trust
        self._visited = visited
        self._logged = -LOG_EVERY
        self._looked = -LOOK_EVERY

    def allows(self, key: str) -> bool:
        """Whether a connection with that key may be made: what the network asks."""
        allowed = self._trust.allows(key)
        now = self._links.system.loop.time()
        if not allowed and now - self._looked >= LOOK_EVERY:
            self._looked = now
            with suppress(KeyTrouble):  # the locksmith, who looks all the time, says so
                self.look()  # it may have been trusted just now
            allowed = self._trust.allows(key)
        if not allowed:
            self._refuse(f"a connection with a key that is not trusted here ({fingerprint(key)})")
        return allowed

    def stops(self, path: Path, frame: Frame) -> bool:
        """Whether that frame is none of the door's; whoever sent it has its answer then."""
        key = self._links.network.key_of(path)
        speaker = self._trust.owner(key)
        match frame:
            case Data() | Chunk() | Resume() if speaker:
                claimed = self._visited(frame.session) or speaker
            case Hello() if speaker:
                claimed = frame.sender.node
                if claimed == speaker:
                    self._links.opens(speaker, key)
            case Introduce():
                self._introduced(path, key, frame)
                return True
            case _:
                claimed = speaker
        if speaker and claimed == speaker:
            return False
        what = f"a {type(frame).__name__}"
        if speaker:
            detail = f"this key speaks for {speaker!r}, not for {claimed!r}"
            self._refuse(f"{what} of {speaker!r} that speaks as {claimed!r}")
        else:
            detail = "this key is not trusted here, or no more"
            self._refuse(f"{what} under a key that is not trusted here, or no more ({fingerprint(key)})")
        if isinstance(frame, Hello | Data | Chunk | Resume):
            stale = Stale(frame.session, self._links.me, detail, gone=not speaker and self._trust.token(key) is None)
            self._links.network.answer(path, stale.encode())
        return True

    def _introduced(self, path: Path, by: str, frame: Introduce) -> None:
        links = self._links
        try:
            refusal = self._trust.introduced(by, frame.node, frame.key, links.system.world.wall())
        except KeyTrouble as error:
            logger.error("%s cannot be let in: %s", frame.node, error)
            refusal = "the node there cannot write to its folder of keys; its log says why"
        if refusal:
            self._refuse(f"{frame.node!r} with the key {fingerprint(frame.key)}: {refusal}")
        else:
            if self._trust.token(by) is not None:
                logger.warning("%s was let in by a token; its key is %s", frame.node, fingerprint(frame.key))
            if by == frame.key:
                links.opens(frame.node, frame.key)
        links.network.answer(path, Introduced(frame.key, links.me.node, refusal).encode())

    def _refuse(self, what: str) -> None:
        self.refused += 1
        now = self._links.system.loop.time()
        if now - self._logged >= LOG_EVERY:
            self._logged = now
            logger.warning("refused: %s; %d refused so far", what, self.refused)

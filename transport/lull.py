"""A lull: no garbage is collected while a batch is read. The collector is the process's own, and its nodes may be on several threads.

    begin ── it is on, and nobody else's lull ──▶ off ──▶ end ──▶ on
          ── else                             ──▶ untouched, before and after

If each looked for itself, one could look during another's lull, and turn the collector off, for ever, just after that is over.
"""

from __future__ import annotations

import gc
import threading  # noqa: TID251 - only to be alone with the collector

_mine = threading.Lock()


def begin() -> bool:
    """Turn the collector off, if that is to be turned on again by whoever asks. The answer is for `end`."""
    if not _mine.acquire(blocking=False):
        return False
    if gc.isenabled():
        gc.disable()
        return True
    _mine.release()
    return False


def end(begun: bool) -> None:
    """The lull is over."""
    if begun:
        gc.enable()
        _mine.release()

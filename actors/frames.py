"""Where every thread stands: its innermost frame, by the thread's number."""

from __future__ import annotations

import gc
import sys
from types import FrameType


def all_frames() -> dict[int, FrameType]:
    """What `sys._current_frames()` says.

    Before Python 3.12 that may stop the process for ever: it holds a lock of the interpreter, which whoever starts a thread waits
    for, while it makes objects; so the collector may run in it, and with that a callback that gives way to such a thread
    (github.com/python/cpython/issues/106883). So the collector rests meanwhile.
    """
    if sys.version_info >= (3, 12) or not gc.isenabled():
        return sys._current_frames()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        gc.enable()

"""How long a client waits before it comes back, and whether it does. The JavaScript client follows the same rules.

A thousand clients that lost one server must not come back in one instant: every wait has chance in it.
"""

from typing import Literal

CEILING = 10.0
"""Seconds that a client waits at most between two tries."""

SPREAD = 2.0
"""Seconds over which clients come back when a server asked everybody to, and named no window."""


def backoff(tries: int, chance: float) -> float:
    """Seconds before try number `tries` (1, 2, ...): from 0.2 s up to CEILING, of which `chance` (0 to 1) takes off half."""
    return min(CEILING, 0.2 * 2.0 ** min(tries - 1, 10)) * (1 - chance / 2)


def after_close(code: int) -> Literal["stop", "spread", "retry"]:
    """What a close code asks for: normal, policy and the terminal ranges (3500-3999, 4500-4999) not to come back; going
    away, restart and try later (1001, 1012, 1013) to come back spread over a window. The rest are accidents.
    """
    if code in (1000, 1008) or 3500 <= code < 4000 or code >= 4500:
        return "stop"
    return "spread" if code in (1001, 1012, 1013) else "retry"


def after_status(status: int) -> Literal["stop", "retry"]:
    """What the HTTP status of a refused upgrade asks for: 4xx is the client's own fault, but for 408, 425 and 429."""
    return "stop" if 400 <= status < 500 and status not in (408, 425, 429) else "retry"

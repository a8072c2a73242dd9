"""Who a client is, once its credentials are believed: what rooms see of whoever joined, on whatever node they live.

Principal("ada", {"roles": ["editor"]}, expires=1_790_000_000.0)       a token or a cookie said so
stranger("6f0c...")                                                     nobody asked
"""

from dataclasses import field
from typing import Any

from understudy.actors import message

ID_LIMIT = 256
"""Characters of who somebody is."""


@message("gateway.principal")
class Principal:
    """`id` is the same in every connection of one person, on any gateway; `claims` is what else its credentials say.

    `expires`: the Unix time, in seconds, from which its credentials are worth nothing; None: never. A connection that is
    not given new ones until then is closed. `anonymous`: nobody vouches for it, and `id` lasts as long as its connection.
    """

    id: str
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    expires: float | None = None
    anonymous: bool = False

    def __hash__(self) -> int:
        return hash(self.id)


def stranger(id: str) -> Principal:  # noqa: A002
    """Somebody who showed nothing, where nothing has to be shown."""
    return Principal(id, anonymous=True)


NOBODY = stranger("")
"""Who a member is that came by no gateway, in tests for example."""

"""Who may do what in a room, and who may not come in: roles, bans and rates, as pure state. Time is an argument.

    roles     ("member", "moderator", "owner"), the lowest first; who has more may do what those below may
    bans      by the id of a principal, for a time or for good
    rates     so many events of a member per second, and so many at once: a bucket of tokens for each

All of it lasts as long as its room. What is to last longer, a room gives it anew in `on_start`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.actors import ActorRef
from understudy.gateway.limits import Bucket, Rate
from understudy.gateway.messages import Member

BAN_LIMIT = 10_000
"""Bans of a room; with more, the one that ends first is lifted."""

BUCKET_LIMIT = 10_000
"""Connections whose events of one kind are counted; with more, that which was heard of least recently is forgotten."""

ANY = "*"
"""Events that have no rate of their own."""


class Moderation:
    """Of one room."""

    def __init__(self, roles: Sequence[str], rates: Mapping[str, Rate]) -> None:
        if not roles:
            raise ValueError("a room has at least one role, that of everybody")
        self._roles = tuple(roles)
        self._rates = rates
        self._appointed: dict[str, str] = {}
        self._bans: dict[str, float] = {}
        self._buckets: dict[tuple[ActorRef[Any], str], Bucket] = {}

    # --- roles ---

    def appoint(self, who: Member | str, role: str) -> None:
        """Give a role to a member, or to whoever has that principal id. Raises ValueError for one that there is not."""
        self._rank(role)
        self._appointed[_lasting_id(who)] = role

    def role(self, member: Member, otherwise: str) -> str:
        """The role that `member` was given; else the other one, if there is such a role; else the lowest."""
        given = self._appointed.get(_lasting_id(member), otherwise)
        return given if given in self._roles else self._roles[0]

    def may(self, has: str, needed: str) -> bool:
        """Whether who has one role may do what needs the other."""
        return self._rank(has) >= self._rank(needed)

    def _rank(self, role: str) -> int:
        if role not in self._roles:
            raise ValueError(f"there is no role {role!r} in this room, but {', '.join(self._roles)}")
        return self._roles.index(role)

    # --- bans ---

    def ban(self, id: str, until: float) -> None:  # noqa: A002
        """Nobody with that principal id may come in until then. Raises ValueError for an empty id, which is everybody's."""
        if not id:
            raise ValueError("a ban needs the id of a principal: whoever has none can only be kicked")
        self._bans[id] = until
        if len(self._bans) > BAN_LIMIT:
            del self._bans[min(self._bans, key=self._bans.__getitem__)]

    def unban(self, id: str) -> None:  # noqa: A002
        """Let them in again; nothing happens if they were not banned."""
        self._bans.pop(id, None)

    def banned(self, id: str, now: float) -> bool:  # noqa: A002
        """Whether they may not come in."""
        until = self._bans.get(id)
        if until is not None and until <= now:
            del self._bans[id]
            until = None
        return until is not None

    def bans(self, now: float) -> dict[str, float]:
        """Who is banned, and for how many seconds more."""
        self._bans = {id: until for id, until in self._bans.items() if until > now}  # noqa: A001
        return {id: until - now for id, until in self._bans.items()}  # noqa: A001

    # --- rates ---

    def admits(self, member: Member, event: str, now: float) -> bool:
        """Whether a member may push that event now; that it did counts. So it does for a later stay over its connection."""
        name = event if event in self._rates else ANY
        rate = self._rates.get(name)
        if rate is None:
            return True
        place = member.session, name
        bucket = self._buckets.pop(place, None) or Bucket(rate, now)
        self._buckets[place] = bucket
        if len(self._buckets) > BUCKET_LIMIT:
            del self._buckets[next(iter(self._buckets))]
        return bucket.take(1, now)

    def forget(self, member_id: str) -> None:
        """That stay is over, and so is a role that was given to it alone."""
        self._appointed.pop(member_id, None)


def _lasting_id(who: Member | str) -> str:
    """The id under which somebody is known again: that of the person, or of the stay, if nobody vouches for the person."""
    if isinstance(who, str):
        return who
    return who.id if who.principal.anonymous else who.principal.id

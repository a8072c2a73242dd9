"""The attendance of a room: whom its members see to be there, and for how long after they were last heard of.

    room     ── track, untrack, left, lost, admitted ──> attendance ── presence_state, presence_diff ──> members
    watchman ── Silent(fan-out) ───────────────────────> attendance ── Reached(its members) ──> that fan-out
                its members are hidden                              <── those it still has ────  shown again

Two things end a connection, and neither says whether the person is gone:

    it is lost                   who has a key of its own is shown for GRACE seconds more. A newcomer with that key within
                                 them has its place; nobody saw anybody leave.
    its gateway is silent        whether its members are there is unknown. A newcomer with the key and meta of one of them,
                                 over another gateway, has its place at once; after SILENCE seconds they are hidden. Either
                                 way the gateway is asked until it answers, and whoever is there after all is shown again.

So a gateway that is killed takes its members out of sight within SILENCE + EVERY seconds, whatever the cluster's own
table says by then; and who is only cut off comes back to sight.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from understudy.actors import ActorRef, DeadlineExceeded, UnderstudyError
from understudy.gateway import phoenix
from understudy.gateway.messages import Member
from understudy.gateway.presence import Entries, Meta, Presence
from understudy.gateway.watchman import EVERY, WATCHMAN, Reached, Silent, Watch, Watchman

if TYPE_CHECKING:
    from understudy.gateway.room import Room

GRACE = 3.0
"""Seconds for which a person is shown whose connection was lost."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A room to itself, behind whatever waits in its mailbox: tell everybody what changed until now, in one diff."""


@dataclass(frozen=True, slots=True)
class Due:
    """A room to itself: somebody's grace has ended."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A room to itself: of those asked for, the fan-out has `there`; None: it did not answer in time."""

    fanout: ActorRef[Any]
    asked: tuple[str, ...]
    there: tuple[str, ...] | None


News: TypeAlias = Changed | Due | Answered | Silent


@dataclass(frozen=True, slots=True)
class _Tracked:
    """`returns`: it has a key that outlives its connection."""

    session: ActorRef[Any]
    fanout: ActorRef[Any]
    returns: bool


class Attendance:
    """Of one room. `origin` is the beginning of its `phx_ref`s."""

    def __init__(self, room: "Room", origin: str) -> None:
        self._room = room
        self._presence = Presence(origin)
        self._tracked: dict[str, _Tracked] = {}
        self._of: dict[ActorRef[Any], str] = {}  # by session
        self._at: dict[ActorRef[Any], dict[str, None]] = {}  # by fan-out
        self._asking: set[ActorRef[Any]] = set()
        self._watched: tuple[ActorRef[Any], ...] = ()
        self._began = room.system.loop.time()
        self._without_state: set[str] = set(room.members)
        self._held: set[str] = set()
        self._told = True
        self._timed = False

    def state(self) -> Entries:
        """Everybody who is shown."""
        return self._presence.state()

    # --- what the room says of its members ---

    def track(self, member: Member, meta: Meta, key: str | None) -> None:
        """Show a member under `key`, or under its own id, which nobody will have again."""
        phoenix.to_json(meta)
        name = key or member.id
        twin = None if member.id in self._tracked else self._doubtful_twin(member, name, meta)
        if twin is None:
            replaced = self._presence.track(member.id, name, meta)
            if isinstance(replaced, str):
                self._forget(replaced)
        else:
            self._presence.replace(twin, member.id, name, meta)
        former = self._of.get(member.session)
        if former is not None and self._presence.is_away(former):
            self.untrack(former)  # the same client has joined anew, and is somebody else now
        self._remember(member, returns=key is not None)
        if twin is not None:
            self._ask(self._tracked[twin].fanout)
        self._tell_soon()

    def untrack(self, member_id: str) -> None:
        """Show a member no more."""
        if member_id in self._tracked:
            self._presence.untrack(member_id)
            self._forget(member_id)
            self._tell_soon()

    def admitted(self, member: Member, *, from_before: bool) -> None:
        """A member hears what is said from now on; it is to know who is there. One that was in an earlier life of the room
        is told when the others of that life have had the grace to come, so that it sees nobody leave who does.
        """
        self._without_state.add(member.id)
        if from_before and (left := self._began + self._room.grace - self._now()) > 0:
            if not self._held:
                self._room.send_after(left, Due())
            self._held.add(member.id)
        self._tell_soon()

    def left(self, member_id: str) -> None:
        """A member has gone, and said so."""
        self._without_state.discard(member_id)
        self.untrack(member_id)

    def lost(self, member_id: str) -> None:
        """The connection of a member has ended."""
        tracked = self._tracked.get(member_id)
        if tracked is None or not tracked.returns or self._presence.is_hidden(member_id):
            self.left(member_id)
        else:
            self._without_state.discard(member_id)
            self._presence.lost(member_id, self._now() + self._room.grace)
            self._wait()

    def on_news(self, news: News) -> None:
        """What the room got on behalf of its attendance."""
        match news:
            case Changed():
                self._tell()
            case Due():
                self._timed = False
                for gone in self._presence.expire(self._now()):
                    self._forget(str(gone))
                self._wait()
                self._tell_soon()
            case Silent(fanout):
                self._silent(fanout)
            case Answered(fanout, asked, there):
                self._asking.discard(fanout)
                for member_id in there or ():
                    self._presence.show(member_id)
                self._ask(fanout, but=() if there is None else asked)
                self._tell_soon()

    # --- gateways that may be gone ---

    def _doubtful_twin(self, member: Member, key: str, meta: Meta) -> str | None:
        """Whom `member` looks like a next connection of: of another gateway, which may be gone."""
        for twin in self._presence.twins(key, meta):
            fanout = self._tracked[str(twin)].fanout
            if fanout != member.fanout and self._is_elsewhere(fanout):
                return str(twin)
        return None

    def _is_elsewhere(self, fanout: ActorRef[Any]) -> bool:
        return bool(fanout.address.node != self._room.system.name)

    def _silent(self, fanout: ActorRef[Any]) -> None:
        for member_id in list(self._at.get(fanout, ())):
            self._presence.hide(member_id)
            if member_id not in self._presence:
                self._forget(member_id)  # it was away
        self._ask(fanout)
        self._tell_soon()

    def _ask(self, fanout: ActorRef[Any], but: tuple[str, ...] = ()) -> None:
        """Ask it for those who are hidden; one question at a time. Of those it does not have, the end is under way."""
        hidden = [member_id for member_id in self._at.get(fanout, ()) if self._presence.is_hidden(member_id)]
        asked = tuple(member_id for member_id in hidden if member_id not in but)
        if asked and fanout not in self._asking:
            self._asking.add(fanout)
            self._room.run(_answer(fanout, asked))

    async def _watch(self) -> None:
        system = self._room.system
        if not system.ref(WATCHMAN).is_alive():
            with suppress(UnderstudyError):  # another room was faster; or the node ends
                await system.spawn(Watchman, name=WATCHMAN)
        system.ref(WATCHMAN).tell(Watch(self._room.actor_ref, self._watched))

    # --- who is tracked ---

    def _remember(self, member: Member, returns: bool) -> None:
        self._tracked[member.id] = _Tracked(member.session, member.fanout, returns)
        self._of[member.session] = member.id
        there = self._at.setdefault(member.fanout, {})
        there[member.id] = None
        if len(there) == 1:
            self._watch_all()

    def _forget(self, member_id: str) -> None:
        tracked = self._tracked.pop(member_id)
        if self._of.get(tracked.session) == member_id:
            del self._of[tracked.session]
        there = self._at[tracked.fanout]
        del there[member_id]
        if not there:
            del self._at[tracked.fanout]
            self._watch_all()

    def _watch_all(self) -> None:
        watched = tuple(fanout for fanout in self._at if self._is_elsewhere(fanout))
        if watched != self._watched:
            self._watched = watched
            self._room.run(self._watch())

    # --- telling ---

    def _tell_soon(self) -> None:
        if self._told:
            self._told = False
            self._room.actor_ref.tell(Changed())

    def _tell(self) -> None:
        """Those who knew get the diff; those who came since get the state, which has the diff in it."""
        self._told = True
        room = self._room
        if self._now() >= self._began + room.grace:
            self._held.clear()
        uninformed = self._without_state & room.members.keys()
        self._without_state = uninformed & self._held
        new = tuple(uninformed - self._held)
        diff = self._presence.take_diff()
        if diff is not None and len(uninformed) < len(room.members):
            room.feed.mention(phoenix.PRESENCE_DIFF, diff, excluding=tuple(uninformed))
        if new:
            room.feed.mention(phoenix.PRESENCE_STATE, self._presence.state(), only=new)

    def _wait(self) -> None:
        if not self._timed and (due := self._presence.due) is not None:
            self._timed = True
            self._room.send_after(max(0.0, due - self._now()), Due())

    def _now(self) -> float:
        return self._room.system.loop.time()


async def _answer(fanout: ActorRef[Any], asked: tuple[str, ...]) -> Answered:
    try:
        return Answered(fanout, asked, await fanout.call(Reached(asked), timeout=EVERY))
    except DeadlineExceeded:
        return Answered(fanout, asked, None)
    except UnderstudyError:
        await asyncio.sleep(EVERY)  # it said so at once
        return Answered(fanout, asked, None)

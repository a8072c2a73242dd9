"""Resume: a client that comes back gets all that it missed, or is told that it does not and how things stand."""

import asyncio
import base64
from collections.abc import Hashable
from typing import Any

import pytest

from tests.gateway_helpers import Client, Served, gateway
from understudy.actors import Actor, ActorRef, ActorSystem, Bounded, Overloaded, Refused
from understudy.gateway import Member, Room, phoenix
from understudy.gateway.delivery import SNAPSHOT, conflate, encoded, stamped
from understudy.gateway.fanout import Fanout
from understudy.gateway.feed import KEPT_LIMIT, Feed
from understudy.gateway.log import Cursor, MemoryLog
from understudy.gateway.messages import (
    Attach,
    Lapsed,
)
from understudy.gateway.serializers import PhoenixSerializer
from understudy.gateway.watchman import Reached
from understudy.simulation import Simulation


class Station(Room):
    """Says what it is told to say, in the way it is told to."""

    log_events = 1_000

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.state = 0

    def make_log(self) -> MemoryLog:
        return MemoryLog(self.system, events=self.log_events)

    def on_join(self, member: Member, payload: dict[str, Any]) -> dict[str, Any] | None:
        if "return" in payload:
            return dict.fromkeys(payload["return"], "mine")
        return {"payload": payload} if payload else None

    def snapshot(self, member: Member | None) -> Any:
        return {"state": self.state}

    def on_event(self, member: Member, event: str, payload: Any) -> dict[str, Any] | None:
        match event:
            case "say":
                self.state += 1
                self.broadcast("said", payload)
            case "bytes":
                self.broadcast("said", bytes(payload))
            case "to the others":
                self.broadcast("said", payload, excluding=member)
            case "spot":
                self.broadcast(
                    "spot", payload, delivery=conflate(payload["of"], of=member if payload["mine"] else None)
                )
            case "scene":
                self.broadcast("scene", payload, delivery=SNAPSHOT)
            case "forget":
                self.forget("spot", payload)
            case _:
                raise Refused("unknown event")
        return None


class ShortStation(Station):
    log_events = 3


STATIONS: dict[str, Any] = {"long:*": Station, "short:*": ShortStation}


async def joined(client: Client, topic: str, **payload: Any) -> dict[str, Any]:
    """The whole reply to a join."""
    client.count += 1
    ref = f"j{client.count}"
    await client.send(ref, ref, topic, "phx_join", payload)
    reply = (await client.until(lambda frame: frame[1] == ref and frame[3] == "phx_reply"))[4]
    response: dict[str, Any] = reply["response"]
    return response if reply["status"] == "ok" else {"error": response["reason"]}


async def said(served: Served, topic: str, *payloads: Any, event: str = "say") -> None:
    """Somebody comes, says that, and goes."""
    async with served.client() as other:
        await joined(other, topic)
        for payload in payloads:
            assert (await other.ask(topic, event, payload))[0] == "ok"


def cursor(reply: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": reply["epoch"], "offset": reply["offset"]}


async def test_who_comes_back_gets_all_that_it_missed_in_order_and_then_what_is_said_live() -> None:
    async with gateway(STATIONS) as served, served.client() as client, served.client() as stayed:
        first = await joined(client, "long:a")
        assert (first["offset"], first["recovered"], first["snapshot"]) == (0, False, {"state": 0})
        await joined(stayed, "long:a")
        await client.ask("long:a", "say", {"n": 1})
        heard = await client.until(lambda frame: frame[3] == "said")
        assert heard[4] == {"n": 1, "_o": 1}
        await client.socket.close()
        await stayed.ask("long:a", "say", {"n": 2})
        await stayed.ask("long:a", "say", "a bare value")
        await stayed.send(None, None, "long:a", "bytes", [0, 255])
        async with served.client() as again:
            resume = {"epoch": first["epoch"], "offset": heard[4]["_o"]}
            reply = await joined(again, "long:a", resume=resume, name="ada")
            assert reply == {
                "payload": {"name": "ada"},
                "epoch": first["epoch"],
                "offset": 4,
                "recovered": True,
                "events": [
                    [2, "said", {"n": 2}],
                    [3, "said", "a bare value"],
                    [4, "said", {"_b": base64.b64encode(b"\x00\xff").decode()}],
                ],
            }
            await stayed.send(None, None, "long:a", "say", "live")
            assert (await again.receive())[3:] == ["said", {"_v": "live", "_o": 5}]


async def test_a_client_that_is_cut_off_before_its_first_event_is_covered() -> None:
    async with gateway(STATIONS) as served:
        async with served.client() as client:
            first = await joined(client, "long:a")
        await said(served, "long:a", {"n": 1}, {"n": 2})
        async with served.client() as again:
            reply = await joined(again, "long:a", resume=cursor(first))
            assert [(offset, payload["n"]) for offset, _, payload in reply["events"]] == [(1, 1), (2, 2)]
            assert "snapshot" not in reply


@pytest.mark.parametrize("which", ["too old", "another epoch", "from the future", "none"])
async def test_a_cursor_of_which_not_everything_is_known_gets_a_snapshot_and_never_a_partial_list(which: str) -> None:
    async with gateway(STATIONS) as served, served.client() as client:
        first = await joined(client, "short:a")
        await said(served, "short:a", *range(4))
        shown = {
            "too old": cursor(first),
            "another epoch": {"epoch": "0123456789abcdef", "offset": 3},
            "from the future": {"epoch": first["epoch"], "offset": 5},
            "none": None,
        }[which]
        reply = await joined(client, "short:a", **({} if shown is None else {"resume": shown}))
        assert (reply["recovered"], reply["snapshot"], reply["offset"]) == (False, {"state": 4}, 4)
        assert "events" not in reply
        reply = await joined(client, "short:a", resume={"epoch": first["epoch"], "offset": 1})
        assert [offset for offset, *_ in reply["events"]] == [2, 3, 4], "the oldest that is there"


@pytest.mark.parametrize(
    "resume", [7, "x", {}, {"epoch": "a"}, {"epoch": "a", "offset": -1}, {"epoch": 1, "offset": 1}]
)
async def test_a_cursor_that_is_none_is_refused_in_a_sentence(resume: Any) -> None:
    async with gateway(STATIONS) as served, served.client() as client:
        refused = (await joined(client, "long:a", resume=resume))["error"]
        assert refused == 'resume must be {"epoch": text, "offset": number}, as the reply to the last join said'


async def test_who_was_excluded_gets_the_event_with_what_it_missed() -> None:
    """It may not have heard that what it did was done."""
    async with gateway(STATIONS) as served, served.client() as client:
        first = await joined(client, "long:a")
        await client.ask("long:a", "to the others", {"n": 1})
        assert client.kept == []
        reply = await joined(client, "long:a", resume=cursor(first))
        assert reply["events"] == [[1, "said", {"n": 1}]]


async def test_a_conflated_event_takes_no_offset_and_who_joins_gets_the_latest_of_each_after_the_reply() -> None:
    async with gateway(STATIONS) as served, served.client() as client, served.client() as writer:
        await joined(writer, "long:a")
        for at in (1, 2):
            for of in ("ada", "bob", "eve"):
                await writer.ask("long:a", "spot", {"of": of, "at": at, "mine": of == "eve"})
            await writer.ask("long:a", "scene", [at])
        await writer.ask("long:a", "forget", "bob")
        assert (await joined(client, "long:a"))["offset"] == 0
        kept = [(await client.receive())[3:] for _ in range(3)]
        assert sorted(kept, key=str) == [
            ["scene", [2]],
            ["spot", {"of": "ada", "at": 2, "mine": False}],
            ["spot", {"of": "eve", "at": 2, "mine": True}],
        ]
        await writer.socket.close()
        await said(served, "long:a", {})
        await client.until(lambda frame: frame[3] == "said")
        await joined(client, "long:a")
        assert await client.ask("long:a", "say", {}) == ("ok", {})
        assert [frame[4]["of"] for frame in client.kept if frame[3] == "spot"] == ["ada"], "eve's went with her member"


@pytest.mark.parametrize("key", ["_o", "_v", "_b"])
async def test_what_a_client_pushes_with_a_key_of_the_gateways_is_said_as_it_is(key: str) -> None:
    async with gateway(STATIONS) as served, served.client() as client:
        first = await joined(client, "long:a")
        await client.send(None, None, "long:a", "say", {key: 7, "n": 1})
        assert (await client.receive())[4] == {"_v": {key: 7, "n": 1}, "_o": 1}
        again = await joined(client, "long:a", resume=cursor(first))
        assert again["events"] == [[1, "said", {"_v": {key: 7, "n": 1}}]]
        assert encoded([{key: 1}]) == (b'[{"%b":1}]' % key.encode(), False), "further in they are free"


async def test_words_of_the_gateway_cannot_be_taken() -> None:
    async with gateway(STATIONS) as served, served.client() as client:
        for taken in ("epoch", "offset", "recovered", "events", "snapshot"):
            assert (await joined(client, "long:a", **{"return": [taken]}))["error"] == "join crashed"
    with pytest.raises(TypeError, match="a key that is a text, not 7"):
        conflate(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payload", "live"),
    [
        ({}, b'{"_o":7}'),
        ({"a": {}}, b'{"a":{},"_o":7}'),
        ([], b'{"_v":[],"_o":7}'),
        (None, b'{"_v":null,"_o":7}'),
        ("{", b'{"_v":"{","_o":7}'),
    ],
)
def test_a_live_event_carries_its_offset(payload: Any, live: bytes) -> None:
    assert stamped(encoded(payload)[0], 7) == live


# --- the log ---


@pytest.mark.seeds(1)
async def test_a_log_in_memory_keeps_so_many_events_bytes_and_seconds(simulation: Simulation) -> None:
    async with simulation.system("log") as system:
        log = MemoryLog(system, events=4, size=100, age=10.0)

        def kept() -> list[int]:
            return [entry.offset for entry in log.last(1000)]

        assert (log.offset, log.since(0), log.since(1), log.last(5)) == (0, [], None, [])
        for _ in range(6):
            log.append("e", b"x", False)
        assert kept() == [3, 4, 5, 6]
        assert [entry.offset for entry in log.last(2)] == [5, 6]
        assert (log.since(1), log.since(6), log.since(7)) == (None, [], None)
        log.append("e", b"x" * 98, True)
        assert kept() == [5, 6, 7]
        log.append("e", b"x" * 1000, True)
        assert kept() == [8], "the last one, however large"
        log.append("e", b"x", False)
        await asyncio.sleep(6)
        log.append("e", b"x", False)
        assert log.since(8) is not None
        await asyncio.sleep(5)
        assert log.since(8) is None, "9 is too old"
        assert kept() == [10]
        await asyncio.sleep(6)
        assert (kept(), log.since(9), log.since(10)) == ([], None, [])


# --- what does not arrive ---


class Lines:
    """A connection that keeps the events it was sent, as (event, payload)."""

    closed, buffered = False, 0
    serializer = PhoenixSerializer(phoenix, lambda text: text)

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def send(self, frame: bytes, latest: Hashable | None = None) -> None:
        decoded = phoenix.decode(frame.decode())
        self.heard.append((decoded.event, decoded.payload))

    def close(self, code: int, reason: str) -> None:
        self.closed = True

    def reset(self) -> None:
        self.closed = True


class Hearer(Actor):
    """Stands for a session."""

    def __init__(self) -> None:
        super().__init__()
        self.lapsed: list[str] = []

    def on_receive(self, message: object) -> list[str] | None:
        match message:
            case Lapsed(member):
                self.lapsed.append(member)
            case "lapsed?":
                return self.lapsed
        return None


class Post:
    """Between a feed and a fan-out: what is said arrives, or does not."""

    def __init__(self, fanout: ActorRef[Any]) -> None:
        self.fanout = fanout
        self.losing = False

    def tell(self, message: Any) -> None:
        if not self.losing:
            self.fanout.tell(message)


class Stage:
    """A feed, a fan-out, and members on connections that remember."""

    def __init__(self, system: ActorSystem, fanout: ActorRef[Any]) -> None:
        self.system = system
        self.fanout = fanout
        self.post: Any = Post(fanout)
        self.feed = Feed("room:a", MemoryLog(system), "life 1")

    async def member(self, name: str) -> tuple[Member, Lines]:
        session = await self.system.spawn(Hearer)
        member = Member(name, session, self.post, "stage")
        connection = Lines()
        self.fanout.tell(Attach(Member(name, session, self.fanout, "stage"), "room:a", name, name, connection))
        return member, connection

    async def admitted(self, name: str) -> tuple[Member, Lines]:
        member, connection = await self.member(name)
        self.feed.admit(member, b"{}", None, None)
        return member, connection

    async def settle(self, member: Member) -> list[str]:
        """Until everything has arrived; whose stays lapsed."""
        await self.fanout.call(Reached(()))
        lapsed: list[str] = await member.session.call("lapsed?")
        return lapsed


async def stage(system: ActorSystem) -> Stage:
    return Stage(system, await system.spawn(Fanout))


def events(connection: Lines) -> list[str]:
    return [event for event, _ in connection.heard]


async def test_what_a_room_says_arrives_in_order_and_nothing_lapses() -> None:
    async with ActorSystem("test") as system:
        theatre = await stage(system)
        ada, hers = await theatre.admitted("ada")
        theatre.feed.broadcast("one", {})
        theatre.feed.push(ada, "two", {})
        theatre.feed.reply(ada, "r", "ok", {})
        theatre.feed.mention("three", {})
        theatre.feed.broadcast("four", {}, conflate("key"))
        theatre.feed.position()
        assert await theatre.settle(ada) == []
        assert events(hers) == ["phx_reply", "one", "two", "phx_reply", "three", "four"]


@pytest.mark.parametrize("lost", ["broadcast", "push", "reply", "mention", "conflated"])
@pytest.mark.parametrize("noticed_by", ["broadcast", "position", "reply"])
async def test_a_word_that_does_not_arrive_ends_the_stays_of_its_topic_before_anything_later_is_heard(
    lost: str, noticed_by: str
) -> None:
    async with ActorSystem("test") as system:
        theatre = await stage(system)
        (ada, hers), (_, his) = await theatre.admitted("ada"), await theatre.admitted("bob")
        theatre.feed.broadcast("before", {})

        def say(what: str) -> None:
            match what:
                case "broadcast":
                    theatre.feed.broadcast("event", {})
                case "push":
                    theatre.feed.push(ada, "event", {})
                case "reply":
                    theatre.feed.reply(ada, "r", "ok", {})
                case "mention":
                    theatre.feed.mention("event", {})
                case "conflated":
                    theatre.feed.broadcast("event", {}, SNAPSHOT)
                case _:
                    theatre.feed.position()

        theatre.post.losing = True
        say(lost)
        theatre.post.losing = False
        say(noticed_by)
        theatre.feed.broadcast("later", {})
        assert await theatre.settle(ada) == ["ada"]
        assert events(hers) == events(his) == ["phx_reply", "before", "phx_error"]
        # Its client joins again, and shows what it has heard.
        theatre.feed.leave(ada)
        again, hears = await theatre.member("ada again")
        theatre.feed.admit(again, b"{}", theatre.feed.missed(Cursor(theatre.feed.log.epoch, 1)), None)
        theatre.feed.broadcast("live", {})
        await theatre.settle(again)
        missed = [event for _, event, _ in hears.heard[0][1]["response"]["events"]]
        assert missed == ["event"] * (lost == "broadcast") + ["event"] * (noticed_by == "broadcast") + ["later"]
        assert events(hears)[1:] == (["event"] if lost == "conflated" else []) + ["live"]


@pytest.mark.parametrize("others", [0, 1])
async def test_who_was_let_in_but_never_told_so_is_sent_to_the_door_again(others: int) -> None:
    async with ActorSystem("test") as system:
        theatre = await stage(system)
        for number in range(others):
            await theatre.admitted(f"other {number}")
        theatre.post.losing = True
        ada, hers = await theatre.admitted("ada")
        theatre.post.losing = False
        theatre.feed.position()
        assert await theatre.settle(ada) == ["ada"]
        assert events(hers) == ["phx_error"]


async def test_a_fan_out_that_a_room_forgot_meanwhile_starts_anew() -> None:
    """A link that was cut: the room has let the members go, the fan-out has not heard of it, and then somebody joins."""
    async with ActorSystem("test") as system:
        theatre = await stage(system)
        ada, hers = await theatre.admitted("ada")
        theatre.feed.leave(ada)
        theatre.feed.broadcast("nobody is told", {})
        _, his = await theatre.admitted("bob")
        theatre.feed.broadcast("news", {})
        assert await theatre.settle(ada) == ["ada"]
        assert (events(hers), events(his)) == (["phx_reply", "phx_error"], ["phx_reply", "news"])


async def test_two_lives_of_a_topic_do_not_speak_to_each_others_members() -> None:
    async with ActorSystem("test") as system:
        theatre = await stage(system)
        ada, hers = await theatre.admitted("ada")
        old, theatre.feed = theatre.feed, Feed("room:a", MemoryLog(system), "life 2")
        _, his = await theatre.admitted("bob")
        old.broadcast("old", {})
        theatre.feed.broadcast("new", {})
        assert await theatre.settle(ada) == []
        assert (events(hers)[1:], events(his)[1:]) == (["old"], ["new"])


class Full(Actor):
    """A mailbox into which nothing fits."""

    mailbox = Bounded(1)

    async def on_receive(self, message: object) -> None:
        await self.system.loop.create_future()


async def test_a_room_does_not_break_when_what_it_says_finds_no_room() -> None:
    async with ActorSystem("test") as system:
        theatre = await stage(system)
        ada, hers = await theatre.admitted("ada")
        full = await system.spawn(Full)
        full.tell("at hand")
        await full.offer("waits")
        with pytest.raises(Overloaded):
            full.tell("too much")
        audience = theatre.feed._audiences
        audience[full] = audience.pop(theatre.post)
        theatre.feed.broadcast("lost", {})
        audience[theatre.post] = audience.pop(full)
        theatre.feed.position()
        assert await theatre.settle(ada) == ["ada"]
        assert events(hers)[-1] == "phx_error"
        full.kill()


async def test_no_more_values_are_kept_than_a_room_can_give_to_everybody_who_joins() -> None:
    async with ActorSystem("test") as system:
        feed = Feed("room:a", MemoryLog(system), "life 1")
        for number in range(KEPT_LIMIT + 10):
            feed.broadcast("spot", {"n": number}, conflate(str(number)))
            feed.broadcast("spot", {"n": 0}, conflate("0"))
        assert len(feed._kept) == KEPT_LIMIT
        assert ("spot", "0") in feed._kept, "what was said last stays"
        assert ("spot", "1") not in feed._kept

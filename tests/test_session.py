"""Sessions: in order and exactly once over a channel that loses, repeats and reorders. Pure: no clock, no socket."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.transport.frames import (
    COUNT,
    NEWEST,
    OLDEST,
    Ack,
    Bye,
    Data,
    Frame,
    Hello,
    Peer,
    Ping,
    Pong,
    Resume,
    Stale,
    Welcome,
    batch_of,
    data_frame,
    decode,
)
from understudy.transport.schema import Unreadable
from understudy.transport.session import (
    PATIENCE,
    PATIENCE_LIMIT,
    WINDOW,
    Inbound,
    Outbound,
    SessionError,
    common_version,
    refusal,
)

A, B = Peer("a", 10), Peer("b", 20)
HELLO = Hello(OLDEST, NEWEST, 99, A, "tcp://127.0.0.1:1", B)


def batch(number: int) -> list[bytes]:
    return [msgpack.packb(number)]


def number_of(frame: bytes | memoryview) -> int:
    [number] = msgpack.unpackb(frame)
    return int(number)


def transmit(out: Outbound, now: float = 0.0) -> list[bytes]:
    """Everything that the session wants sent."""
    frames: list[bytes] = []
    while (frame := out.pending()) is not None:
        assert isinstance(frame, bytes)
        frames.append(frame)
        out.sent(now)
    return frames


def opened(now: float = 0.0) -> Outbound:
    out = Outbound(HELLO)
    transmit(out, now)
    out.welcomed(Welcome(99, 0, NEWEST), now)
    return out


class Wire:
    """Both ends of a session and all frames under way; `draw` decides what happens to them."""

    def __init__(self, messages: int) -> None:
        self.out = Outbound(HELLO)
        for number in range(messages):
            self.out.offer(batch(number))
        self.inbound: Inbound | None = None
        self.delivered: list[int] = []
        self.forth: list[bytes] = []
        self.back: list[Frame] = []
        self.now = 0.0

    def send(self) -> None:
        self.forth += transmit(self.out, self.now)

    def arrive(self, at: int, keep: bool) -> None:
        data = self.forth[at] if keep else self.forth.pop(at)
        frame = decode(data)
        if isinstance(frame, Hello):
            self.inbound = self.inbound or Inbound(frame)
            self.back.append(self.inbound.welcome())
        elif isinstance(frame, Resume) and self.inbound is not None:
            self.back.append(self.inbound.welcome())
        elif isinstance(frame, Data) and self.inbound is not None:
            if self.inbound.accept(frame.sequence):
                self.delivered.append(number_of(frame.batch))
            self.back.append(self.inbound.ack())

    def answer(self, at: int, keep: bool) -> None:
        frame = self.back[at] if keep else self.back.pop(at)
        if isinstance(frame, Welcome):
            self.out.welcomed(frame, self.now)
        elif isinstance(frame, Ack):
            self.out.acknowledged(frame, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.out.tick(self.now)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 40), st.data())
def test_every_batch_arrives_once_and_in_order_over_a_channel_that_loses_repeats_and_reorders(
    messages: int, data: st.DataObject
) -> None:
    wire = Wire(messages)
    for _ in range(data.draw(st.integers(0, 60))):
        match data.draw(st.sampled_from(["send", "arrive", "answer", "lose", "lose answer", "wait"])):
            case "send":
                wire.send()
            case "arrive" if wire.forth:
                wire.arrive(data.draw(st.integers(0, len(wire.forth) - 1)), data.draw(st.booleans()))
            case "answer" if wire.back:
                wire.answer(data.draw(st.integers(0, len(wire.back) - 1)), data.draw(st.booleans()))
            case "lose" if wire.forth:
                del wire.forth[data.draw(st.integers(0, len(wire.forth) - 1))]
            case "lose answer" if wire.back:
                del wire.back[data.draw(st.integers(0, len(wire.back) - 1))]
            case "wait":
                wire.wait(data.draw(st.sampled_from([0.01, PATIENCE, 3.0])))
            case _:
                pass
        assert wire.delivered == list(range(len(wire.delivered)))
    while not wire.out.idle:  # the channel is whole again
        wire.send()
        while wire.forth:
            wire.arrive(0, keep=False)
        while wire.back:
            wire.answer(0, keep=False)
        wire.wait(PATIENCE_LIMIT)
    assert wire.delivered == list(range(messages))
    assert wire.out.size == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_end_tells_apart_what_was_sent_and_what_surely_was_not(offered: int, sent: int, acked: int) -> None:
    out = opened()
    for number in range(offered):
        out.offer(batch(number))
    sent = min(sent, offered)
    acked = min(acked, sent)
    for _ in range(sent):
        assert out.pending() is not None
        out.sent(0.0)
    out.acknowledged(Ack(99, acked), 0.0)
    fates = [(number_of(batch), unknown) for batch, unknown in out.end()]
    assert fates == [(number, number < sent) for number in range(acked, offered)]
    assert out.pending() is None
    assert out.due is None
    with pytest.raises(SessionError, match="ended"):
        out.offer(batch(0))


def test_what_was_sent_once_keeps_its_unknown_fate_after_going_back() -> None:
    out = opened()
    for number in range(3):
        out.offer(batch(number))
    transmit(out, 1.0)
    out.connected(1.1)
    transmit(out, 1.1)
    out.welcomed(Welcome(99, 0, NEWEST), 1.2)
    assert out.pending() is not None
    assert [unknown for _, unknown in out.end()] == [True, True, True]


def test_nothing_is_sent_before_the_welcome() -> None:
    out = Outbound(HELLO)
    out.offer(batch(1))
    [hello] = transmit(out)
    assert decode(hello) == HELLO
    assert transmit(out) == []
    out.welcomed(Welcome(99, 0, NEWEST), 0.1)
    assert [decode(frame) for frame in transmit(out)] == [Data(99, 0, memoryview(COUNT.pack(0xDD, 1) + b"\x01"))]


def test_hello_is_repeated_with_growing_patience_until_it_is_answered() -> None:
    out = Outbound(HELLO)
    out.offer(batch(1))
    now, waits = 0.0, []
    for _ in range(6):
        assert len(transmit(out, now)) == 1
        assert out.due is not None
        waits.append(out.due - now)
        out.tick(out.due - 0.001)
        assert out.pending() is None
        now = out.due
        out.tick(now)
    assert waits[0] == pytest.approx(PATIENCE)
    assert waits[1] == pytest.approx(2 * PATIENCE)
    assert max(waits) == pytest.approx(PATIENCE_LIMIT)


def test_no_more_than_a_window_is_under_way() -> None:
    out = opened()
    for number in range(WINDOW + 10):
        out.offer(batch(number))
    assert len(transmit(out)) == WINDOW
    out.acknowledged(Ack(99, 4), 0.1)
    assert len(transmit(out)) == 4


def test_no_more_bytes_than_a_window_are_under_way_whatever_their_frames() -> None:
    out = opened()
    big = [msgpack.packb(b"x" * 1_000_000)]
    for _ in range(20):
        out.offer(big)
    assert len(transmit(out, 1.0)) == 9  # the one that reaches the limit is the last
    out.acknowledged(Ack(99, 2), 1.01)
    assert len(transmit(out, 1.01)) == 2
    out.connected(1.02)
    transmit(out, 1.02)
    out.welcomed(Welcome(99, 5, NEWEST), 1.03)
    assert len(transmit(out, 1.03)) == 9
    out.acknowledged(Ack(99, 14), 1.04)
    assert len(transmit(out, 1.04)) == 6
    out.acknowledged(Ack(99, 20), 1.05)
    assert (out._under_way, out.size) == (0, 0)


def test_without_progress_it_asks_and_goes_back_to_the_first_frame_that_is_missing() -> None:
    out = opened()
    for number in range(5):
        out.offer(batch(number))
    first = transmit(out, 1.0)
    out.acknowledged(Ack(99, 1), 1.05)
    out.tick(1.05 + PATIENCE - 0.001)
    assert out.pending() is None
    out.tick(1.05 + PATIENCE)
    assert [decode(frame) for frame in transmit(out, 2.0)] == [Resume(99, 1)]
    out.offer(batch(5))
    assert transmit(out, 2.0) == []
    out.welcomed(Welcome(99, 2, NEWEST), 2.1)
    assert transmit(out, 2.1)[:3] == first[2:]
    assert out.resends == 3


def test_a_peer_that_was_only_slow_is_sent_nothing_twice() -> None:
    out = opened()
    for number in range(4):
        out.offer(batch(number))
    transmit(out, 1.0)
    out.tick(1.0 + PATIENCE)
    transmit(out, 2.0)
    out.offer(batch(4))
    out.acknowledged(Ack(99, 2), 2.1)  # what it had all along; how far it is by now is still under way
    assert len(transmit(out, 2.1)) == 1
    out.welcomed(Welcome(99, 4, NEWEST), 2.2)
    assert transmit(out, 2.2) == []
    assert out.resends == 0


def test_after_a_new_connection_it_asks_at_once_and_only_if_something_was_under_way() -> None:
    out = opened()
    out.connected(1.0)
    assert out.pending() is None
    out.offer(batch(0))
    [frame] = transmit(out, 1.0)
    out.connected(1.01)
    assert [decode(asked) for asked in transmit(out, 1.01)] == [Resume(99, 0)]
    out.welcomed(Welcome(99, 0, NEWEST), 1.02)
    assert transmit(out, 1.02) == [frame]
    out.welcomed(Welcome(99, 0, NEWEST), 1.03)  # repeated on its way
    assert transmit(out, 1.03) == []


def test_the_round_trip_is_measured_of_frames_that_were_sent_once() -> None:
    out = opened()
    assert out.rtt is None
    for number in range(2):
        out.offer(batch(number))
    transmit(out, 1.0)
    out.acknowledged(Ack(99, 2), 1.08)
    assert out.rtt == pytest.approx(0.08)
    out.offer(batch(2))
    transmit(out, 2.0)
    out.acknowledged(Ack(99, 3), 2.16)
    assert out.rtt == pytest.approx(0.09)
    out.offer(batch(3))
    transmit(out, 3.0)
    out.connected(3.5)
    transmit(out, 3.5)
    out.welcomed(Welcome(99, 3, NEWEST), 3.6)
    transmit(out, 3.6)
    out.acknowledged(Ack(99, 4), 3.61)
    assert out.rtt == pytest.approx(0.09)


def test_the_newest_version_that_both_speak_is_chosen_and_no_other_accepted() -> None:
    assert common_version(HELLO._replace(oldest=OLDEST, newest=NEWEST + 7)) == NEWEST
    assert common_version(HELLO._replace(oldest=0, newest=OLDEST)) == OLDEST
    assert common_version(HELLO._replace(oldest=NEWEST + 1, newest=NEWEST + 2)) == 0
    out = Outbound(HELLO)
    transmit(out)
    with pytest.raises(SessionError, match=f"got {NEWEST + 1}"):
        out.welcomed(Welcome(99, 0, NEWEST + 1), 0.1)
    assert out.state == "greeting"
    out.welcomed(Inbound(HELLO).welcome(), 0.1)
    assert (out.state, out.version) == ("open", NEWEST)


def test_a_frame_further_ahead_than_any_peer_may_be_is_refused() -> None:
    inbound = Inbound(HELLO)
    assert not inbound.accept(WINDOW - 1)
    with pytest.raises(SessionError, match=f"expected a frame below {WINDOW}, {WINDOW} ahead at most, got {WINDOW}"):
        inbound.accept(WINDOW)
    assert inbound.accept(0)


def test_an_acknowledgement_of_what_was_never_sent_is_refused_with_both_numbers() -> None:
    out = opened()
    out.offer(batch(1))
    with pytest.raises(SessionError, match="at most 0 frames, got 1"):
        out.acknowledged(Ack(99, 1), 0.0)


def test_an_answer_to_another_session_is_refused() -> None:
    with pytest.raises(SessionError, match="expected ACK of session 0000000000000063, got one of 0000000000000007"):
        opened().acknowledged(Ack(7, 0), 0.0)


def test_duplicates_and_gaps_are_counted_and_not_delivered() -> None:
    inbound = Inbound(HELLO)
    assert [inbound.accept(sequence) for sequence in (0, 0, 2, 1, 2)] == [True, False, False, True, True]
    assert (inbound.duplicates, inbound.gaps) == (1, 1)
    assert inbound.ack() == Ack(99, 3)


@pytest.mark.parametrize(
    ("hello", "buried", "why"),
    [
        (HELLO._replace(oldest=NEWEST + 1, newest=NEWEST + 2), 0, "expected protocol version"),
        (HELLO._replace(target=Peer("b", 19)), 0, r"to b \(incarnation 20\), got one to b \(incarnation 19\)"),
        (HELLO._replace(target=Peer("c", 20)), 0, "got one to c"),
        (HELLO._replace(sender=Peer("b", 5)), 0, "another name"),
        (HELLO, 10, "gone for good"),
        (HELLO, 11, "gone for good"),
    ],
)
def test_a_hello_to_or_from_another_life_is_refused_as_stale(hello: Hello, buried: int, why: str) -> None:
    stale = refusal(hello, B, buried)
    assert stale is not None
    assert stale.answerer == B
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(stale.detail)


def test_a_hello_of_a_living_node_is_accepted() -> None:
    assert refusal(HELLO, B, buried=9) is None


@pytest.mark.parametrize(
    "frame",
    [
        HELLO,
        Resume(6, 7),
        Ping(2**63),
        Pong(3, B, "tcp://127.0.0.1:1"),
        Welcome(1, 2, 3),
        Ack(3, 4),
        Bye(3, 4),
        Stale(5, A, "no"),
    ],
)
def test_frames_survive_their_encoding(frame: Hello | Ping | Pong | Welcome | Ack | Bye | Stale) -> None:
    assert decode(frame.encode()) == frame


def test_a_data_frame_carries_its_items_as_one_batch() -> None:
    frame = data_frame(7, 8, [msgpack.packb(1), msgpack.packb("two")])
    data = decode(frame)
    assert isinstance(data, Data)
    assert (data.session, data.sequence) == (7, 8)
    assert msgpack.unpackb(data.batch) == msgpack.unpackb(batch_of(frame)) == [1, "two"]


@settings(max_examples=500)
@given(
    st.binary(max_size=60)
    | st.builds(lambda kind, rest: bytes([kind]) + rest, st.sampled_from(b"HDRPWASBQ"), st.binary(max_size=60))
)
def test_random_bytes_are_unreadable_or_a_frame_and_nothing_else(data: bytes) -> None:
    with suppress(Unreadable):
        assert isinstance(decode(data), tuple)

"""Attacks on the real port: each is cut in time, costs a bounded memory, and beside it a good client is served."""

import asyncio
import gzip
import json
import logging
import random
import zlib
from collections.abc import Callable

import pytest

from tests.attackers import (
    UPGRADE,
    Attacker,
    all_cut,
    attackers,
    frame,
    good_client,
    open_files,
    resident,
    upgraded,
)
from tests.gateway_helpers import Served, gateway
from understudy.gateway.limits import Limits

MANY = 5_000
"""Connections of a slowloris."""

IN_TIME = 2.0
"""Seconds that the gateway of these tests gives a client for its headers or its body."""

STRICT = Limits(header_deadline=IN_TIME, body_deadline=IN_TIME, idle=2.5 * IN_TIME)
"""The good client shares this loop with all attackers, and must not seem idle for it."""

CUT = 20.0
"""Seconds until each of them must be gone: making them takes some, too."""

MIB = 1 << 20

SLOW: list[tuple[bytes, bytes]] = [
    (b"", b""),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b""),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"x"),
    (b"G", b"E"),
    (b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n", b"x"),
    (b"POST /publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", b"x"),
    (UPGRADE, b""),
    (UPGRADE + frame(b"x" * 60_000)[:100], b"x"),
    (UPGRADE + frame(b"", final=False), frame(b"", 0, final=False)),
    (b"GET /topics/none/events HTTP/1.1\r\nHost: localhost\r\n", b"\r"),
]
"""What they say first, and then again and again: nothing, half of a header, headers, a method, bodies and messages by drops, a
message whose pieces never end.
"""


async def drip(those: list[Attacker], what: Callable[[int], bytes]) -> None:
    """A little at a time, as long as anybody takes it."""
    while True:
        for number, one in enumerate(those):
            one.say(what(number))
        await asyncio.sleep(0.2)


async def test_five_thousand_slow_clients_are_cut_in_time_and_a_good_one_is_served() -> None:
    count = min(MANY, (open_files(2 * MANY + 1_000) - 1_000) // 2)
    async with gateway(limits=STRICT) as served, good_client(served) as good:
        before = good.answers
        async with attackers(served, count, lambda number: SLOW[number % len(SLOW)][0]) as those:
            dripping = asyncio.create_task(drip(those, lambda number: SLOW[number % len(SLOW)][1]))
            try:
                await all_cut(those, within=CUT)
            finally:
                dripping.cancel()
            assert good.answers > before
        await good.another()
        assert len(served.services.connections) == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b'[null,"1","phoenix","heartbeat",{}]', masked=False), 1002),
        (frame(b"", 9, masked=False), 1002),
        (frame(b"\xff\xfe\xfd"), 1007),
        (frame(b'[null,"1","phoenix","heartbeat",{"\xc3"}]'), 1007),
        (frame(b"\xe2\x82", final=False) + frame(b"\xff", 0), 1007),
        (frame(b"\xed\xa0\x80"), 1007),
        (frame(b"\x03\xe8\xff", 8), 1007),
        (frame(b"x" * (Limits().message + 1)), 1009),
        (frame(b"x" * 40_000, final=False) + frame(b"x" * 40_000, 0), 1009),
        (frame(b"")[:1] + b"\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
        (frame(b"")[:1] + b"\xff" + b"\xff" * 8 + b"\0\0\0\0", 1009),
        (frame(b"x" * 126, 9), 1002),
        (frame(b"", 9, final=False), 1002),
        (frame(b"", 0), 1002),
        (frame(b"x", final=False) + frame(b"x"), 1002),
        (frame(b"", 3), 1002),
        (frame(b"", 11), 1002),
        (frame(zlib.compress(b"x" * MIB)[2:-4], reserved=4), 1002),
        (frame(b"", reserved=2), 1002),
        (frame(b"", reserved=1), 1002),
        (frame(b"x", 8), 1002),
        (frame((999).to_bytes(2, "big"), 8), 1002),
        (frame((1006).to_bytes(2, "big"), 8), 1002),
    ],
    ids=[
        "unmasked",
        "unmasked-ping",
        "bad-utf-8",
        "bad-utf-8-in-json",
        "bad-utf-8-in-pieces",
        "half-a-surrogate",
        "bad-utf-8-in-a-close",
        "oversize",
        "oversize-in-pieces",
        "oversize-by-exabytes",
        "oversize-beyond-the-protocol",
        "long-ping",
        "ping-in-pieces",
        "nothing-to-continue",
        "two-messages-in-one",
        "unknown-opcode",
        "unknown-control-opcode",
        "compressed-though-it-was-not-agreed",
        "reserved-bit-2",
        "reserved-bit-3",
        "close-of-one-byte",
        "close-code-of-nobody",
        "close-code-that-is-never-sent",
    ],
)
async def test_who_breaks_the_protocol_is_closed_with_the_code_for_it(sent: bytes, code: int) -> None:
    async with gateway() as served, good_client(served), upgraded(served) as one:
        one.say(sent)
        await one.until_cut(CUT)
        assert one.close_code == code, one.heard


async def test_random_bytes_end_a_connection_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(8)
    async with gateway(limits=STRICT) as served, good_client(served):

        def noise(number: int) -> bytes:
            return (UPGRADE if number % 2 else b"") + chance.randbytes(chance.randint(1, 4_000))

        async with attackers(served, 1_000, noise) as those:
            await all_cut(those, within=CUT)
        assert len(served.services.connections) == 1
    assert errors(caplog) == []


async def test_broken_frames_in_any_place_end_a_connection_or_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    """Good frames of which a few bytes are others."""
    chance = random.Random(88)
    good = frame(b'["1","1","room:noise","phx_join",{}]') + frame(b'["1","2","room:noise","echo",{"a":[1,2,3]}]')

    def broken(_: int) -> bytes:
        bytes_ = bytearray(good * 3)
        for _ in range(chance.randint(1, 6)):
            bytes_[chance.randrange(len(bytes_))] = chance.randrange(256)
        return UPGRADE + bytes(bytes_)

    async with gateway(limits=STRICT) as served, good_client(served):
        async with attackers(served, 1_000, broken) as those:
            await all_cut(those, within=CUT)
        assert len(served.services.connections) == 1
    assert errors(caplog) == []


def packed(encoding: str) -> bytes:
    """64 MiB in as many kilobytes."""
    if encoding == "gzip":
        return gzip.compress(bytes(64 * MIB), 9)
    return zlib.compress(bytes(64 * MIB), 9)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compression_bomb_is_refused_and_never_unpacked(encoding: str) -> None:
    bomb = packed(encoding)
    head = f"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with gateway() as served, good_client(served):
        before = resident()
        async with attackers(served, 50, lambda _: head.encode() + bomb) as those:
            for one in those:
                await one.until_heard(b" 415 ")
        assert resident() - before < 64 * MIB


async def test_requests_beyond_all_measure_are_refused() -> None:
    beyond = (
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1_000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
    )
    async with (
        gateway(limits=STRICT) as served,
        good_client(served),
        attackers(served, len(beyond), beyond.__getitem__) as those,
    ):
        for one in those:
            await one.until_heard(b" 4")
        await all_cut(those, within=CUT)


@pytest.mark.parametrize(
    "payload",
    [
        "[" * 30_000 + "]" * 30_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "9" * 60_000,
        "1e999999",
        '"' + "\\ud800" * 10_000 + '"',
        "{" + ",".join(f'"{n}":0' for n in range(5_000)) + "}",
    ],
    ids=["arrays", "objects", "digits", "exponent", "surrogates", "keys"],
)
async def test_a_payload_made_to_cost_much_is_answered_like_any_other(payload: str) -> None:
    async with gateway() as served, good_client(served), served.client() as client:
        await client.join("room:a")
        await client.socket.send_str(f'["j","x","room:a","echo",{payload}]')
        reply = await client.until(lambda frame: frame[3] == "phx_reply")
        assert reply[4]["status"] == "ok" or reply[4]["response"]["code"] == "malformed_frame"
        assert (await client.ask("room:a", "echo", {"still": "here"}))[0] == "ok"


async def test_who_floods_with_pings_and_reads_nothing_costs_a_bounded_memory() -> None:
    async with gateway(limits=STRICT) as served, good_client(served), upgraded(served) as one:
        one.transport.pause_reading()
        pings = frame(b"x" * 125, 9) * 8_000
        before = resident()
        for _ in range(32):  # 32 MiB, as far as they are taken
            one.say(pings)
            pings = frame(b"x" * 125, 9) * 8_000
            await asyncio.sleep(0)
        await one.until_cut(CUT)
        assert resident() - before < 128 * MIB


async def test_who_asks_without_end_and_reads_nothing_is_reset() -> None:
    ask = frame(json.dumps(["1", "2", "room:a", "echo", {"x": "y" * 30_000}]).encode())
    async with gateway() as served, good_client(served), upgraded(served) as one:
        one.say(frame(b'["1","1","room:a","phx_join",{}]'))
        await one.until_heard(b"phx_reply")
        one.transport.pause_reading()
        asking = asyncio.create_task(drip([one], lambda _: ask * 20))
        try:
            await until_gone(served, CUT)
        finally:
            asking.cancel()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged but for the watchdog's words about this loop, on which the attackers are, too."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def until_gone(served: Served, within: float) -> None:
    """Until the good client alone is connected."""
    async with asyncio.timeout(within):
        while len(served.services.connections) > 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)

"""Who is not welcome, in a process of its own: `python -m tests.wire.stranger OPTIONS`.

OPTIONS           {"kind": a function below, "address": the victim's, "count": how often, "seed": ..., and for who
                   speaks CURVE "server": the key that it takes for the victim's, "pair": [its own public, secret]}
standard output   "begun", then a line with what it did, when it has
standard input    the end of it ends the stranger
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import struct
import sys
from contextlib import suppress
from typing import Any

import zmq

from tests.fuzz import Fuzzer, mutated
from tests.processes import until_told_to_end
from understudy.transport.network import parse_address

AT_ONCE = 20
"""Connections that knock at the same time."""

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\x00") + bytes(32)
"""Of ZeroMQ's protocol: a client without a mechanism."""

READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"

CLAIMS = (2**20 + 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
"""Lengths of frames that nobody should believe."""


async def noise(options: dict[str, Any]) -> str:
    """Connections that say something at random; some begin as ZeroMQ does."""
    draw = random.Random(options["seed"])

    def words() -> bytes:
        begin = draw.choice((b"", b"", GREETING[:10], GREETING, GREETING + READY))
        return begin + draw.randbytes(draw.choice((0, 1, 7, 64, 1_000, 60_000)))

    return await _knock(options, words)


async def claims(options: dict[str, Any]) -> str:
    """Connections that announce a huge frame, and begin to send it."""
    draw = random.Random(options["seed"])

    def words() -> bytes:
        return GREETING + READY + b"\x02" + struct.pack(">Q", draw.choice(CLAIMS)) + bytes(100_000)

    return await _knock(options, words)


async def idle(options: dict[str, Any]) -> str:
    """Connections that say nothing, all of them held until the end; whichever is closed is made again."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, port = parse_address(options["address"])
    count = min(options["count"], most - 100)
    held: set[asyncio.Task[None]] = set()
    reached = 0

    async def hold() -> None:
        nonlocal reached
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            reached += 1
            try:
                while await reader.read(4096):
                    pass
            finally:
                writer.transport.abort()

    for _ in range(count):
        held.add(asyncio.create_task(hold()))
        if len(held) % 100 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(60.0):
        while reached < count:  # noqa: ASYNC110 - it counts connections
            await asyncio.sleep(0.01)
    for task in held:
        task.add_done_callback(held.discard)
    return f"{reached} connections"


async def frames(options: dict[str, Any]) -> str:
    """A ZeroMQ client, with or without keys, that sends frames of a real conversation, each of them broken."""
    fuzzer = Fuzzer(options["seed"])
    await fuzzer.prepare()
    draw, corpus = fuzzer.draw, fuzzer.corpus
    with zmq.Context() as context, _dealer(context, options) as dealer:
        answers = 0
        for number in range(options["count"]):
            frame = mutated(draw.choice(corpus), draw, corpus)
            try:
                dealer.send(frame)
            except zmq.Again:
                return f"{number} frames, and then nobody took any more"
            if number % 100 == 0:
                while dealer.poll(0):
                    dealer.recv()
                    answers += 1
                await asyncio.sleep(0)
        await fuzzer.a.close(0.0)
        await fuzzer.b.close(0.0)
        return f"{options['count']} frames"


def _dealer(context: zmq.Context[zmq.Socket[bytes]], options: dict[str, Any]) -> zmq.Socket[bytes]:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 1_000)
    dealer.setsockopt(zmq.SNDTIMEO, 10_000)
    if "pair" in options:
        public, secret = options["pair"]
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(public))
        dealer.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(secret))
        dealer.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(options["server"]))
    dealer.connect(options["address"])
    return dealer


async def _knock(options: dict[str, Any], words: Any) -> str:
    """Connect, say the words, wait for the end; so many times."""
    host, port = parse_address(options["address"])
    left = options["count"]

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port)
                with suppress(OSError, TimeoutError):
                    writer.write(words())
                    async with asyncio.timeout(0.2):
                        while await reader.read(4096):
                            pass
                writer.transport.abort()

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return f"{options['count']} connections"


KINDS = {what.__name__: what for what in (noise, claims, idle, frames)}


async def main(options: dict[str, Any]) -> None:
    logging.disable(logging.CRITICAL)  # what the conversation to break says of itself
    print("begun", flush=True)
    print(await KINDS[options["kind"]](options), flush=True)
    await until_told_to_end()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))

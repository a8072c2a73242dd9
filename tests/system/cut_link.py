"""The two programs of test_cut_proxy: `receive` prints its address; `send ADDRESS` sends through it as many as each line
on its standard input says, and then prints a report.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tests.processes import orders, until_told_to_end
from understudy.actors import Actor, ActorSystem, Request, message
from understudy.transport import ZeroMqNetwork
from understudy.transport.frames import Peer
from understudy.transport.links import Links

RECEIVER = Peer("receiver", 1)


@message("cut.numbered")
class Numbered:
    number: int
    padding: bytes


@message("cut.report")
class Report(Request[dict[str, int]]):
    pass


class Ledger(Actor):
    """Counts what is missing, doubled and out of order in a row of numbers that begins with 0."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()
        self.highest = -1
        self.doubled = 0
        self.reordered = 0

    def on_receive(self, message: Any) -> Any:
        match message:
            case Numbered(number):
                self.doubled += number in self.seen
                self.reordered += number < self.highest
                self.seen.add(number)
                self.highest = max(self.highest, number)
                return None
            case Report():
                lost = self.highest + 1 - len(self.seen)
                return {"received": len(self.seen), "lost": lost, "doubled": self.doubled, "reordered": self.reordered}
            case _:
                return self.unhandled(message)


async def receive() -> None:
    system = ActorSystem(RECEIVER.node, incarnation=RECEIVER.incarnation)
    links = Links(system, ZeroMqNetwork())
    print(links.listen("tcp://127.0.0.1:0"), flush=True)
    await system.spawn(Ledger, name="ledger")
    await until_told_to_end()
    await system.shutdown()
    await links.close(1.0)


async def send(address: str) -> None:
    system = ActorSystem("sender", incarnation=1)
    links = Links(system, ZeroMqNetwork())
    links.listen("tcp://127.0.0.1:0")
    link = links.present(RECEIVER, address)
    ledger = links.named(RECEIVER.node, "ledger")
    sent = 0
    async for order in orders():
        for number in range(sent, sent + int(order)):
            ledger.tell(Numbered(number, bytes(80)))
        sent += int(order)
    report = await ledger.call(Report(), timeout=50.0)
    report["resent"] = link.out.resends
    print(report, flush=True)
    await system.shutdown()
    await links.close(1.0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receive"]:
            asyncio.run(receive())
        case ["send", address]:
            asyncio.run(send(address))
        case _:
            sys.exit("usage: receive | send ADDRESS")

"""What a node says of its links: right at any moment, and free for the messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers import eventually
from tests.sides import Add, Counter, Total
from understudy.actors import ActorRef
from understudy.transport import Node


async def test_both_ends_of_a_link_count_its_frames_not_its_messages(tmp_path: Path) -> None:
    async with Node("a", state=tmp_path) as a, Node("b", state=tmp_path) as b:
        await b.spawn(Counter, name="counter")
        await eventually(lambda: len(a.members()) == len(b.members()) == 2)
        counter: ActorRef[Any] = a.ref("counter@b")
        await eventually(lambda: [link.connected for link in (*a.metrics(), *b.metrics())] == [True, True])
        [before] = a.metrics()
        for _ in range(10_000):
            counter.tell(Add(1))
        [during] = a.metrics()
        assert during.queued_bytes > before.queued_bytes
        assert await counter.call(Total()) == 10_000
        await eventually(lambda: a.metrics()[0].queued_frames == 0)
        [after], [there] = a.metrics(), b.metrics()
        assert (after.node, after.queued_bytes, after.unacknowledged, after.open_calls) == ("b", 0, 0, 0)
        assert 0 < after.frames_out - before.frames_out < 1_000
        assert there.frames_in == after.frames_out
        # What had to be sent again, on a busy machine, was not timed.
        while (took := a.metrics()[0].round_trip) is None:
            await counter.call(Total())
        assert 0 <= took < 30

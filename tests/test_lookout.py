"""The lookout: who was answered soon looks for the next answer instead of sleeping; nobody else ever does."""

import asyncio
from collections.abc import Callable

import pytest

from understudy.transport import lookout
from understudy.transport.lookout import WATCH, Lookout

SOON, LATE = WATCH / 2, WATCH * 2


class Socket:
    """Counts the looks at it; each takes a tenth of WATCH. `comes` is what has come at the look of that number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.looks = 0
        self.comes: dict[int, Callable[[], None]] = {}
        monkeypatch.setattr(lookout, "monotonic", lambda: self.now)
        self.lookout = Lookout(self.look)

    def look(self) -> None:
        self.looks += 1
        self.now += WATCH / 10
        self.comes.get(self.looks, lambda: None)()

    def answered_after(self, seconds: float) -> None:
        self.lookout.said()
        self.now += seconds
        self.lookout.heard()


async def passes(count: int = 50) -> None:
    """So many passes of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_only_speaks_never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(monkeypatch)
    for _ in range(10):
        socket.lookout.said()
    await passes()
    assert socket.looks == 0


async def test_who_only_listens_never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(monkeypatch)
    for _ in range(10):
        socket.lookout.heard()
    await passes()
    assert socket.looks == 0


async def test_who_was_answered_soon_looks_until_the_next_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(monkeypatch)
    socket.answered_after(SOON)
    socket.comes[3] = socket.lookout.heard
    socket.lookout.said()
    await passes()
    assert socket.looks == 3
    socket.lookout.said()
    await passes(1)
    assert socket.looks == 4, "it was answered soon again, so it looks again"


async def test_who_is_not_answered_stops_looking_and_does_not_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(monkeypatch)
    socket.answered_after(SOON)
    socket.lookout.said()
    await passes()
    assert 10 <= socket.looks <= 12, "a look takes a tenth of the time for which it pays"
    socket.lookout.said()
    await passes()
    assert socket.looks <= 12


async def test_who_goes_on_speaking_unanswered_stops_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(monkeypatch)
    socket.answered_after(SOON)
    for _ in range(50):
        socket.lookout.said()
        await passes(1)
    assert socket.looks <= 12


async def test_who_was_answered_late_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(monkeypatch)
    socket.answered_after(SOON)
    socket.answered_after(LATE)
    await passes()
    socket.looks = 0
    socket.lookout.said()
    await passes()
    assert socket.looks == 0

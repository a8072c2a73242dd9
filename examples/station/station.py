"""A weather station, run by `understudy start understudy.examples.station:Station`. Its tree, in the order of its start:

    Station ─┬─ archive                what was measured; everybody below needs it, so it starts first and ends last
             ├─ sensors ─┬─ roof       one that fails now and then, and is back at once
             │           └─ garden
             └─ board                  tells the public; it starts last, and is the first to be closed

The one idea: the program is the tree. There is no main function, no signal handler and no clean-up to get right.
Look at it from another terminal with `understudy tree`, and end it with Ctrl-C.
"""

from __future__ import annotations

from understudy import Actor, Child, ExitReason, Request, Supervisor, message

EVERY = 0.5
"""Seconds between two measurements."""

WEAR = 5
"""Measurements after which the sensor on the roof fails."""


@message("station.reading")
class Reading:
    place: str
    degrees: float


@message("station.latest")
class Latest(Request[dict[str, float]]):
    """Answered with the last reading of each place."""


class Archive(Actor):
    def __init__(self) -> None:
        super().__init__()
        self.latest: dict[str, float] = {}
        self.count = 0

    def on_receive(self, message: object) -> object:
        match message:
            case Reading(place, degrees):
                self.latest[place] = degrees
                self.count += 1
                return None
            case Latest():
                return dict(self.latest)
            case _:
                return self.unhandled(message)

    def on_stop(self, reason: ExitReason) -> None:
        print(f"archive: {self.count} readings are safe", flush=True)


class Sensor(Actor):
    """Measures by the clock. A reading that makes no sense ends it: its successor begins with a fresh one."""

    def __init__(self, place: str, wear: int | None = None) -> None:
        super().__init__()
        self.place = place
        self.left = wear

    def on_start(self) -> None:
        self.send_every(EVERY, "measure")

    def on_receive(self, message: object) -> object:
        if message != "measure":
            return self.unhandled(message)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise OSError(f"the sensor of the {self.place} has iced up")
        degrees = round(self.system.world.random.gauss(12.0, 0.5), 1)
        self.system.ref("archive").tell(Reading(self.place, degrees))
        return None


class Board(Actor):
    def on_start(self) -> None:
        print("board: open", flush=True)
        self.send_every(EVERY, "show")

    async def on_receive(self, message: object) -> object:
        if message != "show":
            return self.unhandled(message)
        latest = await self.system.ref("archive").call(Latest())
        print(
            "board:", ", ".join(f"{place} {degrees}" for place, degrees in latest.items()) or "nothing yet", flush=True
        )
        return None

    def on_stop(self, reason: ExitReason) -> None:
        print("board: closed", flush=True)


class Sensors(Supervisor):
    intensity = 10
    period = 10.0

    def children(self) -> list[Child]:
        return [
            Child(Sensor, id="roof", args=("roof", WEAR)),
            Child(Sensor, id="garden", args=("garden",)),
        ]


class Station(Supervisor):
    strategy = "rest_for_one"  # whoever stands on something that failed starts anew with it

    def children(self) -> list[Child]:
        return [Child(Archive, name="archive"), Child(Sensors, id="sensors"), Child(Board, name="board")]

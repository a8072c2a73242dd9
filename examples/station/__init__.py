"""An application: a weather station that `understudy start understudy.examples.station:Station` runs."""

from understudy.examples.station.station import Station

__all__ = ["Station"]

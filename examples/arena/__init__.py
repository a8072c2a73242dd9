"""The arena: agents, each driven by a small program of its own, compete for pellets in a maze with ghosts."""

from understudy.examples.arena.play import Result, play

__all__ = ["Result", "play"]

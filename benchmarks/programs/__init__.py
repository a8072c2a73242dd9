"""One program for each framework, with the same cases in it: `python -m benchmarks.programs.with_pykka tell`.

A program imports its framework, `benchmarks.stopwatch` and the standard library, nothing else: it runs in a virtual
environment of its own. What it prints is described there.
"""

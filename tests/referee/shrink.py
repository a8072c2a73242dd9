"""Smaller scenarios made from one: without a step, without somebody, or with somebody who is as usual.

None of them meets a difference that is meant, if the one it is made from does not: nobody becomes slow, and whoever waited
for that still waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, replace

from tests.referee.generator import SETTLED
from tests.referee.scenario import Branch, Node, Scenario, Step

PLAIN = ("starts", "ending", "shutdown", "restart", "significant", "auto_shutdown")
"""What may be as usual instead."""


def smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Each of them smaller by one thing, or by many: those first that are smaller by more."""
    for steps in _fewer(scenario.steps):
        yield scenario._replace(steps=steps)
    for tree in _simpler(scenario.tree):
        if isinstance(tree, Branch) and tree.restart == scenario.tree.restart:  # "top" starts nobody again
            yield scenario._replace(tree=tree)
    for steps in _simpler_steps(scenario.steps):
        yield scenario._replace(steps=steps)


def _fewer(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    length = len(steps) // 2
    while length:
        for start in range(0, len(steps), length):
            left = _merged(
                (
                    *steps[:start],
                    *(step for step in steps[start : start + length] if _is_needed(step)),
                    *steps[start + length :],
                )
            )
            if len(left) < len(steps):
                yield left
        length //= 2


def _is_needed(step: Step) -> bool:
    """What is slow must be over before the next step."""
    return step == ("wait", SETTLED)


def _merged(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    merged: list[Step] = []
    for step in steps:
        if not (merged and _is_needed(step) and _is_needed(merged[-1])):
            merged.append(step)
    return tuple(merged)


def _simpler_steps(steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    for at, step in enumerate(steps):
        for simpler in _simpler_step(step):
            yield (*steps[:at], simpler, *steps[at + 1 :])


def _simpler_step(step: Step) -> Iterator[Step]:
    match step:
        case ("burst", supervisor, steps):
            for fewer in (*_fewer(steps), *_simpler_steps(steps)):
                yield ("burst", supervisor, fewer)
            if len(steps) == 1:
                yield steps[0]
        case ("ask", supervisor, "start", child):
            for simpler in _simpler(child):
                yield ("ask", supervisor, "start", simpler)
        case ("wait", seconds) if seconds != SETTLED and seconds > 1:
            yield ("wait", seconds - 1)


def _simpler(node: Node) -> Iterator[Node]:
    """One thing less in it, or in somebody below."""
    if isinstance(node, Branch):
        for at, child in enumerate(node.children):
            before, after = node.children[:at], node.children[at + 1 :]
            if node.strategy != "dynamic":
                yield replace(node, children=before + after)
                if isinstance(child, Branch) and child.strategy != "dynamic":  # its children without it
                    yield replace(node, children=(*before, *child.children, *after))
            for simpler in _simpler(child):
                yield replace(node, children=(*before, simpler, *after))
        if node.strategy not in ("one_for_one", "dynamic"):
            yield replace(node, strategy="one_for_one")
    for each in fields(node):
        if each.name in PLAIN and each.default is not MISSING and getattr(node, each.name) != each.default:
            yield replace(node, **{each.name: each.default})

"""Random scenarios from a seed: the same everywhere.

    plain      any tree up to three deep, and anything may happen; everybody starts and ends in no time
    slow       starts and ends take their time, some workers never end; each step waits until all of that is over
    impatient  the same with a single supervisor, and nobody waits: requests and ends come while it is busy

In each scenario there are only some kinds of everything: so what is rare where all are mixed is common in some of them.

What would compare differences that are meant is not made: see README.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, TypeVar

from tests.referee.scenario import (
    AutoShutdown,
    Branch,
    Ending,
    Node,
    Restart,
    Scenario,
    Shutdown,
    Start,
    Step,
    Strategy,
    Worker,
    nodes,
)

T = TypeVar("T")

MANNERS = ("plain", "plain", "plain", "slow", "impatient")
DEPTHS = {"plain": (1, 1, 2, 2, 3), "slow": (1, 1, 2), "impatient": (1,)}
STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one", "dynamic")
AUTO_SHUTDOWNS: tuple[AutoShutdown, ...] = ("never", "any_significant", "all_significant")
RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")
ATTEMPTS: tuple[Start, ...] = ("ok", "fail", "fail", "ignore")
STEPS = ("end", "ask", "burst")
ENDS = ("crash", "crash", "crash", "kill", "normal", "shutdown", "term")
REQUESTS = ("terminate", "terminate", "restart", "restart", "delete", "start", "which", "which", "count")
SLOW = (4, 8)
"""Seconds that a start or an end may take. Workers' shutdown times are 2 or 6 and supervisors' odd, so that no two are
over at the same time, which would leave to chance what comes first."""
SETTLED = 200
"""Seconds after which whatever is slow is over."""


def scenarios(seed: int, number: int) -> Iterator[Scenario]:
    """So many of that seed."""
    for index in range(number):
        yield scenario(f"{seed}/{index}")


def scenario(name: str) -> Scenario:
    """The scenario of that name, which is its seed."""
    random = Random(name)
    return _Maker(random, random.choice(MANNERS)).scenario(name)


class _Maker:
    """Makes one scenario. Knows roughly who is there, so that most steps meet somebody.

    `_templates`: who is only meant as a template; `_down`: who may stand still by now, the last one last. `_held`: whether the
    supervisor will be busy when the step at hand reaches it; `_uncounted`: the dynamic ones whose count may be wrong in OTP.
    """

    def __init__(self, random: Random, manner: str) -> None:
        self._random = random
        self._manner = manner
        self._ids = (f"{letter}{number or ''}" for number in count() for letter in "abcdefghijklmnopqrstuvwxyz")
        self._nodes: dict[str, Node] = {}
        self._above: dict[str, Branch] = {}
        self._gap = SETTLED if manner == "slow" else 1
        self._strategies = self._some(STRATEGIES)
        self._restarts = self._some(RESTARTS)
        self._attempts = self._some((*ATTEMPTS, *(SLOW * 2 if manner != "plain" else ())))
        self._autos = self._some(AUTO_SHUTDOWNS) if random.random() < 0.5 else [AUTO_SHUTDOWNS[0]]
        self._whats = self._some(STEPS)
        self._templates: set[str] = set()
        self._held = manner == "impatient"
        self._uncounted: set[str] = set()
        self._down: list[str] = []

    def _some(self, options: Sequence[T]) -> list[T]:
        """Some of these, at least one."""
        return self._random.sample(options, self._random.randint(1, len(options)))

    def scenario(self, name: str) -> Scenario:
        depth = self._random.choice(DEPTHS[self._manner])
        tree = self._branch(depth, restart="temporary", shutdown="infinity", significant=False)
        self._enter(tree)
        steps: list[Step] = [] if self._manner == "plain" else [("wait", SETTLED)]
        for branch in [each for each in nodes(tree) if isinstance(each, Branch) and each.strategy == "dynamic"]:
            if branch.id not in self._templates:
                for _ in range(self._random.randint(1, 3)):
                    steps += self._settled([self._start(branch)])
        for _ in range(self._random.randint(3, 9)):
            steps += self._steps()
        if self._manner == "impatient":
            steps.append(("wait", SETTLED))
        steps.append(("ask", "top", "terminate", tree.id))
        if self._manner != "plain":
            steps.append(("wait", SETTLED))
        return Scenario(name, tree, tuple(steps))

    # --- the tree ---

    def _branch(self, depth: int, **given: Any) -> Branch:
        random = self._random
        id_ = next(self._ids)
        strategy = random.choice(self._strategies)
        auto = random.choice(self._autos)
        if strategy == "dynamic":
            children: tuple[Node, ...] = (self._child(depth, auto),)
            self._templates.update(each.id for each in nodes(children[0]))
        else:
            children = tuple(self._child(depth, auto) for _ in range(random.choice((1, 2, 2, 3, 3, 4))))
        return Branch(
            id_,
            strategy=strategy,
            intensity=random.choice((0, 1, 1, 2, 2, 3, 3, 4, 6, 9, 9)),
            period=random.choice((1, 2, 3, 5)) * self._gap,
            auto_shutdown=auto,
            children=children,
            **given,
        )

    def _child(self, depth: int, auto: AutoShutdown) -> Node:
        random = self._random
        restart = random.choice(self._restarts)
        significant = auto != "never" and restart != "permanent" and random.random() < 0.6
        if depth > 1 and random.random() < 0.4:
            branch = self._branch(depth - 1, restart=restart, shutdown="infinity", significant=significant)
            shutdown: Shutdown = random.choice(("infinity", "infinity", "brutal_kill", 5, 9))
            return branch if _is_slow(branch) else replace(branch, shutdown=shutdown)
        return self._worker(restart, significant)

    def _worker(self, restart: Restart, significant: bool) -> Worker:
        random = self._random
        starts = tuple(self._attempt(first=not number) for number in range(random.choice((0, 1, 3, 3, 5))))
        ending: Ending
        if self._manner == "plain":
            shutdown: Shutdown = random.choice((2, 6, "infinity", "brutal_kill"))
            ending = random.choice(("quick", "quick", "quick", "crash"))
        else:
            ending = random.choice(("quick", "quick", "crash", "never", *SLOW))
            shutdown = random.choice((2, 6, "brutal_kill", *(("infinity",) if ending != "never" else ())))
        return Worker(next(self._ids), restart, shutdown, significant, starts, ending)

    def _attempt(self, *, first: bool) -> Start:
        return "ok" if first and self._random.random() < 0.96 else self._random.choice(self._attempts)

    def _enter(self, node: Node) -> None:
        """It is part of the scenario from now on."""
        self._nodes[node.id] = node
        if isinstance(node, Branch) and node.strategy != "dynamic":
            for child in node.children:
                self._above[child.id] = node
                self._enter(child)

    # --- the steps ---

    def _steps(self) -> list[Step]:
        random = self._random
        what = random.choice(self._whats)
        branches = [each for each in self._nodes.values() if isinstance(each, Branch)]
        branch = self._above[self._down[-1]] if self._down and random.random() < 0.5 else random.choice(branches)
        if what == "burst" and self._manner != "impatient":
            steps: list[Step] = [self._burst(branch)]
        elif what == "end":
            workers: list[Node] = [each for each in self._nodes.values() if isinstance(each, Worker)]
            steps = [self._end(random.choice(workers if workers and random.random() < 0.8 else [*branches]))]
        else:
            steps = [self._ask(branch)]
        if self._manner != "slow" and random.random() < 0.4:
            steps.append(("wait", random.choice((1, 1, 2, 3, 5, 6))))
        return self._settled(steps)

    def _settled(self, steps: list[Step]) -> list[Step]:
        return [*steps, ("wait", SETTLED)] if self._manner == "slow" else steps

    def _burst(self, branch: Branch) -> Step:
        random = self._random
        self._held = True
        steps: list[Step] = []
        for _ in range(random.randint(2, 4)):
            last = steps[-1] if steps else ("",)
            others = [each.id for each in self._children(branch) if each.significant and isinstance(each, Worker)]
            if last[0] == "end" and branch.strategy != "dynamic" and random.random() < 0.4:
                steps.append(("ask", branch.id, random.choice(("terminate", "restart", "delete")), last[1]))
            elif last[0] == "end" and others and random.random() < 0.4:
                steps.append(("end", random.choice(others), "normal"))
            else:
                steps.append(self._of(branch))
        self._held = False
        return ("burst", branch.id, tuple(steps))

    def _of(self, branch: Branch) -> Step:
        """Something that concerns this supervisor alone."""
        children = [each for each in self._children(branch) if isinstance(each, Worker) or self._manner == "plain"]
        shaky = [each for each in children if isinstance(each, Worker) and each.starts[1:2] == ("fail",)]
        if shaky and self._random.random() < 0.5:  # whose next start fails: what then waits finds it being restarted
            return ("end", self._random.choice(shaky).id, "crash")
        if children and self._random.random() < 0.6:
            return self._end(self._random.choice(children))
        return self._ask(branch)

    def _children(self, branch: Branch) -> list[Node]:
        return [self._nodes[id_] for id_, above in self._above.items() if above is branch]

    def _end(self, node: Node) -> Step:
        if isinstance(node, Worker):
            how = self._random.choice(ENDS)
            # What a supervisor tells it is the request that takes its time; of its own it ends at once.
            if node.restart == "temporary" or (node.restart == "transient" and how not in ("crash", "kill")):
                self._may_be_down(node)
            return ("end", node.id, "term" if how == "shutdown" and _is_slow(node) else how)
        return ("end", node.id, self._random.choice(("stop",) if _is_slow(node) else ("stop", "kill", "kill")))

    def _ask(self, branch: Branch) -> Step:
        random = self._random
        what = random.choice(REQUESTS)
        if what == "start":
            return self._start(branch)
        if what == "count" and (branch.id in self._uncounted or (self._held and branch.strategy != "dynamic")):
            what = "which"
        if what in ("which", "count"):
            return ("ask", branch.id, what)
        if branch.strategy == "dynamic":
            return self._ask_dynamic(branch)
        down = [id_ for id_ in self._down if self._above[id_] is branch]
        if down and random.random() < 0.6:
            self._down.remove(down[-1])
            return ("ask", branch.id, random.choice(("restart", "restart", "delete")), down[-1])
        known = self._children(branch)
        if not known or random.random() < 0.1:
            known = list(self._nodes.values())
        child = random.choice(known)
        if what == "terminate":
            self._may_be_down(child)
        return ("ask", branch.id, what, child.id)

    def _ask_dynamic(self, branch: Branch) -> Step:
        """It only ends children, and knows them by reference: with those that are being restarted, that is not the same."""
        known = [each for each in self._children(branch) if isinstance(each, Worker) or not self._held]
        if self._held:
            self._uncounted.add(branch.id)
        return ("ask", branch.id, "terminate", self._random.choice(known).id if known else "nobody")

    def _may_be_down(self, node: Node) -> None:
        above = self._above.get(node.id)
        if above is not None and above.strategy != "dynamic":
            self._down.append(node.id)

    def _start(self, branch: Branch) -> Step:
        random = self._random
        known = self._children(branch)
        if branch.strategy == "dynamic":
            child = self._copy(branch.children[0])
        elif known and random.random() < 0.2:
            child = random.choice(known)
        else:
            child = self._child(random.choice(DEPTHS[self._manner]), branch.auto_shutdown)
            if _is_slow(child) and self._is_hurried(branch):
                child = Worker(next(self._ids))
        self._above[child.id] = branch
        self._enter(child)
        return ("ask", branch.id, "start", child)

    def _is_hurried(self, branch: Branch) -> bool:
        """Whether it, or somebody above it, may be killed since it takes too long to end."""
        line: Branch | None = branch
        while line is not None and line.shutdown == "infinity":
            line = self._above.get(line.id)
        return line is not None

    def _copy(self, template: Node) -> Node:
        """One of that kind with ids of its own."""
        if isinstance(template, Branch):
            children = (
                template.children if template.strategy == "dynamic" else tuple(map(self._copy, template.children))
            )
            return replace(template, id=next(self._ids), children=children)
        made = self._worker(template.restart, template.significant)
        starts = tuple("fail" if each == "ignore" and number else each for number, each in enumerate(made.starts))
        return replace(template, id=made.id, starts=starts)


def _is_slow(tree: Node) -> bool:
    """Whether somebody in it takes his time to end."""
    return any(isinstance(each, Worker) and each.ending not in ("quick", "crash") for each in nodes(tree))

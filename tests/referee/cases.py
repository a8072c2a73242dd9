"""Scenarios made by hand, one for each rule of OTP's that one would name, and for each that was once found to be broken."""

from __future__ import annotations

from dataclasses import replace

from tests.referee.generator import SETTLED
from tests.referee.scenario import Branch, Scenario, Start, Step, Worker

WHICH = ("ask", "s", "which")


def crash(*ids: str) -> tuple[Step, ...]:
    """They crash, one after the other."""
    return tuple(("end", id_, "crash") for id_ in ids)


def case(name: str, tree: Branch, *steps: Step) -> Scenario:
    """The tree is ended at last."""
    return Scenario(name, tree, (*steps, ("ask", "top", "terminate", "s"), ("wait", SETTLED)))


def supervisor(*children: Worker | Branch, **settings: object) -> Branch:
    """The top of a tree."""
    return Branch(**{"id": "s", "restart": "temporary", "intensity": 9, "children": children, **settings})  # type: ignore[arg-type]


A, B, C, D = (Worker(id_) for id_ in "abcd")
NEVER: tuple[Start, ...] = ("fail",) * 9
FAILS = Worker("b", starts=("ok", "fail", "fail"))

CASES = (
    case("two restarts pass, the third gives up", supervisor(A, B, intensity=2), *crash("a", "b", "a")),
    case("with no intensity the first crash gives up", supervisor(A, B, intensity=0), *crash("a")),
    case("restarts a period apart count together", supervisor(A, intensity=1), *crash("a"), ("wait", 5), *crash("a")),
    case("and a second later they do not", supervisor(A, intensity=1), *crash("a"), ("wait", 6), *crash("a")),
    case("one for one", supervisor(A, B, C), *crash("b"), WHICH),
    case("one for all", supervisor(A, B, C, D, strategy="one_for_all"), *crash("c"), WHICH),
    case("rest for one", supervisor(A, B, C, D, strategy="rest_for_one"), *crash("c"), WHICH),
    case(
        "temporary siblings are ended and removed",
        supervisor(A, Worker("b", "temporary"), C, strategy="one_for_all"),
        *crash("a"),
        WHICH,
    ),
    case(
        "siblings that stood still are started with the others",
        supervisor(Worker("a", "transient"), B, C, strategy="one_for_all"),
        ("end", "a", "normal"),
        ("ask", "s", "terminate", "c"),
        WHICH,
        *crash("b"),
        WHICH,
    ),
    case(
        "but not one whose spec was deleted",
        supervisor(A, B, C, strategy="one_for_all"),
        ("ask", "s", "terminate", "c"),
        ("ask", "s", "delete", "c"),
        *crash("b"),
        WHICH,
    ),
    case("each failed attempt counts", supervisor(A, replace(FAILS, starts=("ok", *NEVER)), intensity=3), *crash("b")),
    case("a failed group begins anew with all", supervisor(A, FAILS, C, strategy="one_for_all"), *crash("c"), WHICH),
    case(
        "a failed rest begins anew with whom it failed",
        supervisor(A, FAILS, C, strategy="rest_for_one"),
        *crash("a"),
        WHICH,
    ),
    case("a failed start rolls back in reverse", supervisor(A, B, Worker("c", starts=("fail",)))),
    case(
        "what ignores its start is kept",
        supervisor(A, Worker("b", starts=("ignore",))),
        WHICH,
        ("ask", "s", "restart", "b"),
        WHICH,
    ),
    case(
        "unless it is temporary",
        supervisor(A, Worker("b", "temporary", starts=("ignore",))),
        WHICH,
        ("ask", "s", "restart", "b"),
    ),
    *(
        case(
            f"a {restart} child that ends by {how}",
            supervisor(Worker("a", restart), B),
            ("end", "a", how),
            WHICH,
            ("ask", "s", "count"),
        )
        for restart in ("permanent", "transient", "temporary")
        for how in ("normal", "shutdown", "term", "crash", "kill")
    ),
    *(
        case(
            f"a child with shutdown {shutdown} that ends {ending}",
            supervisor(A, Worker("b", shutdown=shutdown, ending=ending), C),
            ("ask", "s", "terminate", "b"),
            ("wait", SETTLED),
            WHICH,
        )
        for shutdown in (2, "infinity", "brutal_kill")
        for ending in ("quick", "crash", 4)
    ),
    case(
        "a child that never ends is killed",
        supervisor(A, Worker("b", ending="never"), C, strategy="one_for_all"),
        *crash("a"),
        ("wait", SETTLED),
    ),
    *(
        case(
            f"a {restart} supervisor that gives up",
            supervisor(A, Branch("t", restart, intensity=0, children=(B, C))),
            *crash("b"),
            WHICH,
        )
        for restart in ("permanent", "transient", "temporary")
    ),
    *(
        case(
            f"significant children end, {auto}",
            supervisor(
                Worker("a", "transient", significant=True),
                Worker("b", "temporary", significant=True),
                C,
                auto_shutdown=auto,
            ),
            ("end", "c", "normal"),
            ("end", "b", "crash"),
            ("end", "a", "crash"),
            ("end", "a", "normal"),
        )
        for auto in ("any_significant", "all_significant")
    ),
    case(
        "an operator who ends a significant child does not end the supervisor",
        supervisor(Worker("a", "transient", significant=True), B, auto_shutdown="any_significant"),
        ("ask", "s", "terminate", "a"),
        WHICH,
    ),
    case(
        "a significant child that is being restarted is not over",
        supervisor(
            Worker("a", "transient", significant=True, starts=("ok", "fail")),
            Worker("b", "temporary", significant=True),
            auto_shutdown="all_significant",
        ),
        ("burst", "s", (*crash("a"), ("end", "b", "normal"))),
        WHICH,
        ("end", "a", "normal"),
    ),
    *(
        case(
            f"{what} of a child that is being restarted, {strategy}",
            supervisor(A, FAILS, C, strategy=strategy),
            ("burst", "s", (*crash("b"), WHICH, ("ask", "s", what, "b"), WHICH)),
            WHICH,
        )
        for what in ("terminate", "restart", "delete")
        for strategy in ("one_for_one", "one_for_all")
    ),
    case(
        "an attempt that waits in the mailbox is made though a later one has failed",
        supervisor(
            C,
            Worker("d", starts=("ok", 4, 4), ending="never"),
            Worker("e", starts=("ok", "fail", "fail")),
            strategy="one_for_all",
        ),
        *crash("e"),
        ("wait", 7),
        ("end", "c", "normal"),
        ("wait", 3),
        WHICH,
        ("wait", SETTLED),
    ),
    case(
        "children of a dynamic supervisor come and go",
        supervisor(Worker("t", "transient"), strategy="dynamic"),
        *(("ask", "s", "start", Worker(id_, "transient", starts=("ok", "fail"))) for id_ in "xyz"),
        *crash("x"),
        ("end", "y", "normal"),
        ("ask", "s", "terminate", "z"),
        WHICH,
        ("ask", "s", "count"),
    ),
)

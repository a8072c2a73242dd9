"""Understudy: supervised actors, in one process or across machines, live in the browser.

    from understudy import Actor, Child, Node, Refused, Request, Supervisor, message

The names below are the public ones. What a wing offers besides stands in its own face: `understudy.gateway`,
`understudy.engine`, and so on.
"""

from understudy.actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallError,
    DeadlineExceeded,
    Deadlock,
    Down,
    Exit,
    ExitReason,
    Failure,
    Killed,
    NamedRef,
    NameTaken,
    NoConnection,
    NodeDown,
    NoProc,
    Normal,
    NotRegistered,
    Overloaded,
    Refused,
    Request,
    Shutdown,
    StartFailed,
    Stop,
    ThreadActor,
    message,
)
from understudy.supervisors import Child, Supervisor
from understudy.transport import Node

__all__ = [
    "Actor",
    "ActorDied",
    "ActorRef",
    "ActorSystem",
    "CallError",
    "Child",
    "DeadlineExceeded",
    "Deadlock",
    "Down",
    "Exit",
    "ExitReason",
    "Failure",
    "Killed",
    "NameTaken",
    "NamedRef",
    "NoConnection",
    "NoProc",
    "Node",
    "NodeDown",
    "Normal",
    "NotRegistered",
    "Overloaded",
    "Refused",
    "Request",
    "Shutdown",
    "StartFailed",
    "Stop",
    "Supervisor",
    "ThreadActor",
    "message",
]

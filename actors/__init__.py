"""The kernel: what an actor is. Imports the standard library and Pykka, nothing else of ours."""

from understudy.actors.actor import Actor
from understudy.actors.address import Address
from understudy.actors.bonds import Bonds
from understudy.actors.cell import Cell
from understudy.actors.dead_letters import DeadLetter, DeadLetters
from understudy.actors.deadlines import Allowance, allowance, current_cell
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import (
    ActorDied,
    CallError,
    DeadlineExceeded,
    Deadlock,
    NameTaken,
    NodeDown,
    NotRegistered,
    Overloaded,
    Refused,
    StartFailed,
    UnderstudyError,
)
from understudy.actors.message import Request, message, registered_class, registered_name
from understudy.actors.names import NamedRef, checked_name
from understudy.actors.reasons import ExitReason, Failure, Killed, NoConnection, NoProc, Normal, Shutdown
from understudy.actors.ref import DEFAULT_TIMEOUT, ActorRef, Watcher
from understudy.actors.signals import Down, Exit, Later, Stop
from understudy.actors.system import ActorSystem
from understudy.actors.thread import ThreadActor
from understudy.actors.timers import Timer
from understudy.actors.world import World

__all__ = [
    "DEFAULT_TIMEOUT",
    "Actor",
    "ActorDied",
    "ActorRef",
    "ActorSystem",
    "Address",
    "Allowance",
    "Bonds",
    "CallError",
    "Cell",
    "DeadLetter",
    "DeadLetters",
    "DeadlineExceeded",
    "Deadlock",
    "Down",
    "Envelope",
    "Exit",
    "ExitReason",
    "Failure",
    "Killed",
    "Later",
    "NameTaken",
    "NamedRef",
    "NoConnection",
    "NoProc",
    "NodeDown",
    "Normal",
    "NotRegistered",
    "Overloaded",
    "Refused",
    "Reply",
    "Request",
    "Shutdown",
    "StartFailed",
    "Stop",
    "ThreadActor",
    "Timer",
    "UnderstudyError",
    "Watcher",
    "World",
    "allowance",
    "checked_name",
    "current_cell",
    "message",
    "registered_class",
    "registered_name",
]

"""The kernel: what an actor is. Imports the standard library and Pykka, nothing else of ours."""

from understudy.actors.actor import Actor
from understudy.actors.address import Address
from understudy.actors.answer import Answer
from understudy.actors.bonds import Bonds
from understudy.actors.cell import Cell
from understudy.actors.compatibility import compatibility_system, end_compatibility_system
from understudy.actors.crashes import CrashReport
from understudy.actors.dead_letters import REASONS, DeadLetter, DeadLetters
from understudy.actors.deadlines import Allowance, allowance, current_cell, current_request, speaker
from understudy.actors.deaths import UnseenDeath
from understudy.actors.envelope import Envelope, Reply
from understudy.actors.errors import (
    ActorDied,
    CallError,
    DeadlineExceeded,
    Deadlock,
    Draining,
    NameTaken,
    NodeDown,
    NoRoom,
    NotRegistered,
    Overloaded,
    Refused,
    StartFailed,
    UnderstudyError,
)
from understudy.actors.failure_rule import FailureRule
from understudy.actors.groups import Assembly, Group, Groups, Joined, Left
from understudy.actors.high_water import HighWater
from understudy.actors.hooks import Ended, Handled, Hooks, Linked, Restarted, Spawned, Unlinked
from understudy.actors.info import Info
from understudy.actors.later import Later
from understudy.actors.mailbox import Bounded, conflate
from understudy.actors.members import ActorMemberMixin
from understudy.actors.message import Request, message, registered_class, registered_name
from understudy.actors.names import NamedRef, checked_name
from understudy.actors.nodes import SPAWN_TIMEOUT, Nodes
from understudy.actors.patience import ReceiveTimeout
from understudy.actors.proxy import ActorProxy, CallableProxy, TypedProxy, assign, proxy_field, proxy_method
from understudy.actors.pykka_ref import PykkaRef
from understudy.actors.reasons import ExitReason, Failure, Killed, NoConnection, NoProc, Normal, Shutdown
from understudy.actors.reentrant import reentrant
from understudy.actors.ref import DEFAULT_TIMEOUT, ActorRef, Watcher
from understudy.actors.signals import Down, Exit, Stop
from understudy.actors.sketch import hide, sketch
from understudy.actors.system import ActorSystem
from understudy.actors.thread import ThreadActor
from understudy.actors.timers import Timer
from understudy.actors.tracing import Trace, TraceEvent
from understudy.actors.watchdog import SlowHandler
from understudy.actors.world import World

__all__ = [
    "DEFAULT_TIMEOUT",
    "REASONS",
    "SPAWN_TIMEOUT",
    "Actor",
    "ActorDied",
    "ActorMemberMixin",
    "ActorProxy",
    "ActorRef",
    "ActorSystem",
    "Address",
    "Allowance",
    "Answer",
    "Assembly",
    "Bonds",
    "Bounded",
    "CallError",
    "CallableProxy",
    "Cell",
    "CrashReport",
    "DeadLetter",
    "DeadLetters",
    "DeadlineExceeded",
    "Deadlock",
    "Down",
    "Draining",
    "Ended",
    "Envelope",
    "Exit",
    "ExitReason",
    "Failure",
    "FailureRule",
    "Group",
    "Groups",
    "Handled",
    "HighWater",
    "Hooks",
    "Info",
    "Joined",
    "Killed",
    "Later",
    "Left",
    "Linked",
    "NameTaken",
    "NamedRef",
    "NoConnection",
    "NoProc",
    "NoRoom",
    "NodeDown",
    "Nodes",
    "Normal",
    "NotRegistered",
    "Overloaded",
    "PykkaRef",
    "ReceiveTimeout",
    "Refused",
    "Reply",
    "Request",
    "Restarted",
    "Shutdown",
    "SlowHandler",
    "Spawned",
    "StartFailed",
    "Stop",
    "ThreadActor",
    "Timer",
    "Trace",
    "TraceEvent",
    "TypedProxy",
    "UnderstudyError",
    "Unlinked",
    "UnseenDeath",
    "Watcher",
    "World",
    "allowance",
    "assign",
    "checked_name",
    "compatibility_system",
    "conflate",
    "current_cell",
    "current_request",
    "end_compatibility_system",
    "hide",
    "message",
    "proxy_field",
    "proxy_method",
    "reentrant",
    "registered_class",
    "registered_name",
    "sketch",
    "speaker",
]

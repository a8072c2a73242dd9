"""Who restarts whom. Uses only what the kernel offers to every actor."""

from understudy.supervisors.backoff import Backoff
from understudy.supervisors.dynamic import DynamicSupervisor
from understudy.supervisors.events import Awaited, GaveUp, HeldDown, LeftDown
from understudy.supervisors.guard import Guard
from understudy.supervisors.partitioned import PartitionedSupervisor
from understudy.supervisors.process import OsProcess, ProcessExited, ProcessStatus
from understudy.supervisors.requests import (
    ChildCounts,
    ChildInfo,
    CountChildren,
    DeleteChild,
    RestartChild,
    StartAnother,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from understudy.supervisors.router import Router
from understudy.supervisors.routing import Resize
from understudy.supervisors.spec import Child, Ignore
from understudy.supervisors.supervisor import Supervisor

__all__ = [
    "Awaited",
    "Backoff",
    "Child",
    "ChildCounts",
    "ChildInfo",
    "CountChildren",
    "DeleteChild",
    "DynamicSupervisor",
    "GaveUp",
    "Guard",
    "HeldDown",
    "Ignore",
    "LeftDown",
    "OsProcess",
    "PartitionedSupervisor",
    "ProcessExited",
    "ProcessStatus",
    "Resize",
    "RestartChild",
    "Router",
    "StartAnother",
    "StartChild",
    "Supervisor",
    "TerminateChild",
    "WhichChildren",
]

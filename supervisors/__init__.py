"""Who restarts whom. Uses only what the kernel offers to every actor."""

from understudy.supervisors.process import OsProcess, ProcessExited, ProcessStatus
from understudy.supervisors.router import Router
from understudy.supervisors.routing import Resize
from understudy.supervisors.spec import Child, Intensity, Verdict, decide
from understudy.supervisors.supervisor import (
    ChildInfo,
    DeleteChild,
    RestartChild,
    StartChild,
    Supervisor,
    TerminateChild,
    WhichChildren,
)

__all__ = [
    "Child",
    "ChildInfo",
    "DeleteChild",
    "Intensity",
    "OsProcess",
    "ProcessExited",
    "ProcessStatus",
    "Resize",
    "RestartChild",
    "Router",
    "StartChild",
    "Supervisor",
    "TerminateChild",
    "Verdict",
    "WhichChildren",
    "decide",
]

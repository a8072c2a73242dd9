"""A supervisor whose children come and go while it runs: OTP's simple_one_for_one.

    class Sessions(DynamicSupervisor):
        template = Child(Session, restart="temporary")
        max_children = 10_000

    sessions = await system.spawn(Sessions)
    ann = await sessions.call(StartAnother(("ann",)))      # Session("ann"), known as "Session-1"
    await sessions.call(TerminateChild(ann))

It starts with none. Children have no order: none is ended for another one's sake, and at its end all are ended at once.
One that has ended for good is forgotten, whatever its type.
"""

from __future__ import annotations

from typing import Any, ClassVar

from understudy.supervisors.backoff import Backoff
from understudy.supervisors.policy import AutoShutdown
from understudy.supervisors.spec import Child
from understudy.supervisors.supervisor import Supervisor


class DynamicSupervisor(Supervisor):
    """`template` is what `StartAnother(args, kwargs)` starts one more of; `StartChild(child)` starts any child.

    Ids are numbered: "Session-1", "Session-2", ..., so that the same spec may be started many times. A name may not: it
    has one living owner. The other fields are those of a Supervisor.
    """

    template: Child | None = None

    _dynamic: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        if cls.children is not Supervisor.children:
            raise TypeError(
                f"{cls.__name__}.children: a DynamicSupervisor starts with none; StartChild and StartAnother add them"
            )
        super().__init_subclass__(**options)
        if cls.template is not None:
            cls._policy(cls).admits(cls.template, f"{cls.__name__}.template is a")

    def __init__(
        self,
        template: Child | None = None,
        *,
        intensity: int | None = None,
        period: float | None = None,
        auto_shutdown: AutoShutdown | None = None,
        max_children: int | None = None,
        degraded: bool | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__(
            intensity=intensity,
            period=period,
            auto_shutdown=auto_shutdown,
            max_children=max_children,
            degraded=degraded,
            backoff=backoff,
        )
        template = template if template is not None else self.template
        if template is not None:
            self._tree.template = self._tree.policy.admits(template, f"{type(self).__name__}.template is a")

"""What `understudy start` is to run: "shop:main" is found, and becomes a Supervisor class or a list of children.

    "shop:main" ── find: import shop, take `main` ──> a class, a list, a function ── declared: call it ──> a class, a list

Whatever is wrong with it is one line that says so; if the user's own code raised, its traceback stands above, without ours.
"""

import builtins
import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeAlias

from understudy.status import Status, complain
from understudy.supervisors import Child, Supervisor

Declared: TypeAlias = "type[Supervisor] | Sequence[Child]"

WANTED = "`understudy start` takes a Supervisor class, a list of Child(...), or a function that returns either"


class Unfit(Exception):
    """There is nothing to start. The text says why in one line; `trace` is the user's own traceback, if their code raised."""

    def __init__(self, status: Status, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.trace = trace

    def report(self) -> Status:
        """Say it, below the user's traceback if there is one; returns the exit status."""
        if self.trace:
            print(self.trace, file=sys.stderr, flush=True)  # noqa: T201
        complain(str(self))
        return self.status


def find(target: str) -> object:
    """What "MODULE:ATTRIBUTE" names, imported from the current directory first. Raises Unfit."""
    module_name, _, path = target.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise Unfit(Status.NOT_FOUND, f"there is no module {error.name!r} in {here} or on sys.path") from None
        raise _raised(f"importing {module_name} failed", error) from None
    except BaseException as error:  # noqa: BLE001 - sys.exit() in it, too, is the user's failure, and told so
        raise _raised(f"importing {module_name} failed", error) from None
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise Unfit(Status.NOT_FOUND, f"{module_name} has no {path!r}{_similar(name, found)}") from None
    return found


def _similar(name: str, owner: object) -> str:
    close = difflib.get_close_matches(name, [each for each in dir(owner) if not each.startswith("_")], 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _raised(what: str, error: BaseException, status: Status = Status.NOT_FOUND) -> Unfit:
    if isinstance(error, KeyboardInterrupt):
        raise error
    text = traceback.format_exception_only(error)[-1].strip()
    lines = traceback.format_exception(type(error), error, _users_own(error.__traceback__))
    return Unfit(status, f"{what}: {text}", "".join(lines).rstrip())


def _users_own(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is neither ours nor the import system's."""
    ours = (__file__, importlib.__file__)
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file not in ours and not file.startswith("<frozen importlib"):
            return trace
        trace = trace.tb_next
    return None


async def declared(target: str, found: object, offered: Sequence[object] = ()) -> Declared:
    """The Supervisor class or the children that `found` is, or returns. Raises Unfit.

    A function is called with as many of those that are `offered` as it asks for: its positional parameters without a default.
    """
    if callable(found) and not isinstance(found, type):
        wanted = _asks_for(found)
        if wanted > len(offered):
            here = (
                "from `understudy node` it gets the node and its settings" if not offered else "there are two to be had"
            )
            raise Unfit(Status.NO_TREE, f"{target}() asks for {wanted} argument{'s' if wanted > 1 else ''}: {here}")
        try:
            found = found(*offered[:wanted])
            if inspect.isawaitable(found):
                found = await found
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the user's, and shown
            raise _raised(f"{target}() failed", error, Status.NO_TREE) from None
        target = f"what {target}() returned"
    if isinstance(found, type) and issubclass(found, Supervisor):
        if missing := _wants_arguments(found):
            hint = f"name a function that returns [Child({found.__name__}, args=(...))]"
            raise Unfit(Status.NO_TREE, f"{target} takes arguments, {missing}: {hint}")
        return found
    if isinstance(found, list | tuple) and found and all(isinstance(each, Child) for each in found):
        return found
    raise Unfit(Status.NO_TREE, f"{target} is {_described(found)}; {WANTED}")


def _asks_for(function: Callable[..., object]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0  # something built in: it is called, and says itself what it wants
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)


def _wants_arguments(kind: type[Supervisor]) -> str:
    """What is missing where it is called without arguments; empty: nothing."""
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        return str(error)
    return ""


def _described(found: object) -> str:
    if isinstance(found, type):
        return f"the class {found.__name__}, which is no Supervisor"
    if isinstance(found, Supervisor):
        return f"a {type(found).__name__} that is made already"
    if isinstance(found, list | tuple):
        stranger = next((each for each in found if not isinstance(each, Child)), None)
        return f"a list with {stranger!r} in it" if found else "a list of no children"
    return f"a {type(found).__name__}" if type(found).__module__ != builtins.__name__ else repr(found)

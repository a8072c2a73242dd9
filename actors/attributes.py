"""An actor's public attributes: what an operator sees of its state, and gives it back, unless the actor says otherwise."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.actors.sketch import stored

if TYPE_CHECKING:
    from understudy.actors.actor import Actor

KERNELS_OWN = frozenset({"_cell", "_last_errand", "actor_inbox", "actor_ref", "actor_stopped", "actor_urn"})
"""What the kernel and Pykka keep in an actor."""


def public_attributes(actor: Actor) -> dict[str, Any]:
    """By name. Lists, dicts, sets and deques are copied, since the actor goes on changing its own."""
    return {name: _copied(value) for name, value in stored(actor) if _public(name)}


def replace_attributes(actor: Actor, state: Any) -> None:
    """Set these, and delete the others. Raises before it changes anything if they are no public attributes."""
    if not isinstance(state, dict) or not all(isinstance(name, str) and _public(name) for name in state):
        raise TypeError(
            f"the state of {type(actor).__name__} is a dict of its public attributes by name, unless it overrides "
            f"on_replace_state; this is none: {type(state).__name__}"
        )
    before = {name: value for name, value in stored(actor) if _public(name)}
    try:
        for name, value in state.items():
            setattr(actor, name, value)
        for name in before.keys() - state.keys():
            delattr(actor, name)
    except Exception:
        for name, value in before.items():
            setattr(actor, name, value)
        raise


def _public(name: str) -> bool:
    return not name.startswith("_") and name not in KERNELS_OWN


def _copied(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set, deque) else value

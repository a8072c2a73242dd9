"""The methods that every actor has, for typed proxies: `class PlayerProxy(ActorMemberMixin, ActorProxy[Player])`."""

from __future__ import annotations

from understudy.actors.actor import Actor
from understudy.actors.proxy import proxy_method


class ActorMemberMixin:
    """Pykka's mixin of that name, for proxies of ours."""

    stop = proxy_method(Actor.stop)
    on_start = proxy_method(Actor.on_start)
    on_stop = proxy_method(Actor.on_stop)
    on_failure = proxy_method(Actor.on_failure)
    on_receive = proxy_method(Actor.on_receive)

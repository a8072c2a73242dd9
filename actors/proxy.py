"""Proxies: an actor's attributes and methods through its reference, each use of them a message. Pykka's, and awaitable.

    player = ref.proxy()
    await player.play("song", volume=3)      a method runs in the actor's turn; the answer is what it returns
    await player.volume                      an attribute; Pykka's `traversable` ones lead to further proxies
    player.play.defer("song")                one way, like a tell
    player.volume = 11                       from plain threads; on the loop `await assign(player, "volume", 11)`

From plain threads `.get()` stands for `await`. Names that begin with an underscore are private. What a proxy asks goes
past `on_receive`, in the order of all other messages, and an `async def` method is awaited like an async handler.

Typed proxies say what there is, need no cast, and leave no typing error to the run:

    class PlayerProxy(TypedProxy[Player]):
        volume = proxy_field(Player.volume)      or, for what only instances have: `volume: Answer[int]`
        play = proxy_method(Player.play)

    player = ref.proxy(PlayerProxy)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

import pykka
import pykka.messages
from pykka._introspection import AttrInfo, get_attr_directly, introspect_attrs

from understudy.actors.answer import Answer
from understudy.actors.ref import A, ActorRef
from understudy.actors.signals import Order

if TYPE_CHECKING:
    from understudy.actors.cell import Cell
    from understudy.actors.envelope import Envelope

    class PykkaProxy(Generic[A]):
        """Pykka's proxy as type checkers see it: what it leads to are answers of ours."""

    class PykkaCallable:
        """Pykka's proxy of one method, likewise."""

else:
    PykkaProxy = pykka.ActorProxy
    PykkaCallable = pykka.CallableProxy

P = ParamSpec("P")
T = TypeVar("T")

AttrPath = tuple[str, ...]
Wish = pykka.messages.ProxyCall | pykka.messages.ProxyGetAttr | pykka.messages.ProxySetAttr


class Visit(Order):
    """One use of a proxy. Carried out in the actor's turn, whatever its behaviour is at the time."""

    __slots__ = ("wish",)

    counted = True

    def __init__(self, wish: Wish) -> None:
        self.wish = wish

    def carry_out(self, cell: Cell[Any], entry: Envelope) -> Any:
        return cell.surrounded(partial(self._use, cell.actor))(self)

    def _use(self, actor: Any, _: Visit) -> Any:
        wish = self.wish
        if isinstance(wish, pykka.messages.ProxyCall):
            return get_attr_directly(actor, wish.attr_path)(*wish.args, **wish.kwargs)
        if isinstance(wish, pykka.messages.ProxyGetAttr):
            return get_attr_directly(actor, wish.attr_path)
        setattr(get_attr_directly(actor, wish.attr_path[:-1]), wish.attr_path[-1], wish.value)
        return None

    @property
    def title(self) -> str:
        return f"proxy.{'.'.join(self.wish.attr_path)}"

    def __repr__(self) -> str:
        if isinstance(self.wish, pykka.messages.ProxyCall):
            return f"{self.title}(...)"
        return self.title if isinstance(self.wish, pykka.messages.ProxyGetAttr) else f"{self.title} = ..."


class TypedProxy(PykkaProxy[A]):
    """The base of typed proxies, made by `ref.proxy(PlayerProxy)`: what the class does not declare is an error to type
    checkers. Raises ActorDied if there is no such actor."""

    actor_ref: ActorRef[A]
    """The reference to the actor."""

    def __init__(self, *, actor_ref: ActorRef[A], attr_path: AttrPath = ()) -> None:
        self.actor_ref = actor_ref
        self._attr_path = attr_path
        self._known_attrs: dict[AttrPath, AttrInfo] = {}
        self._known_class: type | None = None
        actor = self._actor
        if not actor_ref.is_alive():  # its last hook runs
            raise actor_ref._nobody()
        self._survey(actor)

    @property
    def _actor(self) -> Any:
        """The actor as it is now: behind a name it may be another one than before."""
        actor = self.actor_ref._actor_weakref()
        if actor is None:
            raise self.actor_ref._nobody()
        return actor

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return self._reach(name)

        def __setattr__(self, name: str, value: Any) -> None:
            if name.startswith("_") or name == "actor_ref":
                object.__setattr__(self, name, value)
            else:
                self._set(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, pykka.ActorProxy):  # one of Pykka's own may lead to the same actor
            return False
        theirs: Any = other
        return bool(theirs.actor_ref == self.actor_ref and theirs._attr_path == self._attr_path)

    def __hash__(self) -> int:
        return hash((self.actor_ref, self._attr_path))

    def __repr__(self) -> str:
        return f"<ActorProxy for {self.actor_ref}, attr_path={self._attr_path!r}>"

    def _set(self, name: str, value: Any) -> None:
        """Set an attribute, and block until that is done, to raise what it raised: for plain threads, like a blocking ask."""
        self.actor_ref._refuse_blocking(f"setting {name!r} through a proxy", f"await assign(proxy, {name!r}, value)")
        assign(self, name, value).get()

    def _reach(self, name: str) -> Any:
        """What stands for an attribute: a proxy of a method or of a traversable object, else the answer to come."""
        path = (*self._attr_path, name)
        known = None if name.startswith("_") or name == "actor_ref" else self._look_up(path)
        if known is None:
            raise AttributeError(f"{self} has no attribute {name!r}")
        if known.callable:
            return CallableProxy[..., Any](actor_ref=self.actor_ref, attr_path=path)
        if known.traversable:
            return ActorProxy(actor_ref=self.actor_ref, attr_path=path)
        return self.actor_ref.ask(Visit(pykka.messages.ProxyGetAttr(path)), block=False)

    def _look_up(self, path: AttrPath) -> AttrInfo | None:
        actor = self.actor_ref._actor_weakref()
        if actor is not None and type(actor) is not self._known_class:
            self._survey(actor)
        if path not in self._known_attrs:
            self._survey(self._actor)  # it may have got it since
        return self._known_attrs.get(path)

    def _survey(self, actor: Any) -> None:
        self._known_attrs = introspect_attrs(root=actor, proxy=cast("Any", self))
        self._known_class = type(actor)


class ActorProxy(TypedProxy[A]):
    """Every attribute and method of one actor. Made by `ref.proxy()`; raises ActorDied if there is no such actor."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...


def made_proxy(ref: ActorRef[Any], kind: Any) -> Any:
    """What `ref.proxy(kind)` returns. TypeError if `kind` is no class of proxies."""
    kind = ActorProxy if kind is None else kind
    if not (isinstance(kind, type) and issubclass(kind, TypedProxy)):
        raise TypeError(f"proxy takes a subclass of TypedProxy, or nothing, not {kind!r}")
    return kind(actor_ref=ref)


class CallableProxy(PykkaCallable, Generic[P, T]):
    """A method of an actor: call it for an answer, or `defer` it."""

    actor_ref: ActorRef[Any]

    def __init__(self, *, actor_ref: ActorRef[Any], attr_path: AttrPath) -> None:
        self.actor_ref = actor_ref
        self._attr_path = attr_path

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        """Have it called. Sent at once; the answer is what the method returns, or how it failed."""
        return self.actor_ref.ask(Visit(pykka.messages.ProxyCall(self._attr_path, args, kwargs)), block=False)

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have it called, one way: an exception ends the actor."""
        self.actor_ref._order(Visit(pykka.messages.ProxyCall(self._attr_path, args, kwargs)))


def assign(proxy: TypedProxy[Any], name: str, value: Any, /) -> Answer[None]:
    """Set an attribute through a proxy, and wait for it or not: `await assign(player, "volume", 11)`."""
    if not isinstance(proxy, TypedProxy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"assign takes a proxy, the name of an attribute and its value, not {proxy!r}")
    if name.startswith("_"):
        raise AttributeError(f"{name!r} is private to {proxy}")
    path = (*proxy._attr_path, name)
    return proxy.actor_ref.ask(Visit(pykka.messages.ProxySetAttr(path, value)), block=False)


class Field(Generic[T]):
    """An attribute in the class of a typed proxy; made by `proxy_field`."""

    _name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, proxy: None, owner: type) -> Self: ...
    @overload
    def __get__(self, proxy: TypedProxy[Any], owner: type) -> Answer[T]: ...
    def __get__(self, proxy: TypedProxy[Any] | None, owner: type) -> Any:
        return self if proxy is None else proxy._reach(self._name)

    def __set__(self, proxy: TypedProxy[Any], value: T) -> None:
        proxy._set(self._name, value)


class Method(Generic[P, T]):
    """A method in the class of a typed proxy; made by `proxy_method`."""

    _name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, proxy: None, owner: type) -> Self: ...
    @overload
    def __get__(self, proxy: TypedProxy[Any], owner: type) -> CallableProxy[P, T]: ...
    def __get__(self, proxy: TypedProxy[Any] | None, owner: type) -> Any:
        return self if proxy is None else proxy._reach(self._name)


def proxy_field(field: T) -> Field[T]:
    """`volume = proxy_field(Player.volume)`: `proxy.volume` is an Answer of its type. Give it the name it has in the actor."""
    return Field()


@overload
def proxy_method(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Method[P, T]: ...
@overload
def proxy_method(method: Callable[Concatenate[Any, P], T]) -> Method[P, T]: ...
def proxy_method(method: Any) -> Any:
    """`play = proxy_method(Player.play)`: plain or `async`, with its parameters, and an Answer of what it returns."""
    return Method[..., Any]()

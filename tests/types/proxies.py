"""What type checkers know of proxies. `tests/test_types.py` checks it; nothing here runs."""

from typing import Any, assert_type

import pykka

from understudy import (
    Actor,
    ActorMemberMixin,
    ActorProxy,
    ActorRef,
    Answer,
    TypedProxy,
    assign,
    proxy_field,
    proxy_method,
)


class Display:
    pykka_traversable = True

    def show(self, text: str) -> int:
        return len(text)


class Player(Actor):
    volume = 5
    display = Display()

    def __init__(self) -> None:
        super().__init__()
        self.title = ""

    def play(self, title: str, *, volume: int = 5) -> bool:
        self.title, self.volume = title, volume
        return True

    async def fade(self, seconds: float) -> int:
        return round(seconds)


class DisplayProxy(TypedProxy[Player]):
    show = proxy_method(Display.show)


class PlayerProxy(ActorMemberMixin, TypedProxy[Player]):
    volume = proxy_field(Player.volume)
    title: Answer[str]
    display: DisplayProxy
    play = proxy_method(Player.play)
    fade = proxy_method(Player.fade)


async def a_plain_proxy_has_whatever_the_actor_has(ref: ActorRef[Player]) -> None:
    player = ref.proxy()
    assert_type(player, ActorProxy[Player])
    assert_type(await player.play("a song"), Any)
    player.volume = 11
    assert_type(player.actor_ref, ActorRef[Player])


async def a_typed_proxy_has_what_it_declares(ref: ActorRef[Player]) -> None:
    player = ref.proxy(PlayerProxy)
    assert_type(player, PlayerProxy)
    assert_type(player.volume, Answer[int])
    assert_type(await player.volume, int)
    assert_type(await player.title, str)
    assert_type(await player.play("a song", volume=3), bool)
    assert_type(await player.fade(1.5), int)
    assert_type(await player.display.show("text"), int)
    assert_type(player.play("a song").get(timeout=1.0), bool)
    assert_type(player.stop(), Answer[None])
    player.play.defer("a song")
    player.volume = 11
    await assign(player, "volume", 11)
    future: pykka.Future[bool] = player.play("a song")
    assert future


def what_does_not_fit_a_typed_proxy_is_an_error(ref: ActorRef[Player]) -> None:
    player = ref.proxy(PlayerProxy)
    player.play(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    player.play()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    player.play.defer("a song", volume="loud")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    player.rewind()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    player.volume = "loud"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    player.speed = 2  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    text: Answer[str] = player.volume  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert text

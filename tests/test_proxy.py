"""Proxies: attributes and methods of an actor, each use of them a message."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, cast

import pykka
import pykka.messages
import pytest

from understudy.actors import (
    Actor,
    ActorDied,
    ActorProxy,
    ActorRef,
    ActorSystem,
    Answer,
    CallError,
    DeadLetter,
    DeadlineExceeded,
    NoProc,
    Refused,
    Stop,
    ThreadActor,
    TypedProxy,
    assign,
    current_cell,
    proxy_field,
    proxy_method,
)
from understudy.actors.deadlines import current_request


@pykka.traversable
class Shelf:
    label = "top"

    def __init__(self) -> None:
        self.books: list[str] = []

    def put(self, book: str) -> int:
        self.books.append(book)
        return len(self.books)


class Library:
    """What both kinds of actors below have."""

    motto = "read"
    _private = "secret"

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.visits = 0
        self.seen: list[object] = []

    @property
    def doubled(self) -> int:
        return self.visits * 2

    def visit(self, times: int = 1, *, by: str = "") -> str:
        self.visits += times
        return f"{by}: {self.visits}"

    def fail(self, error: BaseException) -> None:
        raise error

    def where(self) -> object:
        return current_cell.get(), threading.current_thread()

    def waits_for(self, event: threading.Event) -> bool:
        return event.wait(10)

    def end(self) -> Stop:
        return Stop(reply="bye")

    def deadline(self) -> float | None:
        request = current_request.get()
        return request.deadline if request is not None else None

    def on_receive(self, message: object) -> object:
        self.seen.append(message)
        return self.seen


class Loft(Library, Actor):
    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def slow(self) -> str:
        await self.gate.wait()
        return "through"

    async def tardy_friend(self, friend: "ActorProxy[Loft]") -> str:
        return cast("str", await friend.slow())

    async def talks_to_itself(self) -> Any:
        return await self.actor_ref.proxy().visit()


class Cellar(Library, ThreadActor):
    def talks_to_itself(self) -> Any:
        return self.actor_ref.proxy().visit().get()


KINDS = pytest.mark.parametrize("kind", [Loft, Cellar])


@KINDS
async def test_attributes_and_methods_are_used_through_awaited_answers(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        library = (await system.spawn(kind)).proxy()
        assert await library.motto == "read"
        assert await library.visit(2, by="Ada") == "Ada: 2"
        assert await library.visits == 2
        assert await library.doubled == 4
        await assign(library, "visits", 7)
        assert await library.doubled == 14


@KINDS
async def test_traversable_attributes_lead_on_and_others_do_not(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        library = (await system.spawn(kind)).proxy()
        assert await library.shelf.put("Emma") == 1
        assert await library.shelf.books == ["Emma"]
        await assign(library.shelf, "label", "bottom")
        assert await library.shelf.label == "bottom"
        with pytest.raises(AttributeError, match="no attribute 'upper'"):
            library.motto.upper()


@KINDS
async def test_private_and_missing_names_are_refused_before_anything_is_sent(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        library = ref.proxy()
        for name in ("_private", "_cell", "__dict_", "missing"):
            with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
                getattr(library, name)
        with pytest.raises(AttributeError, match="private"):
            assign(library, "_private", 1)
        assert await ref.call("anything") == ["anything"]


@KINDS
async def test_what_is_asked_through_a_proxy_keeps_its_place_among_the_messages(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        library = ref.proxy()
        ref.tell(1)
        library.visit.defer()
        ref.tell(2)
        answer = library.visits
        library.visit.defer(10)
        assert await answer == 1
        assert await ref.call(3) == [1, 2, 3]
        assert await library.visits == 11


@KINDS
async def test_the_code_runs_as_the_actor_and_in_its_thread(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        cell, thread = await ref.proxy().where()
        assert (thread is threading.current_thread()) == (kind is Loft)
        assert kind is Loft or cell is ref


async def test_an_async_method_is_awaited_and_its_actor_takes_no_other_message_meanwhile() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Loft)
        loft = ref.proxy()
        gate = await loft.gate
        slow, after = loft.slow(), loft.visits
        await asyncio.sleep(0)
        gate.set()
        assert await slow == "through"
        assert await after == 0


@KINDS
async def test_an_exception_ends_the_actor_and_a_refusal_only_the_request(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        lost: list[DeadLetter] = []
        system.hooks.subscribe(DeadLetter, lost.append)
        ref = await system.spawn(kind)
        library = ref.proxy()
        with pytest.raises(Refused, match="closed"):
            await library.fail(Refused("closed"))
        with pytest.raises(ActorDied, match="ValueError: burnt"):
            await library.fail(ValueError("burnt"))
        await ref.ended()
        with pytest.raises(ActorDied):
            await library.visits
        library.visit.defer()
        await asyncio.sleep(0)
        assert [repr(letter.message) for letter in lost] == ["proxy.visit(...)"]
        with pytest.raises(ActorDied):
            ref.proxy()


@KINDS
async def test_a_method_may_say_more_than_an_answer(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        assert await ref.proxy().end() == "bye"
        await ref.ended()


@KINDS
async def test_an_answer_is_waited_for_no_longer_than_a_call(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        release = threading.Event()
        busy = ref.proxy().slow() if kind is Loft else ref.proxy().waits_for(release)
        late = ref.proxy().visit()
        with pytest.raises(DeadlineExceeded, match=r"did not answer: within 0\.02 s"):
            await late.within(0.02)
        with pytest.raises(DeadlineExceeded, match="gave up"):
            late.get(timeout=0)
        if kind is Loft:
            inside: Any = ref
            inside.actor.gate.set()
        release.set()
        await busy
        assert await ref.proxy().visits == 0, "nobody waited for it any more when its turn came"


async def test_the_time_left_of_a_request_is_inherited_and_its_passing_ends_the_request_alone() -> None:
    async with ActorSystem() as system:
        stuck, middle = await system.spawn(Loft), await system.spawn(Loft)
        with pytest.raises(DeadlineExceeded):
            await middle.proxy().tardy_friend(stuck.proxy()).within(0.05)
        assert middle.is_alive()
        assert await middle.proxy().visits == 0


@KINDS
async def test_the_request_knows_until_when_it_is_waited_for(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        library = (await system.spawn(kind)).proxy()
        now = system.loop.time()
        if kind is Cellar:
            deadline = await library.deadline().within(3.0)
            assert now + 2.0 < deadline < now + 4.0


async def test_a_cancelled_wait_gives_the_request_up() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Loft)
        loft = ref.proxy()
        gate = await loft.gate
        busy, unwanted = loft.slow(), loft.visit()
        waiting = asyncio.ensure_future(unwanted.within(10))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        await busy
        assert await loft.visits == 0


async def test_an_answer_that_several_wait_for_is_given_up_by_the_last_of_them() -> None:
    async with ActorSystem() as system:
        loft = (await system.spawn(Loft)).proxy()
        gate = await loft.gate
        busy, wanted = loft.slow(), loft.visit(by="Bob")
        patient = asyncio.ensure_future(wanted.within(10))
        with pytest.raises(DeadlineExceeded):
            await wanted.within(0.01)
        gate.set()
        assert await busy == "through"
        assert await patient == await wanted == wanted.get() == "Bob: 1"


async def test_on_the_loop_what_would_block_raises_with_the_remedy() -> None:
    async with ActorSystem() as system:
        loft = (await system.spawn(Loft)).proxy()
        answer = loft.visit()
        with pytest.raises(
            RuntimeError, match=r"proxy\.visit\(\.\.\.\) would block .* on the loop use: await the answer"
        ):
            answer.get()
        assert await answer == ": 1"
        assert answer.get() == ": 1", "it has come"
        with pytest.raises(RuntimeError, match=r"on the loop use: await assign\(proxy, 'visits', value\)"):
            loft.visits = 3
        assert await loft.visits == 1


@KINDS
async def test_plain_threads_get_and_set_and_block_for_it(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        library = ref.proxy()

        def thread() -> object:
            library.visits = 3
            return library.visits.get(timeout=5), library.visit(by="Eve").get(), library.shelf.label.get()

        assert await asyncio.to_thread(thread) == (3, "Eve: 4", "top")
        with pytest.raises(pykka.Timeout):
            await asyncio.to_thread(Answer().get, timeout=0)


@KINDS
async def test_who_waits_for_itself_is_told_instead_of_hanging(kind: type[Any]) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(kind)
        with pytest.raises(ActorDied, match="Deadlock"):
            await ref.proxy().talks_to_itself()


async def test_an_answer_can_be_awaited_on_another_loop_too() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Loft)

        async def elsewhere() -> object:
            return await ref.proxy().visit(by="afar"), await ref.stop()

        assert await asyncio.to_thread(asyncio.run, elsewhere()) == ("afar: 1", True)
        assert await ref.stop() is False


async def test_answers_made_of_answers_are_awaited_too() -> None:
    async with ActorSystem() as system:
        loft = (await system.spawn(Loft)).proxy()
        assert await loft.visit().map(len) == 3
        assert await loft.visits.join(loft.motto, loft.shelf.put("Emma")) == [1, "read", 1]
        assert await loft.shelf.books.filter(str.islower) == []
        assert await loft.shelf.books.reduce(lambda left, right: left + right, "books: ") == "books: Emma"
        ready = pykka.ThreadingFuture[int]()
        ready.set(5)
        assert await loft.visits.join(ready) == [1, 5]


async def test_a_proxy_by_name_leads_to_whoever_has_the_name() -> None:
    class Annex(Loft):
        def extra(self) -> str:
            return "new"

    async with ActorSystem() as system:
        lost: list[DeadLetter] = []
        system.hooks.subscribe(DeadLetter, lost.append)
        with pytest.raises(ActorDied):
            system.ref("library").proxy()
        first = await system.spawn(Loft, name="library")
        library = system.ref("library").proxy()
        assert await library.visit() == ": 1"
        await first.stop()
        with pytest.raises(ActorDied) as caught:
            await library.visits
        assert caught.value.reason == NoProc()
        library.visit.defer()
        await system.spawn(Annex, name="library")
        assert await library.visits == 0
        assert await library.extra() == "new"
        assert [letter.reason for letter in lost] == ["no such name"]


async def test_a_remote_actor_has_no_proxy_and_says_why() -> None:
    class Afar(ActorRef[Actor]):
        def __repr__(self) -> str:
            return "<actor 'x' at attic:1>"

    with pytest.raises(
        TypeError, match=r"<actor 'x' at attic:1> is not of this process: attributes and methods do not"
    ):
        Afar().proxy()


class LoftProxy(TypedProxy[Loft]):
    motto = proxy_field(Loft.motto)
    visits: Answer[int]
    visit = proxy_method(Loft.visit)
    slow = proxy_method(Loft.slow)


async def test_a_typed_proxy_works_as_declared() -> None:
    async with ActorSystem() as system:
        loft = (await system.spawn(Loft)).proxy(LoftProxy)
        assert isinstance(loft, pykka.ActorProxy)
        assert await loft.motto == "read"
        loft.visit.defer(3)
        assert await loft.visit(by="Ada") == "Ada: 4"
        assert await loft.visits == 4

        def thread() -> str:
            loft.motto = "write"
            return loft.motto.get()

        assert await asyncio.to_thread(thread) == "write"
        with pytest.raises(AttributeError):
            loft._reach("nothing")
        assert LoftProxy.motto is not LoftProxy.__dict__["visit"]


async def test_two_proxies_of_one_actor_are_equal() -> None:
    async with ActorSystem() as system:
        ref, other = await system.spawn(Loft), await system.spawn(Loft)
        assert {ref.proxy(), ref.proxy()} == {ref.proxy()}
        assert ref.proxy() != other.proxy()
        assert ref.proxy() != ref.proxy().shelf
        assert repr(ref.proxy().shelf) == f"<ActorProxy for {ref}, attr_path=('shelf',)>"


async def test_a_proxy_holds_no_dead_actor(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Loft)
        inside: Any = ref
        actor = weakref.ref(inside.actor)
        proxies = [ref.proxy(), ref.proxy().shelf, ref.proxy().visit]
        await ref.stop()
        gc.collect()
        assert actor() is None
        assert proxies
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@KINDS
async def test_pykkas_messages_for_proxies_are_understood_under_its_rule(kind: Callable[[], Any]) -> None:
    async with ActorSystem() as system:
        cls = type("Old", (cast("type", kind),), {"failure_rule": "pykka"})
        ref: ActorRef[Any] = await system.spawn(cls)
        assert await ref.call(pykka.messages.ProxyCall(("visit",), (4,), {})) == ": 4"
        assert await ref.call(pykka.messages.ProxyGetAttr(("visits",))) == 4
        assert await pykka.ActorProxy(actor_ref=cast("Any", ref)).visits == 4
        with pytest.raises(CallError):
            await (await system.spawn(cast("Any", Actor))).call(pykka.messages.ProxyGetAttr(("visits",)))

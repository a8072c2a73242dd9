"""What type checkers know of references and messages. `tests/test_types.py` checks it; nothing here runs.

A line that ends in two `ignore` comments must be an error to both checkers: an unneeded one is an error itself.
"""

from typing import Any, assert_type

import pykka

from understudy import Actor, ActorRef, ActorSystem, Answer, Node, Request, ThreadActor, message
from understudy.actors import reentrant


@message
class Read(Request[int]):
    pass


@message
class Names(Request[list[str]]):
    pass


@message
class Add:
    n: int


class Counter(Actor):
    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self.count = count


class Printer(ThreadActor):
    pass


async def a_call_returns_what_its_message_asks_for(counter: ActorRef[Counter]) -> None:
    assert_type(await counter.call(Read()), int)
    assert_type(await counter.call(Names(), timeout=1.0), list[str])
    assert_type(await counter.call(Add(2)), Any)
    text: str = await counter.call(Read())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert text


def so_does_an_ask(counter: ActorRef[Counter]) -> None:
    assert_type(counter.ask(Read(), timeout=1.0), int)
    assert_type(counter.ask(Read(), block=False), Answer[int])
    assert_type(counter.ask(Read(), block=False).get(timeout=1.0), int)
    assert_type(counter.ask(Add(2)), Any)
    names: list[int] = counter.ask(Names())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert names


async def an_answer_is_awaited_bounded_and_mapped(counter: ActorRef[Counter]) -> None:
    answer = counter.ask(Read(), block=False)
    assert_type(await answer, int)
    assert_type(await answer.within(60.0), int)
    assert_type(await answer.map(str), str)
    assert_type(await counter.stop(), bool)
    future: pykka.Future[int] = answer
    assert_type(future.get(), int)
    wrong: Answer[str] = answer  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert wrong


async def a_spawn_knows_the_class(system: ActorSystem, node: Node) -> None:
    counter = await system.spawn(Counter, 3, name="counter")
    assert_type(counter, ActorRef[Counter])
    assert_type(await node.spawn(Printer), ActorRef[Printer])
    printer: ActorRef[Printer] = counter  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert printer


def a_reference_to_a_special_actor_is_one_to_an_actor(counter: ActorRef[Counter], other: ActorRef[Actor]) -> None:
    anybody: ActorRef[Actor] = counter
    assert anybody
    special: ActorRef[Counter] = other  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert special


def messages_are_frozen_and_know_their_fields() -> None:
    add = Add(2)
    assert_type(add.n, int)
    add.n = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Add("two")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Add()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def pykkas_start_knows_the_class_and_blocks_at_its_stop() -> None:
    counter = Counter.start(3)
    assert_type(counter.ask(Read()), int)
    assert_type(counter.stop(), bool)
    assert_type(counter.stop(block=False), Answer[bool])
    anybody: ActorRef[Counter] = counter
    assert anybody


class Patient(Actor):
    @reentrant
    async def on_receive(self, message: Any) -> int:
        return 1

    def on_stop(self) -> None:
        """Pykka's, without a reason."""


class Impatient(Actor):
    failure_rule = "pykka"


class Undecided(Actor):
    failure_rule = "perhaps"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

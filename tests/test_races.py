"""A few rounds of each race between real threads; `make proof kernel` runs a hundred thousand."""

from collections.abc import Iterator

import pytest

from tests import races, timer_races
from tests.handicap import nervous_threads
from tests.players import Echo
from tests.races import ThreadEcho
from understudy.actors import Actor


@pytest.fixture(autouse=True)
def nervous() -> Iterator[None]:
    with nervous_threads():
        yield


@pytest.mark.parametrize("end", ["stop", "exit", "kill"])
async def test_an_ask_that_races_an_end_is_always_answered(end: str) -> None:
    figures = await races.ask_against_stop(600, end)
    assert figures["answered"] + figures["died"] == figures["asks"] == 1200


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_an_ask_that_races_the_end_of_a_thread_actor_is_always_answered(end: str) -> None:
    kind: type[Actor] = ThreadEcho
    assert kind is not Echo
    await races.ask_against_stop(150, end, kind)


async def test_a_call_from_another_loop_that_races_an_end_always_ends() -> None:
    await races.call_against_end(500)


async def test_a_timer_that_a_thread_cancels_while_the_loop_fires_it_does_not_come_after() -> None:
    await timer_races.cancel_against_fire(1000)


async def test_a_timer_that_another_thread_has_cancelled_does_not_come_after_its_word() -> None:
    await timer_races.foreign_cancel_against_fire(1000)


async def test_two_threads_that_wake_an_actor_never_start_two_handlers() -> None:
    await races.wakers_against_an_async_handler(2000)


async def test_every_monitor_and_link_fires_once_from_any_thread_and_loop() -> None:
    await races.watch_against_end(300)


async def test_thread_actors_that_ask_each_other_at_once_are_told() -> None:
    await races.asks_across(100)


async def test_threads_that_look_how_long_messages_wait_do_not_disturb_each_other() -> None:
    await races.marks_against_marks(3000)

"""What is measured beside properties: it is added up, and taken once."""

from tests import measured


def test_of_many_runs_the_largest_and_the_sum_are_kept_and_taken_once() -> None:
    measured.take()
    for value in (3.0, 1.0):
        measured.most("seconds", value)
        measured.total("writes", 2)
    taken = measured.take()
    taken += measured.take()
    assert taken.figures() == {"seconds": 3.0, "writes": 4}

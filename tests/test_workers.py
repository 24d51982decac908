"""Programs side by side: results in order, the first alone, errors as they are."""

import threading
import time

import pytest

from rec_jax.workers import side_by_side, workers


def test_results_come_in_order_whatever_ends_first() -> None:
    def slow(n: int) -> int:
        time.sleep(0.02 * (5 - n % 5))
        return n * n

    assert side_by_side(slow, range(12)) == [n * n for n in range(12)]


def test_the_first_runs_alone_and_the_rest_together() -> None:
    meeting = threading.Barrier(min(2, workers()))

    def each(n: int) -> str:
        if n > 0:
            meeting.wait(timeout=20)  # broken, and so an error, if the others did not run at once
        return threading.current_thread().name

    names = side_by_side(each, range(1 + 2 * meeting.parties))
    assert names[0] == threading.current_thread().name
    assert names[0] not in names[1:]


def test_an_error_is_the_callers() -> None:
    def bad(n: int) -> int:
        if n == 3:
            raise ValueError("the third")
        return n

    with pytest.raises(ValueError, match="the third"):
        side_by_side(bad, range(5))

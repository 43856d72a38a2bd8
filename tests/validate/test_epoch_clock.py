import threading

import pytest

from flockoff.errors import ChainTransient
from flockoff.validate.setting import EpochClock

SECONDS_PER_BLOCK = 12.0


class Heights:
    """A chain of which only the height is asked; None: it does not answer."""

    def __init__(self, height: int | None) -> None:
        self.height = height
        self.asked = 0

    def block(self) -> int:
        self.asked += 1
        if self.height is None:
            raise ChainTransient("No answer.")
        return self.height


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def clock_at(heights: Heights, time: Time, deadline: int = 310) -> EpochClock:
    return EpochClock(heights, deadline, SECONDS_PER_BLOCK, threading.Event(), now=time)  # type: ignore[arg-type]


def test_epoch_clock_is_over_at_the_deadline_block_and_not_before() -> None:
    heights, time = Heights(309), Time()
    clock = clock_at(heights, time)
    assert not clock.over()
    heights.height = 310
    time.seconds += SECONDS_PER_BLOCK
    assert clock.over()


def test_epoch_clock_far_from_the_deadline_asks_once_a_minute_at_most() -> None:
    heights, time = Heights(0), Time()
    clock = clock_at(heights, time)
    for _ in range(600):
        assert not clock.over()
        time.seconds += 1
    assert heights.asked <= 11


def test_epoch_clock_without_an_answer_goes_by_the_seconds() -> None:
    heights, time = Heights(300), Time()
    clock = clock_at(heights, time)
    assert not clock.over()
    heights.height = None
    time.seconds += 9 * SECONDS_PER_BLOCK
    assert not clock.over()
    time.seconds += 1 * SECONDS_PER_BLOCK
    assert clock.over()


def test_epoch_clock_that_never_had_an_answer_raises() -> None:
    with pytest.raises(ChainTransient):
        clock_at(Heights(None), Time()).over()


def test_epoch_clock_is_over_when_asked_to_stop() -> None:
    stop = threading.Event()
    clock = EpochClock(Heights(0), 310, SECONDS_PER_BLOCK, stop)  # type: ignore[arg-type]
    assert not clock.over()
    stop.set()
    assert clock.over()

import threading

import pytest

from flockoff.errors import ChainTransient
from flockoff.metrics import Metrics
from flockoff.records import Epoch, EpochStatus
from flockoff.validate.clock import EpochClock

SECONDS_PER_BLOCK = 12.0


class Heights:
    """A chain of which only the epoch is asked; height None: it does not answer."""

    def __init__(self, height: int | None) -> None:
        self.height = height
        self.end = 360
        self.asked = 0

    def epoch_status(self) -> EpochStatus:
        self.asked += 1
        if self.height is None:
            raise ChainTransient("No answer.")
        if self.height >= self.end:
            return EpochStatus(self.height, self.end, self.end + 360, SECONDS_PER_BLOCK)
        return EpochStatus(self.height, 0, self.end, SECONDS_PER_BLOCK)


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def clock_at(
    heights: Heights, time: Time, *, blocks_per_epoch: int | None = None, stop: threading.Event | None = None
) -> EpochClock:
    """Of an epoch from block 0 to 360, of which the last 50 are not for evaluating."""
    return EpochClock(
        heights,  # type: ignore[arg-type]
        Epoch(0, 360, seed=1),
        heights.epoch_status(),
        threshold=50,
        blocks_per_epoch=blocks_per_epoch,
        stop=stop or threading.Event(),
        metrics=Metrics(),
        now=time,
    )


def test_epoch_clock_is_over_at_the_threshold_and_not_before() -> None:
    heights, time = Heights(309), Time()
    clock = clock_at(heights, time)
    assert not clock.over()
    heights.height = 310
    time.seconds += SECONDS_PER_BLOCK
    assert clock.over() and clock.late() and not clock.ended()
    assert clock.blocks_left() == 50


def test_epoch_clock_far_from_a_limit_asks_once_a_minute_at_most() -> None:
    heights, time = Heights(0), Time()
    clock = clock_at(heights, time)
    for _ in range(600):
        assert not clock.over()
        time.seconds += 1
    assert heights.asked <= 11


def test_epoch_clock_without_an_answer_goes_by_the_seconds() -> None:
    heights, time = Heights(300), Time()
    clock = clock_at(heights, time)
    heights.height = None
    time.seconds += 9 * SECONDS_PER_BLOCK
    assert not clock.over()
    time.seconds += 1 * SECONDS_PER_BLOCK
    assert clock.over()
    time.seconds += 49 * SECONDS_PER_BLOCK
    assert not clock.ended()
    time.seconds += 1 * SECONDS_PER_BLOCK
    assert clock.ended()


def test_epoch_clock_of_a_chain_that_stands_still_stands_still() -> None:
    heights, time = Heights(300), Time()
    clock = clock_at(heights, time)
    for _ in range(1000):
        time.seconds += SECONDS_PER_BLOCK
        assert not clock.over()


@pytest.mark.parametrize(("end", "over"), [(340, True), (400, False)])
def test_epoch_clock_follows_an_end_that_moves(end: int, over: bool) -> None:
    heights, time = Heights(300), Time()
    clock = clock_at(heights, time)
    heights.end = end
    heights.height = 305
    time.seconds += 5 * SECONDS_PER_BLOCK
    assert clock.over() is over
    heights.height = 315
    time.seconds += 10 * SECONDS_PER_BLOCK
    assert clock.over() is over


def test_epoch_clock_of_an_epoch_that_was_cut_short_has_ended() -> None:
    heights, time = Heights(300), Time()
    clock = clock_at(heights, time)
    heights.end, heights.height = 301, 301
    time.seconds += 10 * SECONDS_PER_BLOCK
    assert clock.ended()


def test_epoch_clock_with_epochs_of_its_own_ignores_the_tempo() -> None:
    heights, time = Heights(300), Time()
    clock = clock_at(heights, time, blocks_per_epoch=360)
    heights.end = 1000
    heights.height = 310
    time.seconds += 10 * SECONDS_PER_BLOCK
    assert clock.late()


@pytest.mark.parametrize(("height", "seconds"), [(300, 10 * SECONDS_PER_BLOCK), (310, 0.0), (350, 0.0)])
def test_epoch_clock_tells_the_seconds_left_for_evaluating(height: int, seconds: float) -> None:
    assert clock_at(Heights(height), Time()).seconds_left() == seconds


def test_epoch_clock_is_over_when_asked_to_stop() -> None:
    stop = threading.Event()
    clock = clock_at(Heights(0), Time(), stop=stop)
    assert not clock.over()
    stop.set()
    assert clock.over()
    assert not clock.late()

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.planner.forecast import Pace, forecast, measured_pace
from flockoff.records import Measurement
from tests.support.ledger_records import measurement

PACE = Pace(seconds_per_token=0.01, evaluation=5.0)
BASE = replace(measurement(2.0), seconds=5.0, train_tokens=0)


def trained(tokens: int, seconds: float, device: str = "cpu") -> Measurement:
    return replace(measurement(device=device), train_tokens=tokens, seconds=seconds)


def test_pace_is_the_median_over_evaluations_less_the_evaluation_set() -> None:
    pace = measured_pace(BASE, [trained(100, 6.0), trained(100, 7.0), trained(200, 15.0)])
    assert pace == Pace(seconds_per_token=0.02, evaluation=5.0)
    assert pace.seconds(1000) == 25.0


def test_pace_of_other_devices_says_nothing() -> None:
    assert measured_pace(BASE, [trained(100, 6.0, device="cuda NVIDIA GeForce RTX 4090")]) is None


def test_pace_without_training_is_unknown() -> None:
    assert measured_pace(BASE, []) is None
    assert measured_pace(BASE, [trained(100, 4.9)]) is None


def test_forecast_of_known_sizes_counts_those_that_end_in_time() -> None:
    outlook = forecast([1000, 2000, 500, 500], PACE, 50.0, largest=9999)
    # 15, 15 + 25, 40 + 10, 50 + 10
    assert (outlook.finished, outlook.seconds, outlook.seconds_for_all) == (3, 50.0, 60.0)
    assert (outlook.tokens, outlook.unseen) == (4000, 0)


def test_forecast_with_two_workers_gives_each_the_next_when_it_is_free() -> None:
    outlook = forecast([1000, 2000, 500, 500], PACE, 50.0, largest=9999, workers=2)
    # the first does 15, then 25, 35; the second 25
    assert (outlook.finished, outlook.seconds, outlook.seconds_for_all) == (4, 35.0, 35.0)


@pytest.mark.parametrize(
    ("queue", "known", "assumed"),
    [
        ([1000, None, 3000], [], 2000),
        ([1000, None, 3000], [5000, 5000, 5000], 5000),
        ([None, None], [700], 700),
        ([None], [], 9999),
    ],
)
def test_forecast_takes_the_unseen_for_the_median_of_the_known(
    queue: list[int | None], known: list[int], assumed: int
) -> None:
    outlook = forecast(queue, PACE, 50.0, largest=9999, known=known)
    assert outlook.assumed_tokens == assumed
    assert outlook.tokens == sum(assumed if tokens is None else tokens for tokens in queue)


def test_forecast_sentence_says_what_is_assumed() -> None:
    outlook = forecast([1000, None], PACE, 20.0, largest=2000, known=[3000], memory=3 * 2**29)
    assert outlook.sentence() == (
        "1 of 2 datasets fit into the 20 s that are left; all would take 40 s: 3,000 tokens, "
        "where 1 of unknown size count 2,000 each; training needs about 1.5 GiB."
    )
    assert forecast([1000], PACE, 3600.0, largest=1).sentence() == (
        "1 of 1 dataset fits into the 1 h 00 min that are left, in 15 s: 1,000 tokens."
    )


@given(
    sizes=st.lists(st.integers(1, 100_000), max_size=40),
    time_left=st.floats(0, 1e5),
    more=st.floats(0, 1e5),
    workers=st.integers(1, 8),
)
def test_forecast_with_more_time_or_workers_finishes_no_fewer(
    sizes: list[int], time_left: float, more: float, workers: int
) -> None:
    outlook = forecast(sizes, PACE, time_left, largest=1, workers=workers)
    longer = forecast(sizes, PACE, time_left + more, largest=1, workers=workers)
    wider = forecast(sizes, PACE, time_left, largest=1, workers=workers + 1)
    assert outlook.finished <= longer.finished
    assert outlook.finished <= wider.finished
    assert outlook.seconds <= time_left
    assert outlook.seconds <= outlook.seconds_for_all

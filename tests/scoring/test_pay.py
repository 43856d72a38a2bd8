"""Pay by distance: the properties that the README promises, and the bounds on hiding quality."""

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flockoff.competition import Scoring
from flockoff.errors import UsageError
from flockoff.scoring import epoch_pay, shares, win_matrix, win_rates
from flockoff.scoring.pay import _never_rising, distances, records
from tests.bench.bench_pay import fields, gains

RULES = Scoring(pay="distance")

Epoch = tuple[NDArray[np.float64], NDArray[np.int64]]
# Losses close together and few blocks, so that crowds, ties and clear wins all occur.
rows = st.tuples(st.one_of(st.floats(0, 1e3), st.floats(1.95, 2.05)), st.integers(0, 5))
epochs = st.lists(rows, min_size=1, max_size=16)


def arrays(datasets: list[tuple[float, int]]) -> Epoch:
    losses, blocks = zip(*datasets, strict=True)
    return np.array(losses, dtype=np.float64), np.array(blocks, dtype=np.int64)


def test_pay_by_win_rate_is_the_softmax_of_win_rates() -> None:
    losses, blocks = arrays([(1.000, 100), (1.004, 50), (1.2, 200)])
    rates = win_rates(win_matrix(losses, blocks, 0.005))
    assert epoch_pay(losses, blocks, Scoring(pay="win_rate")).tolist() == shares(rates, 0.08).tolist()


def test_pay_of_one_is_all_and_of_none_is_empty() -> None:
    assert epoch_pay(*arrays([(2.0, 1)]), RULES).tolist() == [1.0]
    assert epoch_pay(np.zeros(0), np.zeros(0, dtype=np.int64), RULES).tolist() == []


def test_distances_a_gap_counts_as_it_is_up_to_one_clear_win_and_as_three_at_most() -> None:
    ranked = np.array([1.0, 1.0, 1.0 / 0.9975, 1.0 / 0.9975 / 0.985, 1e9])
    assert distances(ranked, 0.005) == pytest.approx([0.0, 0.0, 0.5, 0.5 + 2, 2.5 + 3 - 4 / 201])
    assert distances(np.array([0.0, 0.0, 1e-9]), 0.005).tolist() == [0.0, 0.0, 3 - 4 / 201]


def test_records_beat_all_that_was_before_them() -> None:
    losses, blocks = arrays([(2.0, 1), (1.995, 2), (1.98, 3), (1.98, 3), (1.7, 0)])
    assert records(win_matrix(losses, blocks, 0.005), blocks).tolist() == [False, False, False, False, True]
    losses, blocks = losses[:4], blocks[:4]
    assert records(win_matrix(losses, blocks, 0.005), blocks).tolist() == [True, False, True, True]


def pay_step_by_step(losses: list[float], blocks: list[int], rules: Scoring) -> list[float]:
    """Pay by distance as the README words it, one dataset and one prize after the other."""
    n = len(losses)
    wins = win_matrix(np.array(losses), np.array(blocks), rules.timestamp_epsilon)
    is_record = [all(wins[i, j] for j in range(n) if blocks[j] < blocks[i]) for i in range(n)]
    ranked = sorted(range(n), key=lambda i: (losses[i], not is_record[i]))
    distance = [0.0]
    for better, worse in pairwise(losses[i] for i in ranked):
        g = (1 - (better / worse if worse > 0 else 1)) / rules.timestamp_epsilon
        distance.append(distance[-1] + (g if g <= 1 else 3 - 4 / (g + 1)))
    weight = [
        (1 + rules.head_start * is_record[i]) * math.exp(d / rules.crowd_scale)
        for i, d in zip(ranked, distance, strict=True)
    ]
    heights = [math.exp(-x / rules.prize_scale) for x in [*distance, distance[-1] + rules.crowd_scale]]
    pay = [0.0] * n
    for last in range(n):
        prize = (heights[last] - heights[last + 1]) / (heights[0] - heights[-1])
        for rank in range(last + 1):
            pay[rank] += prize / n if last == n - 1 else prize * weight[rank] / sum(weight[: last + 1])
    for rank in range(1, n):
        first = rank
        while first > 0 and pay[first - 1] < max(pay[first : rank + 1]):
            first -= 1
            pay[first : rank + 1] = [sum(pay[first : rank + 1]) / (rank + 1 - first)] * (rank + 1 - first)
    return [pay[ranked.index(i)] for i in range(n)]


@given(epochs)
def test_pay_is_the_readmes_formula(datasets: list[tuple[float, int]]) -> None:
    losses, blocks = arrays(datasets)
    expected = pay_step_by_step(losses.tolist(), blocks.tolist(), RULES)
    assert epoch_pay(losses, blocks, RULES) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_never_rising_shares_by_how_many_each_pool_has() -> None:
    # 9 shares with 1, then both of them with 3; 6 shares with the two who had shared.
    assert _never_rising(np.array([5.0, 3.0, 1.0, 9.0])) == pytest.approx([5.0, *3 * [13 / 3]])
    assert _never_rising(np.array([4.0, 1.0, 2.0, 6.0])) == pytest.approx([4.0, 3.0, 3.0, 3.0])


@given(epochs)
def test_pay_is_a_part_of_one(datasets: list[tuple[float, int]]) -> None:
    pay = epoch_pay(*arrays(datasets), RULES)
    assert (pay >= 0).all()
    assert pay.sum() == pytest.approx(1.0)


@given(epochs, st.randoms())
def test_pay_any_order_of_datasets_gives_the_same(datasets: list[tuple[float, int]], random: Random) -> None:
    order = list(range(len(datasets)))
    random.shuffle(order)
    expected = epoch_pay(*arrays(datasets), RULES)
    shuffled = epoch_pay(*arrays([datasets[i] for i in order]), RULES)
    assert shuffled == pytest.approx(expected[order], rel=1e-9)


@given(epochs)
def test_pay_never_rises_with_loss(datasets: list[tuple[float, int]]) -> None:
    losses, blocks = arrays(datasets)
    pay = epoch_pay(losses, blocks, RULES)
    better = losses[:, None] < losses[None, :]
    assert (pay[:, None] >= pay[None, :] - 1e-12)[better].all()


@given(epochs, st.data())
def test_pay_of_a_copy_is_at_most_its_victims(datasets: list[tuple[float, int]], data: st.DataObject) -> None:
    victim = data.draw(st.integers(0, len(datasets) - 1))
    loss, block = datasets[victim]
    copy = (loss * (1 + data.draw(st.floats(0, 0.002))), block + data.draw(st.integers(1, 9)))
    pay = epoch_pay(*arrays([*datasets, copy]), RULES)
    assert pay[-1] <= pay[victim] * (1 + 1e-9)


@given(epochs, st.data())
def test_pay_a_further_clone_adds_at_most_what_each_of_them_had(
    datasets: list[tuple[float, int]], data: st.DataObject
) -> None:
    """k clones earn together at most k / (k - 1) times what k - 1 earn."""
    loss, block = datasets[data.draw(st.integers(0, len(datasets) - 1))]
    k = data.draw(st.integers(2, 20))
    clone = (loss, block + 1)
    fewer = epoch_pay(*arrays([*datasets, *[clone] * (k - 1)]), RULES)[-1]
    more = epoch_pay(*arrays([*datasets, *[clone] * k]), RULES)[-1]
    assert more <= fewer * (1 + 1e-9)


def test_pay_clones_of_a_lone_leader_share_its_prize() -> None:
    """Twenty in its place earn under twice what it earns: they only weigh more in the prizes below theirs."""
    field = [(2.0 + 0.005 * number, 100 + number) for number in range(40)]
    alone = epoch_pay(*arrays([*field, (1.98, 1)]), RULES)[-1]
    twenty = epoch_pay(*arrays([*field, *[(1.98, 1 + number) for number in range(20)]]), RULES)[-20:].sum()
    assert alone > 0.4
    assert alone < twenty < 1.7 * alone


@pytest.mark.slow
def test_pay_hiding_quality_hardly_ever_gains() -> None:
    """At most 2 % of datasets in random fields would earn over 5 % more for being worse, none over 25 %."""
    gain = np.concatenate([gains(one, RULES) for n in (24, 32, 64) for one in fields(6, n, 1)])
    assert np.mean(gain > 1.05) <= 0.02
    assert gain.max() <= 1.25


@given(epochs, st.data())
def test_pay_being_worse_makes_no_record(datasets: list[tuple[float, int]], data: st.DataObject) -> None:
    losses, blocks = arrays(datasets)
    i = data.draw(st.integers(0, len(datasets) - 1))
    worse = losses.copy()
    worse[i] *= 1 + data.draw(st.floats(0, 0.1))
    before = records(win_matrix(losses, blocks, RULES.timestamp_epsilon), blocks)[i]
    assert before or not records(win_matrix(worse, blocks, RULES.timestamp_epsilon), blocks)[i]


def test_pay_of_256_far_apart_stays_finite() -> None:
    losses = np.array([2.0 * 1.01**rank for rank in range(256)])
    pay = epoch_pay(losses, np.arange(256), RULES)
    assert 1 - np.exp(-1 / RULES.prize_scale) < pay[0] < 0.75
    assert np.isfinite(pay).all()


def test_pay_contradictory_constants_are_refused() -> None:
    for bad in (
        {"pay": "loudest"},
        {"pay": "distance", "timestamp_epsilon": 0.0},
        {"prize_scale": 0.0},
        {"head_start": -1.0},
    ):
        with pytest.raises(UsageError, match=r"scoring\."):
            Scoring(**bad)

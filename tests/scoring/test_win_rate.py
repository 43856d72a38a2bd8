import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flockoff.scoring import shares, win_matrix, win_rates

EPSILON = 0.005
TEMPERATURE = 0.08

Epoch = tuple[NDArray[np.float64], NDArray[np.int64]]
# Losses close together and few blocks, so that the advantage decides often and equal blocks occur.
datasets = st.lists(
    st.tuples(st.one_of(st.floats(0, 1e3), st.floats(1.99, 2.01)), st.integers(0, 5)), min_size=1, max_size=12
)


def arrays(rows: list[tuple[float, int]]) -> Epoch:
    losses, blocks = zip(*rows, strict=True)
    return np.array(losses, dtype=np.float64), np.array(blocks, dtype=np.int64)


def epoch_shares(epoch: Epoch) -> NDArray[np.float64]:
    return shares(win_rates(win_matrix(*epoch, EPSILON)), TEMPERATURE)


def test_win_matrix_three_miners_is_as_computed_by_hand() -> None:
    # Against 1.000 of block 100 the 1.004 of block 50 counts as 0.99898 and wins; both beat 1.2.
    wins = win_matrix(*arrays([(1.000, 100), (1.004, 50), (1.2, 200)]), EPSILON)
    assert wins.tolist() == [[False, False, True], [True, False, True], [False, False, False]]


def test_win_matrix_later_needs_more_than_epsilon() -> None:
    earlier = 2.0
    exactly = earlier * (1 - EPSILON)
    for later, later_wins, earlier_wins in [
        (exactly, False, False),
        (math.nextafter(exactly, 0), True, False),
        (math.nextafter(exactly, 3), False, True),
    ]:
        wins = win_matrix(*arrays([(earlier, 10), (later, 11)]), EPSILON)
        assert (bool(wins[1, 0]), bool(wins[0, 1])) == (later_wins, earlier_wins)


def test_win_matrix_equal_blocks_give_no_advantage() -> None:
    wins = win_matrix(*arrays([(2.0, 10), (1.9999, 10), (2.0, 10)]), EPSILON)
    assert wins.tolist() == [[False, False, False], [True, False, True], [False, False, False]]


def test_win_rates_single_is_one_and_none_is_empty() -> None:
    assert win_rates(np.zeros((1, 1), dtype=np.bool_)).tolist() == [1.0]
    assert win_rates(np.zeros((0, 0), dtype=np.bool_)).tolist() == []


def test_shares_two_miners_are_as_computed_by_hand() -> None:
    # exp(1 / 0.08) : exp(0) = e^12.5 : 1 = 268337.29 : 1
    assert shares(np.array([1.0, 0.0]), TEMPERATURE) == pytest.approx(
        [268337.2865 / 268338.2865, 1 / 268338.2865]
    )


def test_shares_extreme_temperature_stays_finite() -> None:
    assert shares(np.array([1.0, 0.5, 0.0]), 1e-12).tolist() == [1.0, 0.0, 0.0]
    assert shares(np.array([]), TEMPERATURE).tolist() == []


@given(datasets, st.randoms())
def test_shares_any_order_of_datasets_gives_the_same(rows: list[tuple[float, int]], random: Random) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    expected = epoch_shares(arrays(rows))
    assert epoch_shares(arrays([rows[i] for i in order])) == pytest.approx(expected[order], rel=1e-12)


@given(datasets, st.data())
def test_shares_earlier_commit_never_hurts(rows: list[tuple[float, int]], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(rows) - 1))
    loss, block = rows[i]
    earlier = [*rows]
    earlier[i] = (loss, block - data.draw(st.integers(1, 6)))
    before, after = arrays(rows), arrays(earlier)
    assert win_rates(win_matrix(*after, EPSILON))[i] >= win_rates(win_matrix(*before, EPSILON))[i]
    assert epoch_shares(after)[i] >= epoch_shares(before)[i] * (1 - 1e-12)


@given(datasets)
def test_win_matrix_two_never_beat_each_other(rows: list[tuple[float, int]]) -> None:
    wins = win_matrix(*arrays(rows), EPSILON)
    assert not (wins & wins.T).any()
    assert not wins.diagonal().any()


@given(datasets)
def test_shares_are_positive_parts_of_one(rows: list[tuple[float, int]]) -> None:
    result = epoch_shares(arrays(rows))
    assert (result > 0).all()
    assert math.isclose(result.sum(), 1.0)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=12))
def test_win_matrix_all_in_one_block_is_the_plain_comparison(losses: list[float]) -> None:
    array = np.array(losses)
    wins = win_matrix(array, np.full(len(losses), 7, dtype=np.int64), EPSILON)
    assert (wins == (array[:, None] < array[None, :])).all()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, -0.1])
def test_win_matrix_loss_that_is_none_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        win_matrix(*arrays([(1.0, 1), (loss, 2)]), EPSILON)


def test_win_matrix_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        win_matrix(np.ones(3), np.ones(2, dtype=np.int64), EPSILON)
    with pytest.raises(ValueError, match="must be"):
        win_matrix(np.ones((2, 2)), np.ones((2, 2), dtype=np.int64), EPSILON)
    with pytest.raises(ValueError, match="must be"):
        win_rates(np.zeros((2, 3), dtype=np.bool_))


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, math.nan])
def test_win_matrix_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        win_matrix(*arrays([(1.0, 1)]), epsilon)


@pytest.mark.parametrize(
    ("rates", "temperature"), [([math.nan], 1.0), ([1.5], 1.0), ([1.0], 0.0), ([1.0], math.nan)]
)
def test_shares_bad_rate_or_temperature_is_refused(rates: list[float], temperature: float) -> None:
    with pytest.raises(ValueError, match=r"rates|temperature"):
        shares(np.array(rates), temperature)


def test_win_matrix_without_epsilon_is_the_plain_comparison_whatever_the_blocks() -> None:
    wins = win_matrix(np.array([1.0, 1.0 + 1e-12]), np.array([2, 1]), 0.0)
    assert wins.tolist() == [[False, True], [False, False]]


def test_rates_and_shares_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        win_rates(np.zeros(3, dtype=np.bool_))
    with pytest.raises(ValueError, match="must be"):
        shares(np.zeros((2, 2)), 0.08)

"""The arithmetic behind the tables of .github/docs/noise.md."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Scoring
from flockoff.scoring import win_matrix
from tests.support.noise_numbers import ahead_after, changes_by_dataset, lead_of_the_earlier, pairs_of, told

RULES = Scoring()
EPSILON = RULES.timestamp_epsilon


def result(dataset: str, seed: int, loss: float, setup: str = "s") -> dict[str, object]:
    return {"setup": setup, "dataset": dataset, "seed": seed, "base": 2.0, "loss": loss}


def test_changes_by_dataset_takes_the_seeds_that_all_datasets_have() -> None:
    results = [result("a", 2, 1.0), result("a", 1, 2.0), result("b", 2, 4.0), result("b", 3, 1.0)]
    changes = changes_by_dataset(results)
    assert {name: values.tolist() for name, values in changes.items()} == {
        "a": [math.log(0.5)],
        "b": [math.log(2.0)],
    }


def test_changes_by_dataset_of_two_setups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 setups"):
        changes_by_dataset([result("a", 1, 1.0, "s"), result("a", 2, 1.0, "t")])


def test_pairs_of_two_datasets_by_hand() -> None:
    [pair] = pairs_of({"worse": np.array([0.01, 0.03, 0.02]), "better": np.array([0.0, 0.0, 0.03])})
    assert (pair.better, pair.worse, pair.wins_of_worse, pair.seeds) == ("better", "worse", 1, 3)
    assert pair.gap == pytest.approx(0.01)
    assert pair.deviation == pytest.approx(0.02)  # of 0.01, 0.03 and -0.01
    assert pair.worse_wins(0.0) == pytest.approx(0.308538, abs=1e-6)  # half a standard deviation
    assert pair.worse_wins(-0.01) == pytest.approx(0.5)


def test_ahead_after_three_epochs_takes_two_wins() -> None:
    # Of three epochs weighted 0.64, 0.8 and 1, any two outweigh the third.
    assert ahead_after(1, 0.3, RULES) == pytest.approx(0.3)
    assert ahead_after(3, 0.3, RULES) == pytest.approx(0.3**3 + 3 * 0.3**2 * 0.7)
    assert ahead_after(10, 0.5, RULES) == pytest.approx(0.5)


@given(earlier=st.floats(1.0, 2.0), change=st.floats(-0.02, 0.02))
def test_lead_of_the_earlier_decides_as_the_win_matrix(earlier: float, change: float) -> None:
    later = earlier * (1 + change)
    gap = math.log(later / earlier) + lead_of_the_earlier(EPSILON)
    wins = win_matrix(np.array([earlier, later]), np.array([1, 2]), EPSILON)
    if abs(gap) > 1e-12:
        assert (wins[0, 1], wins[1, 0]) == (gap > 0, gap < 0)


def test_told_has_every_dataset_and_pair() -> None:
    losses = {"good": (1.8, 1.82), "fair": (1.9, 1.91), "noise": (2.2, 2.4)}
    results = [result(name, seed, of[seed]) for name, of in losses.items() for seed in (0, 1)]
    lines = list(told(results, RULES))
    assert lines[0].startswith("3 datasets, 2 seeds")
    for start in ("| good | -9.50%", "| good, fair | ", "| fair, noise | ", "| 0.005 | "):
        assert any(line.startswith(start) for line in lines)


def test_told_of_one_seed_says_that_there_are_too_few() -> None:
    assert list(told([result("a", 1, 1.0), result("b", 1, 2.0)], RULES)) == [
        "Two seeds at least must have been measured with every dataset."
    ]
